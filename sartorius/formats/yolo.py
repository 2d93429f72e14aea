"""YOLO segmentation text: one file per image, one line per cell, its outline as fractions of width and height."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import yaml

from sartorius.cells import CELL_TYPES, Cells
from sartorius.csv_rows import text_fault
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.formats.coco_fields import type_numbers
from sartorius.formats.known import Known, size_of
from sartorius.formats.rings import Ring, masks_of_outlines, one_ring, parts_of_masks

#: Names the classes of a data set.
DATA_FILE = "data.yaml"
SOURCE = "yolo"
_WHAT = "YOLO text"


def read_yolo(path: Path, known: Known) -> dict[str, Cells]:
    """The cells of YOLO segmentation files by image id, the file's name without ending.

    path: a `.txt` file, a folder of them, or a data set's folder with `labels/` (or `labels/<split>/`). The names in
        `data.yaml`, in that folder or at most two above `labels/`, are the cell types; without it they are the
        competition's types.
    known: the images, whose sizes the files do not tell. Images without a file are left out.
    A line is `class x1 y1 x2 y2 …`, with the score at its end where there is one. A pixel is cell if its centre lies
    inside the outline an odd number of times, so that an outline that runs to a hole and back keeps the hole.
    Raises UserError naming the line that is malformed, the image whose size is not known, or that has two files.
    """
    names = _class_names(path)
    found: dict[str, Cells] = {}
    files: dict[str, Path] = {}
    for file in _text_files(path):
        if file.stem in files:
            raise UserError(
                f"{file}: another file of this image is {files[file.stem]}; expected one for each"
            )
        files[file.stem] = file
        found[file.stem] = _read_file(file, size_of(file.stem, known, file, _WHAT), names)
    return found


def write_yolo(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """Write `<path>/labels/<image id>.txt` for each image and `<path>/data.yaml`.

    Holes and parts are joined to the outline by lines that run to and fro. Scores are written where one is not 1.
    Cells without pixels are left out.
    """
    numbers = type_numbers(found)
    scored = any((cells.scores < 1).any() for cells in found.values())
    for image_id, cells in found.items():
        lines = []
        for row, parts in enumerate(parts_of_masks(cells.masks)):
            if parts:
                height, width = cells.size_hw
                fractions = (one_ring(parts) / (width, height)).ravel().tolist()
                score = [repr(float(cells.scores[row]))] if scored else []
                points = [f"{number:.7g}" for number in fractions]
                lines.append(" ".join([str(numbers[str(cells.cell_types[row])] - 1), *points, *score]))
        with atomic_path(path / "labels" / f"{image_id}.txt") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    names = {number - 1: name for name, number in numbers.items()}
    with atomic_path(path / DATA_FILE) as temporary:
        temporary.write_text(yaml.safe_dump({"path": ".", "names": names}, sort_keys=False), encoding="utf-8")


def is_yolo(path: Path, image_ids: Collection[str]) -> bool:
    """Whether a folder holds YOLO's text files; beside images, other text such as a README is none.

    image_ids: the images in the folder. With none, any text is taken for YOLO's.
    """
    files = path.glob("*.txt")
    return (path / "labels").is_dir() or any(
        not image_ids or _begins_as_yolo(file, image_ids) for file in files
    )


def _begins_as_yolo(file: Path, image_ids: Collection[str]) -> bool:
    """Whether a text begins with a class and numbers, a box at least, or is empty, as for an image without cells."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        words = stream.readline().split()
    try:
        return len([float(word) for word in words]) >= 5 or (not words and file.stem in image_ids)
    except ValueError:
        return False


def _text_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    folder = _text_folder(path)
    files = sorted(file for file in folder.rglob("*.txt") if not file.name.startswith("."))
    if not files:
        raise UserError(f"{folder}: expected YOLO text files (.txt), found none")
    return files


def _text_folder(path: Path) -> Path:
    if path.is_file():
        return path.parent
    return path / "labels" if (path / "labels").is_dir() else path


def _data_file(path: Path) -> Path | None:
    """The nearest `data.yaml`: beside the text files or, if they are in `labels` or a split of it, up to two above."""
    folder = _text_folder(path).absolute()
    above = folder.parents[:2] if "labels" in (folder.name, folder.parent.name) else ()
    return next((place / DATA_FILE for place in (folder, *above) if (place / DATA_FILE).is_file()), None)


def _class_names(path: Path) -> dict[int, str]:
    file = _data_file(path)
    if file is None:
        return dict(enumerate(CELL_TYPES))
    try:
        names = yaml.safe_load(file.read_text(encoding="utf-8"))["names"]
        if not isinstance(names, dict | list):
            raise TypeError(f"a list or a mapping by number, got {names!r}")
        return {
            int(number): str(name)
            for number, name in (names if isinstance(names, dict) else dict(enumerate(names))).items()
        }
    except (yaml.YAMLError, KeyError, TypeError, ValueError, OverflowError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: expected `names` with the name of each class: {error}") from None


def _read_file(path: Path, size_hw: tuple[int, int], names: Mapping[int, str]) -> Cells:
    rings: list[list[Ring]] = []
    places, types, scores = [], [], []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        kind, points, score = _parsed(where, line)
        if kind not in names:
            raise UserError(f"{where}: class {kind} has no name; known are {dict(names)}")
        places.append(where)
        rings.append([points * (size_hw[1], size_hw[0])])
        types.append(names[kind])
        scores.append(score)
    return Cells(
        image_id=path.stem,
        size_hw=size_hw,
        masks=tuple(masks_of_outlines(places, rings, size_hw)),
        scores=np.array(scores, dtype=np.float32),
        cell_types=np.array(types, dtype=np.str_),
        sources=np.full(len(rings), SOURCE),
    )


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    fault = text_fault(data)
    if fault:
        raise UserError(f"{path}, {fault}")
    return data.decode("utf-8-sig").splitlines()


def _parsed(where: str, line: str) -> tuple[int, Ring, float]:
    """Class, points as fractions (K, 2), score."""
    try:
        kind, *numbers = [float(token) for token in line.split()]
        has_score = len(numbers) % 2 == 1
        score = numbers.pop() if has_score else 1.0
        points = np.array(numbers).reshape(-1, 2)
    except ValueError as error:
        raise UserError(f"{where}: expected `class x1 y1 x2 y2 … [score]`: {error}") from None
    if not kind.is_integer():
        raise UserError(f"{where}: expected the whole number of a class first, got {kind:g}")
    if len(points) < 3:
        raise UserError(
            f"{where}: expected a class and at least 3 points, got {len(points)}; boxes are no outlines"
        )
    if not (np.isfinite(points).all() and (points > -0.5).all() and (points < 1.5).all() and 0 <= score <= 1):
        raise UserError(f"{where}: expected fractions of width and height and a score, all from 0 to 1")
    return int(kind), points, score
