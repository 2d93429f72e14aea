"""`sartorius ablate`: a folder of ablations run, or gone on with, and told as one table."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartorius.cli.arguments import Device, Json
from sartorius.cli.tune import PartCount, SearchSeed
from sartorius.errors import UserError

if TYPE_CHECKING:
    from sartorius.ablation.files import AblationFolder
    from sartorius.ablation.results import Table
    from sartorius.ablation.training import Training

FUSION_TEXT = (
    "The cached predictions are of {sources}, no others. Each line's fusion and clean-up settings were searched out of "
    "fold ({searched}; {trials} Optuna trials for each cell type and part), those that a line is about left as it says; "
    "a line with `settings_of` has the settings found for that file, part by part. `as written` is without a search. "
    "Seconds are processor time."
)
TRAINING_TEXT = (
    "Each file was trained without one fold and scored on it, for folds {folds}; score thresholds were chosen out of "
    "fold, `as written` is at .5. Seconds are those of training and prediction."
)


RUNS = Path("runs")
#: Options of `sartorius train` that the files, or other options of this command, stand for.
OF_ABLATE = ("--data", "--fold", "--folds", "--overfit", "--resume", "--runs", "--set")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ablate")(ablate)


def ablate(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of ablations, for example configs/ablations/fusion.")
    ],
    predictions: Annotated[
        list[Path],
        typer.Option(help="Prediction cache of all sources of the files; once for each fold with its own."),
    ] = (),  # type: ignore[assignment]
    truth: Annotated[
        Path | None, typer.Option(help="The competition's train.csv, with --predictions.")
    ] = None,
    folds: Annotated[Path | None, typer.Option(help="File of `sartorius data folds`.")] = None,
    on: Annotated[
        Path | None,
        typer.Option(help="Ensemble file to put the changes on, in place of the files' own base."),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            min=0, help="Optuna trials for each cell type and part; 0 searches score thresholds only."
        ),
    ] = 0,
    data: Annotated[Path | None, typer.Option(help="Competition folder, for ablations of training.")] = None,
    fold: Annotated[
        list[int], typer.Option(min=0, help="Folds to leave out of training in turn. Default: the first.")
    ] = (),  # type: ignore[assignment]
    runs: Annotated[Path, typer.Option(help="Where run folders are made.")] = RUNS,
    device: Device = "cpu",
    train: Annotated[
        str, typer.Option(metavar="OPTIONS", help="Passed on to `sartorius train`, for example '--gpus 1'.")
    ] = "",
    parts: PartCount = 5,
    seed: SearchSeed = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what each file changes, and what would be run.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Markdown page to write the table into, for example configs/README.md."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a folder of settings files against the one they stand on.

    Ensembles are fused from --predictions and need --truth and --folds. Models are trained, predicted and scored, and
    need --data and --folds; a run that is there is taken or gone on with.
    """
    from sartorius.ablation.files import put_on, read_folder
    from sartorius.ablation.table import require_page
    from sartorius.files import require_writable

    section = folder.resolve().name + ("" if on is None else f" on {on.stem}")
    if out is not None:
        require_page(out, f"ablations/{section}")
    if out is not None and not dry_run:
        require_writable(out)
    ablations = read_folder(folder)
    if ablations.of_ensembles:
        _refuse_given(
            ablations,
            {
                "--data": data,
                "--fold": fold,
                "--runs": runs != RUNS,
                "--device": device != "cpu",
                "--train": train,
            },
        )
    else:
        _refuse_given(
            ablations, {"--predictions": predictions, "--truth": truth, "--on": on, "--trials": trials}
        )
    if on is not None:
        ablations = put_on(ablations, on)
    if dry_run and (ablations.of_ensembles or data is None or folds is None):
        _tell_changes(ablations, None, as_json)
        return
    if ablations.of_ensembles:
        if not predictions or truth is None or folds is None:
            raise UserError(
                f"{folder}: ablations of ensembles need --predictions DIR, --truth CSV and --folds CSV"
            )
        table = _of_fusion(ablations, tuple(predictions), truth, folds, (trials, parts, seed))
        text = FUSION_TEXT.format(
            sources=", ".join(table.sources), searched=", ".join(_searched(trials)), trials=trials
        )
    else:
        if data is None or folds is None:
            raise UserError(f"{folder}: ablations of training need --data DIR and --folds CSV")
        from sartorius.ablation.training import Training

        training = Training(
            data, folds, tuple(dict.fromkeys(fold or [0])), runs, device, _train_options(train)
        )
        if dry_run:
            _tell_changes(ablations, training, as_json)
            return
        table = _of_training(ablations, training, parts, seed)
        text = TRAINING_TEXT.format(folds=", ".join(map(str, training.folds)))
    _tell(section, table, text, out, as_json)


def _refuse_given(ablations: "AblationFolder", of_the_others: Mapping[str, object]) -> None:
    """Raise UserError for options that ablations of this kind do not read."""
    given = [name for name, value in of_the_others.items() if value]
    if given:
        kind = (
            "ensembles, fused from cached predictions"
            if ablations.of_ensembles
            else "models, trained and predicted"
        )
        raise UserError(f"{', '.join(given)}: has no effect on ablations of {kind}; leave it out")


def _train_options(text: str) -> tuple[str, ...]:
    """What --train passes on; UserError for what the settings files or options of this command say."""
    try:
        options = tuple(shlex.split(text))
    except ValueError as error:
        raise UserError(f"--train {text!r}: expected options of `sartorius train`: {error}") from None
    if own := [option for option in options if option.partition("=")[0] in OF_ABLATE]:
        raise UserError(
            f"--train: {', '.join(own)}: {', '.join(OF_ABLATE)} are not passed on; settings belong into the files, folders and "
            "folds into options of this command"
        )
    return options


