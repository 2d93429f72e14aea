"""Cells drawn as text, small enough to check by eye: `#` is cell, `.` is not."""

from collections.abc import Sequence

import numpy as np

from sartorius.cells import Cells, together
from sartorius.rle import coco_from_dense, dense_from_coco


def cell(
    *rows: str,
    score: float = 1.0,
    cell_type: str = "cort",
    source: str = "a/none",
    image_id: str = "drawn",
    soft: np.ndarray | None = None,
    soft_box: Sequence[float] | None = None,
) -> Cells:
    """One cell drawn row by row: cell("##..", "##..") or cell("##../##..")."""
    lines = [line for row in rows for line in row.split("/")]
    mask = np.array([[pixel == "#" for pixel in line] for line in lines])
    return Cells(
        image_id=image_id,
        size_hw=(mask.shape[0], mask.shape[1]),
        masks=(coco_from_dense(mask),),
        scores=np.array([score], dtype=np.float32),
        cell_types=np.array([cell_type]),
        sources=np.array([source]),
        soft_masks=None if soft is None else np.asarray(soft, dtype=np.uint8)[None],
        soft_boxes_xyxy=None if soft_box is None else np.array([soft_box], dtype=np.float32),
    )


def cells(*parts: Cells) -> Cells:
    """Several drawn cells of one image as one record."""
    return together(parts)


def drawn(found: Cells) -> list[str]:
    """Each mask as text, its rows joined by `/`, in the record's order."""
    return [
        "/".join("".join(".#"[int(p)] for p in row) for row in dense_from_coco(mask)) for mask in found.masks
    ]
