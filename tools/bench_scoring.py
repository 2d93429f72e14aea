"""How long scoring, checking and measuring take: everything that a person waits for after the predictions.

    python tools/bench_scoring.py [--data DIR] [--peer]

DIR is the competition's folder as downloaded; the predictions are all its training cells, 66,000, each moved by at most
a pixel. Without it synthetic images stand in. `--peer` also scores COCO AP with pycocotools, which takes minutes.
Prints one table and writes it into docs/benchmarks.md; exits with status 1 if the competition mAP needs over two seconds.
"""

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_page import write_benchmark
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.data.competition import image_folder, read_truth, truth_csv
from sartorius.data.images import list_images, read_image
from sartorius.data.synthetic import synthesize
from sartorius.metrics.bootstrap import RESAMPLES, mean_interval
from sartorius.metrics.coco import MAX_DETECTIONS, coco_figures
from sartorius.metrics.competition import evaluate
from sartorius.morphometrics import measure_cells
from sartorius.postprocess import remove_overlap
from sartorius.rle import CocoRle, Crop, cocos_from_crops, crops_from_cocos
from sartorius.submission import check_submission, write_submission

SYNTHETIC_IMAGES = 12
LIMIT_CPU_S = 2.0


class Row(NamedTuple):
    """One piece of work: what it was done to, CPU seconds, and what came out."""

    what: str
    amount: str
    seconds: float
    result: str


def timed(what: str, amount: str, work: Callable[[], str], repeats: int = 3) -> Row:
    """CPU seconds of the shortest of some runs, which other programs disturb least."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    print(f"{what}: {min(times):.2f} s", file=sys.stderr)
    return Row(what, amount, min(times), result)


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


def checked(found: Mapping[str, Cells]) -> str:
    """How many problems a submission of these cells has once their overlaps are removed."""
    disjoint = [remove_overlap(cells, min_area_px=1) for cells in found.values()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "submission.csv"
        write_submission(path, disjoint, list(found))
        problems = check_submission(path, {image_id: cells.size_hw for image_id, cells in found.items()})
    return f"{len(problems)} problems"


def interval(image_scores: NDArray[np.float64]) -> str:
    """The bootstrap interval of the mean."""
    of_mean = mean_interval(image_scores, np.random.default_rng(0))
    return f"{of_mean.low:.4f} to {of_mean.high:.4f}"


def measured(cells: Cells, image: NDArray[np.uint8]) -> str:
    """How many numbers a cell gets."""
    return f"{len(measure_cells(cells, image).columns)} columns"


def pycocotools_ap(found: Mapping[str, Cells], truth: Mapping[str, Cells]) -> str:
    """Mask AP at the same cap, types ignored as in `coco_figures`, by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = {image_id: number for number, image_id in enumerate(truth, start=1)}
    true = COCO()
    true.dataset = {
        "images": [
            {"id": number, "height": truth[image_id].size_hw[0], "width": truth[image_id].size_hw[1]}
            for image_id, number in numbers.items()
        ],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [],
    }
    results = []
    for image_id, number in numbers.items():
        for row, entry in enumerate(_entries(truth[image_id], number)):
            true.dataset["annotations"].append(
                {
                    **entry,
                    "id": len(true.dataset["annotations"]) + 1,
                    "iscrowd": 0,
                    "area": int(truth[image_id].areas_px[row]),
                }
            )
        results += _entries(found[image_id], number)
    true.createIndex()
    scored = COCOeval(true, true.loadRes(results), "segm")
    scored.params.maxDets = [1, 10, MAX_DETECTIONS]
    scored.evaluate()
    scored.accumulate()
    precision = scored.eval["precision"][:, :, :, 0, -1]
    return f"AP {precision[precision > -1].mean():.4f}"


def _entries(cells: Cells, number: int) -> list[dict[str, object]]:
    return [
        {"image_id": number, "category_id": 1, "segmentation": _segmentation(mask), "score": float(score)}
        for mask, score in zip(cells.masks, cells.scores, strict=True)
    ]


def _segmentation(mask: CocoRle) -> dict[str, object]:
    return {"size": list(mask.size_hw), "counts": mask.counts}


def import_seconds() -> float:
    """Processor seconds that `import sartorius` takes in a new process, the least of five."""
    code = "import time; began = time.process_time(); import sartorius; print(time.process_time() - began)"
    return min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5))


def rows(data: Path, peer: bool) -> list[Row]:
    """All rows of the table."""
    truth = read_truth(truth_csv(data))
    rng = np.random.default_rng(0)
    found = {image_id: jittered(cells, rng) for image_id, cells in truth.items()}
    amount = f"{len(truth)} images, {sum(map(len, found.values())):,} predictions"
    scores = evaluate(found, truth).image_scores
    table = [
        timed("competition mAP", amount, lambda: f"mAP {evaluate(found, truth).total:.4f}"),
        timed("its 95 % interval", f"{RESAMPLES:,} resamples", lambda: interval(scores)),
        timed(
            "COCO mask AP, faster-coco-eval",
            amount,
            lambda: f"AP {coco_figures(found, truth, 'mask')['ap']:.4f}",
        ),
    ]
    if peer:
        with contextlib.redirect_stdout(io.StringIO()):
            table.append(timed("COCO mask AP, pycocotools", amount, lambda: pycocotools_ap(found, truth), 1))
    table.append(timed("overlaps removed, submission written and checked", amount, lambda: checked(found)))
    densest = max(truth, key=lambda image_id: len(truth[image_id]))
    image = read_image(list_images(image_folder(data, "train"))[densest])
    cells = truth[densest]
    table.append(
        timed("every measurement of each cell", f"{len(cells)} cells", lambda: measured(cells, image))
    )
    table.append(Row("`import sartorius`", "", import_seconds(), ""))
    return table


def main() -> int:
    """Parse, run, print, write; 1 if the competition mAP is too slow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peer", action="store_true", help="also time pycocotools, which takes minutes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data
        if data is None:
            data = Path(folder)
            synthesize(data, SYNTHETIC_IMAGES, seed=0)
        table = rows(data, options.peer)
    lines = ["| what | of | CPU seconds | result |", "|---|---|---:|---|"]
    lines += [f"| {row.what} | {row.amount} | {row.seconds:.2f} | {row.result} |" for row in table]
    command = f"python tools/bench_scoring.py{' --data DIR' if options.data else ''}{' --peer' if options.peer else ''}"
    how = "one process. Files are read before the clock starts, except those of the submission."
    print(write_benchmark("scoring", "Scoring, checking, measuring", command, how, lines))
    return int(table[0].seconds > LIMIT_CPU_S)


if __name__ == "__main__":
    sys.exit(main())
