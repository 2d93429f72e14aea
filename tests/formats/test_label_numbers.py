"""Label images in palettes, negatives and colours: the numbers that are stored are the cells."""

import cv2
import numpy as np
import pytest
import tifffile
from drawing import drawn
from PIL import Image

from sartorius.errors import UserError
from sartorius.formats import read_any

LABELS = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 2, 2]], np.uint8)
CELLS = [".##../.....", "...../...##"]
#: A white background, and two cells whose colours are equally bright.
COLOURS = np.array([[255, 255, 255], [100, 50, 20], [50, 71, 40]] + [[0, 0, 0]] * 253, np.uint8)


def with_palette():
    image = Image.fromarray(LABELS, "P")
    image.putpalette(COLOURS.tobytes())
    return image


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_cells_are_the_numbers_of_a_palette_not_their_colours(tmp_path, name):
    with_palette().save(tmp_path / name)
    assert drawn(read_any(tmp_path / name)["x"]) == CELLS


def test_a_compressed_palette_of_a_tiff_is_read_as_well(tmp_path):
    with_palette().save(tmp_path / "x.tif", compression="tiff_lzw")
    assert drawn(read_any(tmp_path / "x.tif")["x"]) == CELLS


def test_a_palette_of_many_labels_keeps_each_of_them(tmp_path):
    image = Image.fromarray(np.arange(1, 145, dtype=np.uint8).reshape(12, 12), "P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.save(tmp_path / "x.png")
    assert read_any(tmp_path / "x.png")["x"].areas_px.tolist() == [1] * 144


def test_a_boolean_mask_as_tifffile_writes_it_is_the_cell_not_the_background(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", LABELS == 1)
    with tifffile.TiffFile(tmp_path / "x.tif") as tiff:
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
    assert drawn(read_any(tmp_path / "x.tif")["x"]) == CELLS[:1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_labels_in_a_negative_are_what_is_stored(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "x.tif", LABELS.astype(dtype), photometric="miniswhite")
    assert drawn(read_any(tmp_path / "x.tif")["x"]) == CELLS


def test_labels_in_a_compressed_negative_are_what_is_stored(tmp_path):
    # Pillow stores negatives turned
    Image.fromarray(~LABELS).save(tmp_path / "x.tif", compression="tiff_lzw", tiffinfo={262: 0})
    assert drawn(read_any(tmp_path / "x.tif")["x"]) == CELLS


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_cells_told_apart_by_colours_are_refused(tmp_path, name):
    Image.fromarray(COLOURS[LABELS]).save(tmp_path / name)
    with pytest.raises(
        UserError, match=rf"{name}: expected a label image with a number in each pixel, got col"
    ):
        read_any(tmp_path / name)


def test_red_green_and_blue_that_are_the_same_number_are_that_number(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.stack([LABELS] * 3, axis=2))
    tifffile.imwrite(tmp_path / "y.tif", np.stack([LABELS] * 3), photometric="rgb", planarconfig="separate")
    found = read_any(tmp_path)
    assert [drawn(found["x"]), drawn(found["y"])] == [CELLS, CELLS]


def test_a_grey_png_is_decoded_once(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "x.png"), LABELS)
    decoded, decode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *given: decoded.append(given) or decode(*given))
    assert drawn(read_any(tmp_path / "x.png")["x"]) == CELLS
    assert len(decoded) == 1
