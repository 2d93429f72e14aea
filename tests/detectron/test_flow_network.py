import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from tiny_models import TINY, TINY_FLOWS, write_tiny_data

from sartorius.config import ModelSettings, load_model_settings
from sartorius.config.members import ViewSettings
from sartorius.detectron import flow_network
from sartorius.detectron.calibration import ranges_of
from sartorius.detectron.convolution import QuickConv2d
from sartorius.detectron.flow_network import CellFlows
from sartorius.detectron.initial_weights import load_initial
from sartorius.detectron.int8 import int8_works, to_int8
from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.detectron.optimizers import build_optimizer
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.processes import Machines
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.stepping import Stepper
from sartorius.detectron.trainer import train
from sartorius.detectron.training_data import read_training_data
from sartorius.detectron.transfer import Output
from sartorius.errors import UserError
from sartorius.rle import Crop, dense_from_coco

SQUARE = TrainingImage(
    image_id="square",
    pixels=np.pad(np.full((16, 16), 220, dtype=np.uint8), ((8, 40), (10, 38)), constant_values=110),
    crops=(Crop(8, 10, np.ones((16, 16), dtype=bool)),),
    classes=np.array([1]),
)
#: Boxes, scores, classes and masks of no cell.
NOTHING = (
    np.zeros((0, 4), np.float32),
    np.zeros(0, np.float32),
    np.zeros(0, np.int64),
    np.zeros((0, 28, 28), np.uint8),
)


def tiny(**changes: object) -> CellFlows:
    torch.manual_seed(3)
    return build_model(detectron_config(TINY_FLOWS.model_copy(update=changes), "cpu"))


def test_a_drawing_has_a_pixel_for_each_of_the_stems() -> None:
    picture = {"image": torch.zeros(1, 61, 70, dtype=torch.uint8)}
    for stride, drawn_hw in ((2, (31, 35)), (1, (61, 70))):
        (drawn,) = tiny(first_stride=stride).eval()([picture])
        assert tuple(drawn.flows.shape) == (2, *drawn_hw)
        assert tuple(drawn.inside.shape) == drawn_hw
        assert tuple(drawn.types.shape) == (3, *drawn_hw)


def test_numbers_that_a_format_cannot_hold_are_told_instead_of_finding_no_cell() -> None:
    network = tiny().eval()
    with torch.no_grad():
        network.flow_head.bias.fill_(float("inf"))
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(UserError, match=r"leave the range of torch\.bfloat16: set `gpu_precision: float32`"),
    ):
        network.answers([{"image": torch.zeros(1, 64, 64, dtype=torch.uint8)}])


