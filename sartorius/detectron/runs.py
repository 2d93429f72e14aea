"""A training run before its first step: data read and held against leaks, folder opened, provenance written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sartorius.config import ModelSettings
from sartorius.data.competition import truth_csv
from sartorius.data.leakage import pixel_hash, read_trained_on, refuse_leaks, write_trained_on
from sartorius.detectron.initial_weights import RANDOM, usual_start
from sartorius.detectron.mapper import TrainingImage
from sartorius.detectron.memorising import memorising_data, memorising_settings
from sartorius.detectron.processes import Machines
from sartorius.detectron.requirements import Plan, require_possible, require_trainable
from sartorius.detectron.training_data import TrainingData, read_training_data
from sartorius.experiment import (
    continue_provenance,
    file_sha256,
    last_checkpoint,
    open_run,
    remove_left_behind,
    run_folder,
    write_provenance,
)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run is asked to be.

    config, settings: the settings file, which names the run, and what it says with everything changed since.
    data_dirs: competition folders, the first with the images of the folds; labels: annotations in place of its own.
    folds_csv, fold: the fold that is left out and validated on; both None train on all.
    weights: a file to start from, "random", or None for `usual_start`.
    memorise: images to learn by heart in place of a training, or None.
    runs_dir: where run folders are made; resume: go on in the one that is there. machines: where it will run; the first
    process of the first one writes. command: what was typed.
    """

    config: Path
    settings: ModelSettings
    data_dirs: Sequence[Path]
    labels: Path | None = None
    folds_csv: Path | None = None
    fold: int | None = None
    weights: str | None = None
    memorise: int | None = None
    runs_dir: Path = Path("runs")
    resume: bool = False
    seed: int = 0
    machines: Machines = field(default_factory=Machines)
    command: str = ""

    @property
    def folder(self) -> Path:
        """The run's own."""
        folder = run_folder(self.runs_dir, self.config, self.fold)
        return folder if self.memorise is None else folder.with_name(f"overfit{self.memorise}")


class PreparedRun(NamedTuple):
    """The settings and data to train on, and the weights to start from unless it goes on."""

    settings: ModelSettings
    data: TrainingData
    weights: str | None


def prepare_run(request: RunRequest) -> PreparedRun:
    """The run that was asked for, its folder marked as its own by the first process, which is `alone_in` it.

    Raises UserError for settings, weights or a device that cannot work, a folder that holds another run, data, weights or
    a seed other than those of the run to resume, data that cannot be read, or validation images that are also trained on,
    now or in the weights that are started from.
    """
    folder, settings = request.folder, request.settings
    if request.memorise is not None:
        settings = memorising_settings(settings)
    goes_on = request.resume and last_checkpoint(folder) is not None
    if not goes_on:
        request = replace(request, weights=request.weights or usual_start(settings.backbone))
    require_trainable(settings)
    require_possible(Plan(settings, request.weights, goes_on, request.machines, request.fold is not None))
    if request.machines.first:
        open_run(folder, settings, request.resume)
    data = read_training_data(
        request.data_dirs, settings.cell_types, request.folds_csv, request.fold, request.labels
    )
    if request.memorise is not None:
        data = memorising_data(data, request.memorise)
    training, validation = _hashed(data.training), _hashed(data.validation)
    facts = _facts(request, goes_on) | {
        "training_sha256": _content_sha256(data.training, training),
        "validation_sha256": _content_sha256(data.validation, validation),
    }
    if request.machines.first and request.resume:
        continue_provenance(folder, facts)
    seen = _seen_before(request, folder if goes_on else _initial_file(request), validation)
    if request.machines.first:
        if not goes_on:
            remove_left_behind(folder)
        write_trained_on(folder, _together(seen, training))
        if not request.resume:
            write_provenance(folder, settings, facts)
    return PreparedRun(settings, data, request.weights)


def _hashed(images: Sequence[TrainingImage]) -> list[tuple[str, str]]:
    """Id and `pixel_hash` of each image."""
    return [(image.image_id, pixel_hash(image.pixels)) for image in images]


def _content_sha256(images: Sequence[TrainingImage], hashed: Sequence[tuple[str, str]]) -> str:
    """The same text for the same images, with the same cells of the same classes, in the same order."""
    digest = sha256()
    for image, names in zip(images, hashed, strict=True):
        digest.update(repr((names, image.classes.tolist())).encode())
        for row, col, pixels in image.crops:
            digest.update(repr((row, col, pixels.shape)).encode() + np.packbits(pixels).tobytes())
    return digest.hexdigest()


def _seen_before(
    request: RunRequest, before: Path | None, validation: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """What the weights that are gone on from have seen; UserError if images to validate on are among it.

    before: the run's folder or a weights file, None for weights that have seen none.
    Images learned by heart are validated on as well, and nobody takes that for a score.
    """
    seen = {} if before is None else read_trained_on(before)
    if request.memorise is None:
        refuse_leaks(dict(validation), seen, f"{before}, trained before")
    return seen


def _initial_file(request: RunRequest) -> Path | None:
    return None if request.weights in (None, RANDOM) else Path(str(request.weights))


def _together(seen: Mapping[str, str], now: Iterable[tuple[str, str]]) -> dict[str, str]:
    """All images by id, those of now first; one whose id has other pixels already is kept under a longer id."""
    together: dict[str, str] = {}
    for image_id, pixels in [*now, *seen.items()]:
        name = image_id
        while together.get(name, pixels) != pixels:
            name += " (another)"
        together[name] = pixels
    return together


def _facts(request: RunRequest, goes_on: bool) -> dict[str, object]:
    """What a run depends on besides its settings and images.

    goes_on: whether it starts from a checkpoint; then its initial weights need not be told again.
    """
    first, *more = request.data_dirs
    annotations = [request.labels or truth_csv(first), *map(truth_csv, more)]
    file = _initial_file(request)
    weights = {
        "initial_weights": request.weights or "model zoo",
        "initial_weights_sha256": file_sha256(file) if file and file.is_file() else None,
    }
    return {
        "command": request.command,
        "seed": request.seed,
        "fold": request.fold,
        **({} if goes_on and request.weights is None else weights),
        "data_sha256": {str(path): file_sha256(path) for path in annotations if path.is_file()},
        "folds_sha256": file_sha256(request.folds_csv) if request.folds_csv else None,
    }
