"""Score thresholds per cell type for an ensemble file, from its cached predictions.

    uv run python tools/choose_thresholds.py configs/ensembles/starter.yaml --predictions CACHE --truth data/train.csv

An image holds one cell type, so the threshold of each type is searched on the images of that type alone. Predict images
that the figure you will report is not taken from. Prints the competition mAP at every threshold and the best one.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from sartorius.cells import Cells
from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.data.competition import read_truth
from sartorius.data.predictions import list_predictions
from sartorius.fusion import fuse
from sartorius.metrics.competition import average_precision, image_type
from sartorius.pipeline.fusing import read_sources
from sartorius.postprocess import clean

THRESHOLDS = np.arange(0.10, 1.0, 0.05).round(2)


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ensemble", type=Path)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    arguments = parser.parse_args()
    settings = load_ensemble_settings(arguments.ensemble)
    images = sorted(list_predictions(arguments.predictions / settings.sources[0]))
    truth = read_truth(arguments.truth, images)
    scores: dict[str, list[np.ndarray]] = {}
    for image_id in images:
        sources = read_sources(settings, arguments.predictions, image_id)
        fused = fuse(sources, settings.fusion, settings.source_weights)
        scores.setdefault(image_type(truth[image_id]), []).append(curve(fused, truth[image_id], settings))
    for cell_type, curves in sorted(scores.items()):
        means = np.mean(curves, axis=0)
        table = "  ".join(f"{at:.2f}: {score:.3f}" for at, score in zip(THRESHOLDS, means, strict=True))
        print(f"{cell_type}, {len(curves)} images, best {THRESHOLDS[means.argmax()]:.2f}\n    {table}")


def curve(fused: Cells, truth: Cells, settings: EnsembleSettings) -> np.ndarray:
    """The image's score at each of THRESHOLDS, with the truth's type given to all cells."""
    fused = replace(fused, cell_types=np.full(len(fused), image_type(truth)))
    return np.array(
        [
            average_precision(
                clean(fused, settings.postprocess.model_copy(update={"score_threshold": float(threshold)})),
                truth,
            ).mean()
            for threshold in THRESHOLDS
        ]
    )


if __name__ == "__main__":
    main()
