"""`sartorius tune`: settings of fusion and clean-up searched on cached predictions."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartorius.cli.arguments import EnsembleFile, Json

if TYPE_CHECKING:
    from sartorius.config.gains import Gains
    from sartorius.config.tuned import TunedRecord, TunedScore

Caches = Annotated[
    list[Path],
    typer.Option(
        help="Prediction cache that `sartorius predict` filled; once for each fold that has one of its own."
    ),
]
Truth = Annotated[Path, typer.Option(help="The competition's train.csv.")]
FoldsFile = Annotated[
    Path, typer.Option(help="File of `sartorius data folds` that the models were trained by.")
]
PartCount = Annotated[
    int, typer.Option(min=2, help="Parts that the images are split into if they are all of one fold.")
]

SearchSeed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Seed of the search and of the split into parts.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tune")(tune)


def tune(
    ensemble: EnsembleFile,
    predictions: Caches,
    truth: Truth,
    folds: FoldsFile,
    out: Annotated[Path, typer.Option(help="The tuned ensemble file to write, for example tuned.yaml.")],
    search: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME…",
            help="Search only these: score_threshold, mask_threshold, fusion_iou, second_of_source, min_votes, "
            "vote_iou_power, nms, min_area, type_rule. Default: all that the ensemble has, but type_rule not where the file says `none`.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=0, help="Optuna trials for each cell type and part.")] = 60,
    parts: PartCount = 5,
    seed: SearchSeed = 0,
    curves: Annotated[
        Path | None,
        typer.Option(help="Picture of the threshold curves. Default: beside the tuned file, as .png."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search the settings of an ensemble for each cell type and write a tuned ensemble file.

    Each part of the images is scored with settings searched on the others: that figure, out of fold, is the one to
    report. The file's own settings are searched on all images. A trial tries every score threshold at once.
    """
    from sartorius.cli.inputs import ensemble_files, images_of_name
    from sartorius.cli.progress import shown_progress
    from sartorius.config import load_ensemble_settings
    from sartorius.files import refuse_input, require_suffix, require_writable
    from sartorius.tuning.curves import draw_curves
    from sartorius.tuning.images import Data
    from sartorius.tuning.search import Budget
    from sartorius.tuning.space import checked_names, searched_unless_told
    from sartorius.tuning.tuned_file import tune as tune_ensemble

    require_suffix(out, (".yaml", ".yml"), "tuned ensemble file")
    picture = curves or out.with_suffix(".png")
    require_suffix(picture, (".png",), "picture")
    inputs = [*ensemble_files(ensemble), truth, folds]
    refuse_input(out, inputs)
    refuse_input(picture, [*inputs, *images_of_name(truth.parent, picture.name)])
    for path in (out, picture):
        require_writable(path)
    if search is None:
        names = searched_unless_told(load_ensemble_settings(ensemble))
    else:
        names = checked_names([part.strip() for part in search.split(",") if part.strip()])
    budget = Budget(names, trials, seed)
    command = shlex.join(["sartorius", *sys.argv[1:]])
    with shown_progress() as report:
        tuned = tune_ensemble(
            ensemble, Data(tuple(predictions), truth, folds), out, budget, parts, command, report
        )
    draw_curves(picture, tuned.objective, tuned.start, tuned.settings)
    if as_json:
        result = {"out": str(out), "curves": str(picture), "tuned": tuned.record.model_dump(mode="json")}
        typer.echo(json.dumps(result, indent=2))
        return
    _print(tuned.record)
    gains = tuned.settings.gains
    if gains is not None and gains is not tuned.start.gains:  # not those that the file had before
        _print_worth(gains, list(tuned.record.untuned.per_type))
    typer.echo(f"{out}: the tuned ensemble\n{picture}: its threshold curves")


def _print(record: "TunedRecord") -> None:
    from sartorius.cli.tables import print_table, text_table

    types = list(record.untuned.per_type)
    rows = [
        ("untuned", *_figures(record.untuned, types)),
        ("tuned, out of fold", *_figures(record.out_of_fold, types)),
        ("tuned, in sample", *_figures(record.in_fold, types)),
    ]
    gain = record.gain
    typer.echo(
        f"{record.images} images in {len(record.parts)} parts: {record.parts_from}\n"
        f"images that a model was trained on: {record.left_out} left out; known {record.trained_on}"
    )
    print_table(text_table(("settings", "all", "95 % interval", *types), rows, "Competition mAP"))
    typer.echo(
        f"out of fold against untuned: {_signed(gain.difference)}, 95 % interval {_signed(gain.low)} to {_signed(gain.high)}"
    )


def _print_worth(gains: "Gains", types: list[str]) -> None:
    from sartorius.cli.tables import print_table, text_table

    every = {f"view {name}": gain for name, gain in gains.views.items()}
    every |= {f"model {name}": gain for name, gain in gains.members.items()}
    rows = [
        (part, _signed(gain), *(_signed(gains.per_type[part][name]) for name in types))
        for part, gain in every.items()
    ]
    print_table(text_table(("part", "all", *types), rows, "Worth: what the score falls by without it"))
    fewer = ", ".join(f"{left.sources} {left.total:.4f}" for left in gains.fewer_sources)
    told = "a run short of time drops the least per minute first"
    if fewer:
        told += f"; with fewer sources, score thresholds searched for each number of them: {fewer}"
    typer.echo(told)


def _signed(difference: float) -> str:
    """With its sign, which nothing that rounds to 0 has."""
    text = f"{difference:+.4f}"
    return "0.0000" if float(text) == 0 else text


def _figures(score: "TunedScore", types: list[str]) -> list[str]:
    per_type = [f"{score.per_type[name]:.4f}" for name in types]
    return [f"{score.total:.4f}", f"{score.low:.4f} to {score.high:.4f}", *per_type]
