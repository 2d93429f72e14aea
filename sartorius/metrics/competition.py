"""The competition's metric: the mean over images of the mean over thresholds of TP / (TP + FP + FN).

Predictions are scored as given. The competition refuses masks that overlap within an image, so whoever calls this
has removed overlaps before (`postprocess.remove_overlap`); a score taken without that is not the competition's.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.metrics.images import refuse_mismatches
from sartorius.metrics.matching import COUNTS, THRESHOLDS, Counts, Variant, hits
from sartorius.overlap import overlapping

#: The type of an image in which nothing is annotated.
NO_TYPE = "none"

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CompetitionScore:
    """Competition mAP of I images, in the order of `image_ids`.

    variant: how a prediction that hits two true cells counts, see `metrics.matching`.
    image_ids, cell_types: (I,) names of the images and the type of their true cells ("none" without any).
    true_cells: (I,) int64 annotated cells of each image.
    true_positives, false_positives, false_negatives: (I, 10) int64 cells at each of THRESHOLDS.
    """

    variant: Variant
    image_ids: tuple[str, ...]
    cell_types: tuple[str, ...]
    true_cells: NDArray[np.int64]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]

    @cached_property
    def precisions(self) -> Floats:
        """(I, 10) TP / (TP + FP + FN) of each image at each threshold."""
        counts = Counts(self.true_positives, self.false_positives, self.false_negatives)
        return precision(counts, self.true_cells[:, None])

    @cached_property
    def image_scores(self) -> Floats:
        """(I,) mean over thresholds of each image."""
        means: Floats = self.precisions.mean(axis=1)
        return means

    @property
    def total(self) -> float:
        """The competition's number: the mean over images."""
        return float(self.image_scores.mean())

    @property
    def per_type(self) -> dict[str, float]:
        """The mean over the images of each true cell type, by name."""
        types = np.array(self.cell_types)
        return {str(name): float(self.image_scores[types == name].mean()) for name in np.unique(types)}

    @property
    def per_threshold(self) -> dict[float, float]:
        """The mean over images at each threshold."""
        return dict(zip(THRESHOLDS, self.precisions.mean(axis=0).tolist(), strict=True))

    @property
    def per_image(self) -> dict[str, float]:
        """The score of each image by its id."""
        return dict(zip(self.image_ids, self.image_scores.tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Plain values that the json module writes: total, per type, per threshold, per image with counts."""
        return {
            "metric": "competition mAP",
            "variant": self.variant,
            "images": len(self.image_ids),
            "total": self.total,
            "per_type": self.per_type,
            "images_per_type": dict(sorted(Counter(self.cell_types).items())),
            "per_threshold": {f"{t:.2f}": score for t, score in self.per_threshold.items()},
            "per_image": [
                {
                    "id": image_id,
                    "cell_type": self.cell_types[row],
                    "true_cells": int(self.true_cells[row]),
                    "score": float(self.image_scores[row]),
                    "true_positives": self.true_positives[row].tolist(),
                    "false_positives": self.false_positives[row].tolist(),
                    "false_negatives": self.false_negatives[row].tolist(),
                }
                for row, image_id in enumerate(self.image_ids)
            ],
        }


def evaluate(
    predictions: Mapping[str, Cells], truth: Mapping[str, Cells], variant: Variant = "one_to_one"
) -> CompetitionScore:
    """The competition mAP over the images of `truth`, in their order.

    predictions: found cells by image id; an image of `truth` that is not here counts as one without a prediction.
    truth: annotated cells by image id.
    An image without predictions scores 0 when it has true cells; without either it scores 1.
    Raises UserError if there is no image to score, or a prediction is of an image that `truth` does not have, or of
    another size.
    """
    refuse_mismatches(predictions, truth)
    counts = [
        _counts(predictions[image_id], cells, variant) if image_id in predictions else _missed(cells)
        for image_id, cells in truth.items()
    ]
    return CompetitionScore(
        variant=variant,
        image_ids=tuple(truth),
        cell_types=tuple(image_type(cells) for cells in truth.values()),
        true_cells=np.array([len(cells) for cells in truth.values()], dtype=np.int64),
        true_positives=np.stack([count.true_positives for count in counts]),
        false_positives=np.stack([count.false_positives for count in counts]),
        false_negatives=np.stack([count.false_negatives for count in counts]),
    )


def average_precision(predicted: Cells, truth: Cells, variant: Variant = "one_to_one") -> Floats:
    """(10,) TP / (TP + FP + FN) of one image at each of THRESHOLDS; their mean is the image's score."""
    return precision(_counts(predicted, truth, variant), np.array([len(truth)]))


def image_type(truth: Cells) -> str:
    """The most frequent type of an image's true cells, ties by name; "none" for an image without cells."""
    names, numbers = np.unique(truth.cell_types, return_counts=True)
    return str(names[np.argmax(numbers)]) if len(names) else NO_TYPE


def images_with_overlap(predictions: Mapping[str, Cells]) -> list[str]:
    """The ids of the images in which predictions share pixels, which the competition refuses; in input order."""
    return [image_id for image_id, cells in predictions.items() if _overlap(cells)]


def _overlap(cells: Cells) -> bool:
    pairs = overlapping(cells, cells)
    return bool(np.any(pairs.rows_a != pairs.rows_b))


def _counts(predicted: Cells, truth: Cells, variant: Variant) -> Counts:
    return COUNTS[variant](hits(predicted, truth))


def _missed(truth: Cells) -> Counts:
    none = np.zeros(len(THRESHOLDS), dtype=np.int64)
    return Counts(none, none, none + len(truth))


def precision(counts: Counts, true_cells: NDArray[np.int64]) -> Floats:
    """TP / (TP + FP + FN), 1 where nothing was to be found and nothing was.

    Under `drop` all counts can be 0 though there are true cells; that is 0.
    """
    total = counts.true_positives + counts.false_positives + counts.false_negatives
    shares = np.broadcast_to(true_cells == 0, total.shape).astype(np.float64)
    np.divide(counts.true_positives, total, out=shares, where=total > 0)
    return shares
