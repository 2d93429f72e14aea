import numpy as np
import pytest
from numpy.typing import NDArray

from sartorius.detectron.flow_cells import DrawnPicture, cells_of, flow_targets
from sartorius.detectron.flow_fields import flows_of
from sartorius.detectron.transfer import Output
from sartorius.rle import Crop, dense_from_coco
from sartorius.soft_masks import binarised


def square(row: int, col: int, side: int) -> Crop:
    return Crop(row, col, np.ones((side, side), dtype=bool))


def test_targets_show_the_smaller_of_two_cells_on_top() -> None:
    targets = flow_targets([square(10, 10, 8), square(4, 4, 20)], np.array([2, 0]), (40, 50), (40, 50))
    kinds = targets["cell_classes"].numpy()
    assert kinds.shape == (40, 50)
    assert kinds[12, 12] == 2
    assert kinds[5, 5] == 0
    assert kinds[30, 30] == -1
    down = targets["flows"].numpy()[0]
    assert down[10, 13] > 0.9  # the small one's upper edge flows down to its own centre
    assert down[17, 13] < -0.9


def test_targets_close_holes_but_for_another_cell_in_them() -> None:
    ring = np.ones((20, 20), dtype=bool)
    ring[3:6, 3:6] = ring[12:16, 12:16] = False
    targets = flow_targets([Crop(5, 5, ring), square(17, 17, 4)], np.array([0, 1]), (30, 30), (30, 30))
    kinds = targets["cell_classes"].numpy()
    assert (kinds[8:11, 8:11] == 0).all()
    assert (kinds[17:21, 17:21] == 1).all()


def test_targets_have_the_size_of_the_drawing() -> None:
    targets = flow_targets([square(4, 6, 8)], np.array([1]), (20, 30), (40, 60))
    assert targets["flows"].shape == (2, 40, 60)
    rows, cols = np.nonzero(targets["cell_classes"].numpy() == 1)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (8, 23, 12, 27)


def test_pixels_that_no_way_leads_from_to_the_centre_are_background() -> None:
    split = np.ones((20, 9), dtype=bool)
    split[5] = False
    targets = flow_targets([Crop(2, 2, split)], np.array([0]), (30, 30), (30, 30))
    kinds = targets["cell_classes"].numpy()
    assert (kinds[2:7, 2:11] == -1).all()
    assert (kinds[9:22, 2:11] == 0).all()


def test_the_very_centre_of_a_cell_is_of_the_cell() -> None:
    long = Crop(5, 5, np.ones((3, 17), dtype=bool))
    targets = flow_targets([long], np.array([1]), (20, 30), (20, 30))
    assert not targets["flows"][:, 6, 13].any()
    assert (targets["cell_classes"].numpy() == 1).sum() == 3 * 17


def test_a_picture_without_cells_is_all_background() -> None:
    targets = flow_targets([], np.zeros(0, dtype=np.int64), (10, 12), (10, 12))
    assert not targets["flows"].any()
    assert (targets["cell_classes"] == -1).all()


def found_in(
    labels: NDArray[np.int32],
    inside: NDArray[np.float32] | None = None,
    types: NDArray[np.float32] | None = None,
    flow_length: float = 1.0,
    stride: int = 1,
    min_scores: tuple[float, ...] = (0.0,),
    most_cells: int = 100,
) -> Output:
    """What is found in the drawing of cells that is right but for what is given."""
    drawn = DrawnPicture(
        flows=flows_of(labels) * np.float32(flow_length),
        inside=(labels > 0).astype(np.float32) if inside is None else inside,
        types=np.ones((len(min_scores), *labels.shape), dtype=np.float32) if types is None else types,
        stride=stride,
        network_hw=(labels.shape[0] * stride, labels.shape[1] * stride),
    )
    return cells_of(drawn, np.array(min_scores), most_cells, 28)


