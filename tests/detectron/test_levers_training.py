"""Each key of pictures and solver changes the pictures that are trained on, or the steps that are taken."""

import os
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import TINY
from torch import nn

from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.stream import Pictures, Place
from sartorius.detectron.trainer import CellTrainer
from sartorius.detectron.training_data import TrainingData
from sartorius.detectron.validation import Judge
from sartorius.detectron.weights import BEST
from sartorius.rle import Crop

#: Whole images, each as it is.
PLAIN = TINY.model_copy(update={"crop_px": None, "flips": False, "scale_jitter": (1.0, 1.0)})
PLACES = [Place(position, 0) for position in range(20)]


def image_with_cells(name: str, kind: int, cells: int, seed: int = 0) -> TrainingImage:
    """Bright squares of 8 × 8, side by side on the noise of a 64 × 64 image."""
    pixels = np.random.default_rng(seed).integers(90, 130, (64, 64), dtype=np.uint8)
    crops = tuple(Crop(20, 4 + 15 * number, np.ones((8, 8), dtype=bool)) for number in range(cells))
    for crop in crops:
        pixels[crop.row : crop.row + 8, crop.col : crop.col + 8] = 220
    return TrainingImage(name, pixels, crops, np.full(cells, kind, dtype=np.int64))


#: Three images of one type and one of another.
IMAGES = [image_with_cells(name, int(name == "d"), 1, seed) for seed, name in enumerate("abcd")]


def trainer(folder: Path, data: TrainingData, **changes: Any) -> CellTrainer:
    settings = TINY.model_copy(update=changes)
    cfg = detectron_config(settings, "cpu").clone()
    cfg.defrost()
    folder.mkdir(exist_ok=True)
    cfg.OUTPUT_DIR, cfg.SEED = str(folder), 3
    return CellTrainer(cfg, settings, data)


@pytest.mark.parametrize(("flips", "corners"), [(True, {(0, 0), (0, 7), (7, 0), (7, 7)}), (False, {(0, 0)})])
def test_a_bright_corner_is_seen_in_every_corner_with_flips_alone(
    flips: bool, corners: set[tuple[int, int]]
) -> None:
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[0, 0] = 255
    image = TrainingImage("corner", pixels, (), np.zeros(0, dtype=np.int64))
    mapper = TrainingMapper(PLAIN.model_copy(update={"flips": flips}))
    seen = [np.argwhere(mapper(image, seed)["image"][0].numpy() == 255).tolist() for seed in range(16)]
    assert {(row, col) for ((row, col),) in seen} == corners


def pictures(images: list[TrainingImage], **changes: Any) -> list[dict[str, Any]]:
    """Twenty pictures of the first image."""
    made = Pictures(images, PLAIN.model_copy(update=changes), seed=0)
    return [made[place] for place in PLACES]


def changed(images: list[TrainingImage], found: list[dict[str, Any]]) -> int:
    """How many pictures are not the first image itself."""
    own = torch.from_numpy(images[0].pixels.astype(np.float32))
    return sum(not torch.equal(picture["image"][0], own) for picture in found)


def test_every_picture_is_bent_by_about_the_elastic_pixels() -> None:
    images = [image_with_cells("a", 0, 1)]
    assert changed(images, pictures(images)) == 0
    moves = {}
    for amount in (0.5, 2.0):
        bent = pictures(images, elastic_px=amount)
        assert changed(images, bent) == len(PLACES)
        boxes = torch.cat([picture["instances"].gt_boxes.tensor for picture in bent])
        assert len(boxes) == len(PLACES)
        moves[amount] = float((boxes - torch.tensor([4.0, 20, 12, 28])).abs().mean())
    assert 0 < 2 * moves[0.5] < moves[2.0] < 3


