"""A training run before its first step: data read and held against leaks, folder opened, provenance written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sartorius.config import ModelSettings
from sartorius.data.competition import truth_csv
from sartorius.data.leakage import Picture, pixel_hash, read_trained_on, refuse_leaks, write_trained_on
from sartorius.detectron.memorising import memorising_data, memorising_settings
from sartorius.detectron.processes import Machines, is_first_process
from sartorius.detectron.requirements import RANDOM, require_possible
from sartorius.detectron.training_data import TrainingData, pixels_by_id, read_training_data
from sartorius.experiment import (
    continue_provenance,
    file_sha256,
    open_run,
    run_folder,
    write_provenance,
)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run is asked to be.

    config, settings: the settings file, which names the run, and what it says with everything changed since.
    data_dirs: competition folders, the first with the images of the folds; labels: annotations in place of its own.
    folds_csv, fold: the fold that is left out and validated on; both None train on all.
    weights: a file to start from, "random", or None for the model zoo's.
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


class PreparedRun(NamedTuple):
    """A run's folder, and the settings and data to train on."""

    folder: Path
    settings: ModelSettings
    data: TrainingData


def prepare_run(request: RunRequest) -> PreparedRun:
    """The run that was asked for, its folder marked as its own by the first process.

    Raises UserError for settings, weights or a device that cannot work, a folder that holds another run, data or a seed
    other than those of the run to resume, data that cannot be read, or validation images that are also trained on, now
    or in the weights that are started from.
    """
    folder, settings = run_folder(request.runs_dir, request.config, request.fold), request.settings
    if request.memorise is not None:
        folder, settings = folder.with_name(f"overfit{request.memorise}"), memorising_settings(settings)
    require_possible(settings, None if request.resume else request.weights, request.machines)
    if is_first_process(request.machines.rank):
        open_run(folder, settings, request.resume)
        if request.resume:
            continue_provenance(folder, _facts(request))
    data = read_training_data(
        request.data_dirs, settings.cell_types, request.folds_csv, request.fold, request.labels
    )
    if request.memorise is not None:
        data = memorising_data(data, request.memorise)
    _keep_leaks_out(request, folder, data)
    if is_first_process(request.machines.rank) and not request.resume:
        write_provenance(folder, settings, _facts(request))
    return PreparedRun(folder, settings, data)


def _keep_leaks_out(request: RunRequest, folder: Path, data: TrainingData) -> None:
    """Refuse validation images that the initial weights have seen; write down what these will have seen.

    Images learned by heart are validated on as well, and nobody takes that for a score.
    """
    start = None if request.weights in (None, RANDOM) else Path(str(request.weights))
    before = folder if request.resume else start
    seen = {} if before is None else read_trained_on(before)
    if request.memorise is None:
        refuse_leaks(pixels_by_id(data.validation), seen, f"{before}, trained before")
    if is_first_process(request.machines.rank):
        write_trained_on(folder, _together(seen, pixels_by_id(data.training)))


def _together(seen: Mapping[str, str], now: Mapping[str, Picture]) -> dict[str, Picture]:
    """All images by id; one seen earlier whose id another image has now is kept under a longer id."""
    other = {name for name in seen.keys() & now.keys() if seen[name] != pixel_hash(now[name])}
    earlier = {f"{name} (earlier)" if name in other else name: pixels for name, pixels in seen.items()}
    return {**earlier, **now}


def _facts(request: RunRequest) -> dict[str, object]:
    """What a run depends on besides its settings."""
    first, *more = request.data_dirs
    annotations = [request.labels or truth_csv(first), *map(truth_csv, more)]
    return {
        "command": request.command,
        "seed": request.seed,
        "fold": request.fold,
        "initial_weights": request.weights or "model zoo",
        "data_sha256": {str(path): file_sha256(path) for path in annotations if path.is_file()},
        "folds_sha256": file_sha256(request.folds_csv) if request.folds_csv else None,
    }
