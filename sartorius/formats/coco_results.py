"""COCO results: a JSON list of found cells, which names images and categories by numbers of another file."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sartorius.cells import CELL_TYPES, Cells
from sartorius.errors import UserError
from sartorius.formats.coco_fields import (
    Image,
    Row,
    box_xywh,
    categories_of,
    cells_of,
    images_of,
    number_field,
    row_of,
    run_lengths,
    type_numbers,
)
from sartorius.formats.json_files import read_json, write_json
from sartorius.formats.known import Known, sizes_of

#: The source of rows of a results file.
SOURCE = "results"


class _Numbers(NamedTuple):
    """What the image and category numbers of results mean."""

    images: Mapping[int | str, Image]
    categories: Mapping[int | str, str]


def read_results(path: Path, known: Known) -> dict[str, Cells]:
    """The cells of a COCO results file: a list of image_id, category_id, segmentation and score.

    known: `reference` explains the numbers of images and categories. Without it `image_id` must be the id or file
        name of one of the known images, and the categories 1, 2, 3 are the competition's types, others `class4` …
    An image that is known but not in the file has no cells: that is how such files say so.
    Raises UserError naming the file and the result that is malformed or of an unknown image.
    """
    data = read_json(path)
    if not isinstance(data, list):
        raise UserError(f"{path}: expected a JSON list of COCO results, got {type(data).__name__}")
    numbers = _numbers(path, known)
    rows: dict[str, list[Row]] = {image.image_id: [] for image in numbers.images.values()}
    for number, result in enumerate(data, start=1):
        where = f"{path}: result {number}"
        asked, category = number_field(where, result, "image_id"), number_field(where, result, "category_id")
        image = numbers.images.get(asked)
        if image is None:
            hint = (
                f"; {known.reference} has the numbers {', '.join(map(str, list(numbers.images)[:3]))} …"
                if known.reference
                else "; name the COCO file with its images and categories: `sartorius data convert … --reference FILE`"
            )
            raise UserError(f"{where}: image {asked!r} is none of the {len(rows)} known images{hint}")
        if known.reference and category not in numbers.categories:
            raise UserError(f"{where}: {known.reference} has no category {category!r}")
        cell_type = numbers.categories.get(category, f"class{category}")
        row = row_of(where, result, image.size_hw, cell_type)
        rows[image.image_id].append(row._replace(source=SOURCE))
    images = {image.image_id: image for image in numbers.images.values()}
    return {image_id: cells_of(path, images[image_id], found) for image_id, found in rows.items()}


def write_results(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """Write a list of results.

    known: images and categories get the numbers of `reference`; without it the image ids themselves, and 1, 2, 3 for
        the competition's types, others after them.
    Raises UserError if there are cells of an image or a type that the reference does not have.
    """
    if known.reference is None:
        images: dict[str, int | str] = {name: name for name in found}
        types: dict[str, int | str] = {**type_numbers(found, CELL_TYPES)}
    else:
        numbers = _numbers(path, known)
        images = {image.image_id: number for number, image in numbers.images.items()}
        types = {name: number for number, name in numbers.categories.items()}
        unknown = [f"image {name!r}" for name in found if name not in images]
        unknown += [f"category {name!r}" for name in type_numbers(found) if name not in types]
        if unknown:
            raise UserError(f"{known.reference}: there is no {unknown[0]}, of which there are cells to write")
    results = [
        {
            "image_id": images[name],
            "category_id": types[str(cells.cell_types[row])],
            "bbox": box_xywh(cells, row),
            "segmentation": run_lengths(cells.masks[row]),
            "score": float(cells.scores[row]),
        }
        for name, cells in found.items()
        for row in range(len(cells))
    ]
    write_json(path, results)


def _numbers(path: Path, known: Known) -> _Numbers:
    if known.reference is not None:
        data = read_json(known.reference)
        return _Numbers(images_of(known.reference, data), categories_of(known.reference, data))
    images: dict[int | str, Image] = {}
    for image_id, size_hw in sizes_of(known, path, "a file of COCO results").items():
        image_path = (known.images or {}).get(image_id)
        images[image_id] = images[image_path.name if image_path else image_id] = Image(image_id, size_hw)
        if image_id.isdecimal():
            images[int(image_id)] = images[image_id]
    return _Numbers(images, {**dict(enumerate(CELL_TYPES, start=1))})
