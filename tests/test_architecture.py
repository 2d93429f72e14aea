"""What may import what, and how files may look. The contracts themselves are in pyproject.toml."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
MAX_LINES = 300
SOURCES = sorted(
    path.relative_to(PROJECT)
    for folder in ("sartorius", "tools", "tests", "kaggle_kernels", "docs")
    for path in (PROJECT / folder).rglob("*.py")
)
#: What `import sartorius` must not bring in: each takes longer than the 100 ms it may take itself.
HEAVY = ("numpy", "pandas", "pydantic", "cv2", "numba", "scipy", "matplotlib", "torch", "detectron2", "typer")


def python(code: str) -> str:
    """Output of a fresh interpreter, which imports the checkout and has nothing loaded yet."""
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()


def test_imports_keep_the_direction_of_the_design() -> None:
    lint = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    # In a process of its own, since it silences every logger there is.
    done = subprocess.run([sys.executable, "-c", lint], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len((PROJECT / path).read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_every_imported_name_is_written_out(path: Path) -> None:
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    stars = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert stars == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = python(f"import sys, sartorius; print([n for n in {HEAVY!r} if n in sys.modules])")
    assert loaded == "[]"
