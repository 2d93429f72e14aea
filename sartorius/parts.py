"""Holes inside masks and detached islands of masks."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.line_runs import Ints
from sartorius.rle import cocos_from_crops, crops_from_cocos

Mend = Callable[[NDArray[np.bool_], int], NDArray[np.bool_]]


def without_holes(cells: Cells, max_hole_px: Ints) -> Cells:
    """The cells with their small holes filled.

    A hole is background that touches neither the outside nor a larger hole along an edge of a pixel.
    max_hole_px: (N,) holes of at most this size are filled; 0 leaves the mask alone. Filled masks may overlap others.
    """
    return _mended(cells, max_hole_px, _filled)


def without_islands(cells: Cells, min_island_px: Ints) -> Cells:
    """The cells with their small detached parts cut off; parts that touch at a corner are one.

    min_island_px: (N,) parts smaller than this are cut off, but never the largest one; up to 1 leaves the mask alone.
    """
    return _mended(cells, np.where(min_island_px > 1, min_island_px, 0), _trimmed)


def _mended(cells: Cells, sizes_px: Ints, mend: Mend) -> Cells:
    """The cells with `mend` applied to the pixels of those whose size is above 0."""
    rows = np.flatnonzero((sizes_px > 0) & (cells.areas_px > 0)).tolist()
    masks = list(cells.masks)
    crops = crops_from_cocos([masks[row] for row in rows])
    mended = [
        crop._replace(pixels=mend(crop.pixels, int(sizes_px[row])))
        for row, crop in zip(rows, crops, strict=True)
    ]
    for row, mask in zip(rows, cocos_from_crops(mended, cells.size_hw), strict=True):
        masks[row] = mask
    return replace(cells, masks=tuple(masks))


def _filled(pixels: NDArray[np.bool_], max_hole_px: int) -> NDArray[np.bool_]:
    outside = np.pad(~pixels, 1, constant_values=True).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= max_hole_px
    small[[0, parts[0, 0]]] = False
    filled: NDArray[np.bool_] = pixels | small[parts[1:-1, 1:-1]]
    return filled


def _trimmed(pixels: NDArray[np.bool_], min_island_px: int) -> NDArray[np.bool_]:
    _, parts, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[0] = 0
    kept = areas >= min_island_px
    kept[np.argmax(areas)] = True
    kept[0] = False
    trimmed: NDArray[np.bool_] = kept[parts]
    return trimmed
