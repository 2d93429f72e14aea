"""What is tried when a GPU's memory is full: fewer views at once, then fewer pixels, then the CPU."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import nn

#: Views of an image that a GPU is given at once, as long as its memory lasts.
VIEWS_AT_ONCE = 8
#: Shares of an image's side that are tried when one view is too much. Cells of 15 px are lost below the half.
SMALLER_SIDES = (0.75, 0.5)

Result = TypeVar("Result")
_say = logging.getLogger("sartorius")


class Step(NamedTuple):
    """One way to run a network: so many views at once, the image's side times `side`, or on the CPU."""

    views_at_once: int
    side: float = 1.0
    on_cpu: bool = False

    def __str__(self) -> str:
        if self.on_cpu:
            return "this image on the CPU"
        if self.side < 1:
            return f"this image at {self.side:.0%} of its side"
        return f"{self.views_at_once} view{'s' * (self.views_at_once > 1)} at once"


class MemorySteps:
    """Runs work in the largest way that fits into the memory of a device, and says each time it takes a smaller one.

    on_gpu: where the network is; on a CPU one view at a time is as fast as many.
    That fewer views fit at once is remembered; fewer pixels and the CPU are for one image, the next is tried in full.
    """

    def __init__(self, on_gpu: bool) -> None:
        self.views_at_once = VIEWS_AT_ONCE if on_gpu else 1

    def run(self, image_id: str, views: int, work: Callable[[Step], Result]) -> Result:
        """What `work` returns for the first step whose memory it does not exceed.

        Raises torch.cuda.OutOfMemoryError if the last step, the CPU, exceeds it as well.
        """
        steps = list(self._steps(views))
        for step, smaller in pairwise(steps):
            try:
                return work(step)
            except torch.cuda.OutOfMemoryError:
                pass  # what the failed attempt held is free only when its traceback is gone
            torch.cuda.empty_cache()
            _say.warning("%s: the GPU's memory is full; trying %s", image_id, smaller)
            if not smaller.on_cpu and smaller.side == 1:
                self.views_at_once = smaller.views_at_once
        return work(steps[-1])

    def _steps(self, views: int) -> Iterator[Step]:
        at_once = min(self.views_at_once, views)
        while at_once > 1:
            yield Step(at_once)
            at_once //= 2
        yield Step(1)
        yield from (Step(1, side) for side in SMALLER_SIDES)
        yield Step(1, on_cpu=True)


@contextmanager
def placed(model: nn.Module, on_cpu: bool) -> Iterator[None]:
    """The model on the CPU while the block runs, if that is asked for, and back where and what it was afterwards.

    There it is in float32, which a CPU is quicker with than with the shorter numbers of a GPU. Its own tensors wait
    meanwhile: recorded kernels (`cuda_graphs`) read them where they are.
    """
    if not on_cpu:
        yield
        return
    numbers = [(parameter, parameter.data) for parameter in model.parameters()]
    buffers = [(module, name, own) for module in model.modules() for name, own in module._buffers.items()]
    model.to("cpu").float()
    try:
        yield
    finally:
        for parameter, own in numbers:
            parameter.data = own
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
