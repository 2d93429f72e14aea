"""Which detections are one cell, and who votes for it: what every strategy finds and every rule after it works on."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.fusion.detections import Detections
from sartorius.line_runs import Ints

#: No cell: the detection belongs to none.
NONE = -1


class Clusters(NamedTuple):
    """N detections grouped around seeds.

    seed: (N,) int64 the row whose cell each row belongs to: itself for a seed, NONE for a row without a cell.
    votes: (N,) bool, whether the row is the one vote of its source for its cell; a seed always is.
    scores: (N,) float64 what a row's score is worth here, as strategies may lower it.
    """

    seed: Ints
    votes: NDArray[np.bool_]
    scores: NDArray[np.float64]

    @property
    def seeds(self) -> Ints:
        """(K,) rows that are seeds, ascending."""
        return np.flatnonzero(self.seed == np.arange(len(self.seed)))

    def voters(self) -> tuple[Ints, Ints]:
        """(V,) voting rows of each cell one after another, ascending inside a cell, and (V,) the cell's number."""
        rows = np.flatnonzero(self.votes)
        cell = np.searchsorted(self.seeds, self.seed[rows])
        order = np.argsort(cell, kind="stable")
        return rows[order], cell[order]


def grouped(found: Detections, seed: Ints) -> Clusters:
    """Clusters in which the first row of each source votes."""
    rows = np.flatnonzero(seed != NONE)
    pairs = seed[rows] * len(found.names) + found.source[rows]
    votes = np.zeros(len(seed), dtype=np.bool_)
    votes[rows[np.unique(pairs, return_index=True)[1]]] = True
    return Clusters(seed, votes, found.scores)


def with_votes(clusters: Clusters, min_votes: int) -> Clusters:
    """The clusters that at least `min_votes` sources vote for; the rows of the others have no cell."""
    cell = clusters.voters()[1]
    few = np.bincount(cell, minlength=len(clusters.seeds)) < min_votes
    gone = np.isin(clusters.seed, clusters.seeds[few])
    return clusters._replace(seed=np.where(gone, NONE, clusters.seed), votes=clusters.votes & ~gone)
