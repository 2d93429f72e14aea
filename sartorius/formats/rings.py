"""Masks as closed rings of points along the edges of their pixels, and back, without losing a pixel.

Coordinates are x, y in pixels from the image's upper left corner: pixel (row, col) covers [col, col + 1) x
[row, row + 1). A ring does not repeat its first point at its end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.compiled import compiled, with_room
from sartorius.errors import UserError
from sartorius.line_runs import Ints, LineRuns, joined, places
from sartorius.rle import CocoRle, Crop, cocos_from_runs, crops_from_cocos

Ring = NDArray[np.float64]

#: No image reaches so far; with coordinates much larger, pycocotools' filling of polygons ends the process.
_MAX_COORDINATE_PX = 1_000_000
_LEAST_POINTS = 3
#: Stands where a ring ends; corners have no negative coordinates.
_END = -1


class Part(NamedTuple):
    """A piece of a mask whose pixels touch along edges: its outer ring (K, 2) and one ring around each hole.

    No ring touches or crosses itself; rings of one mask may touch in points.
    """

    outer: Ints
    holes: tuple[Ints, ...]


def parts_of_masks(masks: Sequence[CocoRle]) -> list[list[Part]]:
    """The parts of each mask, x and y of their points in whole pixels; an empty mask has none."""
    return [_parts(crop) for crop in crops_from_cocos(masks)]


def masks_of_rings(rings: Sequence[Sequence[Ring]], size_hw: tuple[int, int]) -> list[CocoRle]:
    """The masks of N cells: a pixel is cell if its centre lies inside an odd number of the cell's rings.

    rings: for each cell its outer rings and those of its holes, (K, 2) x, y, in any order and direction; what leaves
        the image is cut off. A ring may run along a line twice, to a hole and back: that changes no pixel.
    """
    height, width = size_hw
    cells, rows, cols = _crossings(rings, size_hw)
    order = np.lexsort((cols, rows, cells))
    cells, rows, cols = (column[order].reshape(-1, 2) for column in (cells, rows, cols))
    lengths = cols[:, 1] - cols[:, 0]
    inside = lengths > 0
    starts = rows[:, 0] * width + cols[:, 0]
    runs = joined(LineRuns(cells[inside, 0], starts[inside], lengths[inside]))
    return cocos_from_runs(runs, [(height, width)] * len(rings))


def masks_of_outlines(
    where: Sequence[str], rings: Sequence[Sequence[Ring]], size_hw: tuple[int, int]
) -> list[CocoRle]:
    """`masks_of_rings` of N cells of a file; where: their places in the file, for messages.

    Raises UserError naming the cell that `require_outline` refuses.
    """
    for place, of_cell in zip(where, rings, strict=True):
        require_outline(place, of_cell, size_hw)
    return masks_of_rings(rings, size_hw)


def require_outline(where: str, rings: Sequence[Ring], size_hw: tuple[int, int]) -> None:
    """Raise UserError unless a cell's rings, (K, 2) of x and y, are an outline in pixels that reaches into the image.

    where: for the message. An outline may be so thin that it covers no pixel's centre.
    """
    for ring in rings:
        beyond = ring[~(np.abs(ring) <= _MAX_COORDINATE_PX)]
        if beyond.size:
            raise UserError(
                f"{where}: expected an outline in pixels of the image, at most {_MAX_COORDINATE_PX} from its corner, "
                f"got the coordinate {beyond[0]:g}"
            )
    height, width = size_hw
    if not any(_points(ring) >= _LEAST_POINTS and _reaches(ring, (width, height)) for ring in rings):
        raise UserError(
            f"{where}: expected the outline of a cell, {_LEAST_POINTS} points or more, in pixels of the image (height and "
            f"width {size_hw}), but none of it lies there; boxes are no outlines"
        )


def _points(ring: Ring) -> int:
    """The points of a ring; a last one that is the first again closes it and counts for nothing."""
    return len(ring) - int(len(ring) > 1 and bool(np.all(ring[0] == ring[-1])))


def _reaches(ring: Ring, size_xy: tuple[int, int]) -> bool:
    """Whether the box around a ring meets the image."""
    return bool(np.all(ring.max(axis=0) > 0) and np.all(ring.min(axis=0) < size_xy))


def one_ring(parts: Sequence[Part]) -> Ints:
    """All parts and holes as one ring (K, 2), joined by lines that are run along to and fro.

    For formats that know neither holes nor parts; `masks_of_rings` gives back the mask.
    """
    rings = [ring for part in parts for ring in (part.outer, *part.holes)]
    joined_ring = rings[0]
    for ring in rings[1:]:
        here, there = _nearest_points(joined_ring, ring)
        around = np.roll(ring, -there, axis=0)
        joined_ring = np.concatenate([joined_ring[: here + 1], around, around[:1], joined_ring[here:]])
    return joined_ring


def ring_area(ring: NDArray[np.number]) -> float:
    """The area inside a ring in px², above 0 if it runs clockwise in the picture and below if not."""
    x, y = ring.astype(np.float64).T
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]) / 2


def _parts(crop: Crop) -> list[Part]:
    """The pixels' rings, each split where it touches itself, holes given to the part they are in."""
    if not crop.pixels.size:
        return []
    padded = np.pad(crop.pixels, 1).astype(np.uint8)
    x, y = with_room(
        lambda x, y: _traced(padded, np.zeros(padded.shape, np.uint8), x, y), 4 * sum(padded.shape)
    )
    ends = np.flatnonzero(x == _END)
    points = np.stack([x, y], axis=1)
    loops = [
        loop
        for ring in np.split(points, ends)
        for loop in _simple_loops(ring[ring[:, 0] != _END])
        if len(loop)
    ]
    shift = np.array([crop.col - 1, crop.row - 1])
    if len(loops) == 1:
        return [Part(loops[0] + shift, ())]
    _, labels = cv2.connectedComponents(padded, connectivity=4)
    owners = [labels[_pixel_beside(loop)] for loop in loops]
    outers = {owner: loop for owner, loop in zip(owners, loops, strict=True) if ring_area(loop) > 0}
    holes: dict[int, list[Ints]] = {owner: [] for owner in outers}
    for owner, loop in zip(owners, loops, strict=True):
        if ring_area(loop) < 0:
            holes[owner].append(loop)
    return [
        Part(outer + shift, tuple(hole + shift for hole in holes[owner])) for owner, outer in outers.items()
    ]


