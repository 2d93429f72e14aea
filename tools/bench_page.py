"""How every benchmark writes its section of docs/benchmarks.md."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from sartorius.ablation.table import write_section

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def write_benchmark(name: str, title: str, command: str, how: str, lines: Sequence[str]) -> str:
    """Put a section between the markers of `name`, at the end of the page if they are not there; returns its text.

    command: what was typed. how: sentences on how it was measured, after the machine. lines: the rest.
    """
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores shared with other work"
    text = "\n".join([f"## {title}", "", f"`{command}`, {machine}, {how}", "", *lines])
    write_section(PAGE, name, text)
    return text
