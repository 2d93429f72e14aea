import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from tiny_models import TINY_FLOWS, write_tiny_data

from sartorius.config import ModelSettings, load_model_settings
from sartorius.config.members import ViewSettings
from sartorius.detectron.calibration import ranges_of
from sartorius.detectron.convolution import QuickConv2d
from sartorius.detectron.flow_network import CellFlows
from sartorius.detectron.int8 import int8_works, to_int8
from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.detectron.optimizers import build_optimizer
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.processes import Machines
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.stepping import Stepper
from sartorius.detectron.trainer import train
from sartorius.detectron.training_data import read_training_data
from sartorius.errors import UserError
from sartorius.rle import Crop, dense_from_coco

SQUARE = TrainingImage(
    image_id="square",
    pixels=np.pad(np.full((16, 16), 220, dtype=np.uint8), ((8, 40), (10, 38)), constant_values=110),
    crops=(Crop(8, 10, np.ones((16, 16), dtype=bool)),),
    classes=np.array([1]),
)


def tiny(**changes: object) -> CellFlows:
    torch.manual_seed(3)
    return build_model(detectron_config(TINY_FLOWS.model_copy(update=changes), "cpu"))


def test_a_drawing_has_a_pixel_for_each_of_the_stems() -> None:
    pictures = [{"image": torch.zeros(1, 60, 70, dtype=torch.uint8)}]
    for stride, drawn_hw in ((2, (32, 48)), (1, (64, 96))):  # of the picture padded to 64 × 96
        drawn, images = tiny(first_stride=stride)._drawing(pictures)
        assert tuple(drawn.inside.shape) == (1, *drawn_hw)
        assert tuple(drawn.types.shape) == (1, 3, *drawn_hw)
        assert images.image_sizes == [(60, 70)]


def test_losses_look_at_each_picture_without_its_padding() -> None:
    mapper = TrainingMapper(TINY_FLOWS.model_copy(update={"crop_px": None, "scale_jitter": (1.0, 1.0)}))
    picture = mapper(SQUARE, 0)
    cut = picture | {"image": picture["image"][:, :60, :56]}
    cut |= {name: picture[name][..., :30, :28] for name in ("flows", "cell_classes")}
    model = tiny().train()
    one, other = model([picture]), model([cut])
    both = model([picture, cut])
    assert set(both) == {"loss_flows", "loss_inside", "loss_types"}
    for name, value in both.items():
        assert float(value) == pytest.approx(float(one[name] + other[name]) / 2, rel=1e-3)


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
        exact, rounded = (
            network._drawing([{"image": torch.from_numpy(pixels[:1])}])[0] for network in (model, in_bytes)
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


@pytest.mark.parametrize(
    "setting", ["cascade: true", "mask_loss: dice", "anchor_sizes_px: [8, 16]", "box_voting_sigma: 0.1"]
)
def test_settings_of_boxes_are_refused(tmp_path: Path, setting: str) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(f"network: flows\n{setting}\n")
    with pytest.raises(UserError, match=f"{setting.split(':')[0]} has no effect with `network: flows`"):
        load_model_settings(file)


def test_detectrons_own_keys_of_boxes_are_refused() -> None:
    settings = ModelSettings(network="flows", detectron={"MODEL.RPN.NMS_THRESH": 0.6})
    with pytest.raises(UserError, match=r"MODEL\.RPN\.NMS_THRESH has no effect"):
        detectron_config(settings, "cpu")
