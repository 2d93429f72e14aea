"""All detections of one image in one order that knows nothing of the order of sources and rows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, together
from sartorius.line_runs import Ints

Floats = NDArray[np.float64]


class Detections(NamedTuple):
    """The N detections of all sources that have pixels, by falling vote; ties by source name, then by `_key`.

    rows: the detections as one record, soft masks left out.
    names: names of the S sources that looked at the image, sorted, those without detections among them.
    source: (N,) int64 place of each row's source in `names`.
    origin: (N,) int64 place of each row in the sources' rows laid end to end, sources by name.
    source_starts: (S,) int64 place of each source's first row there.
    source_weights: (S,) weights, of which the largest is 1.
    votes: (N,) score times source weight.
    """

    rows: Cells
    names: tuple[str, ...]
    source: Ints
    origin: Ints
    source_starts: Ints
    source_weights: Floats
    votes: Floats

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
    source = np.repeat(np.arange(len(names)), [len(part) for part in parts])
    votes = rows.scores * source_weights[source]
    order = np.lexsort((source, -votes))
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    _order_ties(order, votes, source, starts, parts)
    order = order[rows.areas_px[order] > 0]
    return Detections(rows[order], names, source[order], order, starts, source_weights, votes[order])


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
