"""The score of an image at every score threshold at once.

Clean-up goes through the cells by falling score, and what becomes of a cell depends on surer cells alone: the mask NMS
and the removal of overlap only look back. So a score threshold cuts the tail off one and the same sequence, and one
pass without a threshold says what the metric is at each of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.column_runs import ColumnRuns
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
    kept, passed = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.int64)
    _pass_through(
        *runs, rows, max(min_area_px, 1), *repeats, *truth.runs, truth.areas_px, owners,
        np.ones(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.int64),
        np.zeros(len(rows), dtype=np.int64), kept, passed,
    )  # fmt: skip
    return PrefixTable(scores[kept], _image_scores(passed[kept], len(truth.areas_px)))


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
def _pass_through(
    starts: Ints,
    ends: Ints,
    offsets: Ints,
    rows: Ints,
    least_px: int,
    surer: Ints,
    repeated: Ints,
    true_starts: Ints,
    true_ends: Ints,
    true_offsets: Ints,
    true_areas: Ints,
    owners: NDArray[np.int32],
    single: NDArray[np.bool_],
    areas: Ints,
    shared: Ints,
    touched: Ints,
    kept: NDArray[np.bool_],
    passed: Ints,
) -> None:
    """Fill `kept`, and `passed` with how many of the ten IoU thresholds each kept cell exceeds with its true cell.

    single (ones), areas, shared and touched (zeros): room to work in, one place for each of `rows`.
    """
    for place in range(rows.shape[0]):
        whole = 0
        for run in range(offsets[rows[place]], offsets[rows[place] + 1]):
            whole += ends[run] - starts[run]
        single[place] = whole >= least_px
    for pair in range(surer.shape[0]):
        if single[surer[pair]]:
            single[repeated[pair]] = False
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
        kept[place], areas[place] = True, free
        for run in range(offsets[rows[place]], offsets[rows[place] + 1]):
            for pixel in range(starts[run], ends[run]):
                if owners[pixel] == 0:
                    owners[pixel] = place + 1
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
            exceeds = min((20 * shared[owner] - 1) // union, 19) - 9
            if exceeds > passed[owner]:
                passed[owner] = exceeds
            shared[owner] = 0
    for place in range(rows.shape[0]):
        if kept[place]:
            for run in range(offsets[rows[place]], offsets[rows[place] + 1]):
                for pixel in range(starts[run], ends[run]):
                    owners[pixel] = 0
