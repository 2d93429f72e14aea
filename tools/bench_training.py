"""Compare our training step with detectron2's `DefaultTrainer`: the same model, images and machine, in one run.

python tools/bench_training.py --data DIR [--model YAML] [--steps 8] [--images 24] [--weights R-50.pkl] [--write]
    [--device cuda --steps 30 --images 64 --workers 6 --model configs/models/mask_rcnn_r50.yaml --set batch_size=16 …]
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench_models import Answer, EngineProcess, gigaflops, in_turn, matmul_gflops, median_ratio, run_benchmark

from sartorius.config import ModelSettings, load_model_settings
from sartorius.data.competition import image_folder, truth_csv
from sartorius.data.images import list_images

#: Settings with which both trainers get pictures of the same kind and compute the same losses.
LIKE_PLAIN = {
    "scale_jitter": (1.0, 1.0),
    "turns": False,
    "sampling": "images",
    "flips": True,
    "colour_jitter": 0.0,
    "elastic_px": 0.0,
    "paste_share": 0.0,
    "class_weights": {},
    "mask_loss": "bce",
    "box_loss": "smooth_l1",
    "precision": "float32",
    "cuda_graphs": False,
    "accumulation": 1,
    "data_workers": 0,
    "average_decay": 0.0,
    "train_only": (),
    "box_refinement_head": False,
    "mask_iou_head": False,
    "optimizer": "sgd",
    "backbone_lr_factor": 1.0,
}


def stepping(trainer: Any) -> Any:
    """One optimiser step of a trainer for each job; returns the total loss."""
    from detectron2.utils.events import EventStorage

    storage = EventStorage(0).__enter__()

    def step(job: int) -> float:
        trainer.run_step()
        storage.step()
        return float(storage.latest()["total_loss"][0])

    return step


def started(model: Any, settings: ModelSettings, weights: Path | None) -> None:
    """Give the model the pretrained backbone, if there is a file of it."""
    from sartorius.detectron.initial_weights import load_initial

    if weights is not None:
        load_initial(model, settings.backbone, weights)


def our_engine(
    settings: ModelSettings, data: Path, ids: list[str], weights: Path | None, device: str = "cpu"
) -> Any:
    """Our trainer's step."""
    from sartorius.detectron.settings import detectron_config
    from sartorius.detectron.trainer import CellTrainer
    from sartorius.detectron.training_data import TrainingData, read_training_images

    images, _ = read_training_images(data, settings.cell_types, ids)
    cfg = detectron_config(settings, device).clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = tempfile.mkdtemp()
    cfg.SEED = 0
    cfg.freeze()
    trainer = CellTrainer(cfg, settings, TrainingData(images, [], {}))
    started(trainer.model, settings, weights)
    replay = trainer._backbone_replayed()  # nothing without `cuda_graphs`
    replay.__enter__()
    trainer.replay = replay  # which ends with the process, and not when nobody holds it any more
    assert ("forward" in vars(trainer.model.backbone)) == settings.cuda_graphs
    trainer._trainer.feed(trainer._pictures())
    return stepping(trainer._trainer)


def plain_engine(
    settings: ModelSettings, data: Path, ids: list[str], weights: Path | None, device: str = "cpu"
) -> Any:
    """detectron2's step."""
    from plain_detectron import PlainTrainer

    trainer = PlainTrainer(settings, truth_csv(data), list_images(image_folder(data, "train")), ids, device)
    started(trainer.model, settings, weights)
    return stepping(trainer._trainer)


def made_of(options: argparse.Namespace) -> tuple[ModelSettings, list[str]]:
    """The settings that both trainers get, and the images, spread over the data set."""
    settings = load_model_settings(options.model, options.set).model_copy(update=LIKE_PLAIN)
    known = sorted(list_images(image_folder(options.data, "train")))
    return settings, known[:: max(1, len(known) // options.images)][: options.images]


def section(options: argparse.Namespace) -> list[str]:
    """Run everything and return the lines of the page."""
    settings, ids = made_of(options)
    made = (settings, options.data, ids, options.weights)
    engines = {
        "DefaultTrainer": EngineProcess(plain_engine, *made),
        "sartorius": EngineProcess(our_engine, *made),
    }
    answers = in_turn(engines, options.steps, print)
    step = our_engine(*made)
    return table(answers, settings, gigaflops(lambda: step(0)), matmul_gflops())


def gpu_section(options: argparse.Namespace) -> list[str]:
    """The same on a GPU."""
    from bench_training_gpu import section_on

    return section_on(options, "cuda")


def table(answers: dict[str, list[Answer]], settings: ModelSettings, work: float, rate: float) -> list[str]:
    """The lines of the page.

    work: GFLOP of a step. rate: GFLOP/s of a matrix product.
    """
    lines = ["| | CPU s a step | pictures/s | peak MB | mean loss |", "|---|---:|---:|---:|---:|"]
    for name, own in answers.items():
        seconds = statistics.mean(answer.seconds for answer in own)
        loss = statistics.mean(answer.result for answer in own)
        lines.append(
            f"| {name} | {seconds:.2f} | {settings.batch_size / seconds:.3f} | {own[-1].peak_mb:.0f} | {loss:.2f} |"
        )
    totals = {name: sum(answer.seconds for answer in own) for name, own in answers.items()}
    lines += [
        "",
        f"sartorius is {totals['DefaultTrainer'] / totals['sartorius']:.2f} times as fast over {len(answers['sartorius'])} steps "
        f"(median of pairs {median_ratio(answers['DefaultTrainer'], answers['sartorius']):.2f}; pictures are drawn at "
        f"random, one thread each, taken in turn). Limit: a step's convolutions and matrix products are {work:.0f} "
        f"GFLOP, {work / rate:.2f} s at the {rate:.0f} GFLOP/s that a float32 matrix product reaches here; Winograd's "
        "algorithm saves a part of them.",
    ]
    return lines


def main() -> None:
    """Parse, run, print; with --write into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="backbone weights to start from; random without")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--steps", type=int, default=8, help="timed steps; on a GPU those of a block")
    parser.add_argument(
        "--workers", type=int, default=6, help="processes of each that make pictures, on a GPU"
    )
    run_benchmark(parser, "training", "Training of one model", {"cpu": section, "cuda": gpu_section})


if __name__ == "__main__":
    main()
