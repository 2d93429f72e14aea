"""The `sartorius` command.

Each subcommand parses, calls one library function and prints where the result is. Exit status: 0 done, 1 a check
found problems, 2 bad input or usage, told in one message on stderr. `SARTORIUS_DEBUG=1` or `--debug` shows tracebacks.
"""

import os
import sys
from importlib import import_module

import typer

from sartorius.errors import UserError

#: Modules of this package that each offer `register(app)`.
COMMAND_MODULES = ("data", "train", "predict", "fuse", "submit", "check", "evaluate", "demo")


def build_app() -> typer.Typer:
    """The Typer application with every command."""
    app = typer.Typer(
        name="sartorius",
        help="Segment every single cell in microscopy images with ensembles of Detectron2 models.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @app.callback()
    def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
        if debug:
            os.environ["SARTORIUS_DEBUG"] = "1"

    for name in COMMAND_MODULES:
        import_module(f"sartorius.cli.{name}").register(app)
    return app


def main() -> None:
    """Run the command line; a user's mistake ends with one message and status 2."""
    try:
        build_app()()
    except (UserError, OSError) as error:
        if os.environ.get("SARTORIUS_DEBUG") == "1":
            raise
        sys.stderr.write(f"sartorius: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("sartorius: interrupted; finished work is kept, run the same command to go on\n")
        sys.exit(130)
