"""The section on fusion of docs/benchmarks.md."""

import os
import platform
import re
from pathlib import Path
from typing import NamedTuple

from sartorius.files import atomic_path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- fusion: begin -->", "<!-- fusion: end -->"


class Row(NamedTuple):
    """One line of the table of times."""

    image: str
    detections: str
    what: str
    seconds: float
    ratio: float
    mb: float


def page_section(rows: list[Row], quality: list[str], cold: tuple[float, float], command: str) -> str:
    """The section of docs/benchmarks.md."""
    lines = [
        "## Fusion",
        "",
        f"`{command}`, Python {platform.python_version()}, {os.cpu_count()} cores shared with other work, one process: "
        f"compare ratios, not seconds of the processor. supervision is timed with one source alone: it takes minutes "
        "there, and its memory grows with the square of the detections.",
        "",
        "Models are simulated by jittering true cells. Ours is everything from detections with 28×28 soft masks to "
        "run-length text without overlap; weighted box fusion of ensemble-boxes is on the boxes alone and makes no "
        "masks. Memory is the peak above what was there before.",
        "",
        "| image | detections | what | CPU seconds | × box WBF | peak MB |",
        "|---|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row.image} | {row.detections} | {row.what} | {row.seconds:.3f} | {row.ratio:,.2f} | {row.mb:.0f} |"
        for row in rows
    ]
    lines += [
        "",
        f"The first `masks` fusion on a machine compiles for {cold[0]:.1f} s; with the cache it leaves behind the first "
        f"one of a process takes {cold[1]:.2f} s (numba's own start and imports left out of both).",
        "",
        "Competition mAP of 8 simulated sources, score thresholds chosen on half of the images, scores on the other "
        "half; the gain of `masks` with its 95 % paired bootstrap interval over images:",
        "",
        "| images | what | threshold | mAP | `masks` is better by |",
        "|---|---|---:|---:|---|",
        *quality,
    ]
    return "\n".join(lines)


def write_section(section: str) -> None:
    """Put the section between its markers in docs/benchmarks.md, at the end if they are not there."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Benchmarks\n"
    block = f"{BEGIN}\n{section}\n{END}"
    pattern = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    text = pattern.sub(lambda _: block, text) if pattern.search(text) else f"{text.rstrip()}\n\n{block}\n"
    with atomic_path(PAGE) as path:
        path.write_text(text, encoding="utf-8")