def test_a_picture_has_the_same_losses_beside_one_of_another_size() -> None:
    mapper = TrainingMapper(TINY_FLOWS.model_copy(update={"crop_px": None, "scale_jitter": (1.0, 1.0)}))
    picture = mapper(SQUARE, 0)
    cut = picture | {"image": picture["image"][:, :30, :56]}
    cut |= {name: picture[name][..., :15, :28] for name in ("flows", "cell_classes")}
    model = tiny().train()
    one, other = model([picture]), model([cut])
    both = model([picture, cut])
    assert set(both) == {"loss_flows", "loss_inside", "loss_types"}
    for name, value in both.items():
        assert float(value) == pytest.approx(float(one[name] + other[name]) / 2, rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"first_stride": 1},
        {"backbone_stages": 4},
        {"cell_types": ("neuron", "astro")},
        {"crop_px": None, "turns": True},
        {"crop_px": 61, "elastic_px": 2.0},
        {"mask_grid_px": 56},
    ],
    ids=str,
)
def test_each_lever_of_the_network_and_its_pictures_trains_and_finds(changes: dict[str, object]) -> None:
    settings = TINY_FLOWS.model_copy(update=changes)
    model = tiny(**changes).train()
    losses = model([TrainingMapper(settings)(SQUARE, seed) for seed in (1, 2)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
    cells = Predictor(model, settings)(SQUARE.pixels, "square", ViewSettings(flip="horizontal", scale=1.1))
    side = settings.mask_grid_px
    assert cells.soft_masks.shape == (len(cells), side, side)
    assert len(cells) > 0


def test_a_picture_without_cells_has_losses_without_a_type() -> None:
    empty = TrainingImage("empty", SQUARE.pixels, (), np.zeros(0, dtype=np.int64))
    losses = tiny().train()([TrainingMapper(TINY_FLOWS)(empty, 0)])
    assert float(losses["loss_types"]) == 0
    assert float(losses["loss_inside"]) > 0


def test_frozen_stages_and_nothing_else_keep_their_weights() -> None:
    def trained(freeze: int) -> set[str]:
        network = tiny(freeze_stages=freeze)
        parts = {
            name: name.removeprefix("backbone.bottom_up.").split(".")[0]
            for name, _ in network.named_parameters()
        }
        return {parts[name] for name, weight in network.named_parameters() if weight.requires_grad}

    assert trained(0) >= {"stem", "res2", "res3", "res4", "res5", "backbone", "flow_head", "type_head"}
    assert trained(2) == trained(0) - {"stem", "res2"}
    assert trained(5) == trained(0) - {"stem", "res2", "res3", "res4", "res5"}


def test_a_picture_is_learnt_and_its_cell_found_in_every_view() -> None:
    settings = TINY_FLOWS.model_copy(
        update={"crop_px": None, "scale_jitter": (1.0, 1.0), "flips": False, "optimizer": "adamw"}
    )
    model = tiny().train()
    optimizer = build_optimizer(detectron_config(settings, "cpu"), model)
    picture = TrainingMapper(settings)(SQUARE, 0)
    for _ in range(40):
        optimizer.zero_grad()
        sum(model([picture]).values()).backward()
        optimizer.step()
    predictor = Predictor(model, settings)
    for view in (ViewSettings(), ViewSettings(flip="horizontal"), ViewSettings(flip="vertical")):
        (cell,) = predictor(SQUARE.pixels, "square", view)[:1].masks
        found = dense_from_coco(cell)
        assert found[8:24, 10:26].sum() > 200
        assert found.sum() < 320


def test_a_killed_run_goes_on_to_the_weights_it_would_have_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read_training_data([write_tiny_data(tmp_path / "data")], TINY_FLOWS.cell_types, None, None)
    settings = TINY_FLOWS.model_copy(update={"optimizer": "adamw", "average_decay": 0.5})
    whole = train(settings, data, tmp_path / "whole", "random", Machines(), seed=1)
    steps, original = iter(range(9)), Stepper.run_step

    def killed_in_the_third(stepper: Stepper) -> None:
        if next(steps) == 2:
            raise KeyboardInterrupt
        original(stepper)

    monkeypatch.setattr(Stepper, "run_step", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        train(settings, data, tmp_path / "run", "random", Machines(), seed=1)
    monkeypatch.undo()
    resumed = train(settings, data, tmp_path / "run", "random", Machines(), seed=1, resume=True)
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.skipif(not int8_works(), reason="torch without 8-bit convolutions for this processor")
def test_in_bytes_it_draws_what_it_draws_in_float32() -> None:
    model = tiny(detectron={}, freeze_stages=2).eval()  # with frozen norms, as trained networks have them
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    ranges = ranges_of(model, list(pixels), TINY_FLOWS)
    in_bytes = copy.deepcopy(model)
    to_int8(in_bytes, ranges)
    with torch.inference_mode():
        ((exact,), (rounded,)) = (
            network([{"image": torch.from_numpy(pixels[:1])}]) for network in (model, in_bytes.eval())
        )
    for name, drawn, other in zip(exact._fields, exact, rounded, strict=True):
        error = (drawn - other).norm() / drawn.norm()
        assert 0 < error < 0.3, (name, float(error))
    left = {name for name, layer in in_bytes.named_modules() if type(layer) is QuickConv2d}
    assert left == {"backbone.bottom_up.stem.conv1", "backbone.laterals.0", "flow_head", "type_head"}


def test_only_cells_of_some_score_are_kept_and_no_more_than_asked_for() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    every = Predictor(tiny(), TINY_FLOWS)(pixels, "noise", ViewSettings())
    assert len(every) > 3
    best = Predictor(tiny(detections_per_image=2), TINY_FLOWS)(pixels, "noise", ViewSettings())
    assert best.scores.tolist() == every.scores[:2].tolist()
    least = float(every.scores[1:3].mean())
    sure = Predictor(tiny(min_score=least), TINY_FLOWS)(pixels, "noise", ViewSettings())
    assert sure.scores.tolist() == every.scores[:2].tolist()


def test_cells_are_made_after_the_network_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(
        flow_network, "cells_of", lambda *_, **__: made.append(1) or Output(*NOTHING, (64, 64))
    )
    finish = Predictor(tiny(), TINY_FLOWS).look(SQUARE.pixels, "square", [ViewSettings()])
    assert not made
    assert len(finish()[0]) == 0
    assert made


def test_settings_of_boxes_are_refused_all_at_once(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text("network: flows\ncascade: true\nmask_loss: dice\nanchor_sizes_px: [8, 16]\n")
    with pytest.raises(
        UserError, match="cascade, mask_loss, anchor_sizes_px: no effect with `network: flows`"
    ) as told:
        load_model_settings(file)
    assert 'cascade=false, mask_loss="bce", anchor_sizes_px=[8.0, 16.0, 32.0, 64.0, 128.0]' in str(told.value)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("MODEL.RPN.NMS_THRESH", "$"),
        ("MODEL.ROI_BOX_HEAD.NUM_FC", "$"),
        ("MODEL.ROI_MASK_HEAD.NUM_CONV", "$"),
        ("MODEL.ROI_HEADS.IOU_THRESHOLDS", "$"),
        ("MODEL.RPN.BATCH_SIZE_PER_IMAGE", "$"),  # not "use rpn_batch", which is refused too
        ("MODEL.ROI_HEADS.NUM_CLASSES", "; use cell_types"),
        ("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", "$"),
        ("SOLVER.MOMENTUM", "$"),
    ],
)
def test_detectrons_own_keys_without_effect_are_refused(key: str, told: str) -> None:
    settings = ModelSettings(network="flows", optimizer="adamw", detectron={key: 4})
    with pytest.raises(UserError, match=rf"{re.escape(key)} has no effect here{told}"):
        detectron_config(settings, "cpu")


def test_weights_of_boxes_start_the_residual_network_and_the_log_says_what_is_random(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = build_model(detectron_config(TINY, "cpu"))
    torch.save({"model": boxes.state_dict()}, tmp_path / "boxes.pth")
    model = tiny()
    with caplog.at_level("INFO"):
        load_initial(model, "r50_thin", tmp_path / "boxes.pth")
    assert "flows (41 of 41)" in caplog.text
    for name, weight in boxes.backbone.bottom_up.state_dict().items():
        assert torch.equal(model.backbone.bottom_up.state_dict()[name], weight)


def test_flows_of_other_cell_types_start_all_but_the_types(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"model": tiny(cell_types=tuple("abcdefgh")).state_dict()}, tmp_path / "eight.pth")
    with caplog.at_level("INFO"):
        load_initial(tiny(), "r50_thin", tmp_path / "eight.pth")
    assert "random: flows (2 of 41)" in caplog.text


def test_the_rate_that_is_written_down_is_that_of_the_settings(tmp_path: Path) -> None:
    settings = TINY_FLOWS.model_copy(
        update={"backbone_lr_factor": 0.1, "iterations": 2, "warmup_iterations": 0}
    )
    data = read_training_data([write_tiny_data(tmp_path / "data")], TINY_FLOWS.cell_types, None, None)
    train(settings, data, tmp_path / "run", "random", Machines())
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    first = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert float(first["lr"]) == pytest.approx(settings.base_lr)
