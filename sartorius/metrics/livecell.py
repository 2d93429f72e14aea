"""The protocol of LIVECell: AP at several detection caps, its own cell sizes, and the average false negative ratio.

The paper's text and the evaluation that made its published figures disagree on sizes and cap; both are here by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from sartorius.cells import Cells
from sartorius.metrics.bootstrap import Interval
from sartorius.metrics.coco import Figures, SizeBounds, coco_intervals_at
from sartorius.metrics.competition import image_type

ConventionName = Literal["evaluation", "paper"]


class Convention(NamedTuple):
    """Detection caps in ascending order and the bounds between small, medium and large cells."""

    caps: tuple[int, int, int]
    sizes: SizeBounds


#: `evaluation`: the published evaluation script and so the published figures. `paper`: the text of the paper.
CONVENTIONS: dict[ConventionName, Convention] = {
    "evaluation": Convention((100, 500, 2000), SizeBounds(324, 961)),
    "paper": Convention((100, 500, 3000), SizeBounds(500, 1500)),
}


@dataclass(frozen=True)
class LivecellScore:
    """Figures of one set of images under one convention, each with its bootstrap interval over images.

    images, cells: how many images and true cells are scored.
    at_caps: COCO figures by detection cap, ascending; the last is the one to quote.
    afnr: average false negative ratio, the mean over IoU .50, …, .95 of 1 - recall at the last cap; None without cells.
    """

    images: int
    cells: int
    at_caps: dict[int, Figures]
    afnr: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Plain values that the json module writes."""
        return {
            "images": self.images,
            "cells": self.cells,
            "at_caps": {
                str(cap): {name: interval and interval._asdict() for name, interval in figures.items()}
                for cap, figures in self.at_caps.items()
            },
            "afnr": self.afnr and self.afnr._asdict(),
        }


def livecell_score(
    predictions: Mapping[str, Cells],
    truth: Mapping[str, Cells],
    rng: np.random.Generator,
    convention: ConventionName = "evaluation",
) -> LivecellScore:
    """The figures of masks over all images of `truth`, cell lines ignored.

    Raises UserError for predictions of images that `truth` does not have or of another size.
    """
    caps, sizes = CONVENTIONS[convention]
    at_caps = coco_intervals_at(predictions, truth, "mask", rng, caps, sizes)
    recall = at_caps[-1]["recall"]
    return LivecellScore(
        images=len(truth),
        cells=sum(len(cells) for cells in truth.values()),
        at_caps=dict(zip(caps, at_caps, strict=True)),
        afnr=None if recall is None else Interval(1 - recall.value, 1 - recall.high, 1 - recall.low),
    )


def livecell_table(
    predictions: Mapping[str, Cells],
    truth: Mapping[str, Cells],
    rng: np.random.Generator,
    convention: ConventionName = "evaluation",
) -> dict[str, LivecellScore]:
    """The figures of each cell line by name, the line of an image being the type of its true cells, and of "all"."""
    lines: dict[str, dict[str, Cells]] = {}
    for image_id, cells in truth.items():
        lines.setdefault(image_type(cells), {})[image_id] = cells
    parts = {line: lines[line] for line in sorted(lines)} | {"all": dict(truth)}
    return {
        name: livecell_score(
            {image_id: predictions[image_id] for image_id in part if image_id in predictions},
            part,
            rng,
            convention,
        )
        for name, part in parts.items()
    }
