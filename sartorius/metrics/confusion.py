"""Which cell types are taken for which."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, no_cells
from sartorius.metrics.images import refuse_mismatches
from sartorius.metrics.matching import at_threshold, hits, largest_matching

#: The row of predictions that hit no true cell, and the column of true cells that nothing hit.
NO_CELL = "no cell"


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often true cells of one type (rows) are found as another (columns) at IoU > .5, one-to-one.

    names: T cell types by name and, last, "no cell".
    counts: (T + 1, T + 1) int64; the last row holds false positives, the last column missed cells.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Plain values that the json module writes: true type → found type → cells."""
        return {
            name: dict(zip(self.names, row, strict=True))
            for name, row in zip(self.names, self.counts.tolist(), strict=True)
        }


def type_confusion(predictions: Mapping[str, Cells], truth: Mapping[str, Cells]) -> Confusion:
    """The confusion over the images of `truth`; an image without predictions adds missed cells.

    Raises UserError for predictions of images that `truth` does not have or of another size.
    """
    refuse_mismatches(predictions, truth)
    found_types: list[str] = []
    true_types: list[str] = []
    for image_id, cells in truth.items():
        predicted = predictions.get(image_id, no_cells(image_id, cells.size_hw))
        pairs = largest_matching(at_threshold(hits(predicted, cells), 0))
        false, missed = _others(len(predicted), pairs[:, 0]), _others(len(cells), pairs[:, 1])
        found_types += [*predicted.cell_types[pairs[:, 0]], *predicted.cell_types[false]]
        found_types += [NO_CELL] * len(missed)
        true_types += [*cells.cell_types[pairs[:, 1]], *[NO_CELL] * len(false), *cells.cell_types[missed]]
    names = (*sorted({*found_types, *true_types} - {NO_CELL}), NO_CELL)
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, ([place[name] for name in true_types], [place[name] for name in found_types]), 1)
    return Confusion(names, counts)


def _others(n_rows: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows below n_rows that are not named."""
    return np.setdiff1d(np.arange(n_rows), rows)
