"""`sartorius data convert`: cells of one format written in another."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sartorius.cli.arguments import ImagesSplit, Json, images_to_read

FORMATS_HELP = (
    "cells (a folder of predictions), competition (train.csv), submission, coco, coco-results, livecell, labels, "
    "labels-png, labels-by-type, yolo, imagej, geojson"
)


def register(data: typer.Typer) -> None:
    """Add the command to `sartorius data`."""
    data.command("convert")(convert)


def convert(
    cells: Annotated[
        Path, typer.Argument(metavar="CELLS", help="File or folder of cells in any known format.")
    ],
    out: Annotated[Path, typer.Option(help="File, or new or empty folder, to write.")],
    to: Annotated[str, typer.Option(help=f"Format to write: {FORMATS_HELP}.")],
    read_as: Annotated[
        str | None, typer.Option("--from", help="Format to read, if it cannot be told from the file.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images, for formats that do not tell how large they are."),
    ] = None,
    split: ImagesSplit = None,
    reference: Annotated[
        Path | None, typer.Option(help="COCO JSON whose numbers of images and categories COCO results have.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write cells in another format, and say what that format could not keep."""
    from sartorius.cli.inputs import competition_tables
    from sartorius.files import refuse_input
    from sartorius.formats import Known, as_format_name
    from sartorius.formats import convert as convert_cells

    refuse_input(out, competition_tables(images) if images else [])
    source = None if read_as is None else as_format_name(read_as)
    known = Known(images_to_read(images, split), reference)
    done = convert_cells(cells, out, as_format_name(to), known, source)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "format": to, **done._asdict()}))
        return
    typer.echo(f"{out}: {done.cells} cells in {done.images} images, read as {done.read_as}, written as {to}")
    typer.echo("lost: nothing, read back they are the same" if not done.lost else "lost:")
    for sentence in done.lost:
        typer.echo(f"  {sentence}")
