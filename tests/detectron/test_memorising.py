import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny_models import TINY, write_tiny_data

from sartorius.cli import main
from sartorius.detectron.memorising import memorising_data, memorising_settings
from sartorius.detectron.training_data import TrainingData, read_training_data
from sartorius.errors import UserError


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["sartorius", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_images_to_learn_by_heart_are_of_all_types_and_validated_on(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data", images=8)  # types in turn
    chosen = memorising_data(read_training_data([folder], TINY.cell_types, None, None), 4)
    assert [image.image_id for image in chosen.training] == ["image0", "image1", "image2", "image3"]
    assert chosen.validation == chosen.training
    assert sorted(chosen.validation_truth) == ["image0", "image1", "image2", "image3"]


def test_images_of_more_folders_can_be_learned_by_heart(tmp_path: Path) -> None:
    folder, more = write_tiny_data(tmp_path / "data", images=2), write_tiny_data(tmp_path / "more", images=1)
    for name in ("train.csv", "train/image0.png"):
        (more / name).rename(more / name.replace("image0", "a"))
    (more / "train.csv").write_text((more / "train.csv").read_text().replace("image0", "a"))
    chosen = memorising_data(read_training_data([folder, more], TINY.cell_types, None, None), 3)
    assert sorted(chosen.validation_truth) == ["a", "image0", "image1"]


def test_images_of_the_same_name_are_not_learned_by_heart_with_the_truth_of_another(tmp_path: Path) -> None:
    folder, more = write_tiny_data(tmp_path / "data"), write_tiny_data(tmp_path / "more")
    header, _, *lines = (more / "train.csv").read_text().splitlines()  # image0 has one cell there
    (more / "train.csv").write_text("\n".join([header, *lines]) + "\n")
    chosen = memorising_data(read_training_data([folder, more], TINY.cell_types, None, None), 3)
    assert {image.image_id: len(image.crops) for image in chosen.validation} == {
        "image0": 1,
        "image1": 2,
        "image2": 2,
    }
    assert len(chosen.training) == 3
    assert len(chosen.validation_truth["image0"]) == 1


def test_images_without_cells_are_nothing_to_learn_by_heart(tmp_path: Path) -> None:
    data = read_training_data([write_tiny_data(tmp_path / "data")], TINY.cell_types, None, None)
    bare = [replace(image, crops=(), classes=image.classes[:0]) for image in data.training]
    with pytest.raises(UserError, match="--overfit 2: none of the 4 images has cells"):
        memorising_data(TrainingData(bare, [], {}), 2)


def test_nothing_changes_the_pictures_that_are_to_be_learned_by_heart() -> None:
    settings = memorising_settings(
        TINY.model_copy(update={"turns": True, "elastic_px": 2.0, "crop_px": 64, "iterations": 50})
    )
    assert (settings.flips, settings.turns, settings.elastic_px) == (False, False, 0.0)
    assert (settings.scale_jitter, settings.crop_px) == ((1.0, 1.0), None)
    assert settings.evaluation_period == 5


@pytest.mark.parametrize(("score", "status", "says"), [(0.8, 0, "memorised: "), (0.1, 1, "not memorised: ")])
def test_overfit_says_whether_the_images_were_learned_by_heart(
    score: float,
    status: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from sartorius.detectron.validation import Judge

    monkeypatch.setattr(Judge, "scores", lambda self, model: {"validation/mAP": score})
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY.model_copy(update={"iterations": 1}).model_dump(mode="json")))
    data = write_tiny_data(tmp_path / "data")
    arguments = ("train", config, "--data", data, "--weights", "random", "--runs", tmp_path / "runs")
    assert run(monkeypatch, *arguments, "--overfit", 3) == status
    assert f"{says}competition mAP {score:.3f} on the 3 images" in capsys.readouterr().out
    assert (tmp_path / "runs" / "tiny" / "overfit3" / "curves.png").exists()
