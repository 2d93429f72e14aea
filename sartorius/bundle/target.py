"""The machine that a bundle is for: its Python, its platform, and what is installed there already."""

import re
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from sartorius.errors import UserError

#: Kaggle's image of 2026: see kaggle_kernels/image.txt.
KAGGLE_PYTHON = "3.12"
KAGGLE_PLATFORM = "x86_64-manylinux_2_28"
#: uv's names of Linux platforms, with the minor version of glibc 2 in them.
_PLATFORM = re.compile(r"(x86_64|aarch64)-(?:manylinux_2_(\d\d)|manylinux2014|unknown-linux-gnu)")
#: The version that those names stand for which have none.
_NAMED_GLIBC_MINOR = {"manylinux2014": 17, "unknown-linux-gnu": 28}


class Target(NamedTuple):
    """Where the kernel runs.

    python: `3.12`. platform: as `uv pip install --python-platform` names it.
    has: version of every package that is there, by canonical name.
    """

    python: str
    platform: str
    has: Mapping[str, str]

    @property
    def markers(self) -> dict[str, str]:
        """What the target is, in the words that requirements choose by."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "os_name": "posix",
            "platform_machine": self.platform.split("-")[0],
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }

    @property
    def glibc_minor(self) -> int:
        """The target has at least glibc 2 of this minor version."""
        named = _PLATFORM.fullmatch(self.platform)
        return int(named[2]) if named and named[2] else _NAMED_GLIBC_MINOR[self.platform.split("-", 1)[1]]

    @property
    def is_like_here(self) -> bool:
        """Whether the target has this machine's Python and processor."""
        here = "{}.{}".format(*sys.version_info[:2])
        machine = self.platform.split("-")[0]
        return self.python == here and sysconfig.get_platform() == f"linux-{machine}"


def read_target(image: Path, python: str, platform: str) -> Target:
    """A target whose packages a file lists as `pip freeze` does.

    Lines without an exact version, such as those installed from an address, are passed over.
    Raises UserError if the file is missing or lists no package, or `python` is no version like 3.12, or
    `platform` no Linux.
    """
    if not re.fullmatch(r"3\.\d+", python):
        raise UserError(f"--python expects a version such as {KAGGLE_PYTHON}, got {python!r}")
    if not _PLATFORM.fullmatch(platform):
        raise UserError(
            f"--platform expects {KAGGLE_PLATFORM}, or another Linux of x86_64 or aarch64 in uv's words, got {platform!r}"
        )
    try:
        lines = image.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--image {image}: expected a text file as `pip freeze` writes it: {error}") from None
    has = dict(filter(None, map(_pinned, lines)))
    if not has:
        raise UserError(f"--image {image}: expected lines such as numpy==2.0.2, as `pip freeze` writes them")
    return Target(python, platform, has)


def _pinned(line: str) -> tuple[str, str] | None:
    try:
        requirement = Requirement(line.partition("#")[0].strip())
    except InvalidRequirement:
        return None
    versions = [part.version for part in requirement.specifier if part.operator in ("==", "===")]
    return (canonicalize_name(requirement.name), versions[0]) if versions else None
