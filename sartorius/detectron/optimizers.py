"""What takes the steps of a training."""

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import hooks
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from sartorius.detectron.backbones import RESIDUAL_WEIGHTS
from sartorius.detectron.clipping import clip_before_each_step


def add_optimizer_keys(cfg: CfgNode) -> None:
    """Give a detectron2 configuration the keys of this module."""
    cfg.SOLVER.OPTIMIZER = "sgd"
    cfg.SOLVER.BACKBONE_LR_FACTOR = 1.0


def build_optimizer(cfg: CfgNode, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of `optimizer`, `base_lr`, `backbone_lr_factor` and `clip_gradient_norm`, else as detectron2's own.

    Source: `detectron2.solver.build_optimizer`.
    """
    solver = cfg.SOLVER
    groups = get_default_optimizer_params(
        network,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    if solver.BACKBONE_LR_FACTOR != 1:
        of_backbone = {
            id(weight) for name, weight in network.named_parameters() if name.startswith(RESIDUAL_WEIGHTS)
        }
        groups = [
            part for group in groups for part in _divided(group, of_backbone, solver.BACKBONE_LR_FACTOR)
        ]
    kinds: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
        "sgd": (torch.optim.SGD, {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV}),
        "adamw": (torch.optim.AdamW, {}),
    }
    kind, options = kinds[solver.OPTIMIZER]
    clipped = maybe_add_gradient_clipping(cfg, kind)
    optimizer = clipped(groups, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY, **options)
    if solver.LARGEST_GRADIENT_NORM:
        clip_before_each_step(optimizer, solver.LARGEST_GRADIENT_NORM)
    return optimizer


def _divided(group: dict[str, Any], of_backbone: set[int], factor: float) -> list[dict[str, Any]]:
    """The weights of a group of the optimiser that belong to the backbone, at their own rate, and the others."""
    slower = [weight for weight in group["params"] if id(weight) in of_backbone]
    others = [weight for weight in group["params"] if id(weight) not in of_backbone]
    parts = [group | {"params": slower, "lr": group["lr"] * factor}, group | {"params": others}]
    return [part for part in parts if part["params"]]


class LRScheduler(hooks.LRScheduler):
    """detectron2's schedule; the rate that is written down is that of `base_lr`, not that of the most weights.

    Its state stands under the class's name in checkpoints: with another name, runs begun with detectron2's would go on
    from the warm-up.
    """

    def before_train(self) -> None:
        """Find the weights that learn at that rate."""
        super().before_train()
        base = self.trainer.cfg.SOLVER.BASE_LR
        distances = [abs(group["initial_lr"] - base) for group in self._optimizer.param_groups]
        self._best_param_group_id = distances.index(min(distances))
