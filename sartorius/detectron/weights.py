"""Weights in and out: checkpoints to go on from, safetensors to ship."""

import io
import json
import pickle
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sartorius.data.leakage import TRAINED_ON, read_trained_on
from sartorius.detectron.int8 import Ranges
from sartorius.detectron.stored_bytes import HOW, from_bytes, to_bytes
from sartorius.detectron.weight_types import CELL_TYPES, types_of
from sartorius.errors import UserError
from sartorius.experiment import LAST_CHECKPOINT
from sartorius.files import atomic_path, refuse_input, require_suffix

#: Names of checkpoints: the best by the validation metric, and the mean of the last ones (`swa_checkpoints`).
BEST, LAST_AVERAGE = "model_best", "model_swa"

#: Under which name an exported file has the ranges of its network's layers.
RANGES = "activation_ranges"

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
    """detectron2's checkpointer that reads no code: model-zoo pickles hold arrays only, checkpoints tensors only.

    What it writes is there as a whole or not at all, also when the process is killed. A run goes on from its last
    periodic checkpoint; the best one and the mean of the last ones are not taken for it.
    """

    def save(self, name: str, **facts: Any) -> None:
        """Write `<name>.pth` with the model and everything that is checkpointed with it."""
        if not self.save_to_disk:
            return
        parts = {key: part.state_dict() for key, part in self.checkpointables.items()}
        self.logger.info("Saving checkpoint %s", name)
        with atomic_path(Path(self.save_dir) / f"{name}.pth") as temporary:
            _save({"model": self.model.state_dict()} | parts | facts, temporary)
        if name not in (BEST, LAST_AVERAGE):
            self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint from which the run goes on."""
        with atomic_path(Path(self.save_dir) / LAST_CHECKPOINT) as temporary:
            temporary.write_text(last_filename_basename, encoding="utf-8")

    def _load_file(self, filename: str) -> Any:
        path = Path(PathManager.get_local_path(filename))
        try:
            if path.suffix == ".safetensors":
                return {"model": from_bytes(load_file(path), path), "matching_heuristics": True}
            if path.suffix == ".pkl":
                loaded = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
                return loaded if "model" in loaded else {"model": loaded, "matching_heuristics": True}
            loaded = _load_tensors(path)
            if "layer1.0.conv1.weight" in loaded:
                return {"model": renamed_from_torchvision(loaded)}
            return loaded if "model" in loaded else {"model": loaded}
        except (OSError, UserError):
            raise
        except Exception as error:
            raise UserError(
                f"{path}: expected .safetensors, a detectron2 .pkl or a .pth checkpoint, this file cannot be read: "
                f"{reason(error)}"
            ) from None


def _load_tensors(path: Path) -> Any:
    """What a .pth holds; raises UnpicklingError without torch's advice to let the file run its code."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise pickle.UnpicklingError("it is no checkpoint, or holds more than tensors") from None


def _save(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint; raises OSError if it cannot be written, of which torch makes a fault of its own."""
    try:
        with path.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


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


def read_weights(path: Path | str) -> dict[str, Any]:
    """What a weights file holds, with the averaged weights (`average_decay`) as its `model` where the run kept them.

    path: a file, or an address of detectron2's model zoo.
    Raises UserError if it cannot be read, holds anything else, or a weight is infinite or no number.
    """
    loaded = CellCheckpointer(nn.Module(), save_to_disk=False)._load_file(str(path))
    _require_tensors(path, loaded["model"])
    found = loaded["model"] | loaded.get("average", {}).get("parameters", {})
    weights = {name: torch.as_tensor(values) for name, values in found.items()}
    broken = [name for name, values in weights.items() if not values.isfinite().all()]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UserError(
            f"{path}: expected finite weights, got others in {broken[0]}{more}: the training diverged, or they did not fit "
            "into the number format that they were stored in; export them again"
        )
    return loaded | {"model": weights}


def _require_tensors(path: Path | str, found: object) -> None:
    other = [] if isinstance(found, Mapping) else [f"a {type(found).__name__}"]
    if isinstance(found, Mapping):
        for name, values in found.items():
            if not isinstance(values, Tensor | np.ndarray):
                other.append(f"a {type(values).__name__} named {name}")
    if other:
        raise UserError(
            f"{path}: expected a network's tensors by name, alone or under `model`, got {other[0]}"
        )


def load_trained(model: nn.Module, path: Path) -> None:
    """Put the weights of exactly this architecture into a model.

    Raises UserError when the file is missing or unreadable, or one tensor is missing, extra or of another shape.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such weights file; train the model first or correct `weights` in the ensemble file"
        )
    loaded = read_weights(path)["model"]
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


