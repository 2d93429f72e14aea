"""Write the exact versions of every dependency: hashed in `constraints.txt`, plain in `pyproject.toml` for uv.

    uv run --no-project python tools/pin.py            # keep the pins, add what setup.cfg newly asks for
    uv run --no-project python tools/pin.py --upgrade  # newest versions that setup.cfg's bounds admit

Both files come from one resolution. uv reads the list in `pyproject.toml` on every `uv run`, so that no lock file, which
would name download hosts, needs to be in the repository; pip, Docker and anyone who checks hashes read the file.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
HEADER = """\
# Exact versions and hashes of everything that `sartorius` with all its extras needs. Written by tools/pin.py.
# The same versions stand in pyproject.toml under [tool.uv], where `uv run` and `uv sync` read them.
"""
#: What `[tool.uv]` calls the pins, and the pins of what builds source distributions.
PIN_LIST, BUILD_PIN_LIST = "constraint-dependencies", "build-constraint-dependencies"
BUILD_TOOLS = ("setuptools",)


def hashed_pins(project: Path, upgrade: bool) -> str:
    """The resolution of a project with all extras and groups: requirement lines with markers and hashes.

    Resolves in a copy, so that the checkout's lock file and environment stay as they are.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("setup.cfg", "README.md", "LICENSE"):
            shutil.copy(project / file, folder / file)
        settings = (project / "pyproject.toml").read_text(encoding="utf-8")
        if upgrade:
            settings = with_list(with_list(settings, PIN_LIST, []), BUILD_PIN_LIST, [])
        (folder / "pyproject.toml").write_text(settings, encoding="utf-8")
        command = ["uv", "export", "--no-emit-project", "--all-extras", "--all-groups", "--no-annotate"]
        command += ["--no-header", "--format", "requirements-txt", "--quiet"]
        return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def plain_pins(hashed: str) -> list[str]:
    """The requirements of a hashed file without their hashes: `numpy==2.4.6 ; python_full_version < '3.12'`."""
    lines = (line.strip().removesuffix("\\").strip() for line in hashed.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "--hash"))]


def with_list(settings: str, key: str, values: list[str]) -> str:
    """The text of a TOML file with the list of strings `key` replaced.

    Raises ValueError if the file has not exactly one such list.
    """
    rows = "".join(f'  "{value}",\n' for value in values)
    text, count = re.subn(
        rf"^{re.escape(key)} = \[.*?^\]$", f"{key} = [\n{rows}]", settings, flags=re.MULTILINE | re.DOTALL
    )
    if count != 1:
        raise ValueError(f"pyproject.toml: expected one multi-line list `{key}`, found {count}")
    return text


def write_pins(project: Path, upgrade: bool) -> list[str]:
    """Write both places and return the pins."""
    hashed = hashed_pins(project, upgrade)
    pins = plain_pins(hashed)
    path = project / "pyproject.toml"
    settings = with_list(path.read_text(encoding="utf-8"), PIN_LIST, pins)
    build_pins = [pin for pin in pins if pin.split("==")[0] in BUILD_TOOLS]
    path.write_text(with_list(settings, BUILD_PIN_LIST, build_pins), encoding="utf-8")
    (project / "constraints.txt").write_text(HEADER + hashed, encoding="utf-8")
    return pins


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="forget the present pins first")
    sys.stdout.write(f"{len(write_pins(PROJECT, parser.parse_args().upgrade))} pins written\n")
