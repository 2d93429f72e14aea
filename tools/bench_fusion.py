"""Time, memory and quality of fusion on simulated models, next to what else there is.

    python tools/bench_fusion.py [--data DIR]

DIR is the competition's folder as downloaded; its densest image is timed, and a sample of its images scored. Without
it only synthetic images are used. Prints one table and writes it into docs/benchmarks.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from bench_fusion_others import (
    DENSE,
    ENSEMBLE_WBF,
    SUPERVISION_MERGE,
    SUPERVISION_NMS,
    dense_path,
    ensemble_boxes_wbf,
    peak_mb,
    supervision_masks,
)
from bench_fusion_page import Row, write_fusion
from simulated_sources import simulated_sources

from sartorius.cells import Cells
from sartorius.config.fusion import (
    FusionSettings,
    MaskNmsSettings,
    MasksSettings,
    NmsSettings,
    NmwSettings,
    PostprocessSettings,
    SoftNmsSettings,
    WbfSettings,
)
from sartorius.data.competition import read_truth, truth_csv
from sartorius.data.synthetic import synthetic_image
from sartorius.fusion import fuse
from sartorius.metrics.bootstrap import paired_difference
from sartorius.metrics.competition import average_precision
from sartorius.postprocess import clean, remove_overlap, sure_enough
from sartorius.rle import kaggles_from_cocos

STRATEGIES: dict[str, FusionSettings] = {
    "masks": MasksSettings(),
    "mask_nms": MaskNmsSettings(),
    "nms": NmsSettings(),
    "soft_nms": SoftNmsSettings(),
    "wbf": WbfSettings(),
    "nmw": NmwSettings(),
}
#: Score thresholds tried on the tuning half of the images.
THRESHOLDS = np.linspace(0.05, 0.95, 10)
SCORED = ("masks", "mask_nms", "nms", "soft_nms", "wbf")
REPEATS = 5
IMAGES_PER_TYPE = 10
#: Limits for `masks` on the densest image.
LEAST_GAIN, MOST_MB, MOST_GROWTH = 50.0, 60.0, 2.5

Sources = Mapping[str, Cells]
Others = Mapping[str, Callable[[Sources], object]]

#: What is too slow to run at every size, by the number of sources that it is run with: a single source takes
#: supervision minutes, and its memory grows with the square of the detections.
SLOW_OTHERS: dict[int, Others] = {
    1: {
        SUPERVISION_NMS: lambda sources: supervision_masks(sources, "nms"),
        SUPERVISION_MERGE: lambda sources: supervision_masks(sources, "nmm"),
    },
    8: {DENSE: dense_path},
    16: {},
}

COLD_START = """
import time
import numba
import numpy as np
from bench_fusion import STRATEGIES, submission_texts
from sartorius.cells import annotated
from sartorius.rle import Crop, coco_from_crop
from simulated_sources import simulated_sources

