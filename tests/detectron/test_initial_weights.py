import logging
from pathlib import Path
from typing import Any

import pytest
from detectron2.modeling import build_model
from safetensors.torch import save_file
from tiny_models import TINY
from torch import nn

from sartorius.config import load_model_settings
from sartorius.detectron.initial_weights import load_initial, usual_start
from sartorius.detectron.processes import Machines
from sartorius.detectron.requirements import Plan, require_possible, require_trainable
from sartorius.detectron.settings import detectron_config

LINES = ("a172", "bt474", "bv2", "huh7", "mcf7", "shsy5y", "skbr3", "skov3")


def tiny_model(**changes: Any) -> nn.Module:
    return build_model(detectron_config(TINY.model_copy(update=changes), "cpu"))


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, None),
        ({"cell_types": LINES}, "box head (4 of 8), mask head (2 of 12)"),
        ({"mask_iou_head": True}, "mask IoU head (18 of 18)"),
        (
            {"pyramid_channels": 32, "box_head_channels": 32},
            "pyramid (16 of 16), proposal head (4 of 6), box head (6 of 8), mask head (1 of 12)",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_the_log_counts_the_weights_of_each_part_that_stay_random(
    changes: dict[str, Any], left: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "trained.safetensors"
    save_file(tiny_model().state_dict(), file)
    with caplog.at_level(logging.INFO, "sartorius"):
        load_initial(tiny_model(**changes), "r50_thin", file)
    told = [] if left is None else [f"tensors missing or of another shape in {file}, so random: {left}"]
    assert [record.message for record in caplog.records if record.name == "sartorius"] == told


def test_nothing_is_told_of_the_heads_that_imagenet_weights_lack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = tiny_model().backbone.bottom_up.state_dict()
    save_file(backbone, tmp_path / "imagenet.safetensors")
    with caplog.at_level(logging.INFO, "sartorius"):
        load_initial(tiny_model(), "r50_thin", tmp_path / "imagenet.safetensors")
    assert [record for record in caplog.records if record.name == "sartorius"] == []


def test_an_ablation_whose_backbone_nobody_publishes_weights_of_can_start_as_it_stands() -> None:
    training = Path(__file__).resolve().parents[2] / "configs" / "ablations" / "training"
    random = [one for one in map(load_model_settings, training.glob("*.yaml")) if usual_start(one.backbone)]
    assert [settings.backbone for settings in random] == ["r50_thin"]
    require_trainable(random[0])
    require_possible(Plan(random[0], None, goes_on=False, machines=Machines(), validates=True))
