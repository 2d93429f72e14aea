import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file
from tiny_models import TINY, write_tiny_data

from sartorius.detectron import requirements
from sartorius.detectron.mapper import TrainingImage
from sartorius.detectron.network import CellRCNN
from sartorius.detectron.processes import Machines
from sartorius.detectron.progress import BarWriter
from sartorius.detectron.stream import Division, PartSampler, Pictures
from sartorius.detectron.trainer import train
from sartorius.detectron.training_data import TrainingData, read_training_data, type_repeats
from sartorius.detectron.validation import Judge
from sartorius.errors import UserError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = write_tiny_data(tmp_path_factory.mktemp("data") / "tiny")
    folds = folder / "folds.csv"
    folds.write_text("id,fold\nimage0,0\nimage1,1\nimage2,1\nimage3,1\n")
    return read_training_data([folder], TINY.cell_types, folds, 0)


@pytest.fixture(scope="module")
def run(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(TINY, data, folder, "random", Machines())
    return folder


def test_the_fold_is_validated_on_and_never_trained_on(data: TrainingData) -> None:
    assert [image.image_id for image in data.validation] == ["image0"]
    assert [image.image_id for image in data.training] == ["image1", "image2", "image3"]


def test_planes_of_a_stack_are_held_out_by_their_own_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"{well}_p00{plane}" for well in ("wellA", "wellB") for plane in (1, 2, 3)]
    (tmp_path / "train").mkdir()
    for well in ("wellA", "wellB"):
        planes = rng.integers(0, 256, (3, 20, 30), dtype=np.uint8)
        tifffile.imwrite(tmp_path / "train" / f"{well}.tif", planes, photometric="minisblack")
    rows = [f"{image_id},1 5,30,20,astro" for image_id in ids]
    (tmp_path / "train.csv").write_text("\n".join(["id,annotation,width,height,cell_type", *rows]) + "\n")
    folds = [f"{image_id},{int(not image_id.endswith('1'))}" for image_id in ids]
    (tmp_path / "folds.csv").write_text("\n".join(["id,fold", *folds]) + "\n")
    data = read_training_data([tmp_path], ("astro",), tmp_path / "folds.csv", 0)
    assert [image.image_id for image in data.validation] == ["wellA_p001", "wellB_p001"]
    trained_on = ["wellA_p002", "wellA_p003", "wellB_p002", "wellB_p003"]
    assert [image.image_id for image in data.training] == trained_on
    with pytest.raises(UserError, match=r"^wellA_p001: cell type 'astro' is not in the model's cell_types"):
        read_training_data([tmp_path], ("cort",), None, None)


