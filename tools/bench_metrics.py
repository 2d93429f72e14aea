"""Time the metrics on a truth file scored against itself with every cell moved a little.

    python tools/bench_metrics.py DIR/train.csv

Prints wall and CPU seconds of the competition mAP, of its bootstrap and of COCO AP, and exits with status 1 if the
competition mAP needs more than its one CPU second (compilation, which happens once per machine, is left out).
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from sartorius.cells import Cells
from sartorius.data.competition import read_truth
from sartorius.metrics.bootstrap import mean_interval
from sartorius.metrics.coco import coco_ap
from sartorius.metrics.competition import evaluate
from sartorius.rle import Crop, cocos_from_crops, crops_from_cocos

LIMIT_CPU_S = 1.0
Result = TypeVar("Result")


def jittered(cells: Cells, rng: np.random.Generator) -> Cells:
    """The cells each moved by at most one pixel each way, with random scores."""
    height, width = cells.size_hw
    crops = []
    for crop in crops_from_cocos(cells.masks):
        rows, cols = crop.pixels.shape
        row, col = crop.row + int(rng.integers(-1, 2)), crop.col + int(rng.integers(-1, 2))
        crops.append(Crop(min(max(row, 0), height - rows), min(max(col, 0), width - cols), crop.pixels))
    return Cells(
        image_id=cells.image_id,
        size_hw=cells.size_hw,
        masks=tuple(cocos_from_crops(crops, cells.size_hw)),
        scores=rng.random(len(cells), dtype=np.float32),
        cell_types=cells.cell_types,
        sources=cells.sources,
    )


def timed(what: str, call: Callable[[], Result]) -> tuple[Result, float]:
    """The result of a call and its CPU seconds, printed with the wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what:40} {wall:7.2f} s wall {cpu:7.2f} s CPU", flush=True)
    return result, cpu


def main() -> int:
    """Time each metric; 1 when the competition mAP is too slow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("truth", type=Path, help="a train.csv of the competition")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    truth, _ = timed("reading the truth", lambda: read_truth(arguments.truth))
    found, _ = timed(
        "moving every cell", lambda: {name: jittered(cells, rng) for name, cells in truth.items()}
    )
    first = next(iter(truth))
    evaluate({first: found[first]}, {first: truth[first]})  # compiles
    print(f"{len(truth)} images, {sum(map(len, truth.values()))} cells")
    score, cpu_s = timed("competition mAP", lambda: evaluate(found, truth))
    interval, _ = timed("bootstrap interval", lambda: mean_interval(score.image_scores, rng))
    print(f"total {score.total:.4f} [{interval.low:.4f}, {interval.high:.4f}]")
    ap, _ = timed("COCO mask AP at 1000 detections", lambda: coco_ap(found, truth, "mask"))
    print(f"AP {ap.ap:.4f}, AP50 {ap.ap50:.4f}, AP75 {ap.ap75:.4f}")
    return int(cpu_s > LIMIT_CPU_S)


if __name__ == "__main__":
    sys.exit(main())
