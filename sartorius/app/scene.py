"""What the viewer draws: outlines of cells as SVG paths with the least it must know about each."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from sartorius.app.names import type_name
from sartorius.cells import Cells
from sartorius.plots import contours_xy
from sartorius.rle import CocoRle

#: Outlines are traced at this many times the image's resolution, which rounds the corners of pixels off.
_TRACED_AT = 2
#: A point of an outline is left out if that moves the line by less, in px.
_TOLERANCE_PX = 0.3
#: Outlines that are kept; moving a threshold leaves most of them as they are.
_OUTLINES_KEPT = 20_000


def scene(
    image_id: str, size_hw: tuple[int, int], href: str, cells: Cells | None, colours: Mapping[str, str]
) -> dict[str, Any]:
    """An image and its cells as plain values for the viewer.

    href: address of the image's pixels.
    cells: what to outline; None for an image in which nothing was looked for yet.
    colours: `#rrggbb` of every cell type.
    Cells come in their order, each with its path in image pixels, the number of its type, its box and its score.
    """
    height, width = size_hw
    drawn: dict[str, Any] = {
        "name": image_id,
        "href": href,
        "width": width,
        "height": height,
        "searched": cells is not None,
        "types": [],
        "cells": [],
    }
    if cells is None:
        return drawn
    names, numbers = np.unique(cells.cell_types, return_inverse=True)
    counts = np.bincount(numbers, minlength=len(names))
    drawn["types"] = [
        {"name": type_name(name), "colour": colours[name], "count": int(count)}
        for name, count in zip(names.tolist(), counts, strict=True)
    ]
    drawn["cells"] = [
        {"d": outline_path(mask), "type": number, "box": box, "score": round(score, 3)}
        for mask, number, box, score in zip(
            cells.masks, numbers.tolist(), cells.boxes_xyxy.tolist(), cells.scores.tolist(), strict=True
        )
    ]
    return drawn


@lru_cache(maxsize=_OUTLINES_KEPT)
def outline_path(mask: CocoRle) -> str:
    """The outlines of a mask, of its holes too, as the `d` of an SVG path in image pixels; "" without a pixel."""
    return "".join(_ring(contour) for contour in contours_xy(mask, _TRACED_AT))


def _ring(contour: np.ndarray[Any, np.dtype[np.int32]]) -> str:
    """One closed line; its points are the middles of the pixels of the enlarged mask."""
    fewer = cv2.approxPolyDP(contour[:, None], _TOLERANCE_PX * _TRACED_AT, closed=True)[:, 0]
    points = (fewer + 0.5) / _TRACED_AT
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points.tolist()) + "Z"