def _of_fusion(
    ablations: "AblationFolder",
    predictions: tuple[Path, ...],
    truth: Path,
    folds: Path,
    search: tuple[int, int, int],
) -> "Table":
    from sartorius.ablation.fusion import ablate_fusion
    from sartorius.cli.progress import shown_progress
    from sartorius.tuning.images import Data
    from sartorius.tuning.search import Budget
    from sartorius.tuning.space import checked_names

    trials, parts, seed = search
    budget = Budget(checked_names(_searched(trials)), trials, seed)
    with shown_progress() as report:
        return ablate_fusion(ablations, Data(predictions, truth, folds), budget, parts, report)


def _searched(trials: int) -> Sequence[str]:
    """Score thresholds alone cost a second for each file; a rule for types would cost a minute and gains nothing."""
    from sartorius.tuning.space import SEARCHED

    return [name for name in SEARCHED if name != "type_rule"] if trials else ["score_threshold"]


def _of_training(ablations: "AblationFolder", training: "Training", parts: int, seed: int) -> "Table":
    from sartorius.ablation.training import ablate_training
    from sartorius.cli.exits import interrupted_with
    from sartorius.cli.progress import shown_progress

    _require_possible(ablations, training)
    told = f"what is trained and predicted is kept in {training.runs}, run the same command again to go on"
    with interrupted_with(told), shown_progress() as report:
        return ablate_training(ablations, training, parts, seed, _run, report)


def _require_possible(ablations: "AblationFolder", training: "Training") -> None:
    """Raise UserError now, and not after the trainings before them, for files that this machine cannot train."""
    from sartorius.ablation.training import steps_to_do
    from sartorius.cli.train import refused_here

    files = [ablations.base, *(file.path for file in ablations.files)]
    steps = [(file, step) for file in files for step in steps_to_do(file, training)]
    trained = [(file, step.arguments[1:]) for file, step in steps if step.name == "train"]
    if not trained:
        return
    reasons = refused_here([arguments for _, arguments in trained])
    told = [f"{file}: {why}" for (file, _), why in zip(trained, reasons, strict=True) if why]
    if told:
        raise UserError(
            "these cannot be trained here as --train says, nothing was begun; take them out of the folder or run the "
            "command on a machine that can:\n" + "\n".join(dict.fromkeys(told))
        )


def _run(arguments: Sequence[str]) -> None:
    """Run another command of this program in a process of its own, so that what it held on a GPU is free again."""
    typer.echo(f"sartorius {shlex.join(arguments)}", err=True)
    with _ending_together():
        done = subprocess.run([sys.executable, "-m", "sartorius", *arguments], stdout=sys.stderr, check=False)
    if done.returncode:
        raise UserError(
            f"sartorius {shlex.join(arguments)}: ended with status {done.returncode}, see above; once that is mended "
            "run the same command again, finished runs are kept"
        )


@contextmanager
def _ending_together() -> Iterator[None]:
    """A block that SIGTERM ends with what it runs: a training left alone would hold the GPU and write on in its folder."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell_changes(ablations: "AblationFolder", training: "Training | None", as_json: bool) -> None:
    """What each file changes and the commands that are left to run; rows as those of the table, the base's first."""
    from sartorius.ablation.files import shown
    from sartorius.ablation.training import steps_to_do

    files = [(ablations.base, ""), *((file.path, shown(file.changes)) for file in ablations.files)]
    rows: list[dict[str, Any]] = []
    for path, changes in files:
        steps = steps_to_do(path, training) if training else []
        commands = [f"sartorius {shlex.join(step.arguments)}" for step in steps]
        rows.append({"name": path.stem, "changes": changes, "commands": commands})
    if as_json:
        typer.echo(json.dumps({"base": str(ablations.base), "rows": rows}, indent=2))
        return
    typer.echo(f"base: {ablations.base}")
    for row in rows:
        if row["changes"]:
            typer.echo(f"{row['name']}: {row['changes']}")
        for command in row["commands"]:
            typer.echo(f"  {command}")


def _tell(name: str, table: "Table", text: str, out: Path | None, as_json: bool) -> None:
    """name: of the table's section in the page."""
    from sartorius.ablation.table import difference_text, section, write_section
    from sartorius.cli.tables import print_table, text_table

    command = shlex.join(["sartorius", *sys.argv[1:]])
    if out is not None:
        explanation = [f"`{command}`", f"{table.images} images, {table.parts}. {text}"]
        title = name[:1].upper() + name[1:]
        write_section(out, f"ablations/{name}", section(title, explanation, table.rows))
    if as_json:
        result = {"images": table.images, "parts": table.parts, "command": command}
        typer.echo(json.dumps(result | {"rows": [row.to_json() for row in table.rows]}, indent=2))
        return
    rows = []
    for row in table.rows:
        difference = "" if row.difference is None else difference_text(row.difference)
        rows.append(
            (row.name, f"{row.total.value:.4f}", difference, f"{row.as_written:.4f}", f"{row.seconds:.0f}")
        )
    header = ("what", "mAP out of fold", "difference to base", "as written", "s")
    print_table(text_table(header, rows, f"{table.images} images, {table.parts}"))
    if out is not None:
        typer.echo(f"{out}: the table")
