"""At which step of the pipeline each true cell of an image was lost.

A true cell is within reach after a step if one of the masks there has an IoU greater than .5 with it. It is lost at the
step that follows the last one after which it was within reach, so every true cell has exactly one fate. It is found if
it has a partner in the largest one-to-one matching with the result, as in the competition's metric at IoU > .5.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, Strings, together
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.fusion import ClusterSettings
from sartorius.fusion.engine import fused_by, prepared
from sartorius.metrics.images import refuse_mismatches
from sartorius.metrics.matching import at_threshold, hits, largest_matching
from sartorius.overlap import iou, overlapping
from sartorius.pipeline.by_type import image_fusion
from sartorius.postprocess import cleaned_steps
from sartorius.rle import CocoRle

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

Fate = Literal[
    "not proposed",
    "poorly outlined",
    "fused away",
    "too few votes",
    "below threshold",
    "reshaped",
    "too small",
    "repeat",
    "clipped",
    "shared",
    "found",
]
#: Every fate of a true cell, in the order of the pipeline.
FATES: tuple[Fate, ...] = get_args(Fate)
#: A true cell without a mask of at least this IoU was not proposed; with one it was, but poorly outlined.
LEAST_IOU = 0.2
#: What a step of the clean-up can do to a cell; a step that is not here only renames its type.
LOST_IN_STEP: Mapping[str, Fate] = {
    "score threshold": "below threshold",
    "holes": "reshaped",
    "islands": "reshaped",
    "label fill": "reshaped",
    "minimum area": "too small",
    "mask NMS": "repeat",
    "overlap removal": "clipped",
}


class Step(NamedTuple):
    """The cells after a step of the pipeline, and the fate of the true cells that were within reach up to it."""

    lost: Fate
    cells: Cells


class Fates(NamedTuple):
    """What became of the M true cells of one image.

    fates: (M,) one of FATES each.
    nearest: M masks, the one that came nearest after the last step with a mask within reach, of the first step for a
        cell that was poorly outlined; None for a cell that was not proposed.
    best_iou: (M,) highest IoU with a cell of the result.
    partners: (M,) row of the result's cell that a found cell is matched with, else -1.
    """

    fates: Strings
    nearest: tuple[CocoRle | None, ...]
    best_iou: Floats
    partners: Ints


def pipeline_steps(sources: Mapping[str, Cells], settings: EnsembleSettings) -> list[Step]:
    """The cells of one image after each step from detections to the result, which is the last step's.

    sources: as for `image_fusion`.
    """
    fused_of, fusion, weights = image_fusion(sources, settings)
    image = prepared(fused_of, weights)
    steps = [Step("poorly outlined", together(list(fused_of.values())))]
    if isinstance(fusion, ClusterSettings) and fusion.min_votes > 1:
        steps.append(Step("fused away", fused_by(image, fusion.model_copy(update={"min_votes": 1})).cells))
        fused = Step("too few votes", fused_by(image, fusion).cells)
    else:
        fused = Step("fused away", fused_by(image, fusion).cells)
    steps.append(fused)
    for step in cleaned_steps(fused.cells, settings.postprocess):
        if step.name in LOST_IN_STEP:
            steps.append(Step(LOST_IN_STEP[step.name], step.cells))
        else:
            steps[-1] = Step(steps[-1].lost, step.cells)
    return steps


def only_step(result: Cells) -> list[Step]:
    """The one step of a result whose making is not known."""
    return [Step("poorly outlined", result)]


def fates_of(steps: Sequence[Step], truth: Cells) -> Fates:
    """The fate of every true cell of one image; steps: at least one, the last one's cells are the result.

    Raises UserError if the images differ in size.
    """
    count, result = len(truth), steps[-1].cells
    refuse_mismatches({truth.image_id: result}, {truth.image_id: truth})
    first_iou, first_rows = _best(steps[0].cells, truth)
    fates = np.where(first_iou >= LEAST_IOU, "poorly outlined", "not proposed").astype(f"U{_LONGEST}")
    nearest = [
        steps[0].cells.masks[row] if fate == "poorly outlined" else None
        for row, fate in zip(first_rows.tolist(), fates.tolist(), strict=True)
    ]
    followed_by = [*(step.lost for step in steps[1:]), "shared"]
    for step, lost in zip(steps, followed_by, strict=True):
        best_iou, rows = _best(step.cells, truth)
        within_reach = np.zeros(count, dtype=np.bool_)
        within_reach[hits(step.cells, truth).rows_true] = True
        fates[within_reach] = lost
        for true in np.flatnonzero(within_reach).tolist():
            nearest[true] = step.cells.masks[rows[true]]
    partners = np.full(count, -1, dtype=np.int64)
    pairs = largest_matching(at_threshold(hits(result, truth), 0))
    partners[pairs[:, 1]] = pairs[:, 0]
    fates[partners >= 0] = "found"
    return Fates(fates, tuple(nearest), best_iou, partners)


_LONGEST = max(map(len, FATES))


def _best(found: Cells, truth: Cells) -> tuple[Floats, Ints]:
    """(M,) highest IoU of each true cell with any mask, and the first row of `found` that has it; 0 and 0 without."""
    pairs = overlapping(found, truth)
    values = iou(pairs, found, truth)
    best_iou, rows = np.zeros(len(truth)), np.zeros(len(truth), dtype=np.int64)
    order = np.lexsort((-pairs.rows_a, values))  # the best of each true cell is written last
    best_iou[pairs.rows_b[order]] = values[order]
    rows[pairs.rows_b[order]] = pairs.rows_a[order]
    return best_iou, rows
