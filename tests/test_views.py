"""Views undo themselves exactly; shapes here are asymmetric, so that every wrong turn shows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from sartorius.config.members import ViewSettings
from sartorius.rle import dense_from_coco
from sartorius.soft_masks import binarised
from sartorius.views import backward_boxes, backward_soft_masks, forward, network_size_hw

FLIPS = ("none", "horizontal", "vertical", "rotate180")
SCALES = (0.5, 1.0, 1.25, 1.5, 2.0)
views = st.builds(ViewSettings, flip=st.sampled_from(FLIPS), scale=st.floats(0.25, 4))

# An L with a notch, on a canvas whose height, width, and margins all differ.
LETTER = np.zeros((26, 38), dtype=np.uint8)
LETTER[4:16, 6:12] = 255
LETTER[12:16, 12:22] = 255
LETTER[4:6, 10:12] = 0


def seen_by_a_perfect_detector(network_image):
    """The box and the 28 x 28 soft mask that a head without error gives: pixel centres at + 0.5, like RoIAlign."""
    rows, cols = np.nonzero(network_image > 100)
    box = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], dtype=np.float32)
    steps = (np.arange(28) + 0.5) / 28
    xs, ys = box[0] + steps * (box[2] - box[0]), box[1] + steps * (box[3] - box[1])
    points = np.meshgrid(ys - 0.5, xs - 0.5, indexing="ij")
    soft = map_coordinates(network_image.astype(float), points, order=1, mode="nearest")
    return box[None], np.round(soft).astype(np.uint8)[None]


def found_through(view):
    image = forward(LETTER, view)
    box, soft = seen_by_a_perfect_detector(image)
    return backward_boxes(box, view, LETTER.shape, image.shape), backward_soft_masks(soft, view)


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        ("none", [[1, 2, 3], [4, 5, 6]]),
        ("horizontal", [[3, 2, 1], [6, 5, 4]]),
        ("vertical", [[4, 5, 6], [1, 2, 3]]),
        ("rotate180", [[6, 5, 4], [3, 2, 1]]),
    ],
)
def test_a_flip_turns_the_image_as_its_name_says(flip, expected):
    image = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    np.testing.assert_array_equal(forward(image, ViewSettings(flip=flip)), expected)


@pytest.mark.parametrize("flip", FLIPS)
def test_a_view_leaves_its_input_as_it_was(flip):
    image = LETTER.copy()
    forward(image, ViewSettings(flip=flip, scale=2.0))
    np.testing.assert_array_equal(image, LETTER)


def test_the_models_scale_and_the_views_scale_make_one_resize():
    view = ViewSettings(scale=1.25)
    assert network_size_hw((520, 704), view, input_scale=1.5) == (975, 1320)
    assert forward(np.zeros((520, 704), dtype=np.uint8), view, input_scale=1.5).shape == (975, 1320)


def test_the_smallest_image_keeps_one_pixel():
    tiny = np.full((1, 1), 7, dtype=np.uint8)
    assert forward(tiny, ViewSettings(scale=0.25)).tolist() == [[7]]


def test_shrinking_averages_every_pixel():
    image = np.array([[0, 100, 40, 40], [100, 200, 40, 40]], dtype=np.uint8)
    assert forward(image, ViewSettings(scale=0.5)).tolist() == [[100, 40]]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), dtype=np.uint8), np.zeros((4, 4), dtype=np.uint16), np.zeros((4, 4))]
)
def test_an_image_that_is_not_grey_8_bit_is_refused(wrong):
    with pytest.raises(ValueError, match="expected uint8"):
        forward(wrong, ViewSettings())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("flip", FLIPS)
def test_every_flip_finds_the_very_box_that_the_plain_view_finds(flip, scale):
    plain, _ = found_through(ViewSettings(scale=scale))
    box, _ = found_through(ViewSettings(flip=flip, scale=scale))
    np.testing.assert_allclose(box, plain, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("flip", FLIPS)
def test_every_flip_finds_the_very_soft_mask_that_the_plain_view_finds(flip, scale):
    _, plain = found_through(ViewSettings(scale=scale))
    _, soft = found_through(ViewSettings(flip=flip, scale=scale))
    np.testing.assert_allclose(soft.astype(int), plain.astype(int), atol=1)  # cv2 rounds in fixed point


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("flip", FLIPS)
def test_a_shape_seen_through_any_view_lands_on_itself(flip, scale):
    box, soft = found_through(ViewSettings(flip=flip, scale=scale))
    (mask,) = binarised(soft, box, LETTER.shape, 0.45)
    np.testing.assert_array_equal(dense_from_coco(mask), LETTER > 0)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("flip", FLIPS)
def test_a_box_on_whole_pixels_comes_back_as_it_was(flip, scale):
    box, _ = found_through(ViewSettings(flip=flip, scale=scale))
    assert box.tolist() == [[6, 4, 22, 16]]


@given(
    view=views,
    input_scale=st.floats(0.5, 3),
    size_hw=st.tuples(st.integers(5, 700), st.integers(5, 700)),
    corners=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5),
)
def test_a_box_taken_into_a_view_and_back_is_the_same_box(view, input_scale, size_hw, corners):
    height, width = size_hw
    network_h, network_w = network_size_hw(size_hw, view, input_scale)
    boxes = np.array(
        [
            (min(a, b) * width, min(c, d) * height, max(a, b) * width, max(c, d) * height)
            for a, b, c, d in corners
        ],
        dtype=np.float32,
    ).reshape(-1, 4)
    turned = boxes.astype(np.float64)
    if view.flip in ("horizontal", "rotate180"):
        turned[:, [0, 2]] = width - turned[:, [2, 0]]
    if view.flip in ("vertical", "rotate180"):
        turned[:, [1, 3]] = height - turned[:, [3, 1]]
    turned[:, [0, 2]] *= network_w / width
    turned[:, [1, 3]] *= network_h / height
    back = backward_boxes(turned.astype(np.float32), view, size_hw, (network_h, network_w))
    assert back.dtype == np.float32
    assert back.shape == boxes.shape
    np.testing.assert_allclose(back, boxes, atol=2e-3)


@pytest.mark.parametrize("flip", FLIPS)
def test_soft_masks_turned_back_and_pasted_are_the_pasted_ones_turned_back(flip):
    rng = np.random.default_rng(5)
    view, size_hw = ViewSettings(flip=flip), (21, 33)
    soft = rng.integers(0, 256, (40, 6, 6)).astype(np.uint8)
    corners = np.sort(rng.uniform(0, 1, (40, 2, 2)), axis=1) * [size_hw[1], size_hw[0]]
    boxes = corners.reshape(40, 4).astype(np.float32)
    boxes_back = backward_boxes(boxes, view, size_hw, size_hw)
    pasted = binarised(soft, boxes, size_hw, 0.5013)
    pasted_back = binarised(backward_soft_masks(soft, view), boxes_back, size_hw, 0.5013)
    for seen, back in zip(pasted, pasted_back, strict=True):
        turned = forward(dense_from_coco(seen).astype(np.uint8), view).astype(bool)
        np.testing.assert_array_equal(dense_from_coco(back), turned)


@pytest.mark.parametrize("flip", FLIPS)
def test_no_boxes_come_back_as_no_boxes(flip):
    none = np.zeros((0, 4), dtype=np.float32)
    assert backward_boxes(none, ViewSettings(flip=flip), (3, 4), (6, 8)).shape == (0, 4)
