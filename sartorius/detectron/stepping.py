"""One optimiser step: forward and backward over the parts of a batch, in the precision of the settings."""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.engine.train_loop import TrainerBase
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sartorius.detectron.precision import computing_in


class Stepper(SimpleTrainer):
    """detectron2's step with gradient accumulation and autocast.

    parts: forward and backward passes of a step, each over its own pictures; gradients and losses are their mean.
    precision: "float32" or "bfloat16".
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, parts: int, precision: str
    ) -> None:
        TrainerBase.__init__(self)
        self.model = model.train()
        self.optimizer = optimizer
        self._parts = parts
        self._precision = precision
        self._device = next(model.parameters()).device
        self._pictures: Iterator[list[dict[str, Any]]] = iter(())

    def feed(self, loader: Iterable[list[dict[str, Any]]]) -> None:
        """Take the pictures of the next steps from here."""
        self._pictures = iter(loader)

    def run_step(self) -> None:
        """Compute the losses of all parts and change the weights once."""
        waited, totals = 0.0, dict[str, Tensor]()
        self.optimizer.zero_grad()
        for part in range(self._parts):
            began = time.perf_counter()
            pictures = next(self._pictures)
            waited += time.perf_counter() - began
            with self._gradients_shared(last=part == self._parts - 1):
                with computing_in(self._precision, self._device):
                    losses = self.model(pictures)
                (sum(losses.values()) / self._parts).backward()
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0) + loss.detach() / self._parts
        at_once = torch.stack([loss.float() for loss in totals.values()]).cpu()
        self._write_metrics(dict(zip(totals, at_once, strict=True)), waited)
        self.optimizer.step()

    def _gradients_shared(self, last: bool) -> AbstractContextManager[object]:
        """Processes add up their gradients once a step, with the last part."""
        waiting = isinstance(self.model, DistributedDataParallel) and not last
        return self.model.no_sync() if waiting else nullcontext()
