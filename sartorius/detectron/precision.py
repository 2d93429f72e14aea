"""In which number format a network computes, and whether a device can."""

from contextlib import AbstractContextManager, nullcontext

import torch

from sartorius.errors import UserError


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products have the precision: "float32", or "bfloat16" by autocast.

    Raises UserError if the device cannot compute in it faster than in float32.
    """
    if precision == "float32":
        return nullcontext()
    require_bfloat16(device)
    return torch.autocast(device.type, dtype=torch.bfloat16)


def require_bfloat16(device: torch.device) -> None:
    """Raises UserError unless the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
        needed = "a GPU of compute capability 8.0 or higher"
    else:
        able = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        needed = f"a CPU with AVX512 or AMX, this one has {torch.backends.cpu.get_cpu_capability()}"
    if not able:
        raise UserError(f"precision bfloat16 on {device.type} needs {needed}; set `precision: float32`")
