"""`sartorius bundle`: what an offline Kaggle kernel needs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartorius.cli.arguments import EnsembleFile, Json

if TYPE_CHECKING:
    from sartorius.bundle import Bundle, Naming

COMPETITION = "sartorius-cell-instance-segmentation"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bundle")(bundle)


def bundle(
    ensemble: EnsembleFile,
    out: Annotated[Path, typer.Option(help="Folder to write: a data set for `kaggle datasets create`.")],
    user: Annotated[str, typer.Option(help="Your name on Kaggle.")] = "YOUR-KAGGLE-NAME",
    name: Annotated[str, typer.Option(help="The data set's name on Kaggle.")] = "sartorius-bundle",
    python: Annotated[str, typer.Option(help="The kernel's Python; default: Kaggle's.")] = "3.12",
    platform: Annotated[
        str, typer.Option(help="The kernel's platform in uv's words; default: Kaggle's.")
    ] = "x86_64-manylinux_2_28",
    image: Annotated[
        Path | None,
        typer.Option(help="What the kernel has installed, as `pip freeze` prints it; default: Kaggle's."),
    ] = None,
    notebook: Annotated[bool, typer.Option(help="Make the kernels notebooks instead of scripts.")] = False,
    as_json: Json = False,
) -> None:
    """Pack an ensemble, its weights and the wheels a Kaggle kernel lacks, with hashes, and the kernels that use them."""
    from sartorius.bundle import checked_naming, read_target, write_bundle
    from sartorius.checkout import checkout_file

    naming = checked_naming(user, name)
    target = read_target(image or checkout_file("kaggle_kernels/image.txt"), python, platform)
    made = write_bundle(ensemble, out, target, naming, notebook)
    typer.echo(json.dumps(_as_json(made)) if as_json else _summary(made, naming))


def _as_json(made: "Bundle") -> dict[str, object]:
    return {
        "out": str(made.folder),
        "bytes": sum(made.sizes.values()),
        "files": made.sizes,
        "wheels": made.wheels,
    }


def _summary(made: "Bundle", naming: "Naming") -> str:
    size = sum(made.sizes.values()) / 1e6
    kernel = f"{naming.dataset_id}-inference"
    return "\n".join(
        [
            f"{made.folder}: {len(made.sizes)} files, {size:.1f} MB, {len(made.wheels)} wheels; now",
            f"  kaggle datasets create -p {made.folder}",
            f"  kaggle kernels push -p {made.folder / 'kernels' / 'inference'}",
            f"  kaggle kernels status {kernel}",
            f"  kaggle competitions submit {COMPETITION} -k {kernel} -v 1 -f submission.csv -m sartorius",
        ]
    )
