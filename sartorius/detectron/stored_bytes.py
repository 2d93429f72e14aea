"""Weights in files as 8-bit integers: a quarter of float32's size, turned back to float32 when the file is read."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sartorius.detectron.int8 import weight_steps
from sartorius.errors import UserError

#: What follows a tensor's name in the name of its steps.
STEPS = ".int8_steps"

#: What a file's metadata say about its bytes.
HOW = {"int8": f"an int8 tensor `name` stands for name[k] * `name{STEPS}`[k], k counting along dimension 0"}

#: Tensors of fewer numbers save nothing worth an error.
_FEWEST = 4096
#: Dimensions of a convolution's weights: outputs, inputs, rows, columns.
_CONVOLUTION_DIMS = 4


def to_bytes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large tensors as int8 with a step for each channel, all other floating-point ones as float32.

    tensors: weights by name. Those with 4096 or more numbers, all finite, in two or more dimensions count as large;
        their channels lie along dimension 0, which is a convolution's or linear layer's output.
    Returns the tensors by name, and for each (K, ...) int8 one its (K,) float32 steps under `name.int8_steps`.
    """
    stored = {}
    for name, tensor in tensors.items():
        own = tensor.float() if tensor.is_floating_point() else tensor
        if _is_large(tensor):
            steps = stored[name + STEPS] = byte_steps(own)
            own = (own.flatten(1) / steps[:, None]).round().to(torch.int8).view(tensor.shape)
        stored[name] = own.contiguous()
    return stored


def from_bytes(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights that `to_bytes` made int8 as float32, without their steps; all others as they are.

    path: the file that they were read from, for the message.
    Raises UserError if an int8 tensor has no steps, or not one for each channel.
    """
    found = dict(tensors)
    for name, tensor in tensors.items():
        if tensor.dtype == torch.int8:
            steps = found.pop(name + STEPS, None)
            if steps is None or steps.shape != tensor.shape[:1]:
                number = "no such tensor" if steps is None else f"one of shape {tuple(steps.shape)}"
                raise UserError(
                    f"{path}: {name} is stored as int8 and needs {name}{STEPS} of shape {tuple(tensor.shape[:1])}, "
                    f"the file has {number}; export the weights anew"
                )
            found[name] = (tensor.flatten(1) * steps.float()[:, None]).view(tensor.shape)
    return found


def byte_steps(weight: Tensor) -> Tensor:
    """(K,) float32 the step of each channel: a 127th of its largest weight, or a little more in a convolution.

    weight: (K, ...) finite. Convolutions get the steps that `cpu_convolutions: int8` computes with, so that it does not
    round them once more: that would have made the error larger by a fifth.
    """
    if weight.ndim == _CONVOLUTION_DIMS:
        return weight_steps(weight)
    return (weight.flatten(1).abs().amax(1) / 127).clamp(min=1e-12)


def _is_large(tensor: Tensor) -> bool:
    large = tensor.is_floating_point() and tensor.ndim > 1 and tensor.numel() >= _FEWEST
    return large and bool(tensor.isfinite().all())
