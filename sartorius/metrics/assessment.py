"""Every figure of one set of predictions in one record, each with its interval over images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.metrics.bootstrap import (
    Interval,
    PairedDifference,
    mean_interval,
    mean_intervals,
    paired_difference,
)
from sartorius.metrics.coco import SHAPES, Figures, Shape, coco_intervals
from sartorius.metrics.competition import CompetitionScore, evaluate
from sartorius.metrics.confusion import Confusion, type_confusion
from sartorius.metrics.f1 import F1Score, f1_score
from sartorius.metrics.livecell import CONVENTIONS, ConventionName, LivecellScore, livecell_table
from sartorius.metrics.matching import THRESHOLDS, Variant


class Wanted(NamedTuple):
    """What to assess.

    variant: how a prediction that hits two true cells counts.
    confusion: found against true cell types, for predictions that carry types.
    coco_detections: COCO figures at this detection cap, for predictions that carry scores; None leaves them out.
    livecell: figures by LIVECell's protocol under these conventions, likewise.
    """

    variant: Variant = "one_to_one"
    confusion: bool = True
    coco_detections: int | None = None
    livecell: tuple[ConventionName, ...] = ()


#: The competition's figures and the confusion of types; COCO's take seconds.
EVERYTHING_CHEAP = Wanted()


class Comparison(NamedTuple):
    """Another result's total and how much better the first one is: "total" and each cell type by name."""

    other_total: float
    differences: dict[str, PairedDifference]


@dataclass(frozen=True, eq=False)
class Assessment:
    """The figures of one set of predictions with 95 % intervals over images.

    score: the counts behind `total`, `per_type` and `per_threshold`.
    f1: pooled precision, recall and F1 at IoU > .5, one-to-one whatever the variant of `score`.
    confusion, confusion_shares, coco, comparison: None where they were not asked for; `coco` by shape and figure.
    livecell: by convention and cell line, see `metrics.livecell`.
    """

    score: CompetitionScore
    total: Interval
    per_type: dict[str, Interval]
    per_threshold: dict[float, Interval]
    f1: F1Score
    confusion: Confusion | None
    confusion_shares: dict[str, dict[str, Interval | None]] | None
    coco_detections: int | None
    coco: dict[Shape, Figures] | None
    livecell: dict[ConventionName, dict[str, LivecellScore]]
    comparison: Comparison | None

    def to_json(self) -> dict[str, Any]:
        """Plain values that the json module writes: `CompetitionScore.to_json` and the rest beside it."""
        result = self.score.to_json() | {
            "interval_95": {
                "total": _bounds(self.total),
                "per_type": {name: _bounds(interval) for name, interval in self.per_type.items()},
                "per_threshold": {
                    f"{t:.2f}": _bounds(interval) for t, interval in self.per_threshold.items()
                },
                "at_50": {name: _bounds(interval) for name, interval in self.f1._asdict().items()},
            },
            "at_50": {name: interval.value for name, interval in self.f1._asdict().items()},
        }
        if self.confusion is not None and self.confusion_shares is not None:
            result["confusion"] = self.confusion.to_json()
            result["confusion_shares"] = {
                name: _told(shares) for name, shares in self.confusion_shares.items()
            }
        if self.coco is not None:
            result["coco"] = {"max_detections": self.coco_detections} | {
                shape: _told(figures) for shape, figures in self.coco.items()
            }
        if self.livecell:
            result["livecell"] = {
                name: {
                    "sizes_px": CONVENTIONS[name].sizes._asdict(),
                    "lines": {line: score.to_json() for line, score in table.items()},
                }
                for name, table in self.livecell.items()
            }
        if self.comparison is not None:
            result["against"] = {
                "total": self.comparison.other_total,
                "differences": {name: row._asdict() for name, row in self.comparison.differences.items()},
            }
        return result


def assess(
    predictions: Mapping[str, Cells],
    truth: Mapping[str, Cells],
    rng: np.random.Generator,
    wanted: Wanted = EVERYTHING_CHEAP,
    other: Mapping[str, Cells] | None = None,
) -> Assessment:
    """The figures over the images of `truth`, compared with another result on the same images if there is one.

    Raises UserError if there is no image, or a prediction is of an image that `truth` does not have or of another size.
    """
    score = evaluate(predictions, truth, wanted.variant)
    one_to_one = score if wanted.variant == "one_to_one" else evaluate(predictions, truth)
    cap = wanted.coco_detections
    confusion = type_confusion(predictions, truth) if wanted.confusion else None
    total, *per_threshold = mean_intervals(np.column_stack([score.image_scores, score.precisions]), rng)
    return Assessment(
        score=score,
        total=total,
        per_type={
            name: mean_interval(score.image_scores[rows], rng) for name, rows in _rows_per_type(score).items()
        },
        per_threshold=dict(zip(THRESHOLDS, per_threshold, strict=True)),
        f1=f1_score(one_to_one, rng),
        confusion=confusion,
        confusion_shares=None if confusion is None else confusion.shares(rng),
        coco_detections=cap,
        coco=None
        if cap is None
        else {shape: coco_intervals(predictions, truth, shape, rng, cap) for shape in SHAPES},
        livecell={name: livecell_table(predictions, truth, rng, name) for name in wanted.livecell},
        comparison=None if other is None else compare(score, evaluate(other, truth, wanted.variant), rng),
    )


def compare(score: CompetitionScore, other: CompetitionScore, rng: np.random.Generator) -> Comparison:
    """How much better `score` is than `other` on the same images.

    Raises ValueError if the two were not scored on the same images in the same order, or by different variants.
    """
    if (score.image_ids, score.variant) != (other.image_ids, other.variant):
        raise ValueError("two results can be compared on the same images by the same variant only")
    chosen = {"total": np.ones(len(score.image_ids), dtype=np.bool_)} | _rows_per_type(score)
    return Comparison(
        other.total,
        {
            name: paired_difference(score.image_scores[rows], other.image_scores[rows], rng)
            for name, rows in chosen.items()
        },
    )


def _rows_per_type(score: CompetitionScore) -> dict[str, NDArray[np.bool_]]:
    types = np.array(score.cell_types)
    return {str(name): types == name for name in np.unique(types)}


def _bounds(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _told(figures: Figures) -> dict[str, Any]:
    return {name: interval and interval._asdict() for name, interval in figures.items()}
