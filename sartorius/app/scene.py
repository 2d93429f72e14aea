"""What the viewer draws: outlines of cells as SVG paths with the least it must know about each."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sartorius.app.names import type_name
from sartorius.cells import Cells
from sartorius.svg import outline_path


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
