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
    return _write(name, title, command, f"{os.cpu_count()} cores shared with other work, {how}", lines)


def write_gpu_benchmark(name: str, title: str, command: str, gpu: str, lines: Sequence[str]) -> str:
    """The same for what was measured on a GPU; gpu: its name and the version of torch."""
    return _write(name, title, command, f"{gpu}, {os.cpu_count()} cores, by the clock.", lines)


def _write(name: str, title: str, command: str, machine: str, lines: Sequence[str]) -> str:
    text = "\n".join(
        [f"## {title}", "", f"`{command}`, Python {platform.python_version()}, {machine}", "", *lines]
    )
    write_section(PAGE, name, text)
    return text
