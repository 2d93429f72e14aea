"""`sartorius data pseudo`: pseudo labels for self-training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartorius.cli.arguments import Json
from sartorius.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from sartorius.cells import Cells
    from sartorius.data.pseudo_labels import PseudoLabel, PseudoSettings


def register(data: typer.Typer) -> None:
    """Add the command to `sartorius data`."""
    data.command("pseudo")(pseudo)


def pseudo(
    fused: Annotated[
        Path,
        typer.Argument(
            metavar="FUSED", help="Fused cells of unlabelled images: a folder of `sartorius fuse`."
        ),
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
        surest_of_each_type,
        write_pseudo_data,
    )
    from sartorius.pipeline import choose_images

    settings = settings_of(
        {"min_score": min_score, "min_confidence": min_confidence, "most_images": most_images}
    )
    files = choose_images(images)
    refuse_raw(fused)
    found = read_prediction_folder(fused)
    refuse_unknown_types(settings, found)
    believed = choose_pseudo_labels(found, settings.min_score, settings.min_confidence)
    twins: set[str] = set()
    if annotated is not None:
        believed_files = {name: files[name] for name in believed if name in files}
        twins = annotated_twins(believed_files, list_images(image_folder(annotated, "train")))
    others = {name: label for name, label in believed.items() if name not in twins}
    labels = surest_of_each_type(others, settings.most_images)
    if not labels:
        raise UserError(f"{out}: {_why_none(believed, others, most_images)}")
    facts = {
        **settings.model_dump(),
        "predictions": read_manifest(fused).model_dump(mode="json"),
        "left_out_as_annotated": sorted(twins),
    }
    write_pseudo_data(labels, files, out, facts)
    if as_json:
        told = {"out": str(out), "types": counts_by_type(labels), "left_out_as_annotated": sorted(twins)}
        typer.echo(json.dumps(told))
    else:
        _say_what_is_kept(labels, len(found), len(twins), out)


def _why_none(
    believed: "Mapping[str, PseudoLabel]", others: "Mapping[str, PseudoLabel]", most_images: str
) -> str:
    """Which step left no image: others are the believed ones that are not annotated."""
    if not believed:
        return "no image is labelled surely enough; lower --min-score or --min-confidence"
    if not others:
        return f"the images labelled surely enough are all --annotated already: {len(believed)} of {len(believed)}"
    return f"--most-images {most_images} keeps none of the {len(others)} images labelled surely enough"


def _say_what_is_kept(labels: "Mapping[str, PseudoLabel]", predicted: int, twins: int, out: Path) -> None:
    from sartorius.data.pseudo_labels import counts_by_type

    for cell_type, (image_count, cell_count) in counts_by_type(labels).items():
        typer.echo(f"{cell_type}: {image_count} images, {cell_count} cells")
    if twins:
        typer.echo(f"left out because they are annotated: {twins} images")
    typer.echo(
        f"{out} ({len(labels)} of {predicted} images); train on it with `sartorius train … --also {out}`"
    )


def settings_of(texts: Mapping[str, str]) -> "PseudoSettings":
    """The settings that the options say, by name; raises UserError naming the options that are wrong."""
    from pydantic import ValidationError

    from sartorius.config.explaining import explained
    from sartorius.config.yaml_files import Layer, merged
    from sartorius.data.pseudo_labels import PseudoSettings

    layers = [
        Layer(f"{option_of(name)} {text}", Path(), {name: per_type(option_of(name), text)})
        for name, text in texts.items()
    ]
    mapping = merged([layer.mapping for layer in layers])
    try:
        return PseudoSettings.model_validate(mapping)
    except ValidationError as error:
        raise UserError(explained(error, PseudoSettings, layers, mapping)) from None


def option_of(name: str) -> str:
    """The option that gives this setting."""
    return f"--{name.replace('_', '-')}"


def per_type(option: str, text: str) -> dict[str, float]:
    """The numbers of "0.5" or "shsy5y=0.4,default=0.6" by cell type; raises UserError naming the option."""
    values: dict[str, float] = {}
    for entry in text.split(","):
        name, _, number = entry.rpartition("=")
        name = name.strip() or "default"
        if name in values:
            raise UserError(f"{option} {text}: `{name}` is written twice")
        try:
            values[name] = float(number)
        except ValueError:
            raise UserError(
                f"{option} {text}: expected a number, or one per cell type like shsy5y=0.4,default=0.6"
            ) from None
    return values


def refuse_raw(folder: Path) -> None:
    """Raise UserError unless a folder of predictions is of `sartorius fuse`, whose cells are cleaned and share no pixel."""
    from sartorius.data.predictions import read_manifest
    from sartorius.pipeline.fusing import FUSED

    source = read_manifest(folder).source
    if source != FUSED:
        raise UserError(
            f"{folder}: expected a folder of `sartorius fuse`, got predictions of {source!r}; fuse them first"
        )


def refuse_unknown_types(settings: "PseudoSettings", found: "Mapping[str, Cells]") -> None:
    """Raise UserError if a setting names a type that is neither the competition's nor one of the cells found."""
    from sartorius.cells import CELL_TYPES

    others = {name for cells in found.values() for name in cells.cell_types.tolist()} - set(CELL_TYPES)
    known = [*CELL_TYPES, *sorted(others), "default"]
    for setting, values in settings:
        for name in values if isinstance(values, dict) else ():
            if name not in known:
                hint = did_you_mean(name, known)
                raise UserError(
                    f"{option_of(setting)}: unknown cell type {name!r}, expected {', '.join(known)}{hint}"
                )