def _simple_loops(ring: Ints) -> list[Ints]:
    """The loops of a ring, cut where it comes back to a point that it has been to."""
    corners = [tuple(point) for point in ring.tolist()]
    if len(set(corners)) == len(corners):
        return [ring]
    loops: list[Ints] = []
    path: dict[tuple[int, ...], None] = {}
    for corner in corners:
        if corner in path:
            backwards: list[tuple[int, ...]] = []
            while corner in path:
                backwards.append(path.popitem()[0])
            loops.append(np.array(backwards[::-1], dtype=np.int64))
        path[corner] = None
    return [*loops, np.array(list(path), dtype=np.int64)]


def _pixel_beside(loop: Ints) -> tuple[int, int]:
    """The (row, col) of the pixel that lies to the right of a loop's first step: always cell."""
    (x, y), (next_x, next_y) = loop[0].tolist(), loop[1].tolist()
    if y == next_y:
        return (y, x) if next_x > x else (y - 1, x - 1)
    return (y, x - 1) if next_y > y else (y - 1, x)


def _nearest_points(ring: Ints, other: Ints) -> tuple[int, int]:
    """The places in two rings of two of their points that are nearest to each other."""
    distances = ((ring[:, None] - other[None]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(np.argmin(distances)), distances.shape)
    return int(here), int(there)


def _crossings(rings: Sequence[Sequence[Ring]], size_hw: tuple[int, int]) -> tuple[Ints, Ints, Ints]:
    """Cell, row and first column to the right, of every place where a ring crosses the middle of a row."""
    height, width = size_hw
    flat = [(cell, ring) for cell, of_cell in enumerate(rings) for ring in of_cell if len(ring) > 2]
    if not flat:
        return tuple(np.zeros(0, dtype=np.int64) for _ in range(3))  # type: ignore[return-value]
    begin = np.concatenate([ring for _, ring in flat]).astype(np.float64)
    end = np.concatenate([np.roll(ring, -1, axis=0) for _, ring in flat]).astype(np.float64)
    cells = np.repeat([cell for cell, _ in flat], [len(ring) for _, ring in flat])
    upwards = (begin[:, 1] > end[:, 1])[:, None]  # the same line either way gives the same crossings
    top, bottom = np.where(upwards, end, begin), np.where(upwards, begin, end)
    first, stop = (np.clip(np.ceil(ends[:, 1] - 0.5), 0, height).astype(np.int64) for ends in (top, bottom))
    counts = stop - first
    edge = np.repeat(np.arange(len(counts)), counts)
    rows = first[edge] + places(counts)
    slope = (bottom[edge, 0] - top[edge, 0]) / (bottom[edge, 1] - top[edge, 1])
    cols = np.ceil(top[edge, 0] + (rows + 0.5 - top[edge, 1]) * slope - 0.5)
    return cells[edge], rows, np.clip(cols, 0, width).astype(np.int64)


@compiled
def _traced(pixels: NDArray[np.uint8], passed: NDArray[np.uint8], x: Ints, y: Ints) -> int:
    """The number of corners of all rings, cell to the right, each ring followed by an end; those that fit are written.

    pixels: the mask with a margin of background. passed: zeros; marks pixels whose upper edge a ring has run along.
    A ring turns right where it can, so that pixels that touch at a corner only are rings of their own.
    """
    found = 0
    for first_row in range(1, pixels.shape[0] - 1):
        for first_col in range(1, pixels.shape[1] - 1):
            above = pixels[first_row - 1, first_col]
            if pixels[first_row, first_col] == 0 or above == 1 or passed[first_row, first_col] == 1:
                continue
            row, col, way = first_row, first_col, 0  # ways: 0 right, 1 down, 2 left, 3 up
            before = -1
            while True:
                if way != before:
                    if found < x.shape[0]:
                        x[found], y[found] = col, row
                    found += 1
                before = way
                if way == 0:
                    passed[row, col] = 1
                    col += 1
                elif way == 1:
                    row += 1
                elif way == 2:
                    col -= 1
                else:
                    row -= 1
                for turn in (1, 0, 3):
                    ahead = (way + turn) % 4
                    if ahead == 0:
                        fits = pixels[row, col] == 1 and pixels[row - 1, col] == 0
                    elif ahead == 1:
                        fits = pixels[row, col - 1] == 1 and pixels[row, col] == 0
                    elif ahead == 2:
                        fits = pixels[row - 1, col - 1] == 1 and pixels[row, col - 1] == 0
                    else:
                        fits = pixels[row - 1, col] == 1 and pixels[row - 1, col - 1] == 0
                    if fits:
                        way = ahead
                        break
                if row == first_row and col == first_col and way == 0:
                    break
            if found < x.shape[0]:
                x[found], y[found] = -1, -1
            found += 1
    return found
