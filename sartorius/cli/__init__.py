"""The `sartorius` command.

Each subcommand parses, calls one library function and prints where the result is. Exit status: 0 done, 1 a check
found problems, 2 bad input or usage, told in one message on stderr; `sartorius --debug COMMAND …` shows the traceback.
"""

from importlib import import_module
from typing import Annotated

import typer

from sartorius import __version__
from sartorius.cli.exits import Commands, prepare_streams

#: Modules of this package that each offer `register(app)`; they import what is heavy inside their commands.
COMMAND_MODULES = (
    "demo",
    "data",
    "train",
    "predict",
    "fuse",
    "tune",
    "ablate",
    "submit",
    "bundle",
    "check",
    "evaluate",
    "report",
    "measure",
    "app",
)


def build_app() -> typer.Typer:
    """The Typer application with every command."""
    app = typer.Typer(
        name="sartorius",
        cls=Commands,
        help="Segment every single cell in microscopy images with ensembles of Detectron2 models.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(options)
    for name in COMMAND_MODULES:
        import_module(f"sartorius.cli.{name}").register(app)
    return app


def show_version(asked: bool) -> None:
    """Print the version and end, if that is what was asked for."""
    if asked:
        typer.echo(f"sartorius {__version__}")
        raise typer.Exit


def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=show_version),
    ] = False,
) -> None:
    """Options of every command, given before its name."""


def main() -> None:
    """Run the command line and end the process with its exit status."""
    prepare_streams()
    build_app()(prog_name="sartorius")
