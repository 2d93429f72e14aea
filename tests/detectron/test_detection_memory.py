"""Detections of earlier pictures: which are remembered and drawn, and that a resumed run knows them again."""

from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage
from tiny_detections import built, detections, picture
from tiny_models import TINY, write_tiny_data

from sartorius.detectron import box_refinement, detection_memory, sampling
from sartorius.detectron.detection_memory import DetectionMemory, Learnt
from sartorius.detectron.precision import require_bfloat16
from sartorius.detectron.processes import Machines
from sartorius.detectron.trainer import train
from sartorius.detectron.training_data import read_training_data
from sartorius.errors import UserError

ALONE = TINY.model_copy(update={"box_refinement_head": True, "train_only": ("box_refinement_head",)})


def of_picture(number: int, count: int) -> Learnt:
    """Detections that want to be moved by the picture's number."""
    found = detections(*[(8, 8, 4 + place, 4) for place in range(count)])
    return Learnt(torch.full((count, 2, 3, 3), float(number)), found, torch.full((count, 4), float(number)))


def numbers(drawn: list[Learnt]) -> list[list[int]]:
    """Of each picture the numbers of its drawn detections, which features, boxes and wishes agree on."""
    for each in drawn:
        assert len(each.found) == len(each.pixels) == len(each.wanted)
        assert torch.equal(each.pixels[:, 0, 0, 0], each.wanted[:, 0])
    return [each.wanted[:, 0].int().tolist() for each in drawn]


def test_the_last_pictures_are_remembered_and_drawn_alike(monkeypatch) -> None:
    monkeypatch.setattr(detection_memory, "_DRAWN", 6)
    memory = DetectionMemory(3)
    memory.add([of_picture(0, 9), of_picture(1, 9)])
    assert numbers(memory.drawn()) == [[0] * 3, [1] * 3]
    memory.add([of_picture(2, 1), of_picture(3, 9)])
    assert numbers(memory.drawn()) == [[1] * 2, [2], [3] * 2]
    memory.add([of_picture(4, 0)])
    assert numbers(memory.drawn()) == [[2], [3] * 2, []]


def test_a_memory_of_none_has_the_pictures_of_the_step() -> None:
    memory = DetectionMemory(0)
    memory.add([of_picture(0, 2), of_picture(1, 3)])
    memory.add([of_picture(2, 2), of_picture(3, 1)])
    assert numbers(memory.drawn()) == [[2, 2], [3]]


def test_detections_are_drawn_at_random_without_repeats() -> None:
    torch.manual_seed(0)
    sides = [tuple(of_picture(0, 20).some(5).found.pred_boxes.tensor[:, 2].int().tolist()) for _ in range(20)]
    assert len(set(sides)) > 15
    assert all(len(set(each)) == 5 for each in sides)


def test_features_keep_half_the_bytes_and_come_back_as_they_were_but_for_rounding() -> None:
    pixels = torch.rand(3, 2, 3, 3)
    memory = DetectionMemory(1)
    memory.add([of_picture(0, 3)._replace(pixels=pixels)])
    (drawn,) = memory.drawn()
    assert drawn.pixels.dtype == torch.float32
    order = (drawn.found.pred_boxes.tensor[:, 2] - 12).long()
    torch.testing.assert_close(drawn.pixels, pixels[order], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("alone", "pictures"), [(True, 2), (False, 1)])
def test_a_network_remembers_only_where_it_does_not_change(alone: bool, pictures: int) -> None:
    changes = {} if alone else {"train_only": ()}
    model = built(ALONE.model_copy(update=changes)).train()
    with EventStorage():
        model([picture(0)])
        model([picture(1)])
    assert len(model.roi_heads.memory.drawn()) == pictures


def test_a_head_trained_with_all_others_learns_the_same_however_a_step_is_divided(monkeypatch) -> None:
    """Each picture counts as much and is drawn from by its own seed, alone or with others."""
    monkeypatch.setattr(box_refinement, "_MEANT_FROM", 0.0)  # an untrained network finds no cell by half
    monkeypatch.setattr(detection_memory, "_DRAWN", 4)
    monkeypatch.setattr(sampling, "OF_EACH", 3)
    model = built(TINY.model_copy(update={"box_refinement_head": True})).train()
    pictures = [picture(0), picture(1)]
    with EventStorage():
        together = model(pictures)["loss_box_refinement"]
        alone = [model([each])["loss_box_refinement"] for each in reversed(pictures)]
    assert min(alone) > 0
    torch.testing.assert_close(together, sum(alone) / 2, rtol=1e-3, atol=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_remembers_what_was_seen_before_it_was_stopped(
    precision: str, monkeypatch, tmp_path: Path
) -> None:
    if precision == "bfloat16":
        try:
            require_bfloat16(torch.device("cpu"))
        except UserError as reason:
            pytest.skip(str(reason))
    monkeypatch.setattr(box_refinement, "_MEANT_FROM", 0.0)  # an untrained network finds no cell by half
    data = read_training_data([write_tiny_data(tmp_path / "data")], TINY.cell_types, None, None)
    start, run = tmp_path / "start.pth", tmp_path / "run"
    torch.save({"model": built(TINY).state_dict()}, start)
    settings = ALONE.model_copy(update={"iterations": 5, "checkpoint_period": 1, "precision": precision})
    train(settings, data, run, start, Machines())
    whole = torch.load(run / "model_final.pth", weights_only=True)["model"]
    (run / "last_checkpoint").write_text("model_0000002.pth")
    torch.manual_seed(99)
    train(settings, data, run, start, Machines(), resume=True)
    again = torch.load(run / "model_final.pth", weights_only=True)["model"]
    assert whole["roi_heads.box_refinement_head.layers.4.weight"].any()
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
