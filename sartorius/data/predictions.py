"""The prediction cache: one folder per source, in it one `.npz` per image and one `manifest.json`.

`<root>/<member>/<view>/{manifest.json, <image_id>.npz}`. A fused result is one such folder too. Nothing is pickled.
"""

import json
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sartorius import coco_counts
from sartorius.cells import Cells
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.rle import CocoRle

MANIFEST = "manifest.json"
#: Raised when what the files hold changes; other versions are refused.
CACHE_VERSION = 1

#: What numpy and zipfile raise for archives that are cut short, changed or not theirs.
_DAMAGE = (
    ValueError, TypeError, KeyError, EOFError, OSError, OverflowError, NotImplementedError, RuntimeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_PACKED = ("cache_version", "image_id", "size_hw", "counts", "offsets")
_COLUMNS = ("scores", "cell_types", "sources")
_SOFT_COLUMNS = ("soft_masks", "soft_boxes_xyxy")
#: Tells the image from which predictions were made; files of other cells, and older ones, lack it.
_PICTURE = "picture"
#: A column without meaning: NumPy before 2.2 took the argument of this name for one.
_STRAY = "allow_pickle"


class PredictionManifest(BaseModel):
    """Where the predictions of one folder come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="`member/view`, or the name of a fused result.")
    model: str = Field(default="", description="The model's settings file; empty for a fused result.")
    view: str = Field(default="", description="Name of the test-time view; empty for a fused result.")
    config: dict[str, Any] = Field(default_factory=dict, description="The merged settings as plain values.")
    package_version: str = Field(description="Version of sartorius that wrote the folder.")
    weights_sha256: str = Field(
        default="", description="SHA-256 of the model's weights; empty for a fused result."
    )
    fused_from: tuple[str, ...] = Field(
        default=(), description="The sources of a fused result, in ascending order."
    )
    cache_version: int = Field(default=CACHE_VERSION, description="Version of the file format.")


class CachedPrediction(NamedTuple):
    """The cells of one image, and the `pixel_hash` of the image they were found in; "" if the file does not tell."""

    cells: Cells
    picture: str


def prediction_path(folder: Path, image_id: str) -> Path:
    """The file that holds the cells of one image in a folder of predictions."""
    return folder / f"{image_id}.npz"


def write_cells(path: Path, cells: Cells, picture: str = "") -> None:
    """Write the cells of one image, whole or not at all; an image without cells gets a file as well.

    picture: `pixel_hash` of the image that a model was shown, by which `read_picture` tells another one of its name.
    """
    counts = [mask.counts for mask in cells.masks]
    arrays: dict[str, Any] = {
        "cache_version": np.array(CACHE_VERSION),
        "image_id": np.array(cells.image_id),
        "size_hw": np.array(cells.size_hw, dtype=np.int64),
        "counts": np.frombuffer(b"".join(counts), dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, counts)], dtype=np.int64),
        **{name: getattr(cells, name) for name in _COLUMNS},
    }
    if cells.soft_masks is not None:
        arrays |= {name: getattr(cells, name) for name in _SOFT_COLUMNS}
    if picture:
        arrays[_PICTURE] = np.array(picture)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_cells(path: Path) -> Cells:
    """The cells of one image as `write_cells` left them.

    Raises UserError naming the file if it is missing, damaged, of another format, or its columns do not agree.
    """
    return _read(path).cells


def _read(path: Path) -> CachedPrediction:
    """What a file holds; raises UserError as `read_cells`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return CachedPrediction(_cells(arrays), _picture(arrays))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of predictions; predict this image first") from None
    except _DAMAGE as error:
        raise UserError(
            f"{path}: expected cached predictions of one image, got a damaged or foreign file "
            f"({type(error).__name__}: {error}); delete it and predict again"
        ) from None


def read_picture(path: Path) -> str:
    """The hash of the image that a file of predictions was made from; "" if it does not tell, or is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _picture(arrays)
    except _DAMAGE:
        return ""


def write_manifest(folder: Path, manifest: PredictionManifest) -> None:
    """Write `manifest.json` into a folder of predictions."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False, sort_keys=True)
    with atomic_path(folder / MANIFEST) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> PredictionManifest:
    """The manifest of a folder of predictions; raises UserError if it is missing, damaged or of another version."""
    path = folder / MANIFEST
    try:
        manifest = PredictionManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: expected a folder of predictions with {MANIFEST}, found none") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected the JSON of a folder of predictions: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path}: expected the manifest of a folder of predictions: {where} {first['msg']}"
        ) from None
    if manifest.cache_version != CACHE_VERSION:
        raise UserError(
            f"{path}: expected cache version {CACHE_VERSION}, got {manifest.cache_version}; predict again"
        )
    return manifest


def list_predictions(folder: Path) -> dict[str, Path]:
    """The prediction file of every image of one folder, by image id in ascending order; none is allowed.

    Raises UserError if the folder has no manifest.
    """
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder}: expected a folder of predictions with {MANIFEST}, found none")
    paths = (path for path in folder.glob("*.npz") if not path.name.startswith("."))
    return dict(sorted((path.stem, path) for path in paths))


def read_prediction_folder(folder: Path) -> dict[str, Cells]:
    """The cells of every image of one folder, by image id in ascending order.

    Raises UserError if the folder has no manifest, or a file is damaged or named after another image.
    """
    return {image_id: read_prediction(folder, image_id).cells for image_id in list_predictions(folder)}


def read_prediction(folder: Path, image_id: str) -> CachedPrediction:
    """The cells of one image of a folder, and which image of that name they were found in.

    Raises UserError if the file is missing, damaged or named after another image.
    """
    path = prediction_path(folder, image_id)
    found = _read(path)
    if found.cells.image_id != image_id:
        raise UserError(
            f"{path}: the name says image {image_id}, the file holds {found.cells.image_id}; delete it and predict again"
        )
    return found


def _cells(arrays: Any) -> Cells:
    """Raises ValueError, TypeError or KeyError if the arrays are not those of `write_cells`."""
    if not isinstance(arrays, np.lib.npyio.NpzFile) or int(arrays["cache_version"]) != CACHE_VERSION:
        raise ValueError(f"not version {CACHE_VERSION} of the prediction cache")
    soft_columns = tuple(sorted(set(arrays.files) - {*_PACKED, _PICTURE, _STRAY, *_COLUMNS}))
    if soft_columns not in ((), tuple(sorted(_SOFT_COLUMNS))):
        raise ValueError(f"unknown or missing columns beside {', '.join(soft_columns)}")
    height, width = (int(side) for side in arrays["size_hw"])
    if min(height, width) < 1:
        raise ValueError(f"an image of {height} x {width} px")
    counts, offsets = arrays["counts"].tobytes(), arrays["offsets"]
    ascending = len(offsets) > 0 and offsets[0] == 0 and bool(np.all(np.diff(offsets) > 0))
    if not ascending or offsets[-1] != len(counts):
        raise ValueError("offsets do not fit the counts of the masks")
    texts = [counts[start:end] for start, end in pairwise(offsets.tolist())]
    coco_counts.unpacked(texts, np.full(len(texts), height * width))  # raises ValueError
    return Cells(
        image_id=str(arrays["image_id"]),
        size_hw=(height, width),
        masks=tuple(CocoRle((height, width), text) for text in texts),
        **{name: arrays[name] for name in (*_COLUMNS, *soft_columns)},
    )


def _picture(arrays: Any) -> str:
    """The hash of the image; "" if the arrays do not tell."""
    return str(arrays[_PICTURE]) if _PICTURE in arrays else ""
