"""Elastic deformation of a training picture and its cells, as if cells had grown a little differently."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.rle import Crop

#: Image pixels between the random displacements that the rest is interpolated from: about the size of a cell.
GRID_PX = 32

Floats = NDArray[np.float32]


def random_displacement(size_hw: tuple[int, int], amount_px: float, rng: np.random.Generator) -> Floats:
    """A smooth random field (H, W, 2): where each pixel's value comes from, right and down, relative to itself.

    amount_px: standard deviation at the grid's nodes, which lie `GRID_PX` apart, in image pixels.
    """
    height, width = size_hw
    nodes = rng.normal(0, amount_px, (height // GRID_PX + 2, width // GRID_PX + 2, 2)).astype(np.float32)
    field = cv2.resize(nodes, None, fx=GRID_PX, fy=GRID_PX, interpolation=cv2.INTER_CUBIC)
    half = GRID_PX // 2  # beyond the outer nodes, where nothing is between two
    return field[half : half + height, half : half + width]


def warped(
    pixels: NDArray[np.uint8], crops: Sequence[Crop], field: Floats
) -> tuple[NDArray[np.uint8], list[Crop], list[int]]:
    """The picture and its cells deformed by a displacement field, and the numbers of the cells that are left.

    pixels: (H, W) uint8. field: (H, W, 2); what it takes from outside of the picture comes from the nearest pixel of its
        edge, in the picture and in its cells alike. Cells that no pixel is left of are gone.
    """
    height, width = pixels.shape
    cols, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    last_xy = np.array([width - 1, height - 1], dtype=np.float32)
    from_xy = np.clip(field + np.stack([cols, rows], axis=2), 0, last_xy)
    picture = cv2.remap(pixels, from_xy, None, cv2.INTER_LINEAR)
    reach = int(np.ceil(np.abs(field).max())) + 1
    moved, kept = [], []
    for number, crop in enumerate(crops):
        found = _warped_crop(crop, from_xy, reach)
        if found is not None:
            moved.append(found)
            kept.append(number)
    return picture, moved, kept


def _warped_crop(crop: Crop, from_xy: Floats, reach: int) -> Crop | None:
    """A cell where its pixels have come to lie; None if nothing of it is left."""
    top, left = max(crop.row - reach, 0), max(crop.col - reach, 0)
    rows, cols = crop.pixels.shape
    sources = from_xy[top : crop.row + rows + reach, left : crop.col + cols + reach]
    own = (sources - np.array([crop.col, crop.row], dtype=np.float32)).astype(np.float32)
    shares = cv2.remap(crop.pixels.astype(np.float32), own, None, cv2.INTER_LINEAR, borderValue=0)
    return tight(top, left, shares >= 0.5)


def tight(row: int, col: int, mask: NDArray[np.bool_]) -> Crop | None:
    """A mask whose top left pixel lies at a place, as a crop without empty rows and columns; None if it is empty."""
    rows, cols = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    if not len(rows):
        return None
    inside = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return Crop(row + int(rows[0]), col + int(cols[0]), np.ascontiguousarray(inside))
