"""`sartorius data …`: look at, split, mend, convert and create data sets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartorius.cli import convert, pseudo, repair
from sartorius.cli.arguments import Json

if TYPE_CHECKING:
    from sartorius.data.check import DataCheck
    from sartorius.data.folds import FoldCount

DataDir = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Folder laid out as the competition's: train.csv, train/, test/."),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")]


def register(app: typer.Typer) -> None:
    """Add the command and its subcommands."""
    data = typer.Typer(help="Look at, split, mend, convert and create data sets.", no_args_is_help=True)
    data.command("check")(check)
    data.command("folds")(folds)
    data.command("synthesize")(synthesize)
    repair.register(data)
    convert.register(data)
    pseudo.register(data)
    app.add_typer(data, name="data")


def check(data_dir: DataDir, as_json: Json = False) -> None:
    """List what is wrong in a data set and count its cells; exit status 1 if there is a problem."""
    from sartorius.data.check import check_data

    result = check_data(data_dir)
    if as_json:
        _print_json(
            {
                "problems": [finding._asdict() for finding in result.problems],
                "notes": [finding._asdict() for finding in result.notes],
                "types": [count._asdict() for count in result.types],
            }
        )
    else:
        _print_check(result)
    if result.problems:
        raise typer.Exit(1)


def folds(
    data_dir: DataDir,
    out: Annotated[Path, typer.Option(help="CSV file to write, with the columns id and fold.")],
    fold_count: Annotated[int, typer.Option("--folds", min=2, help="Number of folds.")] = 5,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Split the training images into folds: each cell type evenly, images of one well (sample_id) together."""
    from sartorius.data.folds import split_data

    counts = split_data(data_dir, out, fold_count, seed)
    if as_json:
        _print_json({"path": str(out), "seed": seed, "folds": [count._asdict() for count in counts]})
    else:
        _print_folds(counts)
        typer.echo(f"folds of {sum(count.images for count in counts)} images: {out}")


def synthesize(
    out: Annotated[Path, typer.Option(help="Folder to create, laid out as the competition's.")],
    images_per_type: Annotated[int, typer.Option(min=1, help="Images of each cell type.")] = 4,
    seed: Seed = 0,
) -> None:
    """Create phase-contrast-like images of three cell types with known truth."""
    from sartorius.data.synthetic import synthesize as synthesize_images

    typer.echo(f"synthetic images and their truth: {synthesize_images(out, images_per_type, seed)}")


def _print_json(result: dict[str, Any]) -> None:
    typer.echo(json.dumps(result, indent=2))


def _print_check(result: "DataCheck") -> None:
    for finding in result.findings:
        line = "" if finding.line is None else f" train.csv line {finding.line}:"
        image = f" image {finding.image_id}:" if finding.image_id else ""
        typer.echo(f"{finding.severity}:{line}{image} {finding.message}")
    _print_table(
        ["cell type", "images", "cells", "overlapping pairs", "duplicate masks"],
        [list(c) for c in result.types],
    )
    typer.echo(f"problems: {len(result.problems)}, notes: {len(result.notes)}")


def _print_folds(counts: "list[FoldCount]") -> None:
    """One line per fold, its images and cells of each type."""
    types = sorted({count.cell_type for count in counts})
    at = {(count.fold, count.cell_type): count for count in counts}
    rows: list[list[Any]] = []
    for fold in sorted({count.fold for count in counts}):
        found = [at.get((fold, name)) for name in types]
        rows.append([fold, *(f"{count.images} / {count.cells}" if count else "0 / 0" for count in found)])
    _print_table(["fold", *(f"{name or 'no cells'}: images / cells" for name in types)], rows)


def _print_table(heads: list[str], rows: list[list[Any]]) -> None:
    from sartorius.cli.tables import print_table, text_table

    print_table(text_table(heads, [list(map(str, row)) for row in rows]))
