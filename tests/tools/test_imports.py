"""Tests that the tools find in `sartorius` what they import, in functions that no test calls too."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def imported(tool: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each import from `sartorius`, wherever it stands."""
    for node in ast.walk(ast.parse(tool.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sartorius":
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("tool", sorted(TOOLS.glob("*.py")), ids=lambda tool: tool.stem)
def test_every_import_from_sartorius_is_there(tool: Path) -> None:
    lacking = [
        f"{module}.{name}"
        for module, name in imported(tool)
        if not hasattr(importlib.import_module(module), name)
    ]
    assert not lacking
