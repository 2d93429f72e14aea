"""`sartorius demo`: the whole main job on images it makes itself."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartorius.cli.arguments import Device, Json
from sartorius.cli.ensembles import loaded_predictors

if TYPE_CHECKING:
    from sartorius.demo import Demo


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("sartorius-demo"),
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Make images of three cell types, segment them with the ensemble that ships, check and score the submission."""
    from functools import partial

    from sartorius.cli.progress import shown_progress
    from sartorius.demo import run_demo

    started = time.monotonic()
    with shown_progress() as report:
        made = run_demo(out, partial(loaded_predictors, device=device), report)
    if as_json:
        typer.echo(json.dumps(made.to_json()))
    else:
        typer.echo(_summary(made, time.monotonic() - started))
    if made.problems:
        raise typer.Exit(1)


def _summary(made: "Demo", seconds: float) -> str:
    checked = "valid" if not made.problems else f"{len(made.problems)} problems"
    per_type = ", ".join(f"{name} {score:.3f}" for name, score in made.score.per_type.items())
    cells = sum(made.cells.values())
    lines = [
        f"images      {made.data_dir / 'test'}  ({len(made.cells)}, truth in {made.data_dir / 'test_truth.csv'})",
        f"found       {made.fused_dir}  ({cells} cells, {int(made.score.true_cells.sum())} are there)",
        f"submission  {made.submission}  (checked: {checked})",
        *(f"            line {problem.line}: {problem.message}" for problem in made.problems[:10]),
        f"picture     {made.overlay}  (left found, right true cells)",
        f"score       {made.score.total:.3f} competition mAP on these synthetic images  ({per_type}), in {seconds:.0f} s",
    ]
    return "\n".join(lines)
