"""`sartorius app`: the page in the browser."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

import sartorius
from sartorius.cli.arguments import Device
from sartorius.errors import UserError

#: Addresses that only this machine can reach.
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("app")(serve_page)


def serve_page(
    ensembles: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="ENSEMBLE",
            help="Ensemble files to choose from, before those of --ensembles whose weights are here.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--ensembles",
            help="Folder of ensemble files; without it configs/ensembles, of the repository if not here.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to answer at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to answer at; 0 takes a free one.")
    ] = 7860,
    device: Device = "cpu",
    max_file_mb: Annotated[float, typer.Option(min=0.1, help="Largest file that is taken, in MB.")] = 100,
    max_megapixels: Annotated[
        float, typer.Option(min=0.01, help="Largest image that is taken, in millions of pixels.")
    ] = 36,
    max_images: Annotated[int, typer.Option(min=1, help="Images of one visitor at a time.")] = 100,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait for their turn.")] = 20,
    idle_minutes: Annotated[
        float, typer.Option(min=1, help="A visitor's files are removed after this time without use.")
    ] = 60,
) -> None:
    """Serve the page: drop images, see the cells outlined, read their numbers, download the results.

    Works until interrupted with Ctrl-C. Uploaded images stay on this machine, in a temporary folder that is removed.
    """
    _require_packages()
    typer.echo("loading the page and the models …", err=True)  # seconds, the first time many
    from sartorius.app.limits import Limits
    from sartorius.app.offers import find_offers
    from sartorius.app.server import serve
    from sartorius.cli.ensembles import loaded_predictors

    limits = Limits(max_file_mb, max_megapixels, max_images, max_waiting, idle_minutes)
    offers = find_offers(folder or _default_folder(), ensembles or [])
    if host not in LOOPBACK:
        typer.echo(
            f"warning: --host {host} lets everyone in who can reach this machine; there is no password",
            err=True,
        )
    serve(
        offers,
        lambda path, settings: loaded_predictors(path, settings, device),
        limits,
        (host, port),
        lambda url: typer.echo(f"sartorius app: {url}  (Ctrl-C ends it)"),
    )


def _default_folder() -> Path:
    """The ensembles of the folder that the command runs in, or those of the repository."""
    here = Path("configs/ensembles")
    return here if here.is_dir() else Path(sartorius.__file__).resolve().parent.parent / here


def _require_packages() -> None:
    """Raises UserError saying how to install what is missing of the page's own packages and those of its models."""
    lacking = [name for name in ("gradio", "torch", "detectron2") if importlib.util.find_spec(name) is None]
    if lacking:
        raise UserError(
            f"this command needs {', '.join(lacking)}, not installed; in a clone run `uv sync --extra app --extra detectron`, "
            "with pip install `sartorius[app]`, and PyTorch, torchvision and Detectron2 from its source"
        )
