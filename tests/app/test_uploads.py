import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from bright_cells import drawn_image, written_png, written_tiff_16_bit

from sartorius.app.limits import Limits
from sartorius.app.sessions import Session, SessionStore
from sartorius.app.uploads import take_uploads
from sartorius.data.images import read_image


@pytest.fixture
def session(tmp_path: Path) -> Session:
    (tmp_path / "sessions").mkdir()
    return SessionStore(tmp_path / "sessions", Limits()).of("visitor")


@pytest.fixture
def arrived(tmp_path: Path) -> Path:
    """Where uploads arrive."""
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


def test_good_files_come_into_the_session(session, arrived):
    uploads = [written_png(arrived / "a.png"), written_tiff_16_bit(arrived / "b.tif")]
    taken = take_uploads(session, uploads, Limits())
    assert taken == (["a", "b"], [])
    assert list(session.images) == ["a", "b"]
    assert all(path.is_relative_to(session.folder) for path in session.images.values())
    for path in session.images.values():
        np.testing.assert_array_equal(read_image(path), drawn_image())


def test_a_broken_file_costs_only_itself_and_is_told_without_the_servers_paths(session, arrived):
    broken = arrived / "broken.png"
    broken.write_bytes(written_png(arrived / "whole.png").read_bytes()[:200])
    taken = take_uploads(session, [broken, arrived / "whole.png"], Limits())
    assert taken.image_ids == ["whole"]
    (refusal,) = taken.refusals
    assert refusal.name == "broken.png"
    assert "cut short" in refusal.reason
    assert str(session.folder) not in refusal.reason
    assert [path.name for path in (session.folder / "images").iterdir()] == ["whole.png"]


@pytest.mark.parametrize("name", ["empty.png", "empty.tif"])
def test_an_empty_file_is_told_to_be_empty(session, arrived, name):
    (arrived / name).write_bytes(b"")
    (refusal,) = take_uploads(session, [arrived / name], Limits()).refusals
    assert "is empty (0 bytes)" in refusal.reason


def test_two_files_of_one_name_are_two_images(session, arrived):
    for _ in range(2):
        take_uploads(session, [written_png(arrived / "a.png")], Limits())
    take_uploads(session, [written_tiff_16_bit(arrived / "a.tif")], Limits())
    assert list(session.images) == ["a", "a_2", "a_3"]


def test_a_file_that_is_given_twice_is_taken_once(session, arrived):
    path = written_png(arrived / "a.png")
    assert take_uploads(session, [path, path], Limits()) == (["a"], [])


def test_a_plane_does_not_take_the_place_of_an_image_of_its_name(session, arrived):
    take_uploads(session, [written_png(arrived / "z_p001.png")], Limits())
    tifffile.imwrite(arrived / "z.tif", np.zeros((2, 20, 30), np.uint8), photometric="minisblack")
    taken = take_uploads(session, [arrived / "z.tif"], Limits())
    assert "z_p001 is here already" in taken.refusals[0].reason
    assert list(session.images) == ["z_p001"]


def test_names_that_differ_in_case_alone_are_one_name(session, arrived):
    """On some file systems they are one file."""
    for name in ("Well.png", "well.png", "Z_p001.png"):
        take_uploads(session, [written_png(arrived / name)], Limits())
    tifffile.imwrite(arrived / "z.tif", np.zeros((2, 20, 30), np.uint8), photometric="minisblack")
    taken = take_uploads(session, [arrived / "z.tif"], Limits())
    assert "z_p001 is here already" in taken.refusals[0].reason
    assert list(session.images) == ["Well", "well_2", "Z_p001"]


def test_no_more_images_are_taken_than_there_is_room_for(session, arrived):
    uploads = [written_png(arrived / f"{name}.png") for name in "abc"]
    taken = take_uploads(session, uploads, Limits(images=2))
    assert taken.image_ids == ["a", "b"]
    assert "2 images at a time" in taken.refusals[0].reason


def test_a_file_that_is_gone_is_told(session, arrived):
    taken = take_uploads(session, [arrived / "gone.png"], Limits())
    assert taken.refusals == [("gone.png", "the file did not arrive whole; add it again")]


def test_two_visitors_who_send_the_same_file_both_have_it(session, arrived, tmp_path):
    """Gradio keeps it once for both, under a name that its content gives."""
    other, path = SessionStore(tmp_path / "sessions", Limits()).of("other"), written_png(arrived / "a.png")
    for visitor in (session, other):
        assert take_uploads(visitor, [path], Limits()) == (["a"], [])
        np.testing.assert_array_equal(read_image(visitor.images["a"]), drawn_image())


def test_a_file_that_has_no_room_on_the_disk_is_told(session, arrived, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    taken = take_uploads(session, [written_png(arrived / "a.png")], Limits())
    assert taken.refusals == [("a.png", "the server could not keep the file (No space left on device)")]


def test_no_uploads_change_nothing(session):
    assert take_uploads(session, [], Limits()) == ([], [])


def test_images_that_are_gone_through_stay_as_they_are_while_others_arrive(session, arrived):
    """A search goes through them in a thread of its own."""
    before = session.images
    take_uploads(session, [written_png(arrived / "a.png")], Limits())
    assert (list(before), list(session.images)) == ([], ["a"])
