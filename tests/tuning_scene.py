"""Predictions of a few synthetic images by simulated models, for tests of tuning and ablations."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from sartorius.cells import Cells
from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.data.competition import read_truth
from sartorius.data.folds import write_folds
from sartorius.data.predictions import PredictionManifest, prediction_path, write_cells, write_manifest
from sartorius.data.synthetic import synthesize
from sartorius.metrics.competition import average_precision
from sartorius.pipeline import fused_and_cleaned, read_sources
from sartorius.tuning.images import Data

TOOLS = Path(__file__).resolve().parents[1] / "tools"
ENSEMBLE = """\
members:
  - {name: model00, model: model.yaml, weights: run/fold0/model.safetensors}
  - {name: model01, model: model.yaml, weights: run/fold0/model.safetensors}
fusion: {method: masks}
postprocess:
  score_threshold: 0.5
  min_area_px: {shsy5y: 30, default: 60}
"""
N_SOURCES = 2


def simulated(truth: Cells, n_sources: int, seed: int) -> dict[str, Cells]:
    """What simulated models find in an image."""
    sys.path.insert(0, str(TOOLS))
    try:
        from simulated_sources import simulated_sources
    finally:
        sys.path.remove(str(TOOLS))
    return simulated_sources(truth, n_sources, np.random.default_rng(seed))


def mean_with(settings: EnsembleSettings, scene: SimpleNamespace) -> float:
    """The mean score of the scene's images by the pipeline."""
    found = {
        name: fused_and_cleaned(read_sources(settings, scene.cache, name), settings) for name in scene.truth
    }
    return float(
        np.mean([average_precision(found[name], truth).mean() for name, truth in scene.truth.items()])
    )


def written_scene(folder: Path) -> SimpleNamespace:
    """An ensemble, its prediction cache, the truth and folds: half of the images in fold 0, half in fold 1."""
    data = synthesize(folder / "data", images_per_type=2, seed=3)
    truth = read_truth(data / "train.csv")
    ensemble = folder / "ensemble.yaml"
    ensemble.write_text(ENSEMBLE)
    settings = load_ensemble_settings(ensemble)
    for number, (image_id, cells) in enumerate(truth.items()):
        for name, found in simulated(cells, N_SOURCES, number).items():
            write_cells(prediction_path(folder / "cache" / name, image_id), found)
    for name in settings.sources:
        write_manifest(
            folder / "cache" / name,
            PredictionManifest(
                source=name, config={"min_score": 0.05}, package_version="0", weights_sha256=name[:7]
            ),
        )
    folds = {image_id: number % 2 for number, image_id in enumerate(truth)}
    write_folds(folder / "folds.csv", folds)
    return SimpleNamespace(
        folder=folder,
        ensemble=ensemble,
        settings=settings,
        cache=folder / "cache",
        truth_csv=data / "train.csv",
        truth=truth,
        folds=folder / "folds.csv",
    )


def data_of(scene: SimpleNamespace, **changed: object) -> Data:
    """What is tuned on in a scene, with other fields as given."""
    return Data((scene.cache,), scene.truth_csv, scene.folds)._replace(**changed)
