"""Gradients of a limited norm, all parameters at once."""

from collections.abc import Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

#: Added to each norm, as `torch.nn.utils.clip_grad_norm_` does.
_LEAST_NORM = 1e-6


def add_clipping_keys(cfg: CfgNode) -> None:
    """Give a detectron2 configuration the keys of this module."""
    cfg.SOLVER.LARGEST_GRADIENT_NORM = 0.0


def clip_each(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Every parameter's gradient is shortened to the norm `limit` where it is longer.

    detectron2 does the same parameter by parameter: on a GPU 600 small steps, a tenth of a training step's time.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients:
        norms = torch.stack(torch._foreach_norm(gradients))
        torch._foreach_mul_(gradients, list((limit / (norms + _LEAST_NORM)).clamp(max=1).unbind()))


def clip_before_each_step(optimizer: torch.optim.Optimizer, limit: float) -> None:
    """Let the optimiser clip the gradients of its parameters to the norm `limit` before it takes a step."""

    def clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        clip_each((p for group in optimizer.param_groups for p in group["params"]), limit)

    optimizer.register_step_pre_hook(clip)
