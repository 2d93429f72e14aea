"""`sartorius evaluate`: score predictions against the truth."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sartorius.cli.arguments import Json, refuse_half_a_fold
from sartorius.errors import UserError


class LivecellConvention(StrEnum):
    """Cell sizes and detection caps: of the published evaluation script, or of the paper's text."""

    EVALUATION = "evaluation"
    PAPER = "paper"


class VariantName(StrEnum):
    """How a prediction that hits two true cells counts."""

    ONE_TO_ONE = "one_to_one"
    DROP = "drop"
    DOUBLE = "double"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS_OR_CSV",
            help="Folder of predictions of one source or of a fused result, or a submission CSV.",
        ),
    ],
    truth: Annotated[Path, typer.Option(help="The competition's train.csv.")],
    folds: Annotated[Path | None, typer.Option(help="File of `sartorius data folds`; with --fold.")] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Score only the images of this fold.")] = None,
    only_predicted: Annotated[
        bool,
        typer.Option("--only-predicted", help="Leave out images without predictions instead of refusing."),
    ] = False,
    remove_overlap: Annotated[
        bool, typer.Option("--remove-overlap", help="Give pixels claimed twice to the higher score first.")
    ] = False,
    variant: Annotated[
        VariantName,
        typer.Option(help="How a prediction on two true cells counts; drop and double are community copies."),
    ] = VariantName.ONE_TO_ONE,
    against: Annotated[
        Path | None, typer.Option(help="Other predictions to compare with, image by image.")
    ] = None,
    coco: Annotated[bool, typer.Option("--coco", help="COCO AP of masks and boxes as well.")] = False,
    max_detections: Annotated[
        int | None,
        typer.Option(min=1, help="With --coco: detections per image, the surest first. Default: 1000."),
    ] = None,
    livecell: Annotated[
        list[LivecellConvention] | None,
        typer.Option(
            help="Figures by LIVECell's protocol too, per cell line; sizes and caps of its published evaluation or of "
            "the paper's text. May be given twice."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Score predictions by the competition's metric: total, per cell type, per threshold, with intervals.

    Scored are all images of the truth, or those of one fold; each must have predictions, if only the finding that
    there is no cell. Predictions are scored as given: overlapping ones, which the competition refuses, get a warning.
    """
    import numpy as np

    from sartorius.cli.evaluate_inputs import folds_without_leaks, for_images, read_found
    from sartorius.data.competition import read_truth
    from sartorius.metrics.assessment import Wanted, assess
    from sartorius.metrics.coco import MAX_DETECTIONS
    from sartorius.metrics.images import chosen_images

    refuse_half_a_fold(folds, fold)
    if max_detections is not None and not coco:
        raise UserError(
            f"--max-detections {max_detections} is for the figures of --coco: give both, or leave out --max-detections"
        )
    if (coco or livecell) and not predictions.is_dir():
        option = "--coco" if coco else "--livecell"
        raise UserError(f"{predictions}: {option} ranks cells by score; expected a folder of predictions")
    every_truth = read_truth(truth)
    chosen = chosen_images(every_truth, folds_without_leaks(folds, truth), fold)
    paths = [predictions] if against is None else [predictions, against]
    read = [read_found(path, every_truth, remove_overlap) for path in paths]
    if only_predicted:
        chosen = {name: cells for name, cells in chosen.items() if all(name in found for found in read)}
    found, *others = [
        for_images(path, one, chosen, "--remove-overlap") for path, one in zip(paths, read, strict=True)
    ]
    wanted = Wanted(
        variant.value,
        confusion=predictions.is_dir(),
        coco_detections=(max_detections or MAX_DETECTIONS) if coco else None,
        livecell=tuple(convention.value for convention in dict.fromkeys(livecell or [])),
    )
    assessment = assess(found, chosen, np.random.default_rng(seed), wanted, *others)
    result = assessment.to_json() | {
        "predictions": [str(path) for path in paths],
        "images_of_truth": len(every_truth),
        "images_of_predictions": len(read[0]),
        "fold": fold,
    }
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        _print(result)


def _print(result: Mapping[str, Any]) -> None:
    from sartorius.cli import evaluate_tables
    from sartorius.cli.tables import print_table

    typer.echo(evaluate_tables.headline(result))
    for table in evaluate_tables.tables(result):
        print_table(table)
