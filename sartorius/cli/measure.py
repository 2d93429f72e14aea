"""`sartorius measure`: morphometrics of found or annotated cells."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sartorius.cli.arguments import ImagesSplit, Json, images_to_read


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("measure")(measure)


def measure(
    cells: Annotated[
        Path,
        typer.Argument(
            metavar="CELLS",
            help="File or folder of cells in any format that `sartorius data convert` reads.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Table of cells, .csv or .parquet; those of images and types are written beside it."
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images, for intensities and for formats without the images' sizes."),
    ] = None,
    split: ImagesSplit = None,
    um_per_px: Annotated[
        float | None, typer.Option(help="Micrometres per pixel; adds columns in µm, µm² and per mm².")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure cells: one row per cell, one per image, and the distribution of each quantity per cell type."""
    from sartorius.cli.inputs import competition_tables
    from sartorius.cli.progress import shown_progress
    from sartorius.files import refuse_input, require_writable
    from sartorius.formats.label_table import TABLE
    from sartorius.morphometrics import table_paths, write_measurements
    from sartorius.pipeline.measuring import measure_file

    for table in table_paths(out):
        refuse_input(table, [cells, cells / TABLE, *(competition_tables(images) if images else [])])
        require_writable(table)
    paths = images_to_read(images, split)
    with shown_progress() as report:
        measurements = measure_file(cells, paths, um_per_px, report)
    tables = write_measurements(out, measurements)
    rows = dict(zip(measurements._fields, map(len, measurements), strict=True))
    if as_json:
        files = dict(zip(measurements._fields, map(str, tables), strict=True))
        typer.echo(json.dumps({"tables": files, "rows": rows}))
        return
    for path, (name, count) in zip(tables, rows.items(), strict=True):
        typer.echo(f"{name:7} {path}  ({count} rows)")