def test_a_share_of_the_pictures_has_the_cells_of_an_image_of_the_same_type() -> None:
    images = [
        image_with_cells(name, kind, cells) for name, kind, cells in (("a", 0, 1), ("b", 0, 3), ("c", 1, 4))
    ]
    assert changed(images, pictures(images)) == 0
    assert 5 <= changed(images, pictures(images, paste_share=0.5)) <= 15
    pasted = pictures(images, paste_share=1.0)
    assert changed(images, pasted) == len(PLACES)
    assert {len(picture["instances"]) for picture in pasted} == {1, 3}
    assert {picture["image_id"] for picture in pasted} == {"a"}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("images", {"a": 3, "b": 3, "c": 3, "d": 3}), ("types", {"a": 2, "b": 2, "c": 2, "d": 6})],
)
def test_a_rare_type_is_drawn_as_often_as_a_common_one_when_told(
    sampling: str, expected: dict[str, int], tmp_path: Path
) -> None:
    stream = trainer(tmp_path, TrainingData(IMAGES, [], {}), sampling=sampling)._pictures()
    twelve = [picture["image_id"] for batch in islice(stream, 6) for picture in batch]
    assert Counter(twelve) == expected


class SignedPictures(Pictures):
    """Pictures that tell which process has made them."""

    def __getitem__(self, place: Place) -> dict[str, Any]:
        return super().__getitem__(place) | {"process": os.getpid()}


def test_so_many_processes_make_the_same_pictures_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sartorius.detectron.trainer.Pictures", SignedPictures)
    data = TrainingData(IMAGES, [], {})
    alone, shared = (
        list(islice(trainer(tmp_path, data, data_workers=workers)._pictures(), 3)) for workers in (0, 2)
    )
    assert {picture["process"] for batch in alone for picture in batch} == {os.getpid()}
    makers = {picture["process"] for batch in shared for picture in batch}
    assert len(makers) == 2
    assert os.getpid() not in makers
    for own, other in zip(alone, shared, strict=True):
        assert [(p["image_id"], p["seed"]) for p in own] == [(p["image_id"], p["seed"]) for p in other]
        assert all(torch.equal(a["image"], b["image"]) for a, b in zip(own, other, strict=True))


def test_a_step_without_gradient_shrinks_a_weight_by_rate_times_decay() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[2.0, -4.0]])
    settings = TINY.model_copy(update={"weight_decay": 0.3, "base_lr": 0.1, "warmup_iterations": 0})
    optimizer = CellTrainer.build_optimizer(detectron_config(settings, "cpu"), layer)
    layer.weight.grad = torch.zeros(1, 2)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[2 * 0.97, -4 * 0.97]]))


def test_the_averaged_weights_are_the_ones_that_are_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def scores(judge: Judge, model: nn.Module) -> dict[str, float]:
        seen.append(model.roi_heads.box_predictor.cls_score.bias.detach().clone())
        return {"validation/mAP": 0.5}

    monkeypatch.setattr(Judge, "scores", scores)
    data = TrainingData(IMAGES, IMAGES[:1], {})
    for decay, expected in ((0.0, 1.0), (0.9, 0.9)):  # the first step's decay is 1/10 at most
        training = trainer(tmp_path / str(decay), data, average_decay=decay)
        own = training.model.roi_heads.box_predictor.cls_score.bias
        own.data.fill_(1.0)  # was 0 at the start, as the average still is
        if decay:
            training._average.update()
        training._validate()
        torch.testing.assert_close(seen.pop(), torch.full((4,), expected))
        assert own.tolist() == [1.0] * 4


@pytest.mark.parametrize(("score", "kept"), [(0.6, 2.0), (0.4, 1.0)])
def test_the_mean_of_the_last_checkpoints_is_the_best_one_where_it_scores_higher(
    score: float, kept: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, score])
    monkeypatch.setattr(Judge, "scores", lambda judge, model: {"validation/mAP": next(scores)})
    training = trainer(tmp_path, TrainingData(IMAGES, IMAGES[:1], {}), swa_checkpoints=2)
    name = "roi_heads.box_predictor.cls_score.bias"
    for number, value in enumerate((3.0, 1.0)):
        training.model.get_parameter(name).data.fill_(value)
        training.checkpointer.save(f"model_000000{number}")
    training._validate()
    training._keep_average_of_last()
    best = torch.load(tmp_path / f"{BEST}.pth", weights_only=True)["model"]
    assert best[name].tolist() == [kept] * 4
