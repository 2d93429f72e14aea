"""A bundle written: flat, since Kaggle's tool leaves folders out, and the same bytes from the same inputs."""

import json
import shutil
from glob import escape
from pathlib import Path
from typing import NamedTuple

from sartorius import __version__
from sartorius.bundle.closure import Closure, needed
from sartorius.bundle.configs import ENSEMBLE, write_configs
from sartorius.bundle.kernels import Naming, dataset_metadata, write_kernels
from sartorius.bundle.target import Target
from sartorius.bundle.wheels import wheel_for
from sartorius.checkout import checkout_file
from sartorius.experiment import file_sha256
from sartorius.files import refuse_foreign, replaced_folder

MANIFEST, DATASET_METADATA, KERNELS = "sartorius-manifest.json", "dataset-metadata.json", "kernels"
#: Raised when the kernels' scripts need another layout of the bundle.
BUNDLE_VERSION = 1

README = """\
# {title}

What `sartorius {version}` needs to segment the images of the competition in a kernel without internet, on Python
{python}: {wheels} wheels, an ensemble with its models' settings and weights, and the SHA-256 of every file. Made by
`sartorius bundle`; the kernels attach it and check it.

The code is under the Apache License 2.0, the wheels under their own. Weights trained on the competition's images are for
research only.
"""


class Bundle(NamedTuple):
    """Where a bundle is, its files' sizes in bytes by name, and the wheels among them."""

    folder: Path
    sizes: dict[str, int]
    wheels: tuple[str, ...]


def write_bundle(
    ensemble: Path, out_dir: Path, target: Target, naming: Naming, as_notebooks: bool = False
) -> Bundle:
    """`out_dir` is a data set for `kaggle datasets create`, with the kernels that use it in `kernels/`.

    out_dir: new, empty, or an earlier bundle, which is replaced once everything is done.
    as_notebooks: the kernels are notebooks instead of scripts.
    Raises UserError if the ensemble's files are missing or wrong, a package does not fit the target or cannot be
    fetched, or `out_dir` holds something else.
    """
    refuse_foreign(out_dir, lambda folder: (folder / MANIFEST).is_file(), "bundle", _parts(out_dir))
    closure = needed(target)
    pins = checkout_file("constraints.txt").read_text(encoding="utf-8")
    with replaced_folder(out_dir) as folder:
        write_configs(ensemble, folder)
        wheels = []
        for found in closure.packed:
            wheel = wheel_for(found, target, pins)
            (folder / wheel.name).write_bytes(wheel.content)
            wheels.append(wheel.name)
        shutil.copyfile(checkout_file("kaggle_kernels/attached.py"), folder / "attached.py")
        readme = README.format(
            title=naming.title, version=__version__, python=target.python, wheels=len(wheels)
        )
        (folder / "README.md").write_text(readme, encoding="utf-8")
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        manifest = _manifest(folder, list(sizes), closure, wheels, target)
        (folder / MANIFEST).write_text(manifest, encoding="utf-8")
        (folder / DATASET_METADATA).write_text(dataset_metadata(naming), encoding="utf-8")
        write_kernels(folder / KERNELS, naming, as_notebooks)
    return Bundle(out_dir, sizes, tuple(sorted(wheels)))


def _parts(folder: Path) -> list[str]:
    """Patterns of all that is part of an earlier bundle: what its manifest lists, and what is never listed."""
    try:
        listed = list(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        listed = []
    return [MANIFEST, DATASET_METADATA, KERNELS, f"{KERNELS}/*", *map(escape, listed)]


def _manifest(folder: Path, names: list[str], closure: Closure, wheels: list[str], target: Target) -> str:
    content = {
        "bundle_version": BUNDLE_VERSION,
        "package_version": __version__,
        "python": target.python,
        "platform": target.platform,
        "ensemble": ENSEMBLE,
        "wheels": sorted(wheels),
        "counted_on": closure.counted_on,
        "sha256": {name: file_sha256(folder / name) for name in names},
    }
    return json.dumps(content, indent=2) + "\n"
