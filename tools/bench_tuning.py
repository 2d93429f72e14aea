"""Trials of settings per minute on cached predictions, by what a trial changes.

    python tools/bench_tuning.py [--data DIR [--cache ENSEMBLE DIR]]

DIR is the competition's folder as downloaded; 109 of its images, spread over the cell types, are predicted by eight
simulated models. Without it synthetic images stand in. `--cache` measures real cached predictions as well. Prints one
table and writes it into docs/benchmarks.md. Exits with status 1 if fewer than 2,000 trials of thresholds fit in a minute.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from bench_page import write_benchmark
from simulated_sources import simulated_sources

from sartorius.cells import CELL_TYPES, Cells
from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.config.members import MemberSettings
from sartorius.data.competition import read_truth, truth_csv
from sartorius.data.synthetic import synthesize
from sartorius.pipeline.fusing import fused_and_cleaned, predicted_images, read_sources
from sartorius.tuning.objective import Objective
from sartorius.tuning.space import of_type, with_type
from sartorius.tuning.stages import ImageStages

IMAGES, SOURCES, LEAST_PER_MINUTE = 109, 8, 2000
THRESHOLD_TRIALS = 500


class Row(NamedTuple):
    """One kind of trial: how many were run, and CPU seconds of one."""

    what: str
    trials: int
    seconds: float


def simulated(truth: Mapping[str, Cells]) -> tuple[EnsembleSettings, list[ImageStages]]:
    """An ensemble of simulated models and what they find in each image."""
    members = tuple(
        MemberSettings(name=f"model{n:02}", model="none.yaml", weights="none") for n in range(SOURCES)
    )
    settings = EnsembleSettings(members=members)
    rng = np.random.default_rng(0)
    return settings, [
        ImageStages(simulated_sources(cells, SOURCES, rng), cells, settings) for cells in truth.values()
    ]


def cached(ensemble: Path, cache: Path, truth_file: Path) -> tuple[EnsembleSettings, list[ImageStages]]:
    """An ensemble and its cached predictions."""
    settings = load_ensemble_settings(ensemble)
    truth = read_truth(truth_file, predicted_images(settings, cache))
    return settings, [
        ImageStages(read_sources(settings, cache, name), cells, settings) for name, cells in truth.items()
    ]


def measured(settings: EnsembleSettings, images: list[ImageStages]) -> list[Row]:
    """CPU seconds of each kind of trial, the first of each kind left out where it fills a stage for the others."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objective = Objective(images)
    first = _timed(lambda: objective.image_scores(settings))
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))

    def threshold_trial(trial: optuna.Trial) -> float:
        changed = settings
        for name in CELL_TYPES:
            score = trial.suggest_float(name, 0.0, 1.0)
            changed = with_type(changed, name, of_type(changed, name)._replace(score_threshold=score))
        return float(objective.image_scores(changed).mean())

    thresholds = _timed(lambda: study.optimize(threshold_trial, n_trials=THRESHOLD_TRIALS)) / THRESHOLD_TRIALS
    curve = _timed(lambda: objective.curves(settings, "cort", np.arange(100) / 100)) / 100
    areas = [
        _timed(lambda least=least: objective.image_scores(_with_area(settings, least)))
        for least in range(11, 61, 10)
    ]
    fusions = [
        _timed(lambda iou=iou: objective.image_scores(_with_iou(settings, iou))) for iou in (0.31, 0.43, 0.57)
    ]
    found = [fused_and_cleaned(images[0].sources, settings)]  # warm
    pipeline = _timed(lambda: found.extend(fused_and_cleaned(image.sources, settings) for image in images))
    return [
        Row("a score threshold for each cell type, an Optuna trial", THRESHOLD_TRIALS, thresholds),
        Row("a score threshold, from the whole curve at once as `tune` does", 100, curve),
        Row("minimum area, votes or mask NMS, all thresholds", len(areas), float(np.mean(areas))),
        Row("fusion IoU or mask threshold, all thresholds", len(fusions), float(np.mean(fusions))),
        Row("the first one, which orders the detections", 1, first),
        Row("fuse and clean as `sartorius fuse`, without scoring", 1, pipeline),
    ]


def write_tuning(tables: Mapping[str, list[Row]], command: str) -> str:
    """Write the section of docs/benchmarks.md and return its text."""
    how = (
        "one process, CPU seconds. A trial is the exact competition mAP of all images with other settings; what it "
        "does not change is taken from the stages that trials before it left (`sartorius/tuning/stages.py`)."
    )
    lines = [
        "| predictions | a trial changes | CPU ms | trials per minute of one core |",
        "|---|---|---:|---:|",
    ]
    for name, rows in tables.items():
        lines += [
            f"| {name} | {row.what} | {1000 * row.seconds:.2f} | {60 / row.seconds:,.0f} |" for row in rows
        ]
    return write_benchmark("tuning", "Tuning", command, how, lines)


def _timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _with_area(settings: EnsembleSettings, min_area_px: int) -> EnsembleSettings:
    changed = settings.postprocess.model_copy(update={"min_area_px": min_area_px})
    return settings.model_copy(update={"postprocess": changed})


def _with_iou(settings: EnsembleSettings, min_iou: float) -> EnsembleSettings:
    return settings.model_copy(update={"fusion": settings.fusion.model_copy(update={"min_iou": min_iou})})


def _sample(truth: Mapping[str, Cells]) -> dict[str, Cells]:
    """IMAGES of the images, spread evenly over their order."""
    names = sorted(truth, key=lambda name: (str(truth[name].cell_types[0]), name))
    places = np.linspace(0, len(names) - 1, min(IMAGES, len(names))).round().astype(int)
    return {names[place]: truth[names[place]] for place in places}


def main() -> int:
    """Measure, print, write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="the competition's folder")
    parser.add_argument("--cache", type=Path, nargs=2, metavar=("ENSEMBLE", "DIR"), help="real predictions")
    given = parser.parse_args()
    if given.cache and not given.data:
        parser.error("--cache needs --data, the folder with the truth of the images that were predicted")
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        data = given.data or synthesize(Path(folder), IMAGES // len(CELL_TYPES), seed=0)
        sample = _sample(read_truth(truth_csv(data)))
    kind = "real cells" if given.data else "synthetic cells"
    tables[f"simulated, {len(sample)} images of {kind} × {SOURCES} sources"] = measured(*simulated(sample))
    if given.cache:
        settings, images = cached(*given.cache, truth_csv(given.data))
        name = f"cached, {len(images)} images × {len(settings.sources)} sources ({given.cache[0].stem})"
        tables[name] = measured(settings, images)
    print(write_tuning(tables, f"python {' '.join(sys.argv)}"))
    slowest = max(rows[0].seconds for rows in tables.values())
    return int(60 / slowest < LEAST_PER_MINUTE)


if __name__ == "__main__":
    sys.exit(main())
