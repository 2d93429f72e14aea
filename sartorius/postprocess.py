"""The clean-up of found cells: image type, thresholds, holes and islands, minimum areas, overlap removal."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import UNKNOWN_CELL_TYPE, Cells, Strings
from sartorius.column_runs import ColumnRuns, column_runs, packed_masks
from sartorius.compiled import compiled, with_room
from sartorius.config.fusion import PostprocessSettings
from sartorius.config.per_type import FractionPerType, PixelsPerType, values_for
from sartorius.errors import UserError
from sartorius.line_runs import Ints
from sartorius.overlap import Pairs, overlapping_within
from sartorius.parts import without_holes, without_islands
from sartorius.polygon_fill import filled_as_labels

#: The steps of `clean` that can drop a cell, in their order.
STEPS = ("score threshold", "minimum area", "mask NMS", "overlap removal")


def clean(cells: Cells, settings: PostprocessSettings) -> Cells:
    """The cells of one image as they are submitted: sure enough, large enough, not empty, without overlap.

    cells: N cells; masks may overlap.
    Returns at most N cells by falling score; ties keep input order. No cells in, no cells out.
    Raises UserError if a setting has no value for a cell type.
    """
    for step in cleaned_steps(cells, settings):
        cells = step.cells
    return cells


class CleanedStep(NamedTuple):
    """One step of `clean`, and the cells as it leaves them."""

    name: str
    cells: Cells


def cleaned_steps(cells: Cells, settings: PostprocessSettings) -> Iterator[CleanedStep]:
    """What `clean` does, step by step; its result is the last one's. Arguments and errors are those of `clean`."""
    for name, step in _steps(settings).items():
        try:
            cells = step(cells)
        except UserError as error:
            raise UserError(f"{cells.image_id}: {name}: {error}") from None
        yield CleanedStep(name, cells)


def dropped_at(cells: Cells, settings: PostprocessSettings) -> Strings:
    """(N,) the step of STEPS at which `clean` drops each cell; "" for those it keeps."""
    numbered = replace(cells, sources=np.arange(len(cells)).astype(np.str_))
    steps = np.full(len(cells), "", dtype=f"U{max(map(len, STEPS))}")
    for name, kept in cleaned_steps(numbered, settings):
        lost = np.setdiff1d(numbered.sources.astype(np.int64), kept.sources.astype(np.int64))
        steps[lost] = name
        numbered = kept
    return steps


def voted_type(cells: Cells) -> str | None:
    """The cell type with the highest sum of scores; None for an image without cells.

    Ties go to the type of the surest cell, then to the first by name. Cells whose type nobody told have no vote beside
    others.
    """
    return type_of_scores(cells.cell_types, cells.scores)


def type_of_scores(cell_types: Strings, scores: NDArray[np.floating[Any]]) -> str | None:
    """What `voted_type` returns, from the types (N,) and scores (N,) of the cells."""
    if not len(cell_types):
        return None
    names, codes = np.unique(cell_types, return_inverse=True)
    sums, best = np.zeros(len(names)), np.zeros(len(names))
    order = np.argsort(scores, kind="stable")  # so that rounding in the sums knows no order of rows
    np.add.at(sums, codes[order], scores[order].astype(np.float64))
    np.maximum.at(best, codes, scores)
    untold = names == UNKNOWN_CELL_TYPE
    return str(names[np.lexsort((np.arange(len(names)), -best, -sums, untold))[0]])


def of_voted_type(cells: Cells) -> Cells:
    """The same cells, all of the type that `voted_type` finds."""
    return replace(cells, cell_types=np.full(len(cells), voted_type(cells) or ""))


def sure_enough(cells: Cells, score_threshold: FractionPerType) -> Cells:
    """The cells whose score reaches their type's threshold, in input order."""
    return cells[cells.scores >= values_for(score_threshold, cells.cell_types).astype(np.float32)]


def large_enough(cells: Cells, min_area_px: PixelsPerType) -> Cells:
    """The cells that are not empty and have their type's minimum area, in input order."""
    return cells[cells.areas_px >= _least_px(cells, min_area_px)]


def without_repeats(cells: Cells, nms_iou: FractionPerType) -> Cells:
    """The cells whose mask no surer kept cell overlaps by at least their type's IoU, in input order.

    Ties keep the cell that came first; an IoU of 1 drops none.
    """
    ious = values_for(nms_iou, cells.cell_types)
    if not (ious < 1).any():
        return cells
    order = np.argsort(-cells.scores, kind="stable")
    ranked = cells[order]
    kept = np.ones(len(cells), dtype=np.bool_)
    repeats = repeated_by(overlapping_within(ranked), ranked.areas_px, ious[order])
    for surer, repeat in zip(*repeats, strict=True):  # pairs are sorted by the surer row
        kept[repeat] &= not kept[surer]
    return cells[np.sort(order[kept])]


