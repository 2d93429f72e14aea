"""The comparison of `bench_inference.py` on a GPU: blocks of images, timed by the clock once the GPU is done."""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_inference import (
    PLAIN,
    cells_of_plain,
    chosen,
    our_engine,
    plain_engine,
    plain_settings,
    without_detection_heads,
)
from bench_models import (
    FOUND,
    WARM_UP,
    Answer,
    EngineProcess,
    gigaflops,
    half_matmul_gflops,
    in_blocks,
)

from sartorius.cells import Cells
from sartorius.config import EnsembleSettings, ModelSettings
from sartorius.config.fusion import PostprocessSettings
from sartorius.data.competition import read_truth, truth_csv
from sartorius.data.predictions import read_prediction_folder
from sartorius.metrics.competition import evaluate
from sartorius.pipeline import predict_images
from sartorius.postprocess import clean

#: Images that do not count before a block, blocks of each engine, and threads that torch may take beside the GPU.
WARM_UP_IMAGES, ROUNDS, THREADS = 4, 2, 4
PIPELINE = "sartorius, float16, all images by `predict`"


def our_blocks(settings: ModelSettings, weights: Path, images: list[Path], device: str) -> Any:
    """Our predictor on one image after the other: files to cells."""
    return _blocks(our_engine(settings, weights, images, device), lambda number, cells: cells, len(images))


def plain_blocks(settings: ModelSettings, weights: Path, images: list[Path], device: str) -> Any:
    """detectron2's predictor on one image after the other: files to N × H × W masks in the CPU's memory."""

    def cells_of(number: int, result: Any) -> Cells:
        return cells_of_plain(result(), images[number], settings)

    return _blocks(plain_engine(settings, weights, images, device), cells_of, len(images))


def _blocks(predict: Callable[[int], Any], cells_of: Callable[[int, Any], Cells], images: int) -> Any:
    def engine(job: int) -> Any:
        if job == FOUND:
            return [cells_of(number, predict(number)) for number in range(images)]
        for number in range(min(images, WARM_UP_IMAGES) if job == WARM_UP else images):
            predict(number)
        return None

    return engine


def pipeline_blocks(settings: ModelSettings, weights: Path, images: list[Path], device: str) -> Any:
    """What `sartorius predict` does: image files to files of cells."""
    from sartorius.detectron.predictor import predictor_of

    predictors = {"model": predictor_of(settings, weights, device)}
    member = {"name": "model", "model": "model.yaml", "weights": "model.safetensors"}
    ensemble = EnsembleSettings(members=[member])

    def engine(job: int) -> Any:
        some = images[:WARM_UP_IMAGES] if job == WARM_UP else images
        with tempfile.TemporaryDirectory() as folder:
            predict_images(predictors, ensemble, {path.stem: path for path in some}, Path(folder))
            if job != FOUND:
                return None
            found = read_prediction_folder(Path(folder) / ensemble.sources[0])
        return [found[path.stem] for path in images]

    return engine


def section_on(options: argparse.Namespace, device: str) -> list[str]:
    """Run everything on a device and return the lines of the page."""
    settings, images = plain_settings(options), chosen(options)
    weights = without_detection_heads(options.weights)
    float32 = settings.model_copy(update={"gpu_precision": "float32"})
    float16 = settings.model_copy(update={"gpu_precision": "float16"})
    made = {
        PLAIN: (plain_blocks, float32),
        "sartorius, float32": (our_blocks, float32),
        "sartorius, float16": (our_blocks, float16),
        PIPELINE: (pipeline_blocks, float16),
    }
    engines = {
        name: EngineProcess(make, own, weights, images, device, threads=THREADS, device=device)
        for name, (make, own) in made.items()
    }
    for engine in engines.values():
        engine.send(FOUND)
    found = {name: engine.receive().result for name, engine in engines.items()}
    answers = in_blocks(engines, ROUNDS, print)
    for engine in engines.values():
        engine.close()
    truth = read_truth(truth_csv(options.data), {path.stem for path in images})
    lines = [
        "| | ms an image | images/s | times as fast | peak MB of the GPU | cells an image | competition mAP |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [row(name, answers[name], answers[PLAIN], found[name], options.score, truth) for name in engines]
    return [*lines, "", *explained(options, float16, images, device)]


def row(
    name: str,
    own: list[Answer],
    plain: list[Answer],
    found: list[Cells],
    score: float,
    truth: dict[str, Cells],
) -> str:
    """An engine's line of the table."""
    seconds = statistics.mean(answer.seconds for answer in own) / len(found)
    faster = sum(answer.seconds for answer in plain) / sum(answer.seconds for answer in own)
    cleaning = PostprocessSettings(score_threshold=score)
    total = evaluate({cells.image_id: clean(cells, cleaning) for cells in found}, truth).total
    return (
        f"| {name} | {seconds * 1000:.1f} | {1 / seconds:.1f} | {faster:.2f} | {own[-1].peak_mb:.0f} | "
        f"{statistics.mean(map(len, found)):.0f} | {total:.4f} |"
    )


def explained(
    options: argparse.Namespace, settings: ModelSettings, images: list[Path], device: str
) -> list[str]:
    """The lines under the table: how it was measured, and where the limit lies."""
    engine = our_engine(settings, without_detection_heads(options.weights), images, device)
    work = statistics.mean(gigaflops(lambda job=job: engine(job)) for job in range(len(images)))
    rate = half_matmul_gflops(device)
    return [
        f"{len(images)} images of fold {options.fold}, {ROUNDS} blocks of all of them in turn, each after "
        f"{min(WARM_UP_IMAGES, len(images))} images that do not count. An image is read from its file and ends as cells "
        "with run-length masks, with `DefaultPredictor` as N × H × W masks in the CPU's memory; `predict` writes the "
        "cells into files and meanwhile looks at the next image. float32 convolutions are computed as torch does it "
        f"unless told otherwise, in TF32, with either. Scores are those of these images, at a score threshold of "
        f"{options.score}.",
        "",
        f"Limit: the network's convolutions and matrix products are {work:.0f} GFLOP an image, "
        f"{work / rate * 1000:.2f} ms at the {rate / 1000:.0f} TFLOP/s that a float16 matrix product reaches here.",
    ]
