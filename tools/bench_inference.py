"""Compare our inference with detectron2's `DefaultPredictor`: the same model, images and machine, in one run.

python tools/bench_inference.py --data DIR --folds CSV --fold 0 --weights FILE [--model YAML] [--images 6] [--write]
    [--device cuda --images 32]
"""

import argparse
import os
import statistics
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bench_models import Answer, EngineProcess, gigaflops, in_turn, matmul_gflops, median_ratio, run_benchmark
from safetensors import safe_open
from safetensors.torch import save_file

import sartorius.detectron  # noqa: F401  the shims, before anything imports detectron2
from sartorius.cells import Cells
from sartorius.config import ModelSettings, load_model_settings
from sartorius.config.architecture import DETECTION_HEADS
from sartorius.config.fusion import PostprocessSettings
from sartorius.config.members import ViewSettings
from sartorius.data.competition import read_truth, truth_csv
from sartorius.data.images import read_image
from sartorius.metrics.competition import evaluate
from sartorius.pipeline import choose_images
from sartorius.postprocess import clean
from sartorius.rle import coco_from_dense

ROOT = Path(__file__).resolve().parents[1]
PLAIN = "DefaultPredictor"


def our_engine(settings: ModelSettings, weights: Path, images: list[Path], device: str = "cpu") -> Any:
    """Our predictor: an image file to cells."""
    from sartorius.detectron.predictor import predictor_of

    predictor = predictor_of(settings, weights, device)
    return lambda job: predictor(read_image(images[job]), images[job].stem, ViewSettings())


def plain_engine(settings: ModelSettings, weights: Path, images: list[Path], device: str = "cpu") -> Any:
    """detectron2's predictor: an image file to N × H × W masks, which are packed and turned to cells untimed."""
    from plain_detectron import plain_predictor

    predictor = plain_predictor(settings, weights, read_image(images[0]).shape[0], device)

    def predict(job: int) -> Any:
        found = predictor(cv2.imread(str(images[job])))["instances"].to("cpu")
        masks, scores, classes = found.pred_masks.numpy(), found.scores.numpy(), found.pred_classes.numpy()
        return lambda: (np.packbits(masks, axis=2), scores, classes)

    return predict


def cells_of_plain(result: Any, image: Path, settings: ModelSettings) -> Cells:
    """What `DefaultPredictor` found, as cells."""
    packed, scores, classes = result
    size_hw = read_image(image).shape
    masks = tuple(
        coco_from_dense(np.unpackbits(row, axis=1, count=size_hw[1]).astype(bool)) for row in packed
    )
    return Cells(
        image_id=image.stem,
        size_hw=size_hw,
        masks=masks,
        scores=np.clip(scores, 0, 1).astype(np.float32),
        cell_types=np.array(settings.cell_types)[classes].astype(np.str_),
        sources=np.full(len(masks), "plain"),
    )


def chosen(options: argparse.Namespace) -> list[Path]:
    """Images of the fold spread over its cell types in turn."""
    paths = choose_images(options.data, "train", folds_csv=options.folds, fold=options.fold)
    truth = read_truth(truth_csv(options.data), set(paths))
    of_type: dict[str, list[str]] = {}
    for name, cells in truth.items():
        of_type.setdefault(str(cells.cell_types[0]) if len(cells) else "", []).append(name)
    ranked = sorted((rank, kind, name) for kind, names in of_type.items() for rank, name in enumerate(names))
    return [paths[name] for _, _, name in ranked[: options.images]]


def row(
    name: str,
    own: list[Answer],
    plain: list[Answer],
    images: list[Path],
    settings: ModelSettings,
    score: float,
    truth: dict[str, Cells],
) -> str:
    """An engine's line of the first table: its times, memory and competition mAP."""
    found = [
        cells_of_plain(answer.result, path, settings) if name == PLAIN else answer.result
        for answer, path in zip(own, images, strict=True)
    ]
    cleaning = PostprocessSettings(score_threshold=score)
    total = evaluate({cells.image_id: clean(cells, cleaning) for cells in found}, truth).total
    return f"{speed(name, own, plain)} {own[-1].peak_mb:.0f} | {statistics.mean(map(len, found)):.0f} | {total:.4f} |"


def speed(name: str, own: list[Answer], plain: list[Answer]) -> str:
    """The first columns of an engine's line: its times, beside those of detectron2's."""
    seconds = statistics.mean(answer.seconds for answer in own)
    return f"| {name} | {seconds:.2f} | {1 / seconds:.3f} | {median_ratio(plain, own):.2f} |"


def plain_settings(options: argparse.Namespace) -> ModelSettings:
    """The model's settings with convolutions and heads as detectron2 has them."""
    without = [*(f"{head}=false" for head in DETECTION_HEADS), "box_voting_sigma=0"]
    return load_model_settings(options.model, ["cpu_convolutions=float32", "train_only=[]", *without])


