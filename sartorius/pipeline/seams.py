"""The cells that overlapping tiles found put together: each once, whole, and none lost at a seam."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, together
from sartorius.line_runs import Ints
from sartorius.overlap import overlapping
from sartorius.pipeline.tiles import Span, Tile, cut_off, depths_px
from sartorius.rle import crops_from_cocos, united
from sartorius.soft_masks import on_grid

#: Whole detections of two tiles with at least this IoU are the same cell; so are a piece of a cell and a whole cell
#: that covers this part of it, and two pieces with this IoU where both tiles look.
_SAME_CELL = 0.5


class TileCells(NamedTuple):
    """What was found in a tile, in the frame of the image."""

    tile: Tile
    cells: Cells


class _Rows(NamedTuple):
    """The detections of all tiles.

    cells: N rows. tiles: (N,) number of each row's tile. pieces: (N,) whether it reaches a cut of its tile.
    depths_px: (N,) how deep inside its tile's core it lies, negative if another tile decides about it.
    """

    cells: Cells
    tiles: Ints
    pieces: NDArray[np.bool_]
    depths_px: NDArray[np.float64]


class _Links(NamedTuple):
    """For each row the rows of other tiles that say the same.

    same: whole detections of the same whole cell. wholes, pieces: the whole detections that cover a piece, and back.
    joined: pieces of one cell.
    """

    same: dict[int, list[int]]
    wholes: dict[int, list[int]]
    pieces: dict[int, list[int]]
    joined: dict[int, list[int]]


def without_seams(found: Sequence[TileCells]) -> Cells:
    """Every cell of the image once, by falling score.

    found: at least one tile's cells; tiles overlap, their cores do not.
    - A whole cell is kept as the tile found it in whose core its centre lies; what a tile finds outside its core is
      dropped, unless another tile's whole or cut off detection says the same and nothing is kept of it.
    - Pieces of it at the cuts of other tiles are dropped.
    - Other pieces that agree where both tiles look are put together as one cell with the surest piece's score and
      type, and kept if one of them lies in its tile's core.
    Ties go to the tile that comes first.
    """
    rows = _rows(found)
    links = _links(rows, [of_tile.tile for of_tile in found])
    kept = _kept_wholes(rows, links)
    pieces = [
        row
        for row in np.flatnonzero(rows.pieces).tolist()
        if not kept.intersection(links.wholes.get(row, ()))
    ]
    groups = _groups(pieces, links.joined, rows.cells.scores)
    decided = [group for group in groups if (rows.depths_px[group] >= 0).any()]
    stitched = [_stitched(rows.cells[group]) for group in decided]
    cells = together([rows.cells[sorted(kept)], *stitched])
    return cells[np.argsort(-cells.scores, kind="stable")]


def _rows(found: Sequence[TileCells]) -> _Rows:
    boxes = [of_tile.cells.boxes_xyxy for of_tile in found]
    tiles = [of_tile.tile for of_tile in found]
    return _Rows(
        together([of_tile.cells for of_tile in found]),
        np.repeat(np.arange(len(found)), [len(of_tile.cells) for of_tile in found]),
        np.concatenate([cut_off(of_tile, tile) for of_tile, tile in zip(boxes, tiles, strict=True)]),
        np.concatenate([depths_px(of_tile, tile) for of_tile, tile in zip(boxes, tiles, strict=True)]),
    )


def _links(rows: _Rows, tiles: Sequence[Tile]) -> _Links:
    links = _Links({}, {}, {}, {})
    of_tile = [np.flatnonzero(rows.tiles == number) for number in range(len(tiles))]
    filled = [number for number, its_rows in enumerate(of_tile) if len(its_rows)]
    for one, two in combinations(filled, 2):
        window = _shared(tiles[one].rows, tiles[two].rows), _shared(tiles[one].cols, tiles[two].cols)
        if all(span.start < span.end for span in window):
            rows_one, rows_two = (_reaching(rows.cells, of_tile[tile], window) for tile in (one, two))
            _link(links, rows, rows_one, rows_two, window)
    return links


def _shared(one: Span, two: Span) -> Span:
    return Span(max(one.start, two.start), min(one.end, two.end))


def _reaching(cells: Cells, rows: Ints, window: tuple[Span, Span]) -> Ints:
    """Those of the rows whose boxes have a pixel of the window."""
    left, top, right, bottom = cells.boxes_xyxy[rows].T
    inside = (top < window[0].end) & (bottom > window[0].start)
    inside &= (left < window[1].end) & (right > window[1].start)
    return np.asarray(rows[inside], dtype=np.int64)


def _link(links: _Links, rows: _Rows, rows_a: Ints, rows_b: Ints, window: tuple[Span, Span]) -> None:
    """Add what detections of two tiles say of each other; window: the rows and columns that both tiles see."""
    pairs = overlapping(rows.cells[rows_a], rows.cells[rows_b])
    one, two, shared = rows_a[pairs.rows_a], rows_b[pairs.rows_b], pairs.intersections_px
    areas, pieces = rows.cells.areas_px, rows.pieces
    same = shared >= _SAME_CELL * (areas[one] + areas[two] - shared)
    same &= ~pieces[one] & ~pieces[two]
    _add(links.same, one[same], two[same])
    _add(links.same, two[same], one[same])
    for piece, whole in ((one, two), (two, one)):
        covered = (shared >= _SAME_CELL * areas[piece]) & pieces[piece] & ~pieces[whole]
        _add(links.wholes, piece[covered], whole[covered])
        _add(links.pieces, whole[covered], piece[covered])
    both = pieces[one] & pieces[two]
    one, two, shared = one[both], two[both], shared[both]
    either = _pixels_inside(rows.cells, one, window) + _pixels_inside(rows.cells, two, window) - shared
    joined = shared >= _SAME_CELL * either
    _add(links.joined, one[joined], two[joined])


def _add(links: dict[int, list[int]], ones: Ints, others: Ints) -> None:
    for one, other in zip(ones.tolist(), others.tolist(), strict=True):
        links.setdefault(one, []).append(other)


def _pixels_inside(cells: Cells, rows: Ints, window: tuple[Span, Span]) -> Ints:
    """(N,) pixels of each row's mask inside the window."""
    counts = np.zeros(len(rows), dtype=np.int64)
    for place, crop in enumerate(crops_from_cocos([cells.masks[row] for row in rows.tolist()])):
        inside = (
            slice(max(span.start - start, 0), max(span.end - start, 0))
            for span, start in zip(window, (crop.row, crop.col), strict=True)
        )
        counts[place] = np.count_nonzero(crop.pixels[tuple(inside)])
    return counts


