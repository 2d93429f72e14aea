"""How sure a figure is: intervals from drawing the images again, alone or in pairs of two results."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95


class Interval(NamedTuple):
    """A figure and the bounds that hold it with probability `LEVEL`, other images being drawn."""

    value: float
    low: float
    high: float


class PairedDifference(NamedTuple):
    """How much better the first of two results is on the same images.

    difference: mean over images of first minus second, with its bounds `low` and `high`.
    share_better: share of resamples in which the first is better, ties counting half; .5 says nothing either way.
    """

    difference: float
    low: float
    high: float
    share_better: float


def draws(n_images: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """(resamples, n_images) int64: how often each image is drawn, n_images draws with replacement in each row.

    Raises ValueError without an image or a resample.
    """
    if n_images < 1 or resamples < 1:
        raise ValueError(f"expected at least one image and one resample, got {n_images} and {resamples}")
    return rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=resamples).astype(np.int64)


def mean_interval(image_scores: Floats, rng: np.random.Generator) -> Interval:
    """The mean of (I,) scores of images with its percentile bootstrap interval; one image has no width."""
    return mean_intervals(image_scores[:, None], rng)[0]


def mean_intervals(
    image_scores: Floats, rng: np.random.Generator, resamples: int = RESAMPLES
) -> list[Interval]:
    """The interval of each column of (I, K) scores, all from the same draws of images."""
    means = draws(len(image_scores), rng, resamples) @ image_scores / len(image_scores)
    return [
        Interval(float(value), *bounds(column))
        for value, column in zip(image_scores.mean(axis=0), means.T, strict=True)
    ]


def paired_difference(
    image_scores: Floats, other_scores: Floats, rng: np.random.Generator
) -> PairedDifference:
    """How much better (I,) scores are than those of another result on the same images in the same order.

    Each resample draws the same images for both results, so that hard images do not blur the difference.
    Raises ValueError if the two have different lengths.
    """
    if image_scores.shape != other_scores.shape:
        raise ValueError(
            f"scores have shapes {image_scores.shape} and {other_scores.shape}, expected the same images"
        )
    differences = image_scores - other_scores
    means = draws(len(differences), rng) @ differences / len(differences)
    better = float((means > 0).mean() + (means == 0).mean() / 2)
    return PairedDifference(float(differences.mean()), *bounds(means), better)


def bounds(figures: NDArray[Any]) -> tuple[float, float]:
    """The percentiles that hold the middle `LEVEL` of the resampled figures."""
    low, high = np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
