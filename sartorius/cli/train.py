"""`sartorius train` and `sartorius export`."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sartorius.cli.arguments import refuse_half_a_fold

if TYPE_CHECKING:
    from sartorius.detectron.requirements import Plan


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(train)
    app.command()(export)


def train(
    config: Path = typer.Argument(
        metavar="CONFIG", help="Model settings, for example configs/models/mask_rcnn_r50.yaml."
    ),
    data: Path = typer.Option(..., help="Competition folder with train.csv and train/."),
    folds: Path | None = typer.Option(None, help="Folds file of `sartorius data folds`; needed with --fold."),
    fold: int | None = typer.Option(
        None, help="Fold that is left out and validated on; without it all is trained on."
    ),
    also: list[Path] = typer.Option(
        [], metavar="DATA", help="More data folders of the same layout, always trained on."
    ),
    labels: Path | None = typer.Option(
        None,
        help="Annotations to train on in place of train.csv: a repaired train.csv, COCO or LIVECell JSON, or any "
        "other format that `sartorius data convert` reads. The fold is still validated on train.csv.",
    ),
    weights: str | None = typer.Option(
        None,
        help="Weights to start from: a file, or `random`. Default: ImageNet weights, downloaded; random for `r50_thin`, of "
        "which none are published.",
    ),
    overfit: int | None = typer.Option(
        None,
        min=1,
        metavar="N",
        help="Only check that the model can learn N images by heart, unchanged; exit status 1 if it cannot.",
    ),
    resume: bool = typer.Option(False, help="Go on from the run's last checkpoint."),
    runs: Path = typer.Option(Path("runs"), help="Where run folders are made."),
    seed: int = typer.Option(0, min=0, max=2**32 - 1, help="Seed of everything random."),
    gpus: int = typer.Option(0, min=0, help="GPUs of this machine; 0 trains on the CPU."),
    machines: int = typer.Option(
        1, min=1, help="Number of machines; torchrun tells this and the next two itself."
    ),
    machine_rank: int = typer.Option(0, min=0, help="This machine's number, from 0."),
    dist_url: str = typer.Option("auto", help="Where the machines meet: tcp://host:port."),
    settings: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change a setting: key=value, any number of times."
    ),
) -> None:
    """Train one model into its run folder, `runs/<config>/fold<k>`."""
    from sartorius.config import load_model_settings

    model_settings = load_model_settings(config, settings)
    refuse_half_a_fold(folds, fold)
    from sartorius.detectron.processes import Machines
    from sartorius.detectron.run_lock import alone_in
    from sartorius.detectron.runs import RunRequest, prepare_run
    from sartorius.detectron.trainer import train as train_model

    request = RunRequest(
        config=config,
        settings=model_settings,
        data_dirs=[data, *also],
        labels=labels,
        folds_csv=folds,
        fold=fold,
        weights=weights,
        memorise=overfit,
        runs_dir=runs,
        resume=resume,
        seed=seed,
        machines=Machines(gpus, machines, machine_rank, dist_url),
        command=shlex.join(["sartorius", *sys.argv[1:]]),
    )
    folder, place = request.folder, request.machines
    with _saying_how_to_go_on(folder), alone_in(folder) if place.first else nullcontext():
        run = prepare_run(request)
        images = len(run.data.training)
        if place.first:
            typer.echo(f"{images} images to train on, {len(run.data.validation)} to validate on -> {folder}")
        exported = train_model(run.settings, run.data, folder, run.weights, place, seed, resume)
    if place.first:
        _say_what_came(folder, exported, fold if overfit is None else None)
        if overfit is not None:
            _say_whether_memorised(folder, images)


def refused_here(commands: Sequence[Sequence[str]]) -> list[str | None]:
    """Why each of these `sartorius train` commands (CONFIG and options) cannot work here, None for one that can.

    Nothing is read but settings. It is found out in another process, so that none of a GPU's memory stays taken.
    Raises UserError for settings that cannot be read, and Typer's usage error for options that there are not.
    """
    from sartorius.detectron.requirements import refusals

    plans = [_plan(arguments) for arguments in commands]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        reasons: list[str | None] = process.submit(refusals, plans).result()
    return reasons


def _plan(arguments: Sequence[str]) -> "Plan":
    from sartorius.config import load_model_settings
    from sartorius.detectron.processes import Machines
    from sartorius.detectron.requirements import Plan

    command = typer.Typer(add_completion=False)
    command.command()(train)
    given = typer.main.get_command(command).make_context("sartorius train", list(arguments)).params
    return Plan(
        settings=load_model_settings(given["config"], given["settings"]),
        initial_weights=given["weights"],
        goes_on=given["resume"],
        machines=Machines(given["gpus"], given["machines"], given["machine_rank"], given["dist_url"]),
        validates=given["fold"] is not None,
    )


@contextmanager
def _saying_how_to_go_on(folder: Path) -> Iterator[None]:
    """A block whose end by Ctrl-C says whether the run in this folder has a checkpoint to go on from."""
    from sartorius.experiment import LAST_CHECKPOINT

    try:
        yield
    except KeyboardInterrupt:
        if not (folder / LAST_CHECKPOINT).is_file():
            raise
        raise KeyboardInterrupt(
            f"{folder} has a checkpoint, run the same command with --resume to go on from it"
        ) from None


def _say_what_came(folder: Path, exported: Path, fold: int | None) -> None:
    """Print the weights that were exported, their score if a fold was left out (the best of all validations), the curves."""
    from sartorius.detectron.validation import best_score

    if fold is not None:
        best = best_score(folder)
        typer.echo(f"score    {best.score:.3f} competition mAP on fold {fold} at iteration {best.iteration}")
    typer.echo(f"weights  {exported}")
    if (curves := folder / "curves.png").is_file():
        typer.echo(f"curves   {curves}")


def _say_whether_memorised(folder: Path, images: int) -> None:
    """Print the score on the images trained on; exit status 1 if it is too low."""
    from sartorius.detectron.memorising import MEMORISED_MAP
    from sartorius.detectron.validation import best_score

    score = best_score(folder).score
    if score >= MEMORISED_MAP:
        typer.echo(f"memorised: competition mAP {score:.3f} on the {images} images it was trained on")
        return
    typer.echo(
        f"not memorised: competition mAP {score:.3f} on the {images} images it was trained on, at least "
        f"{MEMORISED_MAP} expected; train longer (--set iterations=N), or look at {folder / 'curves.png'}: a loss "
        "that does not fall points at base_lr, of `network: mask_rcnn` at anchor_sizes_px, or at the annotations"
    )
    raise typer.Exit(1)


def export(
    checkpoint: Path = typer.Argument(
        metavar="RUN_OR_CHECKPOINT", help="A run folder (its best checkpoint is taken) or a .pth checkpoint."
    ),
    out: Path = typer.Option(..., help="The .safetensors file to write."),
    dtype: str = typer.Option(
        "float16",
        help="float16 halves the size; float32 keeps every bit; int8 quarters it, large tensors in 8-bit integers.",
    ),
    calibrate: Path | None = typer.Option(
        None,
        metavar="DATA",
        help="Competition folder: run the model on 16 images it was trained on, and write what `cpu_convolutions: int8` "
        "needs to know into the file.",
    ),
) -> None:
    """Write a checkpoint's model as safetensors, without optimiser state."""
    import sartorius.detectron.weights as model_weights
    from sartorius.detectron.calibration import ranges_of_run

    model_weights.export(
        checkpoint, out, dtype, None if calibrate is None else partial(ranges_of_run, calibrate)
    )
    typer.echo(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
