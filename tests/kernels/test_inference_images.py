"""Which images the inference kernel writes rows for, whatever is in the competition's folder."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from kaggle_machine import PROJECT


@pytest.fixture(scope="module")
def kernel() -> ModuleType:
    """The inference kernel, which needs the standard library alone to be imported."""
    spec = importlib.util.spec_from_file_location(
        "infer", PROJECT / "kaggle_kernels" / "inference" / "infer.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def competition(folder: Path, sample: bytes, *names: str) -> Path:
    """The competition's folder with empty test images of these names."""
    (folder / "test").mkdir()
    for name in names:
        (folder / "test" / name).touch()
    (folder / "sample_submission.csv").write_bytes(sample)
    return folder


def test_images_of_the_folder_and_of_the_sample_submission_have_rows(kernel: ModuleType, tmp_path: Path):
    data = competition(tmp_path, b"id,predicted\na,\nc,\n", "a.png", "b.tif", "notes.txt")
    assert kernel.image_paths(data) == {
        "a": data / "test" / "a.png",
        "b": data / "test" / "b.tif",
        "c": data / "test" / "c.png",
    }


def test_a_byte_order_mark_hides_no_id(kernel: ModuleType, tmp_path: Path):
    data = competition(tmp_path, b"\xef\xbb\xbfid,predicted\r\na,\r\nb,\r\n", "a.png")
    assert sorted(kernel.image_paths(data)) == ["a", "b"]


def test_a_byte_that_is_no_text_costs_no_other_row(kernel: ModuleType, tmp_path: Path):
    data = competition(tmp_path, b"id,predicted\na,\nb,\xff\n", "a.png")
    assert sorted(kernel.image_paths(data)) == ["a", "b"]


def test_hidden_files_are_no_images(kernel: ModuleType, tmp_path: Path):
    data = competition(tmp_path, b"id,predicted\na,\n", "a.png", "._a.png", ".b.png")
    assert list(kernel.image_paths(data)) == ["a"]
