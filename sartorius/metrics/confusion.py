"""Which cell types are taken for which."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, no_cells
from sartorius.metrics.bootstrap import Interval, bounds, draws
from sartorius.metrics.images import refuse_mismatches
from sartorius.metrics.matching import at_threshold, by_falling_score, hits, largest_matching

#: The row of predictions that hit no true cell, and the column of true cells that nothing hit.
NO_CELL = "no cell"


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often true cells of one type (rows) are found as another (columns) at IoU > .5, one-to-one.

    names: T cell types by name and, last, "no cell".
    per_image: (I, T + 1, T + 1) int64 cells; the last row holds false positives, the last column missed cells.
    """

    names: tuple[str, ...]
    per_image: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(T + 1, T + 1) int64 cells of all images."""
        total: NDArray[np.int64] = self.per_image.sum(axis=0)
        return total

    def shares(self, rng: np.random.Generator) -> dict[str, dict[str, Interval | None]]:
        """True type → found type → share of the true type's cells with its bootstrap interval over images.

        The row "no cell" holds the shares of the false positives. None where there is no such cell.
        """
        images, size = len(self.per_image), len(self.names)
        drawn = draws(images, rng) @ self.per_image.reshape(images, size * size)
        resampled = _row_shares(drawn.reshape(-1, size, size))
        values = _row_shares(self.counts[None])[0]
        return {
            true: {
                found: None
                if np.isnan(values[row, column])
                else Interval(float(values[row, column]), *_bounds(resampled[:, row, column]))
                for column, found in enumerate(self.names)
            }
            for row, true in enumerate(self.names)
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values that the json module writes: true type → found type → cells."""
        return {
            name: dict(zip(self.names, row, strict=True))
            for name, row in zip(self.names, self.counts.tolist(), strict=True)
        }


def type_confusion(predictions: Mapping[str, Cells], truth: Mapping[str, Cells]) -> Confusion:
    """The confusion over the images of `truth`, by ascending id; an image without predictions adds missed cells.

    Where several largest matchings can be had, the one taken does not depend on the order of cells.
    Raises UserError for predictions of images that `truth` does not have or of another size.
    """
    refuse_mismatches(predictions, truth)
    named: list[tuple[list[str], list[str]]] = []
    for image_id in sorted(truth):
        cells = by_falling_score(truth[image_id])
        predicted = by_falling_score(predictions.get(image_id, no_cells(image_id, cells.size_hw)))
        pairs = largest_matching(at_threshold(hits(predicted, cells), 0))
        false, missed = _others(len(predicted), pairs[:, 0]), _others(len(cells), pairs[:, 1])
        found_types = [*predicted.cell_types[pairs[:, 0]], *predicted.cell_types[false]]
        true_types = [*cells.cell_types[pairs[:, 1]], *[NO_CELL] * len(false), *cells.cell_types[missed]]
        named.append((true_types, found_types + [NO_CELL] * len(missed)))
    known = {name for true_types, found_types in named for name in (*true_types, *found_types)}
    names = (*sorted(known - {NO_CELL}), NO_CELL)
    place = {name: number for number, name in enumerate(names)}
    per_image = np.zeros((len(named), len(names), len(names)), dtype=np.int64)
    for image, (true_types, found_types) in enumerate(named):
        rows, columns = [place[name] for name in true_types], [place[name] for name in found_types]
        np.add.at(per_image[image], (rows, columns), 1)
    return Confusion(names, per_image)


def _row_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R, T, T) counts over the sums of their rows; NaN where a row is empty."""
    sums, shares = counts.sum(axis=2, keepdims=True), np.full(counts.shape, np.nan)
    np.divide(counts, sums, out=shares, where=sums > 0)
    return shares


def _bounds(shares: NDArray[np.float64]) -> tuple[float, float]:
    """Resamples without a cell of the type are left out."""
    return bounds(shares[~np.isnan(shares)])


def _others(n_rows: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows below n_rows that are not named."""
    return np.setdiff1d(np.arange(n_rows), rows)
