"""Label images: 0 is background, every cell has a number of its own; one file per image, or one per image and type."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.measure import label

from sartorius.cells import UNKNOWN_CELL_TYPE, Cells
from sartorius.data.images import IMAGE_SUFFIXES
from sartorius.errors import UserError
from sartorius.files import atomic_path, require_utf8_name
from sartorius.formats.known import Known
from sartorius.formats.label_numbers import read_numbers
from sartorius.formats.label_table import TABLE, LabelRow, read_table, require_rows, write_table
from sartorius.line_runs import Ints, LineRuns
from sartorius.rle import CocoRle, cocos_from_runs, crops_from_cocos

Labels = NDArray[Any]

#: Names of label files that tell no cell type, and of what else lies beside them.
_UNTYPED = ("label", "labels", "mask", "masks", "instances", "segmentation")
_NO_LABELS = ("image", "img", "raw")
#: The most that a 16-bit PNG can tell apart.
_MOST_PNG_LABELS = 2**16 - 1
#: A label with more parts than this, on average, is no cell but a grey value.
_MOST_PARTS = 10
#: So are many labels of which more than this share lies in several parts, if parts have so few pixels on average:
#: pictures of many grey values have 1 to 6 px and shares from 0.4, annotated cells 80 px and more and shares up to 0.2.
_LEAST_PART_PX, _LEAST_LABELS, _MOST_IN_PARTS = 10, 50, 0.25
SOURCE = "labels"


class _LabelFile(NamedTuple):
    image_id: str
    cell_type: str
    path: Path


class _Cell(NamedTuple):
    label: int
    mask: CocoRle
    cell_type: str


class _Labelled(NamedTuple):
    """The cells that the label files of one image hold."""

    size_hw: tuple[int, int]
    cells: list[_Cell]


def read_labels(path: Path, known: Known) -> dict[str, Cells]:
    """The cells of label images by image id, in the order of their labels.

    path: one label image; or a folder of `<image id>.tif` or `.png`, whose own folders are passed over; or a folder
        with a folder for each image, in it `labels.tif`, or one file for each cell type named after it (`class1.tif`,
        `class2.tif` …).
    Types, scores and sources are those of `labels.csv` in the folder, if it is there; otherwise the type is the
    file's name where that tells one and "unknown" where not, and the score 1.
    Raises UserError naming the file that is no label image or whose name is not UTF-8, or a table that lacks one of
    the labels.
    """
    files = list(_label_files(path))
    if not files:
        raise UserError(f"{path}: expected label images, PNG or TIFF, found none")
    of_image: dict[str, list[_LabelFile]] = {}
    for file in files:
        of_image.setdefault(file.image_id, []).append(file)
    table = read_table(path / TABLE) if (path / TABLE).is_file() else None
    found = {image_id: _read_image(of_files, table is not None) for image_id, of_files in of_image.items()}
    if table is not None:
        labels = {(name, cell.label) for name, labelled in found.items() for cell in labelled.cells}
        require_rows(path / TABLE, table, labels)
    return {image_id: _cells(image_id, labelled, table) for image_id, labelled in found.items()}


def write_labels(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """Write `<path>/<image id>.tif` for each image, and `labels.csv` with types, scores and sources.

    Labels count from 1 in the order of the cells. A pixel that cells share goes to the surest.
    """
    for image_id, cells in found.items():
        _write_image(path / f"{image_id}.tif", drawn_labels(cells))
    write_table(path / TABLE, found)


def write_png_labels(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """As `write_labels`, but PNG; raises UserError if an image has more cells than fit into 16 bits."""
    for image_id, cells in found.items():
        if len(cells) > _MOST_PNG_LABELS:
            raise UserError(
                f"image {image_id} has {len(cells)} cells, a PNG tells {_MOST_PNG_LABELS} apart; write TIFF"
            )
        _write_image(path / f"{image_id}.png", drawn_labels(cells))
    write_table(path / TABLE, found)


def write_labels_by_type(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """Write `<path>/<image id>/<cell type>.tif` for each type that occurs anywhere, and `labels.csv`.

    Labels count from 1 through all cells of an image. A pixel that cells of one type share goes to the surest.
    Raises UserError if a type is called as what lies beside label images and is not read, or several as label images
    that tell no type.
    """
    types = sorted({str(name) for cells in found.values() for name in cells.cell_types})
    for name in types:
        if name.lower() in _NO_LABELS or name.startswith("."):
            raise UserError(
                f"the cell type {name!r} would be the name of a label image, but files of this name are not read as "
                "such; rename the type, or write `labels`"
            )
    untold = [repr(name) for name in types if _told_type(name) == UNKNOWN_CELL_TYPE]
    if len(untold) > 1:
        raise UserError(
            f"the cell types {', '.join(untold)} would be names of label images that tell no type, of which an image may "
            "have one; rename all but one type, or write `labels`"
        )
    for image_id, cells in found.items():
        for name in types or [_UNTYPED[0]]:
            _write_image(path / image_id / f"{name}.tif", drawn_labels(cells, name))
    write_table(path / TABLE, found)


def drawn_labels(cells: Cells, cell_type: str | None = None) -> NDArray[np.uint32]:
    """One label image of the cells: row number + 1 in each cell's pixels, 0 elsewhere.

    cell_type: only cells of this type are drawn. A pixel that cells share goes to the surest, the first if even.
    """
    labels = np.zeros(cells.size_hw, dtype=np.uint32)
    crops = crops_from_cocos(cells.masks)
    for row in np.argsort(-cells.scores, kind="stable")[::-1].tolist():
        if cell_type is None or cells.cell_types[row] == cell_type:
            top, left, pixels = crops[row]
            labels[top : top + pixels.shape[0], left : left + pixels.shape[1]][pixels] = row + 1
    return labels


def _label_files(path: Path) -> Iterator[_LabelFile]:
    first: dict[tuple[str, str], Path] = {}
    files = _files_of_folder(path) if path.is_dir() else [_LabelFile(path.stem, UNKNOWN_CELL_TYPE, path)]
    for file in files:
        require_utf8_name(file.path)
        other = first.setdefault((file.image_id, file.cell_type), file.path)
        if other != file.path:
            raise UserError(
                f"{file.path}: holds the same cells' labels as {other}; expected one file of them"
            )
        yield file


def _files_of_folder(path: Path) -> Iterator[_LabelFile]:
    entries = sorted(path.iterdir())
    images = list(filter(_is_image, entries))
    for image in images:
        yield _LabelFile(image.stem, UNKNOWN_CELL_TYPE, image)
    for folder in filter(Path.is_dir, [] if images else entries):
        for file in filter(_is_image, sorted(folder.iterdir())):
            if file.stem.lower() not in _NO_LABELS:
                yield _LabelFile(folder.name, _told_type(file.stem), file)


def _told_type(name: str) -> str:
    """The type of the cells in a label image of this name."""
    return UNKNOWN_CELL_TYPE if name.lower() in _UNTYPED else name


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _read_image(files: Sequence[_LabelFile], listed: bool) -> _Labelled:
    """The cells of the label files of one image; listed: a table tells the labels, so that no photograph passes."""
    cells: list[_Cell] = []
    size_hw: tuple[int, int] | None = None
    for file in files:
        labels = _read_label_image(file.path)
        if not listed:
            _refuse_photograph(file.path, labels)
        if size_hw not in (None, labels.shape):
            raise UserError(
                f"{file.path}: has height and width {labels.shape}, expected {size_hw} as {files[0].path}"
            )
        size_hw = (labels.shape[0], labels.shape[1])
        cells += [_Cell(number, mask, file.cell_type) for number, mask in _masks(labels).items()]
    assert size_hw is not None
    return _Labelled(size_hw, cells)


def _cells(image_id: str, labelled: _Labelled, table: Mapping[tuple[str, int], LabelRow] | None) -> Cells:
    """The cells of one image as a record; table: None if there is none, otherwise it has a row for each of them."""
    cells = labelled.cells if table is None else sorted(labelled.cells, key=lambda cell: cell.label)
    facts = [
        LabelRow(cell.cell_type, 1.0, SOURCE) if table is None else table[image_id, cell.label]
        for cell in cells
    ]
    return Cells(
        image_id=image_id,
        size_hw=labelled.size_hw,
        masks=tuple(cell.mask for cell in cells),
        scores=np.array([row.score for row in facts], dtype=np.float32),
        cell_types=np.array([row.cell_type for row in facts], dtype=np.str_),
        sources=np.array([row.source for row in facts], dtype=np.str_),
    )


def _read_label_image(path: Path) -> Labels:
    """Whole numbers from 0 in the file's number type; raises UserError if there are others."""
    stored = read_numbers(path)
    if stored.dtype.kind == "f" and not np.array_equal(stored, np.rint(stored)):
        raise UserError(
            f"{path}: expected a label image of whole numbers, got fractions up to {stored.max():g}"
        )
    if stored.min() < 0:
        raise UserError(f"{path}: expected labels from 0 (background), got {stored.min():g}")
    return stored


