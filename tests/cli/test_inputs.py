"""What stands behind a command's arguments."""

from pathlib import Path

import pytest

from sartorius.cli.inputs import competition_tables, ensemble_files, images_of_name


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The competition's folder without a sample submission."""
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
    for name in ("train.csv", "folds.csv", "train/a.png", "test/b.png"):
        (tmp_path / name).touch()
    return tmp_path


def test_the_tables_are_those_that_are_in_the_folder_of_images_or_beside_it(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
):
    csv = data_dir / "train.csv"
    assert competition_tables(data_dir) == [csv]
    assert competition_tables(data_dir / "train") == [csv]
    assert competition_tables(data_dir / "train" / "none") == []
    monkeypatch.chdir(data_dir / "test")
    assert competition_tables(Path()) == [csv]


def test_images_are_found_by_name_in_every_folder_of_the_competition(data_dir: Path):
    assert images_of_name(data_dir, "a.png") == [data_dir / "train" / "a.png"]
    assert images_of_name(data_dir, "b.png") == [data_dir / "test" / "b.png"]
    assert images_of_name(data_dir, "curves.png") == []


def test_an_ensemble_is_all_files_that_stand_behind_it_weights_and_predictions_there_or_not(tmp_path: Path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "base.yaml").write_text(
        "members:\n  - {name: a, model: a.yaml, weights: a.safetensors}\n"
        "  - {name: b, predictions: b.json, reference: c.json}\n"
    )
    (tmp_path / "base" / "a.yaml").write_text("base: ../model.yaml\n")
    (tmp_path / "model.yaml").write_text("iterations: 7\n")
    (tmp_path / "own.yaml").write_text("base: base/base.yaml\n")
    names = ("a.safetensors", "a.yaml", "b.json", "base.yaml", "c.json")
    found = {path.resolve() for path in ensemble_files(tmp_path / "own.yaml")}
    assert found == {
        tmp_path / "own.yaml",
        tmp_path / "model.yaml",
        *(tmp_path / "base" / name for name in names),
    }
