"""A machine like Kaggle's: an environment that has what the image has and nothing else, and no network."""

import os
import subprocess
import sys
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sartorius.bundle import Target

PROJECT = Path(__file__).resolve().parent.parent
IMAGE = PROJECT / "kaggle_kernels" / "image.txt"
HERE = "{}.{}".format(*sys.version_info[:2])


def image_names() -> list[str]:
    """What kaggle_kernels/image.txt says Kaggle has."""
    lines = IMAGE.read_text(encoding="utf-8").splitlines()
    return [line.partition("==")[0] for line in lines if line and not line.startswith("#")]


def installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def target_here() -> Target:
    """This machine, as if it had only what Kaggle's image has; in the versions of this environment."""
    has = {name: found.version for name in image_names() if (found := installed(name))}
    return Target(HERE, "x86_64-manylinux_2_28", has)


def provided() -> dict[str, Distribution]:
    """The image's packages and what they themselves need, such as CUDA's libraries, as installed here."""
    found: dict[str, Distribution] = {}
    waiting = image_names()
    while waiting:
        name = canonicalize_name(waiting.pop())
        package = None if name in found else installed(name)
        if package is None:
            continue
        found[name] = package
        for text in package.requires or []:
            requirement = Requirement(text)
            extras = ["", *(["cudart"] if name == "cuda-toolkit" else [])]
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(requirement.name)
                waiting += [f"nvidia-{extra}" for extra in requirement.extras]
    return found


def kaggle_environment(folder: Path) -> Path:
    """The Python of a new environment with pip, and with the image's packages as they are installed here."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    shelf = folder / "provided"
    shelf.mkdir()
    for package in provided().values():
        tops = {path.parts[0] for path in package.files or [] if path.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (shelf / top).exists():
                (shelf / top).symlink_to(Path(str(package.locate_file(top))))
    site = folder / "venv" / "lib" / f"python{HERE}" / "site-packages"
    (site / "kaggle.pth").write_text(f"{shelf}\n")
    return folder / "venv" / "bin" / "python"


@cache
def without_network() -> tuple[str, ...]:
    """The words before a command that cut it off from every network; skips the test where that is not permitted."""
    for words in (("unshare", "--net"), ("unshare", "--map-root-user", "--net")):
        try:
            done = subprocess.run(
                [*words, "cat", "/proc/net/dev"], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            break
        if done.returncode == 0:
            interfaces = {line.split(":")[0].strip() for line in done.stdout.splitlines()[2:]}
            assert interfaces == {"lo"}, "a new network namespace has a way out"
            return words
    pytest.skip("network namespaces are not permitted here, so the network cannot be cut off")


def environment(home: Path) -> dict[str, str]:
    """The variables of a fresh machine; compiled code is kept so that only the first run compiles."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "NUMBA_CACHE_DIR": str(home / "numba")}
