"""What a training cannot work with, told before anything is read or written."""

from pathlib import Path

import torch
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer

from sartorius.config import ModelSettings
from sartorius.detectron.graphs import require_recordable
from sartorius.detectron.initial_weights import require_weights_file
from sartorius.detectron.int8 import byte_layers
from sartorius.detectron.precision import require_bfloat16
from sartorius.detectron.predictor import why_unusable
from sartorius.detectron.processes import Machines
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.stream import Division
from sartorius.detectron.weights import reason
from sartorius.errors import UserError

#: Given in place of initial weights to start from nothing.
RANDOM = "random"


def require_possible(settings: ModelSettings, initial_weights: Path | str | None, machines: Machines) -> None:
    """Raise UserError now, before images are read, for what would end the run later, perhaps after hours."""
    if settings.iterations // settings.checkpoint_period < settings.swa_checkpoints:
        raise UserError(
            f"swa_checkpoints asks for the mean of {settings.swa_checkpoints} checkpoints; {settings.iterations} "
            f"iterations leave {settings.iterations // settings.checkpoint_period}: lower swa_checkpoints or checkpoint_period"
        )
    Division(settings.batch_size, settings.accumulation, machines.processes)  # raises if it cannot be divided
    if initial_weights == RANDOM:
        _require_trainable_norm(settings)
    elif initial_weights is not None:
        require_weights_file(Path(initial_weights))
    if settings.detectron:
        _require_buildable(settings)
    require_recordable(settings, machines)
    device = "cuda" if machines.gpus else "cpu"
    if why := why_unusable(device):
        raise UserError(
            f"--gpus {machines.gpus}: torch finds no GPU here ({why}); leave --gpus away to train on the CPU"
        )
    if settings.precision == "bfloat16":
        require_bfloat16(torch.device(device))
    if settings.cpu_convolutions == "int8":
        byte_layers(build_model(detectron_config(settings, "cpu")))


def _require_trainable_norm(settings: ModelSettings) -> None:
    """Frozen batch norm on random weights diverges within a few steps (tried)."""
    norm = detectron_config(settings, "cpu").MODEL.RESNETS.NORM
    if norm == "FrozenBN" or settings.freeze_stages > 0:
        raise UserError(
            "--weights random needs layers that train: set `freeze_stages: 0` and "
            f"`detectron: {{MODEL.RESNETS.NORM: GN}}`, got freeze_stages {settings.freeze_stages} and norm {norm}"
        )


def _require_buildable(settings: ModelSettings) -> None:
    """Raise UserError for values of detectron2's own keys that it refuses: it looks at them where it uses them."""
    cfg = detectron_config(settings, "cpu")
    try:
        build_lr_scheduler(cfg, build_optimizer(cfg, build_model(cfg)))
    except Exception as error:
        given = ", ".join(f"{key}: {value}" for key, value in settings.detectron.items())
        raise UserError(
            f"detectron: expected values that a network and its optimiser can be built with, got {given} "
            f"({type(error).__name__}: {reason(error)}); correct them or leave them out"
        ) from None
