"""A picture of what score thresholds do: the score of each cell type over all of them, before and after tuning."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.per_type import value_if_any
from sartorius.files import atomic_path
from sartorius.line_runs import Ints
from sartorius.metrics.bootstrap import mean_intervals
from sartorius.tuning.objective import Objective
from sartorius.tuning.search import SCORE_THRESHOLDS

BEFORE, AFTER = "#888888", "#0072B2"


def draw_curves(path: Path, objective: Objective, before: EnsembleSettings, after: EnsembleSettings) -> None:
    """Write a PNG with one panel for each true cell type.

    Curves are means over all images, those that were searched on too; the band is the 95 % interval over images.
    """
    types = sorted({image.true_type for image in objective.images})
    figure = Figure(figsize=(4.6 * len(types), 3.8), layout="constrained")
    panels = figure.subplots(1, len(types), squeeze=False)[0]
    for panel, cell_type in zip(panels, types, strict=True):
        rows = np.flatnonzero([image.true_type == cell_type for image in objective.images])
        for settings, colour, name in ((before, BEFORE, "untuned"), (after, AFTER, "tuned")):
            _draw(panel, objective, settings, cell_type, rows, colour, name)
        panel.set_title(f"{cell_type}, {len(rows)} images")
        panel.set_xlabel("score threshold")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.25)
        panel.legend(frameon=False, fontsize="small")
    panels[0].set_ylabel("competition mAP")
    figure.suptitle(f"Score thresholds of {', '.join(after.sources)}", fontsize="medium")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _draw(
    panel: Axes,
    objective: Objective,
    settings: EnsembleSettings,
    cell_type: str,
    rows: Ints,
    colour: str,
    name: str,
) -> None:
    curves = objective.curves(settings, cell_type, SCORE_THRESHOLDS, rows)
    intervals = mean_intervals(curves, np.random.default_rng(0), resamples=1000)
    means = np.array([interval.value for interval in intervals])
    chosen = value_if_any(settings.postprocess.score_threshold, cell_type)  # images without cells have none
    label = name if chosen is None else f"{name}, threshold {chosen:.2f}"
    panel.plot(SCORE_THRESHOLDS, means, color=colour, label=label)
    if chosen is not None:
        panel.plot(chosen, np.interp(chosen, SCORE_THRESHOLDS, means), "o", color=colour)
    panel.fill_between(
        SCORE_THRESHOLDS,
        [interval.low for interval in intervals],
        [interval.high for interval in intervals],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
