"""A machine like Kaggle's: an environment that has what the image has and nothing else, and no network."""

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sartorius.bundle import Target

PROJECT = Path(__file__).resolve().parent.parent
IMAGE = PROJECT / "kaggle_kernels" / "image.txt"
HERE = "{}.{}".format(*sys.version_info[:2])
#: Stands in every place where Kaggle's tools look for a token.
TOKEN = "0123456789abcdef0123456789abcdef"


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
    """The words before a command that cut it off from every network; none where that is not permitted."""
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
    return ()


def environment(home: Path) -> dict[str, str]:
    """The variables of a fresh machine whose owner is signed in to Kaggle.

    Loops are not compiled, which takes longer than a few small images do.
    """
    (home / ".kaggle").mkdir(parents=True, exist_ok=True)
    (home / ".kaggle" / "kaggle.json").write_text(f'{{"username": "somebody", "key": "{TOKEN}"}}')
    signed_in = {"KAGGLE_USERNAME": "somebody", "KAGGLE_KEY": TOKEN, "KAGGLE_API_TOKEN": TOKEN}
    quick = {"OMP_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}
    return {"PATH": os.environ["PATH"], "HOME": str(home), **signed_in, **quick}


def told_the_token(printed: Iterable[str], *folders: Path) -> list[str]:
    """Where the token is found: in what was printed, or in which of the folders' files."""
    texts = [text for text in printed if TOKEN in text]
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return texts + [str(path) for path in files if TOKEN.encode() in path.read_bytes()]