def _refuse_photograph(path: Path, labels: Labels) -> None:
    """Raise UserError if the labels lie in more pieces than cells do."""
    covered_px = int(np.count_nonzero(labels))
    # Each part has a top, and counting parts takes far more memory.
    if not _is_scattered(_tops(labels), covered_px):
        return
    parts = _parts(labels)
    if _is_scattered(parts, covered_px):
        raise UserError(
            f"{path}: expected a label image with a number for each cell, but its {len(parts)} numbers lie in "
            f"{parts.sum()} separate pieces, as in a photograph"
        )


def _is_scattered(parts: Ints, covered_px: int) -> bool:
    """Whether labels that lie in so many parts each, on so many pixels in all, are grey values."""
    several, many = np.count_nonzero(parts > 1), parts.sum()
    is_dust = len(parts) >= _LEAST_LABELS and covered_px < _LEAST_PART_PX * many
    return bool(many > _MOST_PARTS * len(parts) or (is_dust and several > _MOST_IN_PARTS * len(parts)))


def _parts(labels: Labels) -> Ints:
    """In how many parts each label lies."""
    parts = label(labels, connectivity=2)
    label_of_part = np.zeros(parts.max() + 1, labels.dtype)
    label_of_part[parts] = labels
    return np.unique(label_of_part[1:], return_counts=True)[1]