def own_levers(settings: ModelSettings) -> dict[str, object]:
    """The settings of what the model has and detectron2's network lacks."""
    levers = {lever: getattr(settings, lever) for lever in (*DETECTION_HEADS, "box_voting_sigma")}
    return {lever: value for lever, value in levers.items() if value}


def has_heads(settings: ModelSettings) -> bool:
    """Whether the model has heads that detectron2's network lacks."""
    return any(getattr(settings, head) for head in DETECTION_HEADS)


@cache
def without_detection_heads(weights: Path) -> Path:
    """The weights as detectron2's network has them: the file itself, or a copy without the heads that it does not know."""
    from sartorius.detectron.detection_head import new_head_weights

    with safe_open(weights, "pt") as opened:
        names = list(opened.keys())
        kept = {
            name: opened.get_tensor(name)
            for name in names
            if not name.startswith(new_head_weights(DETECTION_HEADS))
        }
        metadata = opened.metadata()
    if len(kept) == len(names):
        return weights
    plain = Path(tempfile.mkdtemp()) / weights.name
    save_file(kept, plain, metadata)
    return plain


def compared(options: argparse.Namespace, images: list[Path], threads: int) -> dict[str, list[Answer]]:
    """Every engine's answers to all images with so many threads."""
    settings = plain_settings(options)
    plain = without_detection_heads(options.weights)
    in_bytes = {"cpu_convolutions": "int8"}
    changes = {
        "the same settings": {},
        f"`min_score: {options.score}`": {"min_score": options.score},
        "`cpu_convolutions: int8`": in_bytes,
        "both": in_bytes | {"min_score": options.score},
    }
    if levers := own_levers(load_model_settings(options.model)):
        named = "".join(f", `{lever}: {value}`".lower() for lever, value in levers.items())
        changes[f"`cpu_convolutions: int8`{named}"] = in_bytes | levers
    made = {PLAIN: (plain_engine, settings)} | {
        f"sartorius, {name}": (our_engine, settings.model_copy(update=change))
        for name, change in changes.items()
    }
    engines = {
        name: EngineProcess(make, own, options.weights if has_heads(own) else plain, images, threads=threads)
        for name, (make, own) in made.items()
    }
    return in_turn(engines, len(images), print)


def section(options: argparse.Namespace) -> list[str]:
    """Run everything and return the lines of the page."""
    settings, images = plain_settings(options), chosen(options)
    answers, cores = compared(options, images, threads=1), os.cpu_count() or 1
    truth = read_truth(truth_csv(options.data), {path.stem for path in images})
    lines = [
        "| | CPU s an image | images/s | times as fast | peak MB | cells an image | competition mAP |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        row(name, own, answers[PLAIN], images, settings, options.score, truth)
        for name, own in answers.items()
    ]
    lines += ["", *explained(options, settings, images)]
    if cores > 1:
        together = compared(options, images, cores)
        lines += [
            "",
            f"The same with {cores} threads each, by the clock:",
            "",
            "| | s an image | images/s | times as fast |",
            "|---|---:|---:|---:|",
            *(speed(name, own, together[PLAIN]) for name, own in together.items()),
        ]
    return lines


def explained(options: argparse.Namespace, settings: ModelSettings, images: list[Path]) -> list[str]:
    """The lines under the first table: how it was measured, and where the limit lies."""
    engine, rate = our_engine(settings, without_detection_heads(options.weights), images), matmul_gflops()
    work = statistics.mean(gigaflops(lambda job=job: engine(job)) for job in range(len(images)))
    return [
        f"Ratios are medians over {len(images)} images of fold {options.fold}; the engines take turns on each. Scores "
        f"are those of these images, at a score threshold of {options.score}: cells below it count for nothing, and "
        "`min_score` saves drawing their masks. `DefaultPredictor` saves it too if it is given the threshold; the "
        "second line is the comparison like with like, the fourth the one with 8-bit convolutions, which "
        "`DefaultPredictor` does not have. Nor has it the vote on boxes, or heads that refine these or foresee how well masks "
        "fit: with these, scores are other numbers, and another share of them passes that threshold.",
        "",
        f"Limit: the network's convolutions and matrix products are {work:.0f} GFLOP an image with all masks, "
        f"{work / rate:.2f} s at the {rate:.0f} GFLOP/s that a float32 matrix product reaches here; "
        "Winograd's algorithm saves a part of them.",
    ]


def main() -> None:
    """Parse, run, print; with --write into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--score", type=float, default=0.5, help="score threshold of the metric")
    parser.add_argument("--images", type=int, default=6, help="at least 24 on a GPU")
    run_benchmark(parser, "inference", "Inference of one model", {"cpu": section, "cuda": gpu_section})


def gpu_section(options: argparse.Namespace) -> list[str]:
    """The same on a GPU."""
    from bench_inference_gpu import section_on

    return section_on(options, "cuda")


if __name__ == "__main__":
    main()
