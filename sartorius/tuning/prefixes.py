"""The score of an image at every score threshold at once.

Clean-up goes through the cells by falling score, and what becomes of a cell depends on surer cells alone: the mask NMS
and the removal of overlap only look back. So a score threshold cuts the tail off one and the same sequence, and one
pass without a threshold says what the metric is at each of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.column_runs import ColumnRuns, areas_px
from sartorius.compiled import compiled
from sartorius.line_runs import Ints
from sartorius.metrics.competition import precision
from sartorius.metrics.matching import THRESHOLDS, Counts

Floats = NDArray[np.float64]


class PrefixTable(NamedTuple):
    """What an image's score is when the K surest cells of its clean-up are kept.

    scores: (K,) float32 of the cells that clean-up keeps without a threshold, falling.
    image_scores: (K + 1,) the image's competition score with the first 0 … K of them.
    """

    scores: NDArray[np.float32]
    image_scores: Floats

    def at(self, thresholds: Floats) -> Floats:
        """(G,) the image's score at each score threshold: cells whose score reaches it are kept."""
        kept = np.searchsorted(-self.scores, -thresholds.astype(np.float32), side="right")
        return self.image_scores[kept]


class TrueCells(NamedTuple):
    """The annotated cells of one image, ready for `prefix_table`: runs and pixels (M,) of their masks."""

    runs: ColumnRuns
    areas_px: Ints


def prefix_table(
    runs: ColumnRuns,
    rows: Ints,
    scores: NDArray[np.float32],
    min_area_px: int,
    repeats: tuple[Ints, Ints],
    truth: TrueCells,
    owners: NDArray[np.int32],
) -> PrefixTable:
    """The table of cells by falling score, overlap removed, with at least `min_area_px` before and after.

    runs: masks of all fused cells.
    rows: (N,) the cells that take part, by falling score; scores: (N,) theirs.
    repeats: (R,) places in `rows` of a surer cell and of the one that repeats it, sorted by the surer one.
    owners: (H * W,) zeros, room to work in; zeros again afterwards.
    """
    least_px = max(min_area_px, 1)
    single = _without_repeats(areas_px(runs)[rows] >= least_px, repeats)
    areas, passed = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    _claim(*runs, rows, least_px, single, owners, areas)
    shared, touched = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    _count_passed(*truth.runs, truth.areas_px, owners, areas, shared, touched, passed)
    _release(*runs, rows, areas, owners)
    kept = areas > 0
    return PrefixTable(scores[kept], _image_scores(passed[kept], len(truth.areas_px)))


def _without_repeats(large_enough: NDArray[np.bool_], repeats: tuple[Ints, Ints]) -> NDArray[np.bool_]:
    """(N,) the cells that are large enough and repeat no surer one that stays."""
    single = large_enough.tolist()
    for surer, repeated in zip(repeats[0].tolist(), repeats[1].tolist(), strict=True):
        if single[surer]:
            single[repeated] = False
    return np.array(single, dtype=np.bool_)


def _image_scores(passed: Ints, true_cells: int) -> Floats:
    """(K + 1,) scores of an image from how many of the ten thresholds each of its K cells passes.

    Disjoint cells never share a true cell above .5, so each cell that passes is one true positive.
    """
    first = np.zeros((1, len(THRESHOLDS)), dtype=np.int64)
    found = np.concatenate([first, np.cumsum(passed[:, None] > np.arange(len(THRESHOLDS)), axis=0)])
    predicted = np.arange(len(passed) + 1)[:, None]
    counts = Counts(found, predicted - found, true_cells - found)
    means: Floats = precision(counts, np.full((len(passed) + 1, 1), true_cells)).mean(axis=1)
    return means


@compiled
def _claim(
    starts: Ints,
    ends: Ints,
    offsets: Ints,
    rows: Ints,
    least_px: int,
    single: NDArray[np.bool_],
    owners: NDArray[np.int32],
    areas: Ints,
) -> None:
    """Give each row of `single` in turn the pixels that are still free, if enough are: fill `owners` and `areas`.

    owners: (pixels,) the place in `rows` plus 1 of the row that has the pixel, all 0 before. areas: all 0 before.
    """
    for place in range(rows.shape[0]):
        if not single[place]:
            continue
        free = 0
        for run in range(offsets[rows[place]], offsets[rows[place] + 1]):
            for pixel in range(starts[run], ends[run]):
                if owners[pixel] == 0:
                    free += 1
        if free < least_px:
            continue
        areas[place] = free
        for run in range(offsets[rows[place]], offsets[rows[place] + 1]):
            for pixel in range(starts[run], ends[run]):
                if owners[pixel] == 0:
                    owners[pixel] = place + 1


@compiled
def _count_passed(
    true_starts: Ints,
    true_ends: Ints,
    true_offsets: Ints,
    true_areas: Ints,
    owners: NDArray[np.int32],
    areas: Ints,
    shared: Ints,
    touched: Ints,
    passed: Ints,
) -> None:
    """Fill `passed` with how many of the ten IoU thresholds each cell exceeds with its true cell.

    shared (zeros), touched: room to work in, one place for each cell.
    """
    for true in range(true_areas.shape[0]):
        found = 0
        for run in range(true_offsets[true], true_offsets[true + 1]):
            for pixel in range(true_starts[run], true_ends[run]):
                owner = owners[pixel] - 1
                if owner >= 0:
                    if shared[owner] == 0:
                        touched[found] = owner
                        found += 1
                    shared[owner] += 1
        for number in range(found):
            owner = touched[number]
            union = areas[owner] + true_areas[true] - shared[owner]
            # In whole numbers, as metrics.matching.hits has it: thresholds are 10 to 19 twentieths.
            exceeds = (20 * shared[owner] - 1) // union - 9
            if exceeds > passed[owner]:
                passed[owner] = exceeds
            shared[owner] = 0


@compiled
def _release(
    starts: Ints, ends: Ints, offsets: Ints, rows: Ints, areas: Ints, owners: NDArray[np.int32]
) -> None:
    """Make the pixels of all claimed cells free again, which takes less than a new array for each image."""
    for place in range(rows.shape[0]):
        if areas[place] > 0:
            for run in range(offsets[rows[place]], offsets[rows[place] + 1]):
                for pixel in range(starts[run], ends[run]):
                    owners[pixel] = 0
