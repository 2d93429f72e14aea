"""The result of each ablation on the same images, and how it differs from the base's."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.metrics.bootstrap import Interval, PairedDifference, mean_interval, paired_difference

Floats = NDArray[np.float64]

BOOTSTRAP_SEED = 0


class Result(NamedTuple):
    """The scores of one settings file on I images.

    name: the file's stem. changes: what it changes of the base, in one line; empty for the base.
    as_written: (I,) scores with the fusion and clean-up that the file has.
    out_of_fold: (I,) scores with those searched on the other parts of the images.
    seconds: what it took, of the processor where nothing but this process worked.
    """

    name: str
    changes: str
    as_written: Floats
    out_of_fold: Floats
    seconds: float


class Row(NamedTuple):
    """One line of a table: the score out of fold, and its difference to the base, over all images and by cell type."""

    name: str
    changes: str
    as_written: float
    total: Interval
    difference: PairedDifference | None
    per_type: dict[str, PairedDifference | float]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values that the json module writes."""
        per_type = {
            name: one if isinstance(one, float) else one._asdict() for name, one in self.per_type.items()
        }
        return self._asdict() | {
            "total": self.total._asdict(),
            "difference": self.difference and self.difference._asdict(),
            "per_type": per_type,
        }


class Table(NamedTuple):
    """The rows of a folder of ablations, base first.

    images: how many they are scored on. parts: what these are split into, in words.
    sources: all that a row uses, the base's first, where cached predictions are fused; none where models are trained.
    """

    rows: list[Row]
    images: int
    parts: str
    sources: tuple[str, ...] = ()


def rows_of(base: Result, others: Sequence[Result], types: Sequence[str]) -> list[Row]:
    """The base's row with its scores, and each other's with the paired difference to it, best first.

    types: the true cell type of each image.
    """
    names = np.array(types)
    chosen = {str(name): names == name for name in np.unique(names)}

    def row(result: Result) -> Row:
        is_base = result is base
        return Row(
            name=result.name,
            changes=result.changes,
            as_written=float(result.as_written.mean()),
            total=mean_interval(result.out_of_fold, np.random.default_rng(BOOTSTRAP_SEED)),
            difference=None if is_base else _difference(result.out_of_fold, base.out_of_fold),
            per_type={
                name: float(result.out_of_fold[of_type].mean())
                if is_base
                else _difference(result.out_of_fold[of_type], base.out_of_fold[of_type])
                for name, of_type in chosen.items()
            },
            seconds=result.seconds,
        )

    rows = sorted(map(row, others), key=lambda one: (-one.total.value, one.name))
    return [row(base), *rows]


def _difference(scores: Floats, others: Floats) -> PairedDifference:
    return paired_difference(scores, others, np.random.default_rng(BOOTSTRAP_SEED))