numba.njit(lambda number: number + 1)(1)  # what numba itself needs before it compiles or reads anything
start = time.process_time()
masks = [coco_from_crop(Crop(9, 9, np.ones((12, 12), bool)), (64, 64))]
sources = simulated_sources(annotated("image", (64, 64), masks, ["cort"]), 3, np.random.default_rng(0))
submission_texts(sources, STRATEGIES["masks"])
print(time.process_time() - start)
"""


def submission_texts(sources: Sources, settings: FusionSettings) -> list[str]:
    """Everything between predictions and a CSV: fused, without overlap, as run-length text."""
    cells = remove_overlap(fuse(sources, settings), min_area_px=1)
    return [rle.text for rle in kaggles_from_cocos(cells.masks)]


def measured(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """CPU seconds of the shortest of some runs, which other programs disturb least, and peak MB of the last."""
    times: list[float] = []

    def timed() -> None:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)

    for _ in range(repeats - 1):
        timed()
    mb = peak_mb(timed)
    return min(times), mb


def timed_rows(
    image: str, truth: Cells, n_sources: int, others: Others, rng: np.random.Generator
) -> list[Row]:
    """Times and memory on one image, all relative to ensemble-boxes' weighted box fusion on the boxes alone.

    others: slow ways to run as well, once.
    """
    sources = simulated_sources(truth, n_sources, rng)
    calls: dict[str, tuple[Callable[[], object], int]] = {
        ENSEMBLE_WBF: (lambda: ensemble_boxes_wbf(sources), REPEATS)
    }
    for name, settings in STRATEGIES.items():
        calls[name] = (lambda settings=settings: submission_texts(sources, settings), REPEATS)
    for name, run in others.items():
        calls[name] = (lambda run=run: run(sources), 1)
    submission_texts(sources, STRATEGIES["masks"])  # compiles what is not compiled yet
    rows = []
    number = f"{len(truth)} cells × {n_sources} = {sum(map(len, sources.values())):,}"
    base = 0.0
    for what, (call, repeats) in calls.items():
        seconds, mb = measured(call, repeats)
        base = base or seconds
        rows.append(Row(image, number, what, seconds, seconds / base, mb))
        print(f"{image:10} {number:24} {what:44} {seconds:8.3f} s {mb:8.0f} MB", flush=True)
    return rows


def image_scores(fused: list[Cells], truths: list[Cells]) -> np.ndarray:
    """(thresholds, images) competition score of each image at each score threshold.

    Overlap goes to the higher score, so a threshold afterwards leaves what one before would have left.
    """
    scores = np.zeros((len(THRESHOLDS), len(truths)))
    for image, (cells, truth) in enumerate(zip(fused, truths, strict=True)):
        cleaned = clean(cells, PostprocessSettings(score_threshold=0))
        for place, threshold in enumerate(THRESHOLDS):
            scores[place, image] = average_precision(sure_enough(cleaned, float(threshold)), truth).mean()
    return scores


def quality_lines(kind: str, truths: list[Cells], rng: np.random.Generator) -> list[str]:
    """Scores on every second image with the score threshold that is best on the others, and what `masks` gains."""
    sources = [simulated_sources(truth, 8, rng) for truth in truths]
    names = sorted(sources[0])
    found = {"single " + name: [image[name] for image in sources] for name in names}
    found |= {name: [fuse(image, STRATEGIES[name]) for image in sources] for name in SCORED}
    scores, thresholds = {}, {}
    for name, cells in found.items():
        grid = image_scores(cells, truths)
        best = int(grid[:, 0::2].mean(axis=1).argmax())
        scores[name], thresholds[name] = grid[best, 1::2], THRESHOLDS[best]
    single = max((name for name in scores if name.startswith("single")), key=lambda name: scores[name].mean())
    lines = []
    for name in (*SCORED, single):
        line = f"| {kind} | {'best single source' if name == single else name} | {thresholds[name]:.2f} "
        line += f"| {scores[name].mean():.4f} |"
        if name != "masks":
            gain = paired_difference(scores["masks"], scores[name], rng)
            line += f" {gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        lines.append(line + " |")
        print(line, flush=True)
    return lines


def cold_start_seconds() -> tuple[float, float]:
    """What the first `masks` fusion of a process costs, imports left out: without a cache, and with it."""
    code = f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n{COLD_START}"
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        first, second = (
            float(
                subprocess.run(
                    [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE
                ).stdout
            )
            for _ in range(2)
        )
    return first, second


def synthetic_truths(rng: np.random.Generator) -> list[Cells]:
    """Images of the three types."""
    return [
        synthetic_image(cell_type, rng, image_id=f"{cell_type}{number}")[1]
        for cell_type in ("shsy5y", "astro", "cort")
        for number in range(IMAGES_PER_TYPE)
    ]


def sampled(truths: Mapping[str, Cells], rng: np.random.Generator) -> list[Cells]:
    """Images of each type at random, of the types in turn."""
    by_type: dict[str, list[Cells]] = {}
    for truth in truths.values():
        by_type.setdefault(str(truth.cell_types[0]), []).append(truth)
    chosen = [rng.permutation(len(images))[:IMAGES_PER_TYPE] for images in by_type.values()]
    return [images[at] for images, rows in zip(by_type.values(), chosen, strict=True) for at in rows]


def missed_limits(rows: list[Row]) -> list[str]:
    """What `masks` on the first image takes more of than it may."""
    _, first, second = [row for row in rows if row.image == rows[0].image and row.what == "masks"]
    dense = [row.seconds / first.seconds for row in rows if row.image == first.image and row.what == DENSE]
    limits = [
        ("slower than weighted box fusion on boxes alone", first.ratio > 1),
        (f"less than {LEAST_GAIN:.0f} times faster than N × H × W arrays", min(dense) < LEAST_GAIN),
        (f"more than {MOST_MB:.0f} MB", first.mb > MOST_MB),
        (
            f"16 sources take more than {MOST_GROWTH} times what 8 take",
            second.seconds / first.seconds > MOST_GROWTH,
        ),
    ]
    return [what for what, missed in limits if missed]


def main() -> int:
    """Run everything and write the page; 1 if `masks` missed a limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the competition's folder")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    dense_synthetic = synthetic_image("shsy5y", rng, image_id="synthetic", density=6.5)[1]
    timed, scored = {"synthetic": dense_synthetic}, {"synthetic": synthetic_truths(rng)}
    if arguments.data:
        truths = read_truth(truth_csv(arguments.data))
        timed = {"real": max(truths.values(), key=len)} | timed
        scored = {"real": sampled(truths, rng)} | scored
    rows = [
        row
        for image, truth in timed.items()
        for count, others in SLOW_OTHERS.items()
        for row in timed_rows(image, truth, count, others if image == next(iter(timed)) else {}, rng)
    ]
    quality = [line for kind, truths in scored.items() for line in quality_lines(kind, truths, rng)]
    command = "python tools/bench_fusion.py" + (" --data DIR" if arguments.data else "")
    print(write_fusion(rows, quality, cold_start_seconds(), command))
    missed = missed_limits(rows)
    for what in missed:
        print(f"masks: {what}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
