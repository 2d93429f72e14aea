"""The score and the type of a cell from the detections that vote for it; the same rules for every strategy."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import UNKNOWN_CELL_TYPE, Strings
from sartorius.config.fusion import ClusterSettings, JoiningSettings
from sartorius.fusion.clusters import Clusters
from sartorius.fusion.detections import Detections
from sartorius.fusion.overlaps import pair_ious
from sartorius.overlap import Pairs

Floats = NDArray[np.float64]


def confidences(
    found: Detections,
    clusters: Clusters,
    settings: JoiningSettings,
    inside: Floats,
    overlaps: Callable[[], Pairs],
) -> NDArray[np.float32]:
    """(K,) float32 score of each cell, in [0, 1].

    Score of its best vote or weighted mean of its votes, times the share that its sources have in the weight of all
    sources that looked, times the mean IoU of its votes' masks with its seed's, times the mean probability inside its
    mask, the last three to the powers in the settings.
    inside: (K,) those mean probabilities.
    overlaps: gives the detections whose masks share pixels; asked only if the settings need them.
    """
    rows, cell = clusters.voters()
    scores = clusters.scores[clusters.seeds]
    if isinstance(settings, ClusterSettings):
        weights = found.weights[rows]
        sums = np.bincount(cell, weights, len(scores))
        if settings.score == "mean":
            scores = np.bincount(cell, weights * clusters.scores[rows], len(scores)) / sums
        scores = scores * (sums / found.source_weights.sum()) ** settings.agreement_power
        if settings.vote_iou_power:
            scores = scores * vote_ious(found, clusters, overlaps()) ** settings.vote_iou_power
    return np.clip(scores * inside**settings.mask_score_power, 0, 1).astype(np.float32)


def vote_ious(found: Detections, clusters: Clusters, overlaps: Pairs) -> Floats:
    """(K,) weighted mean IoU of the masks of each cell's votes with its seed's, the seed's own 1 among them.

    overlaps: the detections whose masks share pixels.
    """
    rows, cell = clusters.voters()
    seeds, weights, count = clusters.seed[rows], found.weights[rows], len(clusters.seed)
    known = overlaps.rows_a * count + overlaps.rows_b
    wanted = np.minimum(rows, seeds) * count + np.maximum(rows, seeds)
    _, here, there = np.intersect1d(wanted, known, return_indices=True)
    ious = np.where(rows == seeds, 1.0, 0.0)
    ious[here] = pair_ious(found, overlaps)[there]
    return np.asarray(np.bincount(cell, weights * ious) / np.bincount(cell, weights), dtype=np.float64)


def voted_types(found: Detections, clusters: Clusters) -> Strings:
    """(K,) the type of each cell with the highest sum of weight times score.

    Ties go to the type of the highest single vote, then to the first by name. Votes of detections whose type nobody told
    do not count beside others.
    """
    rows, cell = clusters.voters()
    names, codes = np.unique(found.cell_types, return_inverse=True)
    places = cell * len(names) + codes[rows]
    shape = len(clusters.seeds), len(names)
    sums = np.bincount(places, found.votes[rows], shape[0] * shape[1])
    best = np.zeros(len(sums))
    np.maximum.at(best, places, found.votes[rows])
    cells, types = np.divmod(np.arange(len(sums)), max(shape[1], 1))
    untold, no_vote = (names == UNKNOWN_CELL_TYPE)[types], np.ones(len(sums), dtype=np.bool_)
    no_vote[places] = False  # sums and best are 0 there, and so may those of a vote be
    order = np.lexsort((types, -best, -sums, untold, no_vote, cells))
    return names[types[order[:: max(shape[1], 1)]]]
