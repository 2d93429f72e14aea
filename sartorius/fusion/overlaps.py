"""The strategies on the masks themselves: NMS on masks, and clusters in which every source has one vote."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.config.fusion import MaskNmsSettings, MasksSettings
from sartorius.fusion.clusters import NONE, Clusters, grouped
from sartorius.fusion.detections import Detections
from sartorius.line_runs import Ints
from sartorius.overlap import Pairs

Floats = NDArray[np.float64]


class _Neighbours(NamedTuple):
    """For each row the rows that may be its cell: `rows[offsets[i]:offsets[i + 1]]`, ascending, and their IoU."""

    offsets: Ints
    rows: Ints
    ious: Floats


def pair_ious(found: Detections, pairs: Pairs) -> Floats:
    """(P,) IoU of the masks of each pair of detections."""
    areas = found.areas_px
    union_px = areas[pairs.rows_a] + areas[pairs.rows_b] - pairs.intersections_px
    return np.asarray(pairs.intersections_px / union_px, dtype=np.float64)


def mask_nms(found: Detections, pairs: Pairs, settings: MaskNmsSettings) -> Clusters:
    """Rows in falling order survive unless they are one cell with a better survivor, to which they then belong.

    pairs: the detections whose masks share pixels.
    """
    areas, ious = found.areas_px, pair_ious(found, pairs)
    one_cell = ious >= settings.min_iou
    if settings.min_containment is not None:
        smaller_px = np.minimum(areas[pairs.rows_a], areas[pairs.rows_b])
        one_cell |= pairs.intersections_px / smaller_px >= settings.min_containment
    near = _neighbours(found, pairs, ious, one_cell, settings.across_types)
    everyone = np.arange(len(found.source))  # each row its own source: nobody is anybody's second detection
    return grouped(found, _grouped(near, everyone, True)[0])


def mask_clusters(found: Detections, pairs: Pairs, settings: MasksSettings) -> Clusters:
    """Rows in falling order begin a cell, and of each other source the row that overlaps it most joins.

    pairs: the detections whose masks share pixels.
    Only rows with an IoU of at least `min_iou` with the seed join; ties go to the first.
    """
    ious = pair_ious(found, pairs)
    near = _neighbours(found, pairs, ious, ious >= settings.min_iou, settings.across_types)
    dropped = settings.second_of_source == "drop"
    seed, votes = _grouped(near, found.source, dropped)
    return Clusters(seed, votes, found.scores)


def _neighbours(
    found: Detections, pairs: Pairs, ious: Floats, chosen: NDArray[np.bool_], across_types: bool
) -> _Neighbours:
    """The chosen pairs seen from both of their rows."""
    if not across_types:
        chosen = chosen & (found.cell_types[pairs.rows_a] == found.cell_types[pairs.rows_b])
    rows_a, rows_b, both = pairs.rows_a[chosen], pairs.rows_b[chosen], np.tile(ious[chosen], 2)
    here, there = np.concatenate([rows_a, rows_b]), np.concatenate([rows_b, rows_a])
    order = np.argsort(here * len(found.source) + there)
    offsets = np.searchsorted(here[order], np.arange(len(found.source) + 1))
    return _Neighbours(offsets.astype(np.int64), there[order], both[order])


def _grouped(near: _Neighbours, source: Ints, takes_all: bool) -> tuple[Ints, NDArray[np.bool_]]:
    """(N,) each row's seed, and whether it is its source's vote.

    source: (N,) the source of each row, from 0 on.
    takes_all: rows of a source that has voted belong to the cell too, without a vote; otherwise they stay free.
    """
    offsets, others, ious = near.offsets.tolist(), near.rows.tolist(), near.ious.tolist()
    source_of = source.tolist()
    seed, votes = [NONE] * len(source), np.zeros(len(source), dtype=np.bool_)
    for row, own in enumerate(source_of):
        if seed[row] != NONE:
            continue
        seed[row], votes[row] = row, True
        best: dict[int, tuple[float, int]] = {}
        for near_row, iou in zip(
            others[offsets[row] : offsets[row + 1]], ious[offsets[row] : offsets[row + 1]], strict=True
        ):
            if seed[near_row] != NONE:
                continue
            of = source_of[near_row]
            if of != own and iou > best.get(of, (0.0, NONE))[0]:
                best[of] = iou, near_row
            if takes_all:
                seed[near_row] = row
        for _, joining in best.values():
            seed[joining], votes[joining] = row, True
    return np.array(seed, dtype=np.int64), votes
