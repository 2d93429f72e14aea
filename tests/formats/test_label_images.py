"""What is no label image is refused or passed over, and what is one is not."""

import os

import cv2
import numpy as np
import pytest
import tifffile
from drawing import cell, cells, drawn

from sartorius.errors import UserError
from sartorius.formats import convert, read_any, write_any


def blurred_light(rng: np.random.Generator) -> np.ndarray:
    """A picture of 256 x 256 px: light around 30 places on a dark background, without noise."""
    dark = np.zeros((256, 256))
    dark[rng.integers(0, 256, 30), rng.integers(0, 256, 30)] = rng.uniform(0.3, 1, 30)
    light = cv2.GaussianBlur(dark, (0, 0), 8)
    return 200 + 12_000 * light / light.max()


@pytest.mark.parametrize("noisy", [True, False])
def test_a_picture_of_thousands_of_grey_values_is_no_label_image(tmp_path, noisy):
    rng = np.random.default_rng(0)
    light = blurred_light(rng)
    tifffile.imwrite(tmp_path / "x.tif", (rng.poisson(light) if noisy else light).astype(np.uint16))
    with pytest.raises(UserError, match=r"its \d+ numbers lie in \d+ separate pieces, as in a photograph"):
        read_any(tmp_path / "x.tif")


def test_many_cells_that_are_all_cut_in_parts_are_no_photograph(tmp_path):
    labels = np.kron(np.arange(1, 65).reshape(8, 8), np.ones((10, 10))).astype(np.uint16)
    labels[3::10] = 0
    tifffile.imwrite(tmp_path / "x.tif", labels)
    assert read_any(tmp_path / "x.tif")["x"].areas_px.tolist() == [90] * 64


def test_many_cells_of_a_pixel_each_are_no_photograph(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.arange(100, dtype=np.uint16).reshape(10, 10))
    assert len(read_any(tmp_path / "x.tif")["x"]) == 99


@pytest.mark.parametrize("place", ["x.jpg", "."])
def test_jpeg_is_no_label_image(tmp_path, place):
    labels = np.zeros((40, 40), np.uint8)
    labels[5:15, 5:15], labels[20:35, 20:35] = 1, 2
    cv2.imwrite(str(tmp_path / "x.jpg"), labels)
    with pytest.raises(
        UserError,
        match=r"x\.jpg: expected a label image .* but JPEG does not keep them; save it as grey TIFF",
    ):
        read_any(tmp_path / place)


def test_folders_beside_label_images_are_no_images(tmp_path):
    folder = tmp_path / "labels"
    (folder / "previews").mkdir(parents=True)
    for name in ("a.tif", "previews/a_overlay.png"):
        cv2.imwrite(str(folder / name), np.eye(2, dtype=np.uint8))
    assert list(read_any(folder)) == ["a"]
    convert(folder, folder / "png", "labels-png")
    assert list(read_any(folder)) == ["a"]


@pytest.mark.parametrize("name", ["RAW", "img", ".hidden"])
def test_types_whose_label_images_would_be_passed_over_are_refused(tmp_path, name):
    found = {"a": cell("##", image_id="a", cell_type=name)}
    with pytest.raises(UserError, match=f"the cell type '{name}' would be the name of a label image"):
        write_any(tmp_path / "out", found, "labels-by-type")
    assert not any((tmp_path / "out").glob("*"))
    write_any(tmp_path / "labels", found, "labels")
    assert read_any(tmp_path / "labels")["a"].cell_types.tolist() == [name]


@pytest.mark.parametrize("names", [("label", "unknown"), ("Mask", "mask"), ("cort", "masks", "unknown")])
def test_types_whose_label_images_would_be_of_one_type_are_refused(tmp_path, names):
    found = {name: cell("##", image_id=name, cell_type=name) for name in names}
    told = ", ".join(map(repr, names[-2:]))
    with pytest.raises(UserError, match=f"the cell types {told} would be names of label images that tell no"):
        write_any(tmp_path / "out", found, "labels-by-type")
    assert not any((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("name", ["mask", "unknown"])
def test_one_type_may_be_called_as_label_images_that_tell_none(tmp_path, name):
    drawn_ones = [cell(rows, image_id="a", cell_type=of) for rows, of in (("##..", name), ("..##", "cort"))]
    write_any(tmp_path / "out", {"a": cells(*drawn_ones)}, "labels-by-type")
    assert read_any(tmp_path / "out")["a"].cell_types.tolist() == [name, "cort"]


@pytest.mark.parametrize("place", ["{0}", "{0}/{1}"])
def test_names_that_are_not_utf_8_are_refused(tmp_path, place):
    name = os.fsdecode(b"Zelle_\xfc.tif")
    try:
        tifffile.imwrite(tmp_path / "x.tif", np.eye(2, dtype=np.uint8))
        (tmp_path / "x.tif").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(UserError, match=r"Zelle_\\xfc\.tif: expected a file name in UTF-8, got other bytes"):
        read_any(place.format(tmp_path, name))


def test_two_files_of_the_same_labels_are_refused(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    for name in ("a.png", "a.tif"):
        cv2.imwrite(str(folder / name), np.eye(4, dtype=np.uint16))
    with pytest.raises(UserError, match=r"a\.tif: holds the same cells' labels as .*a\.png"):
        read_any(folder)


def test_one_label_image_is_one_image(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.array([[1, 1], [2, 60000]], np.uint16))
    found = read_any(tmp_path / "x.png")
    assert drawn(found["x"]) == ["##/..", "../#.", "../.#"]
    assert found["x"].cell_types.tolist() == ["unknown"] * 3
