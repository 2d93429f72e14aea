"""Charts of a report: how well outlines fit, and precision and recall over thresholds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from sartorius.metrics.competition import evaluate
from sartorius.metrics.matching import THRESHOLDS
from sartorius.report.outcomes import SCORE_THRESHOLDS, Outcome, found_over_scores
from sartorius.svg import TEXT_COLOUR, chart

SIZE_INCHES = (4.2, 2.7)
IOU_BINS = np.arange(21) / 20
#: Stand for the page's own colours, which differ between light and dark surroundings.
_FIRST, _SECOND, _THIRD = "#010204", "#010205", "#010206"
_OF_PAGE = {_FIRST: "var(--kept)", _SECOND: "var(--lost)", _THIRD: "var(--quiet)"}


def iou_histogram(outcomes: Sequence[Outcome], title: str) -> str:
    """Every true cell by its best IoU with a found one; those up to .5 in the colour of losses."""
    values = np.concatenate([np.zeros(0), *(outcome.fates.best_iou for outcome in outcomes)])
    counts, _ = np.histogram(values, bins=IOU_BINS)

    def draw(axes: Axes) -> None:
        colours = [_SECOND if left < 0.5 else _FIRST for left in IOU_BINS[:-1]]
        axes.bar(IOU_BINS[:-1], counts, width=0.046, align="edge", color=colours)
        axes.set_xlim(0, 1)
        axes.set_xlabel("best IoU with a found cell")
        axes.set_ylabel("true cells")
        axes.set_title(title, fontsize=11, fontweight="bold", loc="left")

    return _of_page(chart(draw, f"Histogram of the best IoU of true cells, {title}", SIZE_INCHES))


def over_ious(outcomes: Sequence[Outcome], title: str) -> str:
    """Precision, recall and the mean of TP / (TP + FP + FN) over images at the ten IoU thresholds."""
    score = evaluate(
        {outcome.image_id: outcome.result for outcome in outcomes},
        {outcome.image_id: outcome.truth for outcome in outcomes},
    )
    found = score.true_positives.sum(axis=0)
    predicted, true = found + score.false_positives.sum(axis=0), found + score.false_negatives.sum(axis=0)

    def draw(axes: Axes) -> None:
        axes.plot(
            THRESHOLDS, found / np.maximum(predicted, 1), color=_FIRST, marker="o", ms=4, label="precision"
        )
        axes.plot(THRESHOLDS, found / np.maximum(true, 1), color=_SECOND, marker="s", ms=4, label="recall")
        means = score.precisions.mean(axis=0)
        axes.plot(THRESHOLDS, means, color=TEXT_COLOUR, ls=":", lw=1.8, label="TP / (TP + FP + FN)")
        axes.set_xlabel("IoU above")
        _finish(axes, title)

    return _of_page(chart(draw, f"Precision and recall over IoU thresholds, {title}", SIZE_INCHES))


def over_scores(outcomes: Sequence[Outcome], title: str, threshold: float | None) -> str:
    """Precision and recall at IoU > .5 over score thresholds; threshold: the one in use, drawn as a line."""
    precision, recall = found_over_scores(outcomes)

    def draw(axes: Axes) -> None:
        axes.plot(SCORE_THRESHOLDS, precision, color=_FIRST, lw=2, label="precision")
        axes.plot(SCORE_THRESHOLDS, recall, color=_SECOND, lw=2, ls="--", label="recall")
        if threshold is not None:
            axes.axvline(threshold, color=TEXT_COLOUR, lw=1, ls=":", label=f"in use: {threshold:.2f}")
        axes.set_xlim(0, 1)
        axes.set_xlabel("score threshold")
        _finish(axes, title)

    return _of_page(chart(draw, f"Precision and recall over score thresholds, {title}", SIZE_INCHES))


def _finish(axes: Axes, title: str) -> None:
    axes.set_ylim(0, 1)
    axes.set_title(title, fontsize=11, fontweight="bold", loc="left")
    axes.grid(axis="y", color=_THIRD, lw=0.6)
    axes.legend(frameon=False, fontsize=9)


def _of_page(html: str) -> str:
    for stand_in, colour in _OF_PAGE.items():
        html = html.replace(stand_in, colour)
    return html
