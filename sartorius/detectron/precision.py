"""In which number format a network computes, and whether a device can."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sartorius.errors import UserError

#: Formats of 16 bits, in which a box of 300 px has no exact place.
HALF = (torch.bfloat16, torch.float16)
#: The numbers that `gpu_precision` names.
GPU_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products have the precision: "float32", or "bfloat16" by autocast.

    Raises UserError if the device cannot compute in it faster than in float32.
    """
    if precision == "float32":
        return nullcontext()
    require_bfloat16(device)
    return torch.autocast(device.type, dtype=torch.bfloat16)


def recording_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """`computing_in` for kernels that are replayed later: autocast's cache of weights, by then freed, is left alone."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def predicting_in(gpu_precision: str, device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products of inference on a GPU have the precision, a key of `GPU_DTYPES`.

    On other devices, and for "float32", nothing changes.
    """
    if device.type != "cuda" or gpu_precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=GPU_DTYPES[gpu_precision])


def require_range(numbers: Sequence[Tensor]) -> None:
    """Raises UserError if 16-bit numbers of a network are infinite or none; at least one tensor."""
    if numbers[0].dtype not in HALF or torch.stack([part.isfinite().all() for part in numbers]).all():
        return
    raise UserError(
        f"the network's numbers leave the range of {numbers[0].dtype}: set `gpu_precision: float32` in the model's settings"
    )


def require_bfloat16(device: torch.device, setting: str = "precision") -> None:
    """Raises UserError, naming the setting that asked for it, unless the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
        needed = "a GPU of compute capability 8.0 or higher"
    else:
        able = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        needed = f"a CPU with AVX512 or AMX, this one has {torch.backends.cpu.get_cpu_capability()}"
    if not able:
        raise UserError(f"{setting} bfloat16 on {device.type} needs {needed}; set `{setting}: float32`")
