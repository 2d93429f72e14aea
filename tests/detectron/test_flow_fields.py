import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sartorius.detectron.flow_fields import (
    LEAST_PX,
    MOST_SPREADING,
    STEPS,
    disagreements,
    flows_of,
    labels_of,
)


def disc(size_hw: tuple[int, int], row: float, col: float, radius: float) -> NDArray[np.bool_]:
    rows, cols = np.mgrid[: size_hw[0], : size_hw[1]]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def neighbours() -> NDArray[np.int32]:
    """Two discs that touch, a ring open to the right, and a long bar at the image's border."""
    labels = np.zeros((60, 80), dtype=np.int32)
    labels[disc(labels.shape, 12, 14, 9)] = 1
    labels[disc(labels.shape, 12, 31, 8) & (labels == 0)] = 2
    ring = disc(labels.shape, 38, 24, 16) & ~disc(labels.shape, 38, 24, 10)
    ring[30:46, 24:] = False
    labels[ring] = 3
    labels[55:60, 45:] = 4
    return labels


def renumbered(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same cells numbered by their first pixels."""
    names, first = np.unique(labels[labels > 0], return_index=True)
    rank = np.zeros(labels.max() + 1, dtype=np.int32)
    rank[names[np.argsort(first)]] = np.arange(1, len(names) + 1)
    return rank[labels]


def test_flows_have_length_1_in_cells_and_0_outside() -> None:
    labels = neighbours()
    lengths = np.hypot(*flows_of(labels))
    assert (lengths[labels == 0] == 0).all()
    inside = lengths[labels > 0]
    assert ((np.abs(inside - 1) < 1e-5) | (inside == 0)).all()
    assert (inside == 0).sum() <= 4  # a cell's very centre


def test_flows_of_a_disc_point_to_its_centre() -> None:
    labels = disc((41, 41), 20, 20, 15).astype(np.int32)
    down, right = flows_of(labels)
    rows, cols = np.nonzero(labels)
    far = np.hypot(rows - 20, cols - 20)
    towards = -(down[rows, cols] * (rows - 20) + right[rows, cols] * (cols - 20)) / np.maximum(far, 1)
    assert towards[far > 2].min() > 0.9
    assert (down[6, 20], down[34, 20]) == pytest.approx((1, -1))
    assert (right[20, 6], right[20, 34]) == pytest.approx((1, -1))


def test_flows_are_those_of_heat_spread_step_by_step() -> None:
    labels = np.zeros((12, 14), dtype=np.int32)
    labels[2:9, 3:6] = labels[6:9, 3:12] = 7  # an L, not cell 1
    rows, cols = np.nonzero(labels)
    middle = np.sort(rows)[len(rows) // 2], np.sort(cols)[len(cols) // 2]
    nearest = np.argmin((rows - middle[0]) ** 2 + (cols - middle[1]) ** 2)
    heat = np.zeros((14, 16))
    for _ in range(2 * (np.ptp(rows) + np.ptp(cols) + 2)):
        heat[rows[nearest] + 1, cols[nearest] + 1] += 1
        around = sum(heat[row : row + 12, col : col + 14] for row in range(3) for col in range(3)) / 9
        heat[1:-1, 1:-1] = np.where(labels, around, 0)
    heat = np.log1p(heat)
    down, right = heat[2:, 1:-1] - heat[:-2, 1:-1], heat[1:-1, 2:] - heat[1:-1, :-2]
    expected = np.where(labels, np.stack([down, right]), 0) / np.maximum(np.hypot(down, right), 1e-12)
    np.testing.assert_allclose(flows_of(labels), expected, atol=1e-5)


def test_cells_come_back_from_their_flows_whether_they_touch_or_bend() -> None:
    labels = neighbours()
    np.testing.assert_array_equal(labels_of(flows_of(labels), labels > 0), renumbered(labels))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60), st.integers(4, 10)), max_size=12))
def test_discs_that_cover_little_of_each_other_come_back(discs: list[tuple[int, int, int]]) -> None:
    labels = np.zeros((50, 60), dtype=np.int32)
    for number, (row, col, radius) in enumerate(discs, start=1):
        whole = disc(labels.shape, row, col, radius)
        free = whole & (labels == 0)
        if free.sum() >= 0.9 * whole.sum() and free.sum() > 2 * LEAST_PX:
            labels[free] = number
    back = labels_of(flows_of(labels), labels > 0)
    for number in np.unique(labels[labels > 0]):
        seen = labels == number
        same = back == np.bincount(back[seen]).argmax()
        assert (same & seen).sum() / (same | seen).sum() > 0.7


def test_cells_of_few_pixels_are_none() -> None:
    labels = np.zeros((20, 20), dtype=np.int32)
    labels[2:5, 2:5] = 1  # 9 pixels
    labels[10:14, 10:14] = 2
    assert LEAST_PX > 9
    found = labels_of(flows_of(labels), labels > 0)
    np.testing.assert_array_equal(found, labels == 2)


def test_what_a_network_gone_wrong_draws_leads_nowhere_and_no_step_leaves_the_picture() -> None:
    flows = np.full((2, 16, 16), np.nan, dtype=np.float32)
    flows[:, 4:8] = np.inf
    flows[:, 12:] = -1e30
    labels = labels_of(flows, np.ones((16, 16), dtype=np.bool_))
    assert 0 < labels.max() < 16


@pytest.mark.parametrize("size_hw", [(1, 40), (40, 1), (1, 1)])
def test_a_picture_may_be_one_pixel_wide(size_hw: tuple[int, int]) -> None:
    labels = np.ones(size_hw, dtype=np.int32)
    found = labels_of(flows_of(labels), labels > 0)
    assert found.max() == (labels.size > 1)


def test_heat_of_a_cell_too_long_to_be_followed_stops() -> None:
    flows = flows_of(np.ones((15, 2 * MOST_SPREADING + 101), dtype=np.int32))
    flowing = flows.any(axis=(0, 1))
    middle = MOST_SPREADING + 50
    assert flowing[middle - 2 * STEPS : middle + 2 * STEPS].all()
    assert not flowing[: middle - MOST_SPREADING].any()


def test_without_cells_there_is_nothing() -> None:
    nothing = np.zeros((8, 9), dtype=np.int32)
    assert not flows_of(nothing).any()
    assert not labels_of(np.zeros((2, 8, 9), dtype=np.float32), nothing > 0).any()
    assert disagreements(nothing, np.zeros((2, 8, 9), dtype=np.float32)).shape == (0,)


def test_flows_disagree_with_a_cell_by_how_far_they_lead_elsewhere() -> None:
    labels = neighbours()
    flows = flows_of(labels)
    assert disagreements(labels, flows) == pytest.approx([0, 0, 0, 0])
    flows[:, labels == 2] *= -1
    flows[:, labels == 4] = 0
    assert disagreements(labels, flows) == pytest.approx([0, 4, 0, 1], abs=0.05)
