"""Shims for detectron2 0.6 on today's Pillow and PyTorch, applied only where they are needed."""

import importlib.util
import sys
import types
import warnings

import PIL.Image

from sartorius.errors import UserError


def apply() -> None:
    """Make `import detectron2` work; a source install of detectron2 with its C++ extension is left as it is.

    Raises UserError saying how to install what is missing of torch and detectron2.
    """
    for package in ("torch", "detectron2"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"this command needs {package}, which is not installed; in a clone run `uv sync --extra detectron`, with "
                "pip install PyTorch, torchvision and Detectron2 from its source"
            )
    if not hasattr(PIL.Image, "LINEAR"):  # removed in Pillow 10, used as a default argument by detectron2 0.6
        PIL.Image.LINEAR = PIL.Image.BILINEAR
    # detectron2 0.6 calls torch.meshgrid without `indexing` and scripts functions at import; both still work.
    warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release")
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.script.*` is deprecated", category=FutureWarning)
    if importlib.util.find_spec("detectron2._C") is None:
        # The wheel without C++ sources: RoIAlign and NMS come from torchvision, nothing calls the extension.
        sys.modules.setdefault("detectron2._C", types.ModuleType("detectron2._C"))