def _tops(labels: Labels) -> Ints:
    """How many runs along the rows of each label touch none of its pixels a row higher."""
    starts = _run_starts(labels)
    hangs = np.zeros(labels.shape, dtype=np.bool_)
    np.equal(labels[1:], labels[:-1], out=hangs[1:])
    hangs[1:, 1:] |= labels[1:, 1:] == labels[:-1, :-1]
    hangs[1:, :-1] |= labels[1:, :-1] == labels[:-1, 1:]
    numbers = labels.ravel()[starts]
    is_top = ~np.logical_or.reduceat(hangs.ravel(), starts)
    return np.unique(numbers[is_top & (numbers > 0)], return_counts=True)[1]


def _run_starts(labels: Labels) -> Ints:
    """The first pixel of each run of one number along a row, counted from 0 through all rows."""
    begins = np.ones(labels.shape, dtype=np.bool_)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    return np.flatnonzero(begins)


def _masks(labels: Labels) -> dict[int, CocoRle]:
    """The mask of each label, by label in ascending order."""
    starts = _run_starts(labels)
    lengths = np.diff(starts, append=labels.size)
    numbers = labels.ravel()[starts].astype(np.int64)
    is_cell = numbers > 0
    found, masks = np.unique(numbers[is_cell], return_inverse=True)
    order = np.argsort(masks, kind="stable")
    runs = LineRuns(masks[order], starts[is_cell][order], lengths[is_cell][order])
    sizes_hw = [(labels.shape[0], labels.shape[1])] * len(found)
    return dict(zip(found.tolist(), cocos_from_runs(runs, sizes_hw), strict=True))


def _write_image(path: Path, labels: NDArray[np.uint32]) -> None:
    """16 bits where they are enough, which more programs read."""
    small = labels.astype(np.uint16) if labels.max(initial=0) < 2**16 else labels
    with atomic_path(path) as temporary:
        if path.suffix == ".png":
            temporary.write_bytes(cv2.imencode(".png", small)[1].tobytes())
        else:
            tifffile.imwrite(temporary, small, compression="zlib", photometric="minisblack")
