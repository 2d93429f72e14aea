"""Wheels made again from installed packages: always the same bytes from the same files."""

import base64
import csv
import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from packaging.utils import canonicalize_name

import sartorius
from sartorius.bundle.closure import NOT_NEEDED
from sartorius.bundle.target import Target
from sartorius.errors import UserError

_COMPILED = (".so", ".pyd", ".dylib")
#: What installers leave beside a package: where it came from and what was done on this machine.
_INSTALLERS_OWN = (
    "INSTALLER",
    "REQUESTED",
    "RECORD",
    "WHEEL",
    "direct_url.json",
    "uv_cache.json",
    "uv_build.json",
)
#: The oldest time that a zip file can hold.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


class Wheel(NamedTuple):
    """A wheel's file name and bytes."""

    name: str
    content: bytes


def wheel_for(found: Distribution, target: Target, pins: str) -> Wheel:
    """A wheel of an installed package that the target's Python can install.

    A package of Python files alone is the same everywhere. One with compiled files is taken as it is if it runs on the
    target too, and otherwise fetched for the target with uv.
    pins: lines as in constraints.txt, with the hashes of what may be fetched.
    Raises UserError if it cannot be fetched.
    """
    if is_pure(found) or (target.is_like_here and _is_old_enough(found, target)):
        return packed_again(found)
    with tempfile.TemporaryDirectory(prefix="sartorius-") as folder:
        site = _fetched(canonicalize_name(found.metadata["Name"]), target, pins, Path(folder))
        (fetched,) = distributions(path=[str(site)])
        return packed_again(fetched)


def is_pure(found: Distribution) -> bool:
    """Whether a package has no compiled files."""
    return not any(name.endswith(_COMPILED) for name in _contents(found))


def packed_again(found: Distribution) -> Wheel:
    """The wheel of an installed package: the same files in ascending order, without times, modes and compression.

    Not in it: command line scripts and data files outside of the package, and what the installer wrote.
    """
    name = canonicalize_name(found.metadata["Name"]).replace("-", "_")
    info = f"{name}-{found.version}.dist-info"
    tags = ["py3-none-any"] if is_pure(found) else _tags(found)
    files = {_at(path, info): content for path, content in _contents(found).items()}
    files[f"{info}/METADATA"] = _metadata(found)
    files[f"{info}/WHEEL"] = _wheel_file(tags)
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    rows.writerows((path, _digest(files[path]), len(files[path])) for path in sorted(files))
    rows.writerow((f"{info}/RECORD", "", ""))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # compressors differ between machines
        for path in sorted(files):
            archive.writestr(_entry(path), files[path])
        archive.writestr(_entry(f"{info}/RECORD"), record.getvalue())
    return Wheel(f"{name}-{found.version}-{_joined(tags)}.whl", packed.getvalue())


def _contents(found: Distribution) -> dict[str, bytes]:
    """The package's files by path, as far as a wheel needs them; `.dist-info` files too."""
    if canonicalize_name(found.metadata["Name"]) == "sartorius":
        return _own_files(found)
    kept = (path for path in found.files or [] if _belongs(PurePosixPath(path)))
    return {path.as_posix(): Path(str(path.locate())).read_bytes() for path in kept}


def _own_files(found: Distribution) -> dict[str, bytes]:
    """The files of sartorius itself, also where it is installed as a link to its source."""
    root = Path(sartorius.__file__).parent
    files = {
        path.relative_to(root.parent).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and _belongs(PurePosixPath(path.relative_to(root.parent).as_posix()))
    }
    entry_points = found.read_text("entry_points.txt")
    return files | ({"sartorius.dist-info/entry_points.txt": entry_points.encode()} if entry_points else {})


def _belongs(path: PurePosixPath) -> bool:
    return (
        ".." not in path.parts
        and not path.is_absolute()
        and "__pycache__" not in path.parts
        and not path.name.startswith(".")
        and not (path.parts[0].endswith(".dist-info") and path.name in (*_INSTALLERS_OWN, "METADATA"))
    )


def _at(path: str, info: str) -> str:
    """The path in the wheel: the `.dist-info` folder is named by the canonical name."""
    first, slash, rest = path.partition("/")
    return f"{info}/{rest}" if slash and first.endswith(".dist-info") else path


def _metadata(found: Distribution) -> bytes:
    """The package's metadata without the requirements that it does not need."""
    text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    unneeded = NOT_NEEDED.get(canonicalize_name(found.metadata["Name"]), ())
    starts = tuple(f"Requires-Dist: {name}" for name in unneeded)
    lines = text.splitlines()
    head = next((at for at, line in enumerate(lines) if not line), len(lines))
    kept = [line for line in lines[:head] if not (starts and line.startswith(starts))]
    return "\n".join([*kept, *lines[head:], ""]).encode()


def _wheel_file(tags: list[str]) -> bytes:
    pure = "true" if tags == ["py3-none-any"] else "false"
    lines = ["Wheel-Version: 1.0", "Generator: sartorius bundle", f"Root-Is-Purelib: {pure}"]
    return "\n".join([*lines, *(f"Tag: {tag}" for tag in tags), ""]).encode()


def _tags(found: Distribution) -> list[str]:
    return sorted(HeaderParser().parsestr(found.read_text("WHEEL") or "").get_all("Tag", []))


def _is_old_enough(found: Distribution, target: Target) -> bool:
    """Whether compiled files stand on no newer glibc than the target's; what was compiled here might."""
    needed = [re.search(r"manylinux_2_(\d+)_|(manylinux(?:1|2010|2014))_", tag) for tag in _tags(found)]
    return any(tag and (bool(tag[2]) or int(tag[1]) <= target.glibc_minor) for tag in needed)


def _joined(tags: list[str]) -> str:
    """The compressed tag set of a file name: pythons, ABIs and platforms each joined by dots."""
    parts = zip(*(tag.split("-") for tag in tags), strict=True)
    return "-".join(".".join(sorted(set(part))) for part in parts)


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"sha256={digest}"


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, _NO_TIME)
    entry.create_system = 3  # Unix, wherever it was written
    entry.external_attr = 0o644 << 16
    return entry


def _fetched(name: str, target: Target, pins: str, folder: Path) -> Path:
    """A folder below `folder` with one pinned package, installed for the target."""
    site, requirements = folder / "site", folder / "pins.txt"
    requirements.write_text(_pins_of(name, pins), encoding="utf-8")
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--no-build", "--require-hashes"]
    command += ["--python", sys.executable, "--target", str(site), "--requirements", str(requirements)]
    command += ["--python-version", target.python, "--python-platform", target.platform]
    try:
        # in the folder, so that the settings of a project one happens to be in have no say
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(
            f"{name} has to be fetched for the kernel's Python, which needs uv: pip install uv"
        ) from None
    if done.returncode != 0:
        raise UserError(
            f"{name} cannot be fetched for Python {target.python} on {target.platform}: {done.stderr.strip()}"
        )
    return site


def _pins_of(name: str, pins: str) -> str:
    """The lines of one package with their hashes; raises UserError if it is not pinned."""
    blocks = ("\n" + pins.replace("\\\n", "\\\f")).split("\n")
    found = [block.replace("\f", "\n") for block in blocks if block.startswith(f"{name}==")]
    if not found:
        raise UserError(f"{name} is not pinned in constraints.txt; run tools/pin.py")
    return "\n".join([*found, ""])
