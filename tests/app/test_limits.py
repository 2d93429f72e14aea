from pathlib import Path
from unicodedata import normalize

import cv2
import numpy as np
import pytest
import tifffile
from bright_cells import written_png
from PIL import Image

from sartorius.app.limits import Limits, accepted_images, free_name, safe_name
from sartorius.errors import UserError


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("well A1 (2).png", "well_A1_(2).png"),
        ("../../etc/passwd.png", "passwd.png"),
        ("<script>alert(1)</script>.PNG", "script_.png"),
        ("..hidden.tif", "hidden.tif"),
        ("Zelle_µ.tiff", "Zelle_µ.tiff"),
        (normalize("NFD", "Größe.png"), "Größe.png"),
        (".png", "png"),
        ("a" * 300 + ".jpg", "a" * 80 + ".jpg"),
    ],
)
def test_a_name_from_outside_becomes_one_plain_word(name, safe):
    assert safe_name(name) == safe


def test_a_taken_name_gets_the_first_free_number():
    assert free_name("a.png", []) == "a.png"
    assert free_name("a.png", ["a.png", "a_2.png"]) == "a_3.png"


def test_a_name_is_taken_by_the_same_in_capitals_since_some_file_systems_know_no_case():
    assert free_name("well.png", ["Well.png", "WELL_2.png"]) == "well_3.png"


def test_a_small_image_is_accepted_under_its_name(tmp_path):
    path = written_png(tmp_path / "well.png")
    assert accepted_images(path, Limits(), room=1) == {"well": path}


def test_a_stack_gives_an_image_for_each_plane(tmp_path):
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((3, 20, 30), np.uint8), photometric="minisblack")
    assert list(accepted_images(tmp_path / "z.tif", Limits(), room=3)) == ["z_p001", "z_p002", "z_p003"]
    with pytest.raises(
        UserError, match=r"no room for its 3 planes.*2 more can be added; remove all images first"
    ):
        accepted_images(tmp_path / "z.tif", Limits(), room=2)


def test_a_stack_of_more_planes_than_there_can_be_images_is_told_what_helps(tmp_path):
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((3, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(
        UserError, match=r"has 3 planes; at most 2 images.* --max-images 3, or .*sartorius predict$"
    ):
        accepted_images(tmp_path / "z.tif", Limits(images=2), room=2)


def test_a_file_of_another_kind_is_refused_by_its_ending(tmp_path):
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    with pytest.raises(UserError, match=r"expected a PNG, JPG or TIFF image, got \.pdf"):
        accepted_images(tmp_path / "notes.pdf", Limits(), room=1)


def test_a_large_file_is_refused_by_its_size(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(bytes(2_000_000))
    with pytest.raises(UserError, match=r"2 MB; at most 1\.5 MB"):
        accepted_images(path, Limits(file_mb=1.5), room=1)


def decompression_bomb(path: Path) -> Path:
    """A file of a few kB that would decode to 64 million pixels."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, np.zeros((8_000, 8_000), np.uint8), compression="zlib", rowsperstrip=2000)
    else:
        Image.new("1", (8_000, 8_000)).save(path)
    return path


@pytest.mark.parametrize("name", ["bomb.png", "bomb.tif"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch, name):
    path = decompression_bomb(tmp_path / name)
    assert path.stat().st_size < 1_000_000
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"8000 × 8000 pixels \(64 megapixels\); at most 36"):
        accepted_images(path, Limits(), room=1)