def repeated_by(pairs: Pairs, areas_px: Ints, nms_iou: NDArray[np.float64]) -> tuple[Ints, Ints]:
    """Of pairs of rows in falling order, those (row_a, row_b) in which row_b is a repeat of the surer row_a.

    areas_px, nms_iou: (N,) of every row; the IoU that counts is that of row_b.
    """
    union = areas_px[pairs.rows_a] + areas_px[pairs.rows_b] - pairs.intersections_px
    least = nms_iou[pairs.rows_b]
    repeats = (pairs.intersections_px / union >= least) & (least < 1)
    return pairs.rows_a[repeats], pairs.rows_b[repeats]


def remove_overlap(cells: Cells, min_area_px: int | Ints) -> Cells:
    """Give each pixel to the highest-scoring cell that claims it.

    cells: N cells of one image; masks may overlap.
    min_area_px: cells left with fewer pixels are dropped, and what they had is free for the cells after them; one
        number or (N,); 0 keeps all.
    Returns at most N cells by falling score; ties keep input order. No cells in, no cells out.
    Raises ValueError if min_area_px is negative.
    Source: competition rule that submitted masks may not overlap.
    """
    least_px = np.broadcast_to(np.asarray(min_area_px, dtype=np.int64), len(cells))
    if (least_px < 0).any():
        raise ValueError(f"min_area_px is {least_px.min()}, expected 0 or more")
    order = np.argsort(-cells.scores, kind="stable")
    ranked = cells[order]
    runs, least_px = column_runs(ranked.masks), least_px[order]
    offsets, kept = np.zeros(len(cells) + 1, dtype=np.int64), np.zeros(len(cells), dtype=np.bool_)

    def free(starts: Ints, ends: Ints) -> int:
        taken = np.zeros(cells.size_hw[0] * cells.size_hw[1], dtype=np.bool_)
        return _free(*runs, least_px, taken, starts, ends, offsets, kept)

    starts, ends = with_room(free, 2 * len(runs.starts))
    masks = packed_masks(ColumnRuns(starts, ends, offsets), cells.size_hw)
    return replace(ranked, masks=masks)[kept]


def _steps(settings: PostprocessSettings) -> dict[str, Callable[[Cells], Cells]]:
    """What `clean` does, in order."""
    typed = of_voted_type if settings.type_rule == "vote" else _unchanged
    return {
        "cell type": typed,
        "score threshold": lambda cells: sure_enough(cells, settings.score_threshold),
        "holes": lambda cells: without_holes(cells, _pixels(cells, settings.max_hole_px)),
        "islands": lambda cells: without_islands(cells, _pixels(cells, settings.min_island_px)),
        "label fill": lambda cells: filled_as_labels(
            cells, np.isin(cells.cell_types, settings.label_fill_types)
        ),
        "minimum area": lambda cells: large_enough(cells, settings.min_area_px),
        "mask NMS": lambda cells: without_repeats(cells, settings.nms_iou),
        "overlap removal": lambda cells: remove_overlap(cells, _least_px(cells, settings.min_area_px)),
    }


def _unchanged(cells: Cells) -> Cells:
    return cells


def _pixels(cells: Cells, setting: PixelsPerType) -> Ints:
    return values_for(setting, cells.cell_types).astype(np.int64)


def _least_px(cells: Cells, min_area_px: PixelsPerType) -> Ints:
    return np.maximum(_pixels(cells, min_area_px), 1)


@compiled
def _free(
    starts: Ints,
    ends: Ints,
    offsets: Ints,
    least_px: Ints,
    taken: NDArray[np.bool_],
    free_starts: Ints,
    free_ends: Ints,
    free_offsets: Ints,
    kept: NDArray[np.bool_],
) -> int:
    """The number of runs of what each mask in turn still finds free; those that fit are written.

    Fills `taken`, `free_offsets`, and `kept`: whether enough is free.
    """
    found = 0
    for mask in range(least_px.shape[0]):
        free = 0
        for run in range(offsets[mask], offsets[mask + 1]):
            for pixel in range(starts[run], ends[run]):
                if not taken[pixel]:
                    free += 1
        kept[mask] = free >= least_px[mask]
        if kept[mask]:
            last_end = -1
            for run in range(offsets[mask], offsets[mask + 1]):
                for pixel in range(starts[run], ends[run]):
                    if taken[pixel]:
                        continue
                    taken[pixel] = True
                    if pixel != last_end:
                        if found < free_starts.shape[0]:
                            free_starts[found] = pixel
                        found += 1
                    last_end = pixel + 1
                    if found <= free_ends.shape[0]:
                        free_ends[found - 1] = last_end
        free_offsets[mask + 1] = found
    return found
