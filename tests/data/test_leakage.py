import cv2
import numpy as np
import pytest

from sartorius.data.leakage import (
    leaks,
    pixel_hash,
    read_trained_on,
    refuse_leaks,
    write_trained_on,
)
from sartorius.errors import UserError


def grey(value: int, height: int = 2, width: int = 3) -> np.ndarray:
    return np.full((height, width), value, dtype=np.uint8)


def test_an_image_leaks_by_its_id_or_by_its_pixels_under_another_name():
    validation = {"a": grey(1), "b": grey(2), "c": grey(3)}
    training = {"b": grey(9), "copy": grey(3), "other": grey(4)}
    assert list(map(str, leaks(validation, training))) == [
        "b (the name, not the pixels)",
        "c (the same pixels as copy)",
    ]


def test_an_image_trained_on_under_several_names_is_told_by_the_first_of_them():
    training = {"copy 2": grey(1), "copy 1": grey(1), "copy 3": grey(1)}
    assert list(map(str, leaks({"a": grey(1)}, training))) == ["a (the same pixels as copy 1)"]


def test_the_same_bytes_in_another_shape_are_another_image():
    assert list(leaks({"a": grey(1, 2, 3)}, {"b": grey(1, 3, 2)})) == []


def test_images_that_share_nothing_pass_and_so_does_no_image():
    refuse_leaks({"a": grey(1)}, {"b": grey(2)}, "pseudo")
    refuse_leaks({}, {"b": grey(2)}, "pseudo")
    refuse_leaks({"a": grey(1)}, {}, "pseudo")


def test_a_leak_is_an_error_that_names_the_data_and_the_images():
    validation = {name: grey(place) for place, name in enumerate("abcd")}
    with pytest.raises(
        UserError, match=r"pseudo: 4 of the 4 images .* trained on: a, b, c …; .* another fold"
    ):
        refuse_leaks(validation, validation, "pseudo")
    del validation["d"]
    with pytest.raises(UserError, match=r"3 of the 3 images .* trained on: a, b, c; a score"):
        refuse_leaks(validation, validation, "pseudo")


def test_a_file_counts_by_its_pixels_not_by_its_format(tmp_path):
    for suffix in ("png", "tif"):
        cv2.imwrite(str(tmp_path / f"x.{suffix}"), grey(7))
    assert (
        pixel_hash(tmp_path / "x.png")
        == pixel_hash(tmp_path / "x.tif")
        == pixel_hash(grey(7))
        == pixel_hash(pixel_hash(grey(7)))
    )


def test_weights_remember_what_they_were_trained_on(tmp_path):
    write_trained_on(tmp_path, {"b": grey(2), "a": grey(1)})
    seen = read_trained_on(tmp_path / "model.safetensors")
    assert seen == read_trained_on(tmp_path) == {"a": pixel_hash(grey(1)), "b": pixel_hash(grey(2))}
    with pytest.raises(UserError, match=r"c \(the same pixels as a\)"):
        refuse_leaks({"c": grey(1)}, seen, "weights")


def test_weights_of_others_remember_nothing(tmp_path):
    assert read_trained_on(tmp_path / "model.safetensors") == {}


def test_a_damaged_list_of_images_is_refused_by_name(tmp_path):
    (tmp_path / "trained_on.csv").write_text("id,fold\na,1\n")
    with pytest.raises(
        UserError, match=r"trained_on\.csv: expected the columns id,pixels_sha256, got id,fold"
    ):
        read_trained_on(tmp_path)
    (tmp_path / "trained_on.csv").write_text("")
    with pytest.raises(UserError, match=r"trained_on\.csv: expected the list"):
        read_trained_on(tmp_path)


def test_no_two_images_of_the_competition_are_the_same(competition_dir):
    paths = sorted((competition_dir / "train").glob("*.png"))[::5]
    assert len({pixel_hash(path) for path in paths}) == len(paths)
