"""`sartorius report`: one page about what was found, what was missed and why."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartorius.cli.arguments import Json, refuse_half_a_fold
from sartorius.cli.ensembles import warn_of_cache
from sartorius.errors import UserError

if TYPE_CHECKING:
    from sartorius.cells import Cells
    from sartorius.cli.progress import Report
    from sartorius.report.outcomes import Outcome
    from sartorius.report.page import Subject

ENSEMBLE_SUFFIXES = (".yaml", ".yml")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="ENSEMBLE_OR_PREDICTIONS",
            help="Ensemble file, with --predictions; or a folder of fused cells or a submission CSV, of which the steps "
            "that led to it are not known.",
        ),
    ],
    truth: Annotated[Path, typer.Option(help="The competition's train.csv.")],
    images: Annotated[
        Path, typer.Option(help="The competition's folder (then its training images), or a folder of images.")
    ],
    out: Annotated[Path, typer.Option(help="The page to write, for example report.html.")],
    predictions: Annotated[
        Path | None, typer.Option(help="Prediction cache of the ensemble that `sartorius predict` filled.")
    ] = None,
    folds: Annotated[Path | None, typer.Option(help="File of `sartorius data folds`, with --fold.")] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Only the images of this fold.")] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page: where true cells are lost, pictures of truth and prediction, charts and tables.

    Scored are the images that have predictions, or those of one fold. The page needs no other file and no network.
    """
    from sartorius.cli.evaluate_inputs import for_images, read_found
    from sartorius.cli.progress import shown_progress
    from sartorius.data.competition import read_truth
    from sartorius.files import refuse_input, require_suffix, require_writable
    from sartorius.pipeline import choose_images
    from sartorius.report.page import refuse_absent, write_report
    from sartorius.report.tables import waterfalls

    _refuse_mixtures(what, predictions, folds, fold)
    if out.is_dir():
        raise UserError(f"{out}: expected the name of a file to write, for example {out / 'report.html'}")
    require_suffix(out, (".html",), "page")
    refuse_input(out, [what, truth, *([folds] if folds else [])])
    files = choose_images(images, "train" if (images / "train.csv").is_file() else None)
    require_writable(out)
    with shown_progress() as progress:
        if predictions is not None:
            chosen = _chosen_truth(truth, folds, fold, _cached_images(what, predictions))
            refuse_absent(chosen, files)
            subject, outcomes = _of_ensemble(what, predictions, chosen, progress)
        else:
            found = read_found(what, read_truth(truth))
            chosen = _chosen_truth(truth, folds, fold, list(found))
            refuse_absent(chosen, files)
            subject, outcomes = _of_result(what, for_images(what, found, chosen), chosen)
        assessment = write_report(out, subject, outcomes, files, progress)
    if as_json:
        falls = {
            fall.name: {step.fate: step.lost for step in fall.steps} | {"found": fall.found}
            for fall in waterfalls(outcomes)
        }
        typer.echo(json.dumps({"out": str(out), "true_cells": falls} | assessment.to_json()))
        return
    total = waterfalls(outcomes)[0]
    lost = ", ".join(f"{step.lost} {step.fate}" for step in total.steps)
    typer.echo(
        f"{out}: {len(outcomes)} images, competition mAP {assessment.total.value:.4f}; {total.found} of "
        f"{total.true_cells} true cells found; lost: {lost or 'none'}"
    )


def _refuse_mixtures(what: Path, predictions: Path | None, folds: Path | None, fold: int | None) -> None:
    is_ensemble = what.suffix.lower() in ENSEMBLE_SUFFIXES
    if is_ensemble and predictions is None:
        raise UserError(
            f"{what}: an ensemble is fused from cached predictions; name them with --predictions DIR"
        )
    if not is_ensemble and predictions is not None:
        raise UserError(
            f"{what}: --predictions goes with an ensemble file (*.yaml); a folder of fused cells or a submission is "
            "a result already"
        )
    refuse_half_a_fold(folds, fold)


def _cached_images(ensemble: Path, cache: Path) -> list[str]:
    """The images that the cache holds predictions of; says on stderr if the ensemble was tuned on others."""
    from sartorius.config import load_ensemble_settings
    from sartorius.pipeline.fusing import predicted_images

    settings = load_ensemble_settings(ensemble)
    cached = predicted_images(settings, cache)
    warn_of_cache(ensemble, settings, cache)
    return cached


def _of_ensemble(
    ensemble: Path, cache: Path, truth: "Mapping[str, Cells]", progress: "Report"
) -> "tuple[Subject, list[Outcome]]":
    from sartorius.config import load_ensemble_settings
    from sartorius.pipeline import read_sources
    from sartorius.report.outcomes import outcome_of_sources
    from sartorius.report.page import Subject

    settings = load_ensemble_settings(ensemble)
    outcomes = []
    for image_id, cells in truth.items():
        outcomes.append(outcome_of_sources(read_sources(settings, cache, image_id), settings, cells))
        progress("fuse", len(outcomes), len(truth))
    return Subject(ensemble.name, _command(), settings.sources, settings.postprocess, True, True), outcomes


def _of_result(
    path: Path, found: "Mapping[str, Cells]", truth: "Mapping[str, Cells]"
) -> "tuple[Subject, list[Outcome]]":
    from sartorius.report.outcomes import outcome_of_result
    from sartorius.report.page import Subject

    outcomes = [outcome_of_result(found[image_id], cells) for image_id, cells in truth.items()]
    return Subject(path.name, _command(), (), None, path.is_dir(), path.is_dir()), outcomes


def _command() -> str:
    return shlex.join(["sartorius", *sys.argv[1:]])


def _chosen_truth(
    truth: Path, folds: Path | None, fold: int | None, predicted: list[str]
) -> "dict[str, Cells]":
    """The truth of the images to score: those of the fold, all of which must have predictions, or all that have them."""
    from sartorius.cli.evaluate_inputs import folds_without_leaks
    from sartorius.data.competition import read_truth
    from sartorius.metrics.images import chosen_images

    if fold is None:
        return read_truth(truth, predicted)
    chosen = chosen_images(read_truth(truth), folds_without_leaks(folds, truth), fold)
    absent = sorted(set(chosen) - set(predicted))
    if absent:
        raise UserError(
            f"{len(absent)} of the {len(chosen)} images of fold {fold} have no predictions, for example {absent[0]}; "
            "predict them first"
        )
    return chosen
