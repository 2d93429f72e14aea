"""The backbone's work on a GPU recorded once as CUDA graphs and replayed: a dozen launches in place of about 1,500.

A GPU computes the kernels of a small crop faster than Python launches them. What changes with a picture's cells, the
heads and their losses, cannot be recorded; the backbone sees pictures of one shape, step after step.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.modeling import Backbone
from torch import Tensor, nn
from torch.func import functional_call

from sartorius.config import ModelSettings
from sartorius.detectron.precision import recording_in
from sartorius.detectron.processes import Machines
from sartorius.errors import UserError

_say = logging.getLogger("sartorius")


def require_recordable(settings: ModelSettings, machines: Machines) -> None:
    """Raise UserError if `cuda_graphs` is set where no kernels can be recorded, or pictures have many shapes."""
    if not settings.cuda_graphs:
        return
    if not machines.gpus:
        raise UserError("cuda_graphs records a GPU's kernels; give --gpus 1 or set `cuda_graphs: false`")
    if machines.processes > 1:
        raise UserError(
            f"cuda_graphs works in one process, not in {machines.processes} that add up their gradients; give "
            "--gpus 1 or set `cuda_graphs: false`"
        )
    if settings.crop_px is None:
        raise UserError(
            "cuda_graphs needs pictures of one size; set `crop_px`, such as 512, or `cuda_graphs: false`"
        )


@contextmanager
def replayed(backbone: Backbone, pictures: int, crop_px: int, precision: str) -> Iterator[None]:
    """Within the context the backbone replays recorded kernels wherever it trains on so many crops of that size.

    pictures: of one forward pass. crop_px: side of a crop before it is padded. precision: that of training.
    Enter it before threads that use the GPU are started, such as a data loader's: what they ask of CUDA meanwhile
    ends the recording with an error. The recording holds the memory of the backbone's results until the end.
    """
    device = next(backbone.parameters()).device
    side = -(-crop_px // backbone.size_divisibility) * backbone.size_divisibility
    sample = torch.zeros(pictures, 3, side, side, device=device)
    with recording_in(precision, device), _buffers_kept(backbone):
        forward = ReplayedForward(backbone, sample.contiguous(memory_format=torch.channels_last))
    _say.info("recorded the backbone's kernels for %s", tuple(sample.shape))
    backbone.forward = forward  # no module, so that state dicts stay as they are
    try:
        yield
    finally:
        del backbone.forward


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """After the context the buffers, such as a batch norm's statistics, are what they were before."""
    before = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(module.buffers(), before, strict=True):
            buffer.copy_(value)


class ReplayedForward:
    """A backbone's forward: replayed in training on pictures of the sample's shape, the module's own otherwise.

    The first pictures of another shape in training are told of in the log: nothing is gained with them.

    sample: (N, 3, H, W), the memory that pictures are copied to; nothing else may use it. The features lie in the
    recording's memory and are overwritten by the next replay: backward has to come before the next forward.

    What is recorded is a function of aliases of the parameters, not the module. Recorded with the parameters
    themselves, autograd would go on adding up their gradients on the stream of the recording, and wait for it each time.
    """

    def __init__(self, backbone: Backbone, sample: Tensor) -> None:
        trained = {name: p for name, p in backbone.named_parameters() if p.requires_grad}

        def forward(x: Tensor, *weights: Tensor) -> dict[str, Tensor]:
            return functional_call(backbone, dict(zip(trained, weights, strict=True)), (x,))

        aliases = [parameter.detach().requires_grad_() for parameter in trained.values()]
        self._replay = torch.cuda.make_graphed_callables(forward, (sample, *aliases))
        self._plain = backbone.forward
        self._backbone = backbone
        self._trained = list(trained.values())
        self._shape = sample.shape
        self._told = False

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """The features of (N, 3, H, W)."""
        if not self._backbone.training:
            return self._plain(x)
        if x.shape != self._shape:
            self._tell_of(x.shape)
            return self._plain(x)
        return self._replay(x, *_CopiedGradients.apply(*self._trained))

    def _tell_of(self, shape: torch.Size) -> None:
        if not self._told:
            _say.warning(
                "cuda_graphs: pictures of shape %s are computed without the recording, which is of %s; a crop_px that "
                "every image fills makes them the same",
                tuple(shape),
                tuple(self._shape),
            )
        self._told = True


class _CopiedGradients(torch.autograd.Function):
    """Parameters as they are; their gradients are copied out of the recording's memory.

    Autograd takes a first gradient as it is for `grad`, without a copy: the replay of a step's next part would overwrite it.
    """

    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> tuple[Tensor, ...]:
        """The parameters' own memory."""
        return tuple(parameter.detach() for parameter in parameters)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """Copies of all gradients, in a few launches."""
        own = tuple(torch.empty_like(gradient) for gradient in gradients)
        torch._foreach_copy_(own, gradients)
        return own
