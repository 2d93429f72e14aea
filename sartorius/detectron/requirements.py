"""What a training cannot work with, told before anything is read or written."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler
from detectron2.utils.events import EventStorage

from sartorius.config import ModelSettings
from sartorius.detectron.graphs import require_recordable
from sartorius.detectron.initial_weights import RANDOM, require_weights_file, usual_start
from sartorius.detectron.int8 import byte_layers
from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.detectron.optimizers import build_optimizer
from sartorius.detectron.precision import require_bfloat16
from sartorius.detectron.predictor import why_unusable
from sartorius.detectron.processes import Machines
from sartorius.detectron.settings import detectron_config, refusals_told
from sartorius.detectron.stream import Division
from sartorius.detectron.weight_types import require_types
from sartorius.errors import UserError
from sartorius.rle import Crop

#: An image of the smallest kind that has losses of every sort.
_A_CELL = TrainingImage(
    image_id="",
    pixels=np.zeros((64, 64), dtype=np.uint8),
    crops=(Crop(16, 16, np.ones((32, 32), dtype=bool)),),
    classes=np.zeros(1, dtype=np.int64),
)


class Plan(NamedTuple):
    """A training that is not begun.

    initial_weights: a file, "random", or None for `usual_start`; goes_on: from a checkpoint of its own instead.
    machines: where it will run. validates: whether a fold is left out.
    """

    settings: ModelSettings
    initial_weights: Path | str | None
    goes_on: bool
    machines: Machines
    validates: bool


def require_possible(plan: Plan) -> None:
    """Raise UserError now, before images are read, for what would end the run later, perhaps after hours."""
    settings, machines = plan.settings, plan.machines
    if settings.iterations // settings.checkpoint_period < settings.swa_checkpoints:
        raise UserError(
            f"swa_checkpoints asks for the mean of {settings.swa_checkpoints} checkpoints; {settings.iterations} "
            f"iterations leave {settings.iterations // settings.checkpoint_period}: lower swa_checkpoints or checkpoint_period"
        )
    if settings.average_decay and settings.swa_checkpoints and not plan.validates:
        raise UserError(
            "without a fold to choose by, the mean of the last checkpoints (swa_checkpoints) is exported and the running "
            "average (average_decay) is not: set one of them to 0, or give --fold and --folds"
        )
    if settings.patience and not plan.validates:
        raise UserError(
            "patience stops by the validation score; give --fold and --folds, or set `patience: 0`"
        )
    Division(settings.batch_size, settings.accumulation, machines.processes)  # raises if it cannot be divided
    if not plan.goes_on:
        _require_start(settings, plan.initial_weights or usual_start(settings.backbone))
    require_recordable(settings, machines)
    device = "cuda" if machines.gpus else "cpu"
    if why := why_unusable(device):
        raise UserError(
            f"--gpus {machines.gpus}: torch finds no GPU here ({why}); leave out --gpus to train on the CPU"
        )
    if machines.gpus > (there := torch.cuda.device_count()):
        raise UserError(f"--gpus {machines.gpus}: torch finds no more than {there} here; give --gpus {there}")
    if settings.precision == "bfloat16":
        require_bfloat16(torch.device(device))
    if settings.cpu_convolutions == "int8":
        byte_layers(build_model(detectron_config(settings, "cpu")))


def _require_start(settings: ModelSettings, weights: Path | str | None) -> None:
    """weights: None for the model zoo's."""
    if settings.train_only and weights in (None, RANDOM):
        raise UserError(
            f"train_only: [{', '.join(settings.train_only)}] changes a trained network; pass its weights with --weights FILE"
        )
    if weights == RANDOM:
        _require_trainable_norm(settings)
    elif weights is not None:
        require_weights_file(Path(weights))
        if settings.train_only:
            require_types(Path(weights), settings.cell_types)


def _require_trainable_norm(settings: ModelSettings) -> None:
    """Frozen batch norm on random weights diverges within a few steps (tried)."""
    norm = detectron_config(settings, "cpu").MODEL.RESNETS.NORM
    if norm == "FrozenBN" or settings.freeze_stages > 0:
        raise UserError(
            f"random weights of {settings.backbone} need layers that train: set `freeze_stages: 0` and "
            f"`detectron: {{MODEL.RESNETS.NORM: GN}}`, got freeze_stages {settings.freeze_stages} and norm {norm}"
        )


def require_trainable(settings: ModelSettings) -> None:
    """Raise UserError for values of detectron2's own keys that it refuses: it looks at them where it uses them.

    So a network is built and sees one picture; without such keys there is nothing to try.
    """
    if not settings.detectron:
        return
    cfg = detectron_config(settings, "cpu")
    with refusals_told(settings):
        network = build_model(cfg)
        build_lr_scheduler(cfg, build_optimizer(cfg, network))
        with EventStorage():
            network([TrainingMapper(settings)(_A_CELL, seed=0)])


def refusals(plans: Sequence[Plan]) -> list[str | None]:
    """Why each of these trainings would be refused before images are read, None for one that would not."""
    return [_refusal(plan) for plan in plans]


def _refusal(plan: Plan) -> str | None:
    try:
        require_trainable(plan.settings)
        require_possible(plan)
    except UserError as error:
        return str(error)
    return None
