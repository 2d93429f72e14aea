"""COCO JSON of annotated images, and LIVECell's files, which are COCO with polygons and one category."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sartorius.cells import Cells
from sartorius.errors import UserError
from sartorius.formats.coco_fields import (
    Row,
    box_xywh,
    categories_of,
    cells_of,
    images_of,
    list_of,
    number_field,
    row_of,
    run_lengths,
    type_numbers,
)
from sartorius.formats.json_files import read_json, write_json
from sartorius.formats.known import Known, file_name_of
from sartorius.formats.rings import parts_of_masks

#: LIVECell's files name one of its eight cell lines first, as in `SkBr3_Phase_E3_2_02d08h00m_1.tif`; other files that an
#: Incucyte names begin with anything. Their only category is "cell".
_LIVECELL_NAME = re.compile(r"((?i:a172|bt474|bv2|huh7|mcf7|shsy5y|skbr3|skov3))_Phase_")
LIVECELL_CATEGORY = "cell"


def read_coco(path: Path, known: Known) -> dict[str, Cells]:
    """The cells of every image of a COCO annotations file by image id, the file's name without folder and ending.

    Masks may be run lengths, compressed or not, or polygons, which are filled as pycocotools does. Scores and sources
    are read where an annotation has them, as ours do, and are 1 and "truth" otherwise.
    Raises UserError naming the file and the annotation that is malformed.
    """
    data = read_json(path)
    images, categories = images_of(path, data), categories_of(path, data)
    rows: dict[int | str, list[Row]] = {number: [] for number in images}
    for number, annotation in enumerate(list_of(path, data, "annotations"), start=1):
        where = f"{path}: annotation {number}"
        image = number_field(where, annotation, "image_id")
        category = number_field(where, annotation, "category_id")
        if image not in images:
            raise UserError(f"{where}: there is no image {image!r} in `images`")
        if category not in categories:
            raise UserError(f"{where}: there is no category {category!r} in `categories`")
        rows[image].append(row_of(where, annotation, images[image].size_hw, categories[category]))
    return {images[number].image_id: cells_of(path, images[number], found) for number, found in rows.items()}


def read_livecell(path: Path, known: Known) -> dict[str, Cells]:
    """The cells of a LIVECell annotations file; their type is the cell line at the beginning of the image's name."""
    return {name: _of_cell_line(name, cells) for name, cells in read_coco(path, known).items()}


def write_coco(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """Write annotations with masks as run lengths, and with scores and sources, which COCO's tools pass over."""
    numbers = type_numbers(found)
    annotations = [
        {
            "image_id": image,
            "category_id": numbers[str(cells.cell_types[row])],
            "segmentation": run_lengths(cells.masks[row]),
            "score": float(cells.scores[row]),
            "source": str(cells.sources[row]),
            **_box_and_area(cells, row),
        }
        for image, cells in enumerate(found.values(), start=1)
        for row in range(len(cells))
    ]
    _write(
        path, found, known, annotations, [{"id": number, "name": name} for name, number in numbers.items()]
    )


def write_livecell(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """Write annotations as LIVECell does: polygons around each part, holes filled, the one category "cell".

    Cells without pixels are left out.
    """
    annotations = [
        {
            "image_id": image,
            "category_id": 1,
            "segmentation": [part.outer.astype(float).ravel().tolist() for part in parts],
            **_box_and_area(cells, row),
        }
        for image, cells in enumerate(found.values(), start=1)
        for row, parts in enumerate(parts_of_masks(cells.masks))
        if parts
    ]
    category = {"supercategory": LIVECELL_CATEGORY, "id": 1, "name": LIVECELL_CATEGORY}
    _write(path, found, known, annotations, [category])


def is_livecell(data: Mapping[str, Any]) -> bool:
    """Whether annotations are LIVECell's: one category, "cell", and images named after its cell lines."""
    try:
        categories = [category["name"] for category in data["categories"]]
        names = [image["file_name"] for image in data["images"]]
    except (KeyError, TypeError):
        return False
    return categories == [LIVECELL_CATEGORY] and bool(names) and all(map(_LIVECELL_NAME.match, names))


def _of_cell_line(name: str, cells: Cells) -> Cells:
    line = _LIVECELL_NAME.match(name)
    return cells if line is None else replace(cells, cell_types=np.full(len(cells), line[1].lower()))


def _box_and_area(cells: Cells, row: int) -> dict[str, Any]:
    return {"bbox": box_xywh(cells, row), "area": int(cells.areas_px[row]), "iscrowd": 0}


def _write(
    path: Path,
    found: Mapping[str, Cells],
    known: Known,
    annotations: list[dict[str, Any]],
    categories: list[dict[str, Any]],
) -> None:
    images = [
        {
            "id": number,
            "file_name": file_name_of(name, known),
            "height": cells.size_hw[0],
            "width": cells.size_hw[1],
        }
        for number, (name, cells) in enumerate(found.items(), start=1)
    ]
    numbered = [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)]
    write_json(path, {"images": images, "categories": categories, "annotations": numbered})