def test_a_run_leaves_weights_logs_and_the_best_checkpoint(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {
        "model_final.pth",
        "model_best.pth",
        "model.safetensors",
        "metrics.json",
        "log.txt",
        "best.json",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    metrics = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    assert any("validation/mAP" in line for line in metrics)
    assert all(torch.isfinite(torch.tensor(line["total_loss"])) for line in metrics if "total_loss" in line)
    assert json.loads((run / "best.json").read_text())["iteration"] == TINY.iterations


def test_a_training_that_is_interrupted_in_its_last_validation_ends_the_bar(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = []

    def interrupted(judge: Judge, _: object) -> None:
        judge._report(1, 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(Judge, "scores", interrupted)
    monkeypatch.setattr(
        "sartorius.detectron.trainer.progress_writer", lambda steps: bars.append(BarWriter(steps)) or bars[0]
    )
    with pytest.raises(KeyboardInterrupt):
        train(TINY.model_copy(update={"iterations": 1}), data, tmp_path / "run", "random", Machines())
    assert len(bars[0]._bar.tasks) == 2
    assert not bars[0]._bar.live.is_started  # which would leave the terminal without its cursor


def test_resume_goes_on_from_the_last_checkpoint(data: TrainingData, tmp_path: Path) -> None:
    short = TINY.model_copy(update={"iterations": 2})
    train(short, data, tmp_path / "run", "random", Machines())
    train(TINY, data, tmp_path / "run", "random", Machines(), resume=True)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "Starting training from iteration 0" in log
    assert "Starting training from iteration 2" in log


def test_random_weights_with_frozen_norms_are_refused(data: TrainingData, tmp_path: Path) -> None:
    frozen = TINY.model_copy(update={"detectron": {}})
    with pytest.raises(UserError, match=r"freeze_stages: 0.*FrozenBN"):
        train(frozen, data, tmp_path / "run", "random", Machines())


def test_nothing_to_train_on_is_refused(data: TrainingData, tmp_path: Path) -> None:
    nothing = TrainingData([], data.validation, data.validation_truth)
    with pytest.raises(UserError, match="no training images are left"):
        train(TINY, nothing, tmp_path / "run", "random", Machines())


def test_a_gpu_that_is_not_there_is_named(data: TrainingData, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(
        UserError, match=r"^--gpus 1: torch finds no GPU here \(.+\); leave out --gpus to train"
    ):
        train(TINY, data, tmp_path / "run", "random", Machines(gpus=1))


def test_more_gpus_than_there_are_are_refused_before_anything_is_written(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "why_unusable", lambda device: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"^--gpus 4: torch finds no more than 2 here; give --gpus 2$"):
        train(TINY.model_copy(update={"batch_size": 4}), data, tmp_path / "run", "random", Machines(gpus=4))
    assert not (tmp_path / "run").exists()


def test_a_validation_image_in_another_training_folder_is_a_leak(tmp_path: Path) -> None:
    first, second = write_tiny_data(tmp_path / "a"), write_tiny_data(tmp_path / "b")
    folds = tmp_path / "folds.csv"
    folds.write_text("id,fold\nimage0,0\nimage1,1\nimage2,1\nimage3,1\n")
    with pytest.raises(UserError, match="1 of the 1 images to validate on are trained on: image0;"):
        read_training_data([first, second], TINY.cell_types, folds, 0)


def test_an_unknown_cell_type_is_named(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    with pytest.raises(UserError, match=r"cell type 'cort' is not in the model's cell_types"):
        read_training_data([folder], ("shsy5y", "astro"), None, None)


def test_the_averaged_weights_are_exported_and_kept_over_a_stop(data: TrainingData, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    averaging = TINY.model_copy(update={"average_decay": 0.9})
    train(averaging.model_copy(update={"iterations": 2}), data, folder, "random", Machines())
    after_two = torch.load(folder / "model_final.pth", weights_only=True)["average"]
    assert after_two["steps"] == 2
    train(averaging, data, folder, "random", Machines(), resume=True)
    final = torch.load(folder / "model_final.pth", weights_only=True)
    assert final["average"]["steps"] == TINY.iterations
    best, exported = (
        torch.load(folder / "model_best.pth", weights_only=True),
        load_file(folder / "model.safetensors"),
    )
    name = "roi_heads.box_predictor.cls_score.weight"
    assert torch.equal(exported[name], best["average"]["parameters"][name])
    assert not torch.equal(exported[name], best["model"][name])
    assert exported.keys() == best["model"].keys()


def test_images_of_rare_types_are_drawn_more_often() -> None:
    def image(*classes: int) -> TrainingImage:
        return TrainingImage("x", np.zeros((4, 4), np.uint8), (), np.array(classes, dtype=np.int64))

    repeats = type_repeats([image(0, 0, 1), image(0), image(0), image(2), image(2, 0, 2), image()])
    np.testing.assert_allclose(repeats, [1, 1, 1, 1.5, 1.5, 1])
    assert type_repeats([image(), image(), image(1)]).tolist() == [1, 1, 1]
    assert type_repeats([image(), image()]).tolist() == [1, 1]
    assert type_repeats([]).shape == (0,)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The pictures that networks are trained on, one after the other."""
    pictures: list[dict[str, Any]] = []

    def noted(self: CellRCNN, batch: list[dict[str, Any]]) -> object:
        pictures.extend(batch)
        return original(self, batch)

    original = CellRCNN.forward
    monkeypatch.setattr(CellRCNN, "forward", noted)
    return pictures


def test_a_run_draws_types_evenly_and_ends_at_res4_when_told(
    shown: list[dict[str, Any]], tmp_path: Path
) -> None:
    settings = TINY.model_copy(
        update={
            "sampling": "types",
            "backbone_stages": 4,
            "anchor_sizes_px": (8.0, 16.0, 32.0, 64.0),
            "iterations": 1,
            "batch_size": 6,
        }
    )
    data = read_training_data([write_tiny_data(tmp_path / "data")], TINY.cell_types, None, None)
    weights = load_file(train(settings, data, tmp_path / "run", "random", Machines()))
    # image0 and image3 are of one type, image1 and image2 each of another: two pictures of every type.
    drawn = sorted(picture["image_id"] for picture in shown)
    assert drawn == ["image0", "image1", "image1", "image2", "image2", "image3"]
    assert any(".res4." in name for name in weights)
    assert not any(".res5." in name for name in weights)


def test_repaired_labels_are_trained_on_and_the_fold_keeps_its_truth(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    lines = (folder / "train.csv").read_text().splitlines()
    repaired = tmp_path / "repaired.csv"
    # One cell of each image, and image3 left out.
    kept = {line.split(",")[0]: line for line in lines[1:] if not line.startswith("image3")}
    repaired.write_text("\n".join([lines[0], *kept.values()]) + "\n")
    folds = tmp_path / "folds.csv"
    folds.write_text("id,fold\nimage0,0\nimage1,1\nimage2,1\nimage3,1\n")
    data = read_training_data([folder], TINY.cell_types, folds, 0, labels=repaired)
    assert {image.image_id: len(image.crops) for image in data.training} == {"image1": 1, "image2": 1}
    assert len(data.validation_truth["image0"]) == 2
    whole = read_training_data([folder], TINY.cell_types, None, None, labels=repaired)
    assert {image.image_id: len(image.crops) for image in whole.training} == {
        f"image{n}": 1 for n in range(3)
    }


@pytest.mark.parametrize(
    ("annotated", "why"), [(["image0"], "all of its 1 images are in fold 0"), ([], "it has none")]
)
def test_annotations_that_leave_nothing_to_train_on_are_named(
    annotated: list[str], why: str, tmp_path: Path
) -> None:
    folder = write_tiny_data(tmp_path / "data")
    header, *lines = (folder / "train.csv").read_text().splitlines()
    labels, folds = tmp_path / "labels.csv", tmp_path / "folds.csv"
    kept = [line for line in lines if line.split(",")[0] in annotated]
    labels.write_text("\n".join([header, *kept]) + "\n")
    folds.write_text("id,fold\nimage0,0\nimage1,1\nimage2,1\nimage3,1\n")
    with pytest.raises(UserError, match=rf"labels\.csv: expected annotated images to train on, but {why}"):
        read_training_data([folder], TINY.cell_types, folds, 0, labels=labels)


def test_images_without_a_single_cell_are_nothing_to_train_on(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data", images=2)
    labels = tmp_path / "labels.json"
    images = [{"id": n, "file_name": f"image{n}.png", "height": 72, "width": 96} for n in range(2)]
    kinds = [{"id": 1, "name": "shsy5y"}]
    labels.write_text(json.dumps({"images": images, "annotations": [], "categories": kinds}))
    with pytest.raises(UserError, match=r"labels\.json: .* but none of the 2 images has a cell$"):
        read_training_data([folder], TINY.cell_types, None, None, labels=labels)


@pytest.mark.parametrize("change", [{"paste_share": 1.0}, {"elastic_px": 2.0}], ids=str)
def test_put_together_and_deformed_pictures_are_trained_on(
    change: dict[str, float], data: TrainingData, shown: list[dict[str, Any]], tmp_path: Path
) -> None:
    changed = TINY.model_copy(update=change | {"iterations": 1, "batch_size": 1})
    places = PartSampler(np.ones(len(data.training), dtype=np.float32), 0, Division(1), 0)
    ((place,),) = islice(places, 1)
    plain, other = (Pictures(data.training, settings, 0)[place]["image"] for settings in (TINY, changed))
    assert not torch.equal(plain, other)
    assert train(changed, data, tmp_path, "random", Machines()).exists()
    (trained_on,) = shown
    assert torch.equal(trained_on["image"], other)
