"""`sartorius data repair`: the known faults of labels found and mended."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartorius.cli.arguments import Json
from sartorius.errors import UserError

if TYPE_CHECKING:
    from sartorius.data.repair import Fault, ImageRepair
    from sartorius.data.repair_files import RepairedData

#: Counts of `ImageRepair` that are shown per cell type.
COUNTED = ("cells", "hollow", "hollow_px", "cut", "cut_px", "duplicate", "overlap", "overlap_px", "covered")

#: Images with unlabelled cells that are named on the screen; the table has all.
LISTED = 5


def register(data: typer.Typer) -> None:
    """Add the command to those under `data`."""
    data.command("repair")(repair)


def repair(
    data_dir: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder laid out as the competition's: train.csv, train/.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="A CSV file to write, or a folder that becomes a data set: labels and links to images."
        ),
    ],
    only: Annotated[
        str,
        typer.Option(metavar="FAULT,FAULT…", help="Mend only these: hollow, cut, duplicate, overlap."),
    ] = "hollow,cut,duplicate,overlap",
    as_json: Json = False,
) -> None:
    """Mend hollow and cut masks, duplicates and overlaps, and list images with unlabelled cells.

    The data set itself is left alone. What was changed in each image stands in repair.csv beside the new labels.
    """
    from sartorius.cli.progress import shown_progress
    from sartorius.data.repair_files import repair_data

    faults = _faults(only)
    with shown_progress() as report:
        made = repair_data(data_dir, out, report, faults)
    if as_json:
        result = {
            "labels": str(made.csv),
            "table": str(made.table),
            "mended": faults,
            "types": _totals(made.repairs),
            "images": [one._asdict() for one in made.repairs],
        }
        typer.echo(json.dumps(result, indent=2))
    else:
        _print(made)


def _faults(only: str) -> "list[Fault]":
    from sartorius.data.repair import FAULTS

    asked = [part.strip() for part in only.split(",") if part.strip()]
    unknown = [name for name in asked if name not in FAULTS]
    if unknown or not asked:
        came = ", ".join(unknown) or "none"
        raise UserError(f"--only: expected faults among {', '.join(FAULTS)}, got {came}")
    return [fault for fault in FAULTS if fault in asked]


def _totals(repairs: "Sequence[ImageRepair]") -> dict[str, dict[str, int]]:
    """What was changed in all images of each cell type."""
    totals: dict[str, Counter[str]] = {}
    for one in repairs:
        total = totals.setdefault(one.cell_type or "no cells", Counter())
        total.update({name: getattr(one, name) for name in COUNTED})
        total.update(images=1, changed=int(one.changed), unlabelled=int(one.unlabelled))
    names = ("images", "changed", *COUNTED, "unlabelled")
    return {cell_type: {name: totals[cell_type][name] for name in names} for cell_type in sorted(totals)}


def _print(made: "RepairedData") -> None:
    from sartorius.cli.tables import print_table, text_table

    totals = _totals(made.repairs)
    rows = {
        "images": "images",
        "… changed": "changed",
        "labels": "cells",
        "hollow masks filled": "hollow",
        "… pixels": "hollow_px",
        "webs cut out of masks": "cut",
        "… pixels ": "cut_px",
        "duplicates dropped": "duplicate",
        "overlapping masks trimmed": "overlap",
        "… pixels  ": "overlap_px",
        "masks covered by others, dropped": "covered",
        "images with unlabelled cells": "unlabelled",
    }
    fields = [(title, *(str(total[name]) for total in totals.values())) for title, name in rows.items()]
    print_table(text_table(("", *totals), fields))
    listed = sorted((one for one in made.repairs if one.unlabelled), key=lambda one: one.image_id)
    for one in listed[:LISTED]:
        typer.echo(
            f"{one.image_id} ({one.cell_type}, {one.cells} labels): unlabelled structure is "
            f"{one.unlabelled_share:.1f} times as large as the labels; look at it"
        )
    if len(listed) > LISTED:
        typer.echo(f"… and {len(listed) - LISTED} more, in {made.table}")
    typer.echo(f"labels: {made.csv}\nchanges of each image: {made.table}")
