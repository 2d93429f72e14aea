"""The fields of COCO JSON: images, categories, and one cell of annotations or results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from sartorius.cells import Cells
from sartorius.coco_counts import unpacked
from sartorius.errors import UserError
from sartorius.formats.rings import require_outline
from sartorius.formats.scores import as_score
from sartorius.rle import CocoRle

#: What pycocotools raises for run lengths and polygons that are none.
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError)


class Image(NamedTuple):
    """An image of a COCO file by its number: its id, the name of its file without folder and ending, and its size."""

    image_id: str
    size_hw: tuple[int, int]


class Row(NamedTuple):
    """One cell of a COCO file."""

    mask: CocoRle
    score: float
    cell_type: str
    source: str


def images_of(path: Path, data: Any) -> dict[int | str, Image]:
    """The images of annotations by their number.

    Raises UserError if the file has no `images`, one lacks a field, or two have the same name or number.
    """
    images: dict[int | str, Image] = {}
    for entry in list_of(path, data, "images"):
        where = f"{path}: image {len(images) + 1}"
        number, name = number_field(where, entry, "id"), str(field(where, entry, "file_name"))
        height, width = field(where, entry, "height"), field(where, entry, "width")
        if not all(isinstance(side, int) and side > 0 for side in (height, width)):
            raise UserError(
                f"{where}: expected height and width in whole pixels, got {height!r} and {width!r}"
            )
        if number in images:
            raise UserError(f"{where}: the id {number!r} is taken by another image")
        stem = Path(name.replace("\\", "/")).stem  # Windows parts folders by backslashes
        images[number] = Image(stem, (height, width))
    ids = [image.image_id for image in images.values()]
    if len(set(ids)) < len(ids):
        twice = next(image_id for image_id in ids if ids.count(image_id) > 1)
        raise UserError(f"{path}: two images are called {twice!r}; rename the files of one")
    return images


def categories_of(path: Path, data: Any) -> dict[int | str, str]:
    """The name of each category by its number; raises UserError if the file has no `categories`."""
    entries = list_of(path, data, "categories")
    where = f"{path}: category"
    return {number_field(where, entry, "id"): str(field(where, entry, "name")) for entry in entries}


def list_of(path: Path, data: Any, key: str) -> list[Any]:
    """The entries of a list, or of a mapping by number as some of LIVECell's files have it.

    Raises UserError if the file is no COCO file with this list.
    """
    entries = data.get(key) if isinstance(data, Mapping) else None
    if isinstance(entries, Mapping):
        return list(entries.values())
    if not isinstance(entries, list):
        raise UserError(f"{path}: expected a COCO JSON file with the list `{key}`, found none")
    return entries


def field(where: str, entry: Any, key: str) -> Any:
    """The value of a field; raises UserError if it is not there."""
    if not isinstance(entry, Mapping) or key not in entry:
        raise UserError(f"{where}: expected the field `{key}`, found none")
    return entry[key]


def number_field(where: str, entry: Any, key: str) -> int | str:
    """The value of a field that numbers something; raises UserError if it is not there or neither number nor text."""
    value = field(where, entry, key)
    if not isinstance(value, int | str):
        raise UserError(f"{where}: expected a whole number in `{key}`, got {value!r}")
    return value


def row_of(where: str, entry: Any, size_hw: tuple[int, int], cell_type: str) -> Row:
    """One annotation or result of an image of this size; raises UserError if it is malformed."""
    score = as_score(where, entry.get("score", 1.0))
    mask = _mask(where, field(where, entry, "segmentation"), size_hw)
    return Row(mask, score, cell_type, str(entry.get("source", "truth")))


def cells_of(path: Path, image: Image, rows: Sequence[Row]) -> Cells:
    """The rows of one image as a record; raises UserError if a mask's run lengths do not cover the image."""
    try:
        unpacked([row.mask.counts for row in rows], np.full(len(rows), image.size_hw[0] * image.size_hw[1]))
    except _DAMAGE as error:
        raise UserError(
            f"{path}: image {image.image_id}: run lengths that do not cover it: {error}"
        ) from None
    return Cells(
        image_id=image.image_id,
        size_hw=image.size_hw,
        masks=tuple(row.mask for row in rows),
        scores=np.array([row.score for row in rows], dtype=np.float32),
        cell_types=np.array([row.cell_type for row in rows], dtype=np.str_),
        sources=np.array([row.source for row in rows], dtype=np.str_),
    )


def run_lengths(mask: CocoRle) -> dict[str, Any]:
    """A mask as COCO writes it: compressed run lengths as text."""
    return {"size": list(mask.size_hw), "counts": mask.counts.decode("ascii")}


def box_xywh(cells: Cells, row: int) -> list[float]:
    """The tight box of a cell as COCO writes it: left, top, width, height."""
    left, top, right, bottom = cells.boxes_xyxy[row].tolist()
    return [left, top, right - left, bottom - top]


def type_numbers(found: Mapping[str, Cells], first: Sequence[str] = ()) -> dict[str, int]:
    """A number from 1 for every cell type that occurs, those of `first` before others, these in order of their names."""
    there = {str(name) for cells in found.values() for name in cells.cell_types}
    return {name: number for number, name in enumerate([*first, *sorted(there - set(first))], start=1)}


def _mask(where: str, segmentation: Any, size_hw: tuple[int, int]) -> CocoRle:
    """Run lengths may be of no pixel, as ours of an empty cell are; polygons have to reach into the image."""
    try:
        if not isinstance(segmentation, Mapping):
            return _from_polygons(where, segmentation, size_hw)
        if list(segmentation["size"]) != list(size_hw):
            raise UserError(
                f"{where}: its mask is of an image of height and width {segmentation['size']}, the image has "
                f"{list(size_hw)}"
            )
        return _from_counts(segmentation["counts"], size_hw)
    except UserError:
        raise
    except _DAMAGE as error:
        raise UserError(f"{where}: `segmentation` is neither run lengths nor polygons: {error}") from None


def _from_polygons(where: str, segmentation: Any, size_hw: tuple[int, int]) -> CocoRle:
    """The pixels of all polygons, lists of x and y in turn; those of less than 3 points are passed over."""
    flat = [np.asarray(polygon, dtype=np.float64).ravel() for polygon in segmentation]
    if any(len(polygon) % 2 for polygon in flat):
        raise ValueError("a polygon has an odd number of coordinates")
    require_outline(where, [polygon.reshape(-1, 2) for polygon in flat], size_hw)
    drawn = [polygon.tolist() for polygon in flat if len(polygon) >= 6]
    return CocoRle(size_hw, coco_mask.merge(coco_mask.frPyObjects(drawn, *size_hw))["counts"])


def _from_counts(counts: Any, size_hw: tuple[int, int]) -> CocoRle:
    """Run lengths, compressed or not; the former are checked by `cells_of`, many at once."""
    height, width = size_hw
    if isinstance(counts, list):
        if sum(counts) != height * width or min(counts, default=0) < 0:
            raise ValueError(f"the counts cover {sum(counts)} of {height * width} pixels")
        packed = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"]
        return CocoRle(size_hw, packed)
    if not isinstance(counts, str):
        raise TypeError(f"counts are {type(counts).__name__}")
    return CocoRle(size_hw, counts.encode("ascii"))
