import numpy as np
import pytest

from sartorius.data.grey_levels import Levels, as_bytes, grey_bytes, grey_plane, levels_of


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]]), [[0, 128, 255]]),
        (np.array([[0.0, 100.0, 255.0]], np.float32), [[0, 100, 255]]),
        (np.array([[0.0, 4095.0]]), [[0, 255]]),
        (np.array([[-1.0, 0.0, 1.0]]), [[0, 128, 255]]),
        (np.array([[-100, 100]], np.int16), [[0, 255]]),
        (np.array([[0, 1023]], np.int32), [[0, 255]]),
        (np.array([[0, 200_000]], np.uint32), [[0, 255]]),
        (np.array([[False, True]]), [[0, 255]]),
        (np.array([[7, 9]], np.uint8), [[7, 9]]),
        (np.array([[-3.0, -3.0]]), [[0, 0]]),
    ],
    ids=["0 to 1", "0 to 255", "0 to 4095", "around 0", "signed", "int32", "uint32", "bool", "bytes", "flat"],
)
def test_any_number_type_becomes_bytes(pixels, expected):
    assert grey_bytes(pixels).tolist() == expected


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0.0, 0.9, 1.8]]), [[0, 128, 255]]),
        (np.array([[0.0, 0.5, 1.0001]]), [[0, 127, 255]]),
        (np.array([[0.0, 0.1]]), [[0, 26]]),
        (np.array([[0.0, 17.0]]), [[0, 17]]),
        (np.array([[0, 2]], np.uint16), [[0, 2]]),
    ],
    ids=["around 1", "just over 1", "all below 1", "an 8-bit picture's", "whole numbers"],
)
def test_fractions_a_little_over_one_have_a_scale_of_their_own(pixels, expected):
    assert grey_bytes(pixels).tolist() == expected


def test_conversion_in_blocks_of_rows_changes_nothing():
    pixels = np.random.default_rng(0).integers(0, 4096, (1000, 7), dtype=np.uint16)
    assert np.array_equal(as_bytes(pixels), np.round(pixels * (255 / 4095)).astype(np.uint8))


def test_transparency_is_ignored_and_a_single_channel_is_grey():
    grey = np.array([[10, 200]], np.uint8)
    assert grey_plane(np.stack([grey, grey, grey, grey * 0], axis=2)).tolist() == grey.tolist()
    assert grey_plane(grey[:, :, None]).tolist() == grey.tolist()


def test_colours_of_fractions_are_not_rounded():
    assert grey_plane(np.array([[[0.0, 1.0, 0.0]]])).tolist() == [[pytest.approx(0.587)]]


@pytest.mark.parametrize("shape", [(3,), (2, 3, 2), (2, 3, 5), (2, 3, 4, 1), (0, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="pixels have"):
        grey_bytes(np.zeros(shape))


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="not all numbers"):
        grey_bytes(np.array([[0.0, np.inf]]))


def test_bytes_with_shared_levels_are_left_alone():
    assert levels_of(3, 9, np.dtype(np.uint8)) == Levels(0, 255)
    assert as_bytes(np.array([[3, 9]], np.uint8), Levels(0, 255)).tolist() == [[3, 9]]
