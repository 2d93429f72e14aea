"""Ablations of models: each trained on each fold, its fold predicted, and the score thresholds chosen out of fold."""

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from sartorius.ablation.files import AblationFolder, shown
from sartorius.ablation.results import Result, Table, rows_of
from sartorius.config import load_ensemble_settings, load_model_settings
from sartorius.config.members import MEMBER_NAME
from sartorius.config.yaml_files import relative_to_folder
from sartorius.errors import UserError
from sartorius.experiment import last_checkpoint, refuse_other_settings, run_folder
from sartorius.files import atomic_path
from sartorius.tuning.cross import Report, cross_tuned, no_report
from sartorius.tuning.images import CachedImages, Data, read_cached_images
from sartorius.tuning.objective import Objective
from sartorius.tuning.search import Budget

WEIGHTS, ENSEMBLE, PREDICTIONS, SECONDS = "model.safetensors", "ensemble.yaml", "predictions", "seconds.json"
#: Before thresholds are searched: the one that models are validated with, and no minimum area.
START = {"fusion": {"method": "nms", "min_iou": 1.0}, "postprocess": {"score_threshold": 0.5}}

#: Runs `sartorius <arguments>` to its end; raises UserError if it does not succeed.
Runner = Callable[[Sequence[str]], None]


class Training(NamedTuple):
    """What every run has in common.

    data, folds_csv, folds: the competition's folder, the file of folds, and the folds that are left out in turn.
    runs: where run folders are made. device: what predicts.
    train_options: passed on to `sartorius train`, for example ("--gpus", "1").
    """

    data: Path
    folds_csv: Path
    folds: tuple[int, ...]
    runs: Path
    device: str
    train_options: tuple[str, ...]


class Step(NamedTuple):
    """One command of a run that is not done yet; name: train or predict."""

    name: str
    arguments: tuple[str, ...]
    folder: Path


def steps_to_do(config: Path, training: Training) -> list[Step]:
    """The commands that a settings file still needs, fold by fold; none when all of its folds are predicted.

    Raises UserError if the file's name cannot be a model's in an ensemble, or a run was made with other settings.
    """
    if not re.match(MEMBER_NAME, config.stem):
        raise UserError(
            f"{config}: the file's name becomes the model's: expected letters of a to z, digits, dots, _ and - in it; rename it"
        )
    return [step for fold in training.folds for step in _steps_of_fold(config, training, fold)]


def ablate_training(
    folder: AblationFolder,
    training: Training,
    n_parts: int,
    seed: int,
    run: Runner,
    report: Report = no_report,
) -> Table:
    """The result of every file of the folder; what is trained and predicted already is taken as it is.

    n_parts, seed: parts that the images are split into if they are all of one fold, and the seed of that split.
    run: runs one command.
    Raises UserError if a run was made with other settings or another split than `folds_csv`, or a command fails.
    """
    configs = [folder.base, *(file.path for file in folder.files)]
    pending = [(config, step) for config in configs for step in steps_to_do(config, training)]
    for place, (config, step) in enumerate(pending):
        if step.name == "predict":
            _write_ensemble(step.folder, config)
        _run_timed(run, step)
        report("run", place + 1, len(pending))
    scored = [_scored(config, training, n_parts, seed) for config in configs]
    first = scored[0][0]
    for config, (cached, _) in zip(configs, scored, strict=True):
        if cached.image_ids != first.image_ids:
            raise UserError(
                f"{config}: predicted for other images than {configs[0]}; results can be compared on the same images only"
            )
    changes = ["", *(shown(file.changes) for file in folder.files)]
    results = [result._replace(changes=change) for (_, result), change in zip(scored, changes, strict=True)]
    types = [image.true_type for image in first.images]
    return Table(rows_of(results[0], results[1:], types), len(types), first.parts.origin)


def _run_timed(run: Runner, step: Step) -> None:
    """Run a step and write down its seconds, with those of earlier runs of it that were cut short and it goes on from."""
    unfinished = f"{step.name}, unfinished"
    before = _seconds(step.folder)
    seconds = {} if step.name == "train" else {"train": before.get("train", 0.0)}
    goes_on = step.name == "predict" or "--resume" in step.arguments
    earlier_s = before.get(unfinished, 0.0) if goes_on else 0.0
    name, began_s = unfinished, time.perf_counter()
    try:
        run(step.arguments)
        name = step.name
    finally:
        if step.folder.is_dir():
            _write_seconds(step.folder, seconds | {name: earlier_s + time.perf_counter() - began_s})


def _steps_of_fold(config: Path, training: Training, fold: int) -> list[Step]:
    folder = run_folder(training.runs, config, fold)
    split = ("--folds", str(training.folds_csv), "--fold", str(fold))
    steps = []
    ended = (folder / WEIGHTS).is_file()
    known = (folder / "config.yaml").is_file()
    begun = known and (ended or last_checkpoint(folder) is not None)
    if begun:
        refuse_other_settings(folder, load_model_settings(config))
    if not ended:
        resumed = ("--resume",) if begun else ()
        arguments = ("train", str(config), "--data", str(training.data), *split, "--runs", str(training.runs))
        steps.append(Step("train", (*arguments, *training.train_options, *resumed), folder))
    if "predict" not in _seconds(folder) or steps:
        images = (
            "--images",
            str(training.data),
            "--out",
            str(folder / PREDICTIONS),
            "--device",
            training.device,
        )
        steps.append(Step("predict", ("predict", str(folder / ENSEMBLE), *split, *images), folder))
    return steps


def _write_ensemble(folder: Path, config: Path) -> None:
    """Write the ensemble file of one trained model, seen straight, into its run folder."""
    model = relative_to_folder(config.resolve(), folder.resolve())
    member = {"name": config.stem, "model": model, "weights": WEIGHTS}
    with atomic_path(folder / ENSEMBLE) as path:
        text = yaml.safe_dump({"members": [member], **START}, sort_keys=False)
        path.write_text(
            f"# Written by `sartorius ablate`: the model of this run alone.\n{text}", encoding="utf-8"
        )


def _scored(config: Path, training: Training, n_parts: int, seed: int) -> tuple[CachedImages, Result]:
    folders = [run_folder(training.runs, config, fold) for fold in training.folds]
    ensemble = folders[0] / ENSEMBLE
    settings = load_ensemble_settings(ensemble)
    caches = tuple(folder / PREDICTIONS for folder in folders)
    data = Data(caches, training.data / "train.csv", training.folds_csv)
    cached = read_cached_images(ensemble, settings, data, n_parts, seed)
    objective = Objective(cached.images)
    tuned = cross_tuned(objective, settings, cached.parts.of_image, Budget(("score_threshold",), 0, seed))
    seconds = float(np.sum([sum(_seconds(folder).values()) for folder in folders]))
    return cached, Result(config.stem, "", tuned.untuned, tuned.out_of_fold, seconds)


def _seconds(folder: Path) -> dict[str, float]:
    """What the finished steps of a run took, and those cut short, which have names of their own."""
    path = folder / SECONDS
    if not path.is_file():
        return {}
    seconds: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return seconds


def _write_seconds(folder: Path, seconds: dict[str, float]) -> None:
    with atomic_path(folder / SECONDS) as path:
        path.write_text(json.dumps(seconds) + "\n", encoding="utf-8")
