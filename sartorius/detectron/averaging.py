"""Averages of a model's weights over training, which generalise better than the last step's: EMA and SWA."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.engine import HookBase
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a model's trained parameters; saved in checkpoints as `average`.

    decay: weight of the past at each step; smaller in the first steps, so that the random start is soon forgotten:
        min(decay, (1 + steps) / (10 + steps)), as in TensorFlow's `ExponentialMovingAverage`.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._decay = decay
        self._steps = 0
        self._average = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters' present values into the average."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        present = [parameter.detach() for parameter in self._parameters.values()]
        torch._foreach_lerp_(list(self._average.values()), present, 1 - decay)
        self._steps += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the context the model has the averaged weights, afterwards its own again."""
        own = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._write(self._average)
        try:
            yield
        finally:
            self._write(own)

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint keeps: the steps taken and the averaged parameters by name."""
        return {"steps": self._steps, "parameters": self._average}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint's average."""
        self._steps = int(state["steps"])
        for name, tensor in state["parameters"].items():
            self._average[name].copy_(tensor)

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])


class AverageHook(HookBase):
    """Updates the average after every optimiser step."""

    def __init__(self, average: WeightAverage) -> None:
        self._average = average

    def after_step(self) -> None:
        """Called by the trainer."""
        self._average.update()


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """A run's last `count` periodic checkpoints, fewer if it has written fewer."""
    return sorted(folder.glob("model_[0-9]*.pth"))[-count:]


def average_of(checkpoints: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the weights of checkpoints (stochastic weight averaging).

    Source: Izmailov et al. 2018. Frozen and group normalisation, which our models have, need no new statistics.
    """
    total: dict[str, Tensor] = {}
    for path in checkpoints:
        for name, tensor in torch.load(path, map_location="cpu", weights_only=True)["model"].items():
            value = tensor.double() if tensor.is_floating_point() else tensor
            total[name] = total[name] + value if name in total and tensor.is_floating_point() else value
    return {
        name: (value / len(checkpoints)).float() if value.is_floating_point() else value
        for name, value in total.items()
    }
