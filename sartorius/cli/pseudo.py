"""`sartorius data pseudo`: pseudo labels for self-training."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sartorius.cli.arguments import Json
from sartorius.errors import UserError


def register(data: typer.Typer) -> None:
    """Add the command to `sartorius data`."""
    data.command("pseudo")(pseudo)


def pseudo(
    fused: Annotated[
        Path, typer.Argument(help="Fused cells of unlabelled images: a folder of `sartorius fuse`.")
    ],
    images: Annotated[
        Path, typer.Option(help="The images that were predicted: their folder, or the competition's.")
    ],
    out: Annotated[Path, typer.Option(help="Data folder to write; an earlier one is replaced.")],
    annotated: Annotated[
        Path | None,
        typer.Option(
            help="Data folder whose images, and their copies under other names, are never labelled anew."
        ),
    ] = None,
    min_score: Annotated[
        str, typer.Option(help="Least score of a cell: a number, or one per type: shsy5y=0.5,default=0.6.")
    ] = "0.5",
    min_confidence: Annotated[
        str, typer.Option(help="Least mean score of an image's cells, in the same way.")
    ] = "0.7",
    most_images: Annotated[str, typer.Option(help="Most images of a type, the surest first.")] = "500",
    as_json: Json = False,
) -> None:
    """Make a data set of what an ensemble is sure of, which `sartorius train --also` takes; any number of rounds."""
    from sartorius.data.competition import image_folder
    from sartorius.data.images import list_images
    from sartorius.data.predictions import read_manifest, read_prediction_folder
    from sartorius.data.pseudo_labels import (
        annotated_twins,
        choose_pseudo_labels,
        counts_by_type,
        write_pseudo_data,
    )
    from sartorius.pipeline import choose_images

    thresholds = per_type("--min-score", min_score), per_type("--min-confidence", min_confidence)
    most = {name: int(value) for name, value in per_type("--most-images", most_images).items()}
    files = choose_images(images)
    found = read_prediction_folder(fused)
    labels = choose_pseudo_labels(found, *thresholds, most)
    twins: set[str] = set()
    if annotated is not None:
        chosen = {name: files[name] for name in labels if name in files}
        twins = annotated_twins(chosen, list_images(image_folder(annotated, "train")))
        labels = {name: label for name, label in labels.items() if name not in twins}
    facts = {
        "min_score": thresholds[0],
        "min_confidence": thresholds[1],
        "most_images": most,
        "predictions": read_manifest(fused).model_dump(mode="json"),
        "left_out_as_annotated": sorted(twins),
    }
    write_pseudo_data(labels, files, out, facts)
    counts = counts_by_type(labels)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "types": counts, "left_out_as_annotated": sorted(twins)}))
        return
    for cell_type, (image_count, cell_count) in counts.items():
        typer.echo(f"{cell_type}: {image_count} images, {cell_count} cells")
    if twins:
        typer.echo(f"left out because they are annotated: {len(twins)} images")
    typer.echo(
        f"{out} ({len(labels)} of {len(found)} images); train on it with `sartorius train … --also {out}`"
    )


def per_type(option: str, text: str) -> dict[str, float]:
    """The numbers of "0.5" or "shsy5y=0.4,default=0.6" by cell type; raises UserError naming the option."""
    values: dict[str, float] = {}
    for entry in text.split(","):
        name, _, number = entry.rpartition("=")
        try:
            values[name.strip() or "default"] = float(number)
        except ValueError:
            raise UserError(
                f"{option} {text}: expected a number, or one per cell type like shsy5y=0.4,default=0.6"
            ) from None
    return values
