"""Annotations as detectron2's dataset dicts, without importing detectron2."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sartorius.cells import Cells
from sartorius.errors import UserError

#: `detectron2.structures.BoxMode.XYXY_ABS` as the plain number it is.
XYXY_ABS = 0


def dataset_dicts(
    truth: Mapping[str, Cells], image_paths: Mapping[str, Path], cell_types: Sequence[str]
) -> list[dict[str, Any]]:
    """One dataset dict per annotated image in ascending order of ids, masks as COCO run lengths ("bitmask").

    truth: annotations by image id; an image without cells gives a dict without annotations. Empty masks are left out.
    image_paths: image file by id; ids that `truth` does not name are left out.
    cell_types: the place of a type in here is its `category_id`.
    Raises UserError if an image has no file or a cell's type is not in `cell_types`.
    Source: detectron2's documentation, "Use Custom Datasets".
    """
    missing = sorted(set(truth) - set(image_paths))
    if missing:
        raise UserError(
            f"{len(missing)} annotated images have no image file, for example {', '.join(missing[:5])}"
        )
    return [
        {
            "file_name": str(image_paths[image_id]),
            "image_id": image_id,
            "height": cells.size_hw[0],
            "width": cells.size_hw[1],
            "annotations": _annotations(cells, cell_types),
        }
        for image_id, cells in sorted(truth.items())
    ]


def _annotations(cells: Cells, cell_types: Sequence[str]) -> list[dict[str, Any]]:
    unknown = sorted(set(cells.cell_types.tolist()) - set(cell_types))
    if unknown:
        raise UserError(
            f"image {cells.image_id}: expected cells of the types {', '.join(cell_types)}, got {', '.join(unknown)}"
        )
    return [
        {
            "bbox": box_xyxy,
            "bbox_mode": XYXY_ABS,
            "category_id": list(cell_types).index(cell_type),
            "iscrowd": 0,
            "segmentation": {"size": list(mask.size_hw), "counts": mask.counts},
        }
        for mask, box_xyxy, cell_type, area_px in zip(
            cells.masks,
            cells.boxes_xyxy.tolist(),
            cells.cell_types.tolist(),
            cells.areas_px.tolist(),
            strict=True,
        )
        if area_px > 0
    ]