def test_a_drawing_that_is_right_gives_back_the_cells() -> None:
    labels = np.zeros((50, 60), dtype=np.int32)
    labels[5:25, 4:34] = 1
    labels[25:45, 10:22] = 2
    types = np.zeros((3, 50, 60), dtype=np.float32)
    types[2][labels == 1] = types[1][labels == 2] = 1
    found = found_in(labels, types=types, min_scores=(0, 0, 0))
    assert sorted(found.boxes_xyxy.tolist()) == [[4, 5, 34, 25], [10, 25, 22, 45]]
    assert found.classes[np.argsort(found.boxes_xyxy[:, 0])].tolist() == [2, 1]
    assert found.scores == pytest.approx([1, 1], abs=0.02)
    for mask, box in zip(
        binarised(found.masks, found.boxes_xyxy, (50, 60), 0.5), found.boxes_xyxy, strict=True
    ):
        np.testing.assert_array_equal(dense_from_coco(mask), labels == (1 if box[0] == 4 else 2))


@pytest.mark.parametrize("size_hw", [(20, 100), (100, 20), (19, 60), (40, 70)])
def test_bent_cells_keep_their_form_on_the_grid_of_a_mask(size_hw: tuple[int, int]) -> None:
    short, long = sorted(size_hw)
    across, along = np.mgrid[:short, :long]
    bend = (short - 7) * (0.5 - 0.5 * np.cos(2 * np.pi * along / long))
    labels = (np.abs(across - bend - 3) <= 3).astype(np.int32)
    labels = labels if labels.shape == size_hw else labels.T.copy()
    found = found_in(labels)
    (best,) = binarised(found.masks, found.boxes_xyxy, size_hw, 0.5)[:1]
    mask = dense_from_coco(best)
    assert (mask & (labels > 0)).sum() / (mask | (labels > 0)).sum() > 0.9


def test_masks_are_as_sure_as_their_pixels_and_leave_out_other_cells() -> None:
    labels = np.zeros((28, 60), dtype=np.int32)
    labels[:, :14], labels[:, 14:46] = 1, 2
    inside = np.where(labels > 0, 0.8, 0.3).astype(np.float32)
    inside[:, :3] = 0.9
    inside[:4, 42:46] = 0.2  # a corner of the second cell is none of it
    found = found_in(labels, inside)
    first, second = found.masks[np.argsort(found.boxes_xyxy[:, 0])] / 255
    assert first[:, 0] == pytest.approx(np.full(28, 0.9), abs=0.02)
    assert first[:, -1] == pytest.approx(np.full(28, 0.8), abs=0.02)
    assert second[1, -2] == pytest.approx(0.2, abs=0.02)
    assert second[:, 0] == pytest.approx(np.full(28, 0.8), abs=0.02)


def two_squares() -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The second is less sure."""
    labels = np.zeros((30, 60), dtype=np.int32)
    labels[5:25, 4:24], labels[5:25, 34:54] = 1, 2
    inside = np.where(labels > 0, 0.9, 0.1).astype(np.float32)
    inside[labels == 2] = 0.6
    return labels, inside


def test_a_cell_scores_less_the_less_sure_its_pixels_are_and_the_worse_the_flows_fit() -> None:
    assert found_in(*two_squares()).scores == pytest.approx([0.9, 0.6], abs=0.02)
    weak = found_in(*two_squares(), flow_length=0.5).scores
    assert weak == pytest.approx([0.9 * 0.75, 0.6 * 0.75], abs=0.02)


def test_boxes_are_in_pixels_of_the_picture() -> None:
    found = found_in(*two_squares(), stride=2)
    assert found.boxes_xyxy.tolist() == [[8, 10, 48, 50], [68, 10, 108, 50]]
    assert found.network_hw == (60, 120)
    assert (found.boxes_xyxy.dtype, found.scores.dtype, found.masks.dtype) == (
        np.float32,
        np.float32,
        np.uint8,
    )


def test_cells_below_their_types_score_and_past_the_most_are_left_out() -> None:
    labels, inside = two_squares()
    types = np.stack([labels == 1, labels == 2]).astype(np.float32)
    for least, kept in (((0.0, 0.0), [0, 1]), ((0.95, 0.0), [1]), ((0.0, 0.7), [0]), ((0.95, 0.7), [])):
        assert found_in(labels, inside, types, min_scores=least).classes.tolist() == kept
    assert found_in(labels, inside, types, min_scores=(0, 0), most_cells=1).classes.tolist() == [0]


def test_a_drawing_without_cells_gives_none() -> None:
    found = found_in(np.zeros((20, 20), dtype=np.int32))
    assert len(found.scores) == len(found.classes) == len(found.boxes_xyxy) == len(found.masks) == 0
