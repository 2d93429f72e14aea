"""Weights in and out: backbone weights to start from, checkpoints to go on from, safetensors to ship."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sartorius.detectron.settings import MODEL_ZOO
from sartorius.errors import UserError
from sartorius.files import atomic_path

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
            return loaded if "model" in loaded else {"model": loaded}
        except OSError:
            raise
        except Exception as error:
            raise UserError(
                f"{path}: expected .safetensors, a detectron2 .pkl or a .pth checkpoint: {error}"
            ) from None


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _PICKLE_NAMES:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed in a weights file")
        return super().find_class(module_name, global_name)


def load_initial(model: nn.Module, backbone: str, weights: Path | None) -> str:
    """Put pretrained weights into a model that will be trained; returns where they came from.

    weights: a file, or None for the backbone's ImageNet weights from detectron2's model zoo. Heads that the file
        lacks, or has for other classes, keep their random start.
    Raises UserError when the file does not exist, cannot be downloaded or fits nothing of the backbone.
    """
    source = MODEL_ZOO[backbone] if weights is None else str(weights)
    if source is None:
        raise UserError(
            f"no ImageNet weights of {backbone} can be downloaded; pass a file with --weights FILE, "
            "or --weights random to start from nothing"
        )
    if weights is not None and not weights.is_file():
        raise UserError(f"{weights}: no such weights file (--weights)")
    try:
        checkpointer = CellCheckpointer(model, save_to_disk=False)
        incompatible = checkpointer._load_model(checkpointer._load_file(source))
    except UserError:
        raise
    except Exception as error:
        if weights is not None:
            raise UserError(f"{weights}: these weights cannot be read: {error}") from None
        raise UserError(
            f"{source} cannot be downloaded ({type(error).__name__}); fetch the file of that name from detectron2's "
            "model zoo on a machine with internet and pass it with --weights FILE"
        ) from None
    _require_backbone(model, source, incompatible)
    return source


def _require_backbone(model: nn.Module, source: str, incompatible: Any) -> None:
    wanted = {key for key in model.state_dict() if key.startswith("backbone.bottom_up.")}
    wrong = {entry[0] for entry in incompatible.incorrect_shapes} & wanted
    missing = (set(incompatible.missing_keys) & wanted) | wrong
    if missing:
        raise UserError(
            f"{source}: weights of another architecture: {len(missing)} of {len(wanted)} backbone tensors are "
            f"missing or have another shape, the first is {min(missing)}; `backbone` in the settings must match"
        )


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


def _checkpoint_in(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in ("model_best.pth", "model_final.pth") if (path / name).is_file()]
        if not found:
            raise UserError(
                f"{path}: expected model_best.pth or model_final.pth of a finished training in this folder"
            )
        return found[0]
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    return path


def _as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor.contiguous()
