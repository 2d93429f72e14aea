"""All detections of one image in one order that knows nothing of the order of sources and rows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, Strings, together
from sartorius.column_runs import ColumnRuns, areas_px, boxes_xyxy, chosen, column_runs
from sartorius.line_runs import Ints

Floats = NDArray[np.float64]

#: Lowest weight of a row in a mean box or mask: rows with score 0 alone would have no mean.
LEAST_WEIGHT = 1.0e-6


class Detections(NamedTuple):
    """The N detections of all sources that have pixels, by falling vote; ties by source name, then by `_key`.

    image_id, size_hw: of the image.
    names: names of the S sources that looked at the image, sorted, those without detections among them.
    source: (N,) int64 place of each row's source in `names`.
    origin: (N,) int64 place of each row in the sources' rows laid end to end, sources by name.
    source_starts: (S,) int64 place of each source's first row there.
    source_weights: (S,) weights, of which the largest is 1.
    votes: (N,) score times source weight.
    scores, cell_types: (N,) as in the sources.
    runs, areas_px, boxes_xyxy: runs, pixels (N,) and tight boxes (N, 4) of the masks.
    """

    image_id: str
    size_hw: tuple[int, int]
    names: tuple[str, ...]
    source: Ints
    origin: Ints
    source_starts: Ints
    source_weights: Floats
    votes: Floats
    scores: Floats
    cell_types: Strings
    runs: ColumnRuns
    areas_px: Ints
    boxes_xyxy: Ints

    @property
    def weights(self) -> Floats:
        """(N,) weight of each row's source."""
        return self.source_weights[self.source]


def detections(sources: Mapping[str, Cells], weights: Mapping[str, float] | None) -> Detections:
    """The rows of all sources in their one order; rows with empty masks are left out.

    Raises ValueError if there is no source, sources are of different images, or weights are not positive numbers for
    exactly these sources.
    """
    names = tuple(sorted(sources))
    source_weights = _source_weights(names, weights)
    parts = [sources[name] for name in names]
    rows = together([replace(part, soft_masks=None, soft_boxes_xyxy=None) for part in parts])
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    source = np.repeat(np.arange(len(names)), lengths)
    votes = rows.scores * source_weights[source]
    order = np.lexsort((source, -votes))
    _order_ties(order, votes, source, starts, parts)
    runs = column_runs(rows.masks)
    order = order[areas_px(runs)[order] > 0]
    runs = chosen(runs, order)
    return Detections(
        image_id=rows.image_id,
        size_hw=rows.size_hw,
        names=names,
        source=source[order],
        origin=order,
        source_starts=starts,
        source_weights=source_weights,
        votes=votes[order],
        scores=rows.scores[order].astype(np.float64),
        cell_types=rows.cell_types[order],
        runs=runs,
        areas_px=areas_px(runs),
        boxes_xyxy=boxes_xyxy(runs, rows.size_hw[0]),
    )


def soft_boxes(found: Detections, parts: list[Cells]) -> Floats:
    """(N, 4) the boxes in pixels that the soft masks lie on, or the masks' tight boxes where a source has no soft masks.

    parts: the sources' records in the order of `found.names`.
    """
    boxes = [part.boxes_xyxy if part.soft_boxes_xyxy is None else part.soft_boxes_xyxy for part in parts]
    return np.concatenate(boxes)[found.origin].astype(np.float64)


def _source_weights(names: tuple[str, ...], weights: Mapping[str, float] | None) -> Floats:
    if weights is None:
        return np.ones(len(names))
    if set(weights) != set(names):
        raise ValueError(f"weights are for {', '.join(sorted(weights))}, expected {', '.join(names)}")
    found = np.array([weights[name] for name in names], dtype=np.float64)
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise ValueError(f"weights are {found.tolist()}, expected positive numbers")
    largest: float = found.max()
    return found / largest


def _order_ties(order: Ints, votes: Floats, source: Ints, starts: Ints, parts: list[Cells]) -> None:
    """Bring rows of one source with the same vote into the order of `_key`, in place."""
    same = (votes[order][1:] == votes[order][:-1]) & (source[order][1:] == source[order][:-1])
    edges = np.flatnonzero(np.diff(same.astype(np.int8), prepend=0, append=0))
    for begin, end in zip(edges[0::2].tolist(), (edges[1::2] + 1).tolist(), strict=True):
        name = source[order[begin]]
        tied = order[begin:end].tolist()
        order[begin:end] = sorted(tied, key=lambda row: _key(parts[name], row - int(starts[name])))


def _key(cells: Cells, row: int) -> tuple[bytes, str, bytes, bytes]:
    """What orders two detections of one source with the same score; rows alike in all of it are alike."""
    soft = b"" if cells.soft_masks is None else cells.soft_masks[row].tobytes()
    box = b"" if cells.soft_boxes_xyxy is None else cells.soft_boxes_xyxy[row].tobytes()
    return cells.masks[row].counts, str(cells.cell_types[row]), box, soft
