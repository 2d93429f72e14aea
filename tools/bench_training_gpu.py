"""The comparison of `bench_training.py` on a GPU: blocks of steps, timed by the clock once the GPU is done."""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

from bench_models import WARM_UP, Answer, EngineProcess, gigaflops, half_matmul_gflops, in_blocks
from bench_training import made_of, our_engine, plain_engine

from sartorius.config import ModelSettings

PLAIN = "DefaultTrainer"
#: Blocks of each trainer, and threads that torch may take beside the GPU and the processes that make pictures.
ROUNDS, THREADS = 2, 4
#: Batches that torch's loaders keep ready for each of their processes.
PREFETCHED = 2


def our_blocks(steps: dict[int, int], *made: Any) -> Any:
    """Our trainer's steps; steps: how many each job takes."""
    return _blocks(our_engine(*made), steps)


def plain_blocks(steps: dict[int, int], *made: Any) -> Any:
    """detectron2's steps."""
    return _blocks(plain_engine(*made), steps)


def _blocks(step: Callable[[int], float], steps: dict[int, int]) -> Any:
    return lambda job: statistics.mean(step(number) for number in range(steps[job]))


def section_on(options: argparse.Namespace, device: str) -> list[str]:
    """Run everything on a device and return the lines of the page."""
    settings, ids = made_of(options)
    settings = settings.model_copy(update={"data_workers": options.workers})
    bfloat16 = settings.model_copy(update={"precision": "bfloat16"})
    replayed = bfloat16.model_copy(update={"cuda_graphs": True})
    data = options.data, ids, options.weights, device
    steps = dict(enumerate((PREFETCHED * options.workers + 2, options.steps)))
    made = {
        PLAIN: (plain_blocks, settings),
        "sartorius, float32": (our_blocks, settings),
        "sartorius, bfloat16": (our_blocks, bfloat16),
        "sartorius, bfloat16, `cuda_graphs`": (our_blocks, replayed),
    }
    engines = {
        name: EngineProcess(make, steps, own, *data, threads=THREADS, device=device)
        for name, (make, own) in made.items()
    }
    answers = in_blocks(engines, ROUNDS, print)
    for engine in engines.values():
        engine.close()
    step = our_engine(bfloat16.model_copy(update={"data_workers": 0}), *data)
    work, rate = gigaflops(lambda: step(0)), half_matmul_gflops(device)
    return [*table(answers, settings, options.steps), "", *explained(options, steps[WARM_UP], work, rate)]


def table(answers: dict[str, list[Answer]], settings: ModelSettings, steps: int) -> list[str]:
    """A line for each trainer."""
    lines = [
        "| | ms a step | pictures/s | times as fast | peak MB of the GPU | mean loss |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    seconds = {name: statistics.mean(one.seconds for one in own) / steps for name, own in answers.items()}
    for name, own in answers.items():
        loss = statistics.mean(answer.result for answer in own)
        lines.append(
            f"| {name} | {seconds[name] * 1000:.1f} | {settings.batch_size / seconds[name]:.1f} | "
            f"{seconds[PLAIN] / seconds[name]:.2f} | {own[-1].peak_mb:.0f} | {loss:.2f} |"
        )
    return lines


def explained(options: argparse.Namespace, warm_up: int, work: float, rate: float) -> list[str]:
    """The lines under the table: how it was measured, and where the limit lies. work: GFLOP of a step; rate: GFLOP/s."""
    return [
        f"{ROUNDS} blocks of {options.steps} steps in turn, each after {warm_up} that do not count, in which pictures "
        f"made ahead are used up; {options.workers} processes make the pictures of each trainer, drawn at random from "
        f"{options.images} images. float32 convolutions are computed as torch does it unless told otherwise, in TF32, "
        "with either.",
        "",
        f"Limit: a step's convolutions and matrix products are {work:.0f} GFLOP, {work / rate * 1000:.1f} ms at the "
        f"{rate / 1000:.0f} TFLOP/s that a float16 matrix product reaches here.",
    ]
