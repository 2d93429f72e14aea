"""Overlapping tiles that cover an image, and which of them decides about a cell."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.config.tiling import TilingSettings

#: Masks end this many pixels before the cut of a tile that their cells go on behind.
_NEAR_CUT_PX = 4


class Span(NamedTuple):
    """Pixels along one axis, ends exclusive."""

    start: int
    end: int


class Tile(NamedTuple):
    """A piece of an image: the rows and columns that it shows, and those, its core, whose cells it decides about.

    The cores of an image's tiles cover it without overlap. Where core and tile end at one pixel the image ends too.
    """

    rows: Span
    cols: Span
    core_rows: Span
    core_cols: Span

    @property
    def pixels(self) -> tuple[slice, slice]:
        """The index of the tile's pixels in the image."""
        return slice(*self.rows), slice(*self.cols)


def tiles_of(size_hw: tuple[int, int], settings: TilingSettings) -> list[Tile]:
    """Tiles of equal size that cover an image, row by row, neighbours sharing at least the overlap.

    An image that is not larger than `untiled_up_to_px` is one tile.
    """
    if max(size_hw) <= settings.untiled_up_to_px:
        whole_rows, whole_cols = (Span(0, length) for length in size_hw)
        return [Tile(whole_rows, whole_cols, whole_rows, whole_cols)]
    rows, cols = (_spans(length, settings) for length in size_hw)
    return [Tile(row, col, core_row, core_col) for row, core_row in rows for col, core_col in cols]


def depths_px(boxes_xyxy: NDArray[np.floating], tile: Tile) -> NDArray[np.float64]:
    """(N,) how deep the centres of boxes lie inside the tile's core, in pixels; negative outside it."""
    centers = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]).astype(np.float64) / 2
    starts = np.array([tile.core_cols.start, tile.core_rows.start])
    ends = np.array([tile.core_cols.end, tile.core_rows.end])
    return np.asarray(np.minimum(centers - starts, ends - centers).min(axis=1), dtype=np.float64)


def cut_off(boxes_xyxy: NDArray[np.floating], tile: Tile) -> NDArray[np.bool_]:
    """(N,) whether a tight box reaches a cut of the tile, so that its cell may go on behind it."""
    left, top, right, bottom = boxes_xyxy.T
    cut = np.zeros(len(boxes_xyxy), dtype=np.bool_)
    for low, high, span, core in (
        (left, right, tile.cols, tile.core_cols),
        (top, bottom, tile.rows, tile.core_rows),
    ):
        if core.start > span.start:
            cut |= low <= span.start + _NEAR_CUT_PX
        if core.end < span.end:
            cut |= high >= span.end - _NEAR_CUT_PX
    return cut


def _spans(length: int, settings: TilingSettings) -> list[tuple[Span, Span]]:
    """The tiles along a side of this length, evenly spread, and their cores, which meet halfway."""
    step = settings.tile_px - settings.overlap_px
    count = max(1, -(-(length - settings.overlap_px) // step))
    last = max(0, length - settings.tile_px)
    starts = [last * number // max(1, count - 1) for number in range(count)]
    spans = [Span(start, min(start + settings.tile_px, length)) for start in starts]
    meet = [0, *((one.end + two.start) // 2 for one, two in pairwise(spans)), length]
    return list(zip(spans, (Span(*ends) for ends in pairwise(meet)), strict=True))