def read_ranges(weights: Path) -> Ranges:
    """The ranges of a network's layers that lie in a weights file; raises UserError if it has none."""
    stored = _stored_ranges(weights)
    if stored is None:
        raise UserError(
            f"{weights}: `cpu_convolutions: int8` needs weights that were exported with --calibrate; export them so, or "
            "set `cpu_convolutions: float32`"
        )
    return {name: (low, high) for name, (low, high) in json.loads(stored).items()}


def _stored_ranges(weights: Path) -> str | None:
    """The ranges of a network's layers as a weights file has them; None if it has none."""
    if weights.suffix != ".safetensors":
        return None
    with safe_open(weights, "pt") as opened:
        return (opened.metadata() or {}).get(RANGES)


def export(
    checkpoint: Path, out: Path, dtype: str, calibrate: Callable[[Path], Ranges] | None = None
) -> None:
    """Write the model of a training checkpoint as safetensors, without optimiser and hooks.

    The list of images that the run was trained on goes with it: without it no training could refuse them as validation.

    checkpoint: a run's .pth file, or its folder, of which the best checkpoint is taken.
    dtype: "float16" (half the size, for shipping), "float32", or "int8" (a quarter; small tensors stay float32).
    calibrate: finds the layers' ranges for `cpu_convolutions: int8`, given the checkpoint's file; without it, those that
        an exported file has stay.
    Raises UserError when there is no checkpoint, `dtype` is unknown, `out` is the checkpoint or no .safetensors file, or
    the list in its folder is that of other weights.
    """
    if dtype not in _STORED:
        raise UserError(f"--dtype expects one of {', '.join(_STORED)}, got {dtype!r}")
    require_suffix(out, (".safetensors",), "weights file")
    path = _checkpoint_in(checkpoint)
    refuse_input(out, [path])
    _refuse_list_of_others(path, out)
    tensors = _STORED[dtype](read_weights(path)["model"])
    metadata = dict(HOW) if dtype == "int8" else {}
    ranges = json.dumps(calibrate(path), sort_keys=True) if calibrate else _stored_ranges(path)
    if ranges is not None:
        metadata[RANGES] = ranges
    if types := types_of(path):
        metadata[CELL_TYPES] = json.dumps(types)
    with atomic_path(out) as temporary:
        temporary.write_bytes(save(tensors, metadata))  # an error of Python's own, where the disk is full
    seen, beside = path.parent / TRAINED_ON, out.parent / TRAINED_ON
    if seen.is_file() and seen.resolve() != beside.resolve():
        with atomic_path(beside) as temporary:
            temporary.write_bytes(seen.read_bytes())


def _refuse_list_of_others(checkpoint: Path, out: Path) -> None:
    """Raise UserError if the images trained on that are listed beside `out` are those of other weights there."""
    listed, seen = read_trained_on(out), read_trained_on(checkpoint)
    others = [path for path in out.parent.glob("[!.]*") if path.suffix in _WEIGHTS and path.name != out.name]
    if listed and listed != seen and (others or not seen):
        raise UserError(
            f"{out.parent / TRAINED_ON}: lists the images that other weights in this folder were trained on, not those of "
            f"{checkpoint}; choose another folder for {out.name}"
        )


#: Endings of files with weights.
_WEIGHTS = (".safetensors", ".pth", ".pkl")

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


def _as_dtype(dtype: torch.dtype, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in a number format; those with a number beyond its range, as variances of norms may have, stay as they are."""
    return {
        name: (tensor.to(dtype) if _fits(tensor, dtype) else tensor).contiguous()
        for name, tensor in tensors.items()
    }


def _fits(tensor: Tensor, dtype: torch.dtype) -> bool:
    return tensor.is_floating_point() and bool((tensor.abs() <= torch.finfo(dtype).max).all())


#: What is written for each `--dtype`.
_STORED: Mapping[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "float16": partial(_as_dtype, torch.float16),
    "float32": partial(_as_dtype, torch.float32),
    "int8": to_bytes,
}
