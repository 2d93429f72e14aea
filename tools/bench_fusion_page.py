"""The section on fusion of docs/benchmarks.md."""

from typing import NamedTuple

from bench_page import write_benchmark


class Row(NamedTuple):
    """One line of the table of times."""

    image: str
    detections: str
    what: str
    seconds: float
    ratio: float
    mb: float


def write_fusion(rows: list[Row], quality: list[str], cold: tuple[float, float], command: str) -> str:
    """Write the section of docs/benchmarks.md and return its text."""
    how = (
        "one process: compare ratios, not seconds of the processor. supervision is timed with one source alone: it "
        "takes minutes there, and its memory grows with the square of the detections."
    )
    lines = [
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
    return write_benchmark("fusion", "Fusion", command, how, lines)