def _kept_wholes(rows: _Rows, links: _Links) -> set[int]:
    """The whole detections that are kept, those deepest inside their tile's core first."""
    wholes = np.flatnonzero(~rows.pieces)
    kept: set[int] = set()
    for row in wholes[np.argsort(-rows.depths_px[wholes], kind="stable")].tolist():
        if kept.intersection(links.same.get(row, ())):
            continue
        seen_elsewhere = row in links.same or any(
            not kept.intersection(links.wholes[piece]) for piece in links.pieces.get(row, ())
        )
        if rows.depths_px[row] >= 0 or seen_elsewhere:
            kept.add(row)
    return kept


def _groups(
    pieces: Sequence[int], joined: Mapping[int, Sequence[int]], scores: NDArray[np.float32]
) -> list[list[int]]:
    """The pieces of one cell together, the surest first; a piece that no other is joined to alone."""
    group_of = {row: [row] for row in pieces}
    for row in pieces:
        for other in joined.get(row, ()):
            if other in group_of and group_of[other] is not group_of[row]:
                group_of[row] += group_of[other]
                for moved in group_of[other]:
                    group_of[moved] = group_of[row]
    groups = {id(group): group for group in group_of.values()}
    return [sorted(group, key=lambda row: (-scores[row], row)) for group in groups.values()]


def _stitched(pieces: Cells) -> Cells:
    """The pieces, the surest first, as one cell of all their pixels."""
    if len(pieces) == 1:
        return pieces
    soft_masks, soft_boxes = None, None
    if pieces.soft_masks is not None:
        soft_boxes = _box_around(pieces)
        soft_masks = _grid(pieces, soft_boxes[0].astype(int).tolist(), pieces.soft_masks.shape[1])
    return replace(
        pieces[[0]], masks=(united(pieces.masks),), soft_masks=soft_masks, soft_boxes_xyxy=soft_boxes
    )


def _box_around(pieces: Cells) -> NDArray[np.float32]:
    """(1, 4) the tight box of all pieces."""
    boxes = pieces.boxes_xyxy
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])[None]


def _grid(pieces: Cells, box_xyxy: Sequence[int], side: int) -> NDArray[np.uint8]:
    """(1, side, side) the share of each part of the box, x 255, that is cell."""
    left, top, right, bottom = box_xyxy
    pixels = np.zeros((bottom - top, right - left), dtype=np.uint8)
    for crop in crops_from_cocos(pieces.masks):
        row, col = crop.row - top, crop.col - left
        height, width = crop.pixels.shape
        pixels[row : row + height, col : col + width][crop.pixels] = 255
    return on_grid(pixels, side)[None]
