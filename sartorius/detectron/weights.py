"""Weights in and out: checkpoints to go on from, safetensors to ship."""

import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sartorius.errors import UserError
from sartorius.files import atomic_path

#: Names of checkpoints: the best by the validation metric, and the mean of the last ones (`swa_checkpoints`).
BEST, LAST_AVERAGE = "model_best", "model_swa"

DTYPES: Mapping[str, torch.dtype] = {"float16": torch.float16, "float32": torch.float32}

#: Enough to rebuild numpy arrays, and nothing that runs code.
_PICKLE_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}


class CellCheckpointer(DetectionCheckpointer):
    """detectron2's checkpointer that reads no code: model-zoo pickles hold arrays only, checkpoints tensors only."""

    def _load_file(self, filename: str) -> Any:
        path = Path(PathManager.get_local_path(filename))
        try:
            if path.suffix == ".safetensors":
                return {"model": load_file(path), "matching_heuristics": True}
            if path.suffix == ".pkl":
                loaded = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
                return loaded if "model" in loaded else {"model": loaded, "matching_heuristics": True}
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            if "layer1.0.conv1.weight" in loaded:
                return {"model": renamed_from_torchvision(loaded)}
            return loaded if "model" in loaded else {"model": loaded}
        except OSError:
            raise
        except Exception as error:
            raise UserError(
                f"{path}: expected .safetensors, a detectron2 .pkl or a .pth checkpoint, this file cannot be read: "
                f"{reason(error)}"
            ) from None


def reason(error: Exception) -> str:
    """The first line of what an error says, or what kind of error it is where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def renamed_from_torchvision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a torchvision ResNet under detectron2's names, its classifier left out.

    Source: detectron2's tools/convert-torchvision-to-d2.py.
    """
    renamed = {}
    for name, tensor in tensors.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        own = name if name.startswith("layer") else f"stem.{name}"
        own = re.sub(r"^layer(\d)", lambda stage: f"res{int(stage[1]) + 1}", own)
        own = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", own)
        own = own.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
        renamed[f"backbone.bottom_up.{own}"] = tensor
    return renamed


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _PICKLE_NAMES:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed in a weights file")
        return super().find_class(module_name, global_name)


def load_trained(model: nn.Module, path: Path) -> None:
    """Put the weights of exactly this architecture into a model.

    Raises UserError when the file is missing or unreadable, or one tensor is missing, extra or of another shape.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such weights file; train the model first or correct `weights` in the ensemble file"
        )
    loaded = CellCheckpointer(model, save_to_disk=False)._load_file(str(path))["model"]
    wanted = model.state_dict()
    problems = [f"{key} is missing" for key in sorted(wanted.keys() - loaded.keys())]
    problems += [f"{key} is not part of the model" for key in sorted(loaded.keys() - wanted.keys())]
    problems += [
        f"{key} has shape {tuple(loaded[key].shape)}, the model needs {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & loaded.keys())
        if loaded[key].shape != wanted[key].shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{path}: weights of another architecture than the settings: {problems[0]}{more}")
    model.load_state_dict({key: tensor.to(wanted[key].dtype) for key, tensor in loaded.items()})


def export(checkpoint: Path, out: Path, dtype: str) -> None:
    """Write the model of a training checkpoint as safetensors, without optimiser and hooks.

    The averaged weights (`average_decay`) are taken where the run kept them.

    checkpoint: a run's .pth file, or its folder, of which the best checkpoint is taken.
    dtype: "float16" (half the size, for shipping) or "float32".
    Raises UserError when there is no checkpoint or `dtype` is unknown.
    """
    if dtype not in DTYPES:
        raise UserError(f"--dtype expects one of {', '.join(DTYPES)}, got {dtype!r}")
    path = _checkpoint_in(checkpoint)
    loaded = CellCheckpointer(nn.Module(), save_to_disk=False)._load_file(str(path))
    tensors = loaded["model"] | loaded.get("average", {}).get("parameters", {})
    with atomic_path(out) as temporary:
        save_file({key: _as_dtype(tensor, DTYPES[dtype]) for key, tensor in tensors.items()}, temporary)


#: Which checkpoint of a run is exported: the first of these that is there.
_EXPORTED = (f"{BEST}.pth", f"{LAST_AVERAGE}.pth", "model_final.pth")


def _checkpoint_in(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in _EXPORTED if (path / name).is_file()]
        if not found:
            raise UserError(
                f"{path}: expected {', '.join(_EXPORTED[:-1])} or {_EXPORTED[-1]} of a finished training in this folder"
            )
        return found[0]
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    return path


def _as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor.contiguous()
