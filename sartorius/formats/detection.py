"""Which format a file or folder of cells is in, told from its name and how it begins."""

from pathlib import Path
from typing import Any, Literal, get_args

from sartorius.data.images import IMAGE_SUFFIXES
from sartorius.data.predictions import MANIFEST
from sartorius.errors import UserError, did_you_mean
from sartorius.formats.coco import is_livecell
from sartorius.formats.json_files import read_json
from sartorius.formats.yolo import is_yolo

FormatName = Literal[
    "cells", "competition", "submission", "coco", "coco-results", "livecell", "labels", "labels-png",
    "labels-by-type", "yolo", "imagej", "geojson",
]  # fmt: skip


def as_format_name(text: str) -> FormatName:
    """The format of this name; raises UserError with the nearest name if there is none."""
    known: tuple[FormatName, ...] = get_args(FormatName)
    for name in known:
        if name == text:
            return name
    hint = did_you_mean(text, known)
    raise UserError(f"{text!r} is no known format of cells; expected one of {', '.join(known)}{hint}")


def detect_format(path: Path) -> FormatName:
    """The format of a file or folder of cells; raises UserError if it is none of the known ones."""
    found = _folder_format(path) if path.is_dir() else _file_format(path)
    if found is None:
        known = ", ".join(get_args(FormatName))
        raise UserError(f"{path}: expected cells in one of the formats {known}; this is none that is known")
    return found


def _folder_format(path: Path) -> FormatName | None:
    """The format that the folder's files are in; hidden ones tell nothing."""
    if (path / MANIFEST).is_file():
        return "cells"
    if any(path.glob("[!.]*.zip")):
        return "imagej"
    if any(path.glob("[!.]*.geojson")):
        return "geojson"
    entries = [*path.glob("[!.]*"), *path.glob("*/[!.]*")]
    image_ids = {entry.stem for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES}
    if is_yolo(path, image_ids):
        return "yolo"
    return "labels" if image_ids else None


def _file_format(path: Path) -> FormatName | None:
    by_ending: dict[str, FormatName] = {".zip": "imagej", ".geojson": "geojson", ".txt": "yolo"}
    by_ending |= dict.fromkeys(IMAGE_SUFFIXES, "labels")
    ending = path.suffix.lower()
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder of cells")
    if ending == ".csv":
        return _csv_format(path)
    if ending == ".json":
        return _json_format(read_json(path))
    return by_ending.get(ending)


def _csv_format(path: Path) -> FormatName:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        columns = stream.readline(1000)
    return "competition" if "annotation" in columns else "submission"


def _json_format(data: Any) -> FormatName | None:
    if isinstance(data, list):
        return "geojson" if data and isinstance(data[0], dict) and "geometry" in data[0] else "coco-results"
    if isinstance(data, dict) and data.get("type") in ("FeatureCollection", "Feature"):
        return "geojson"
    if isinstance(data, dict) and "images" in data and "annotations" in data:
        return "livecell" if is_livecell(data) else "coco"
    return None
