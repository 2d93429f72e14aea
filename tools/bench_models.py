"""What the two benchmarks of models share: engines in processes of their own, taken in turn, and the limit."""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from bench_page import write_benchmark

ROOT = Path(__file__).resolve().parents[1]

#: An engine made in its own process: called with a job's number it does the work and returns what is compared.
Engine = Callable[[int], Any]


class Answer(NamedTuple):
    """Seconds of one job, the process's peak memory so far, and what the engine returned.

    seconds: of the processor with one thread, which other work on the machine hardly changes; of the clock with more.
    """

    seconds: float
    peak_mb: float
    result: Any


class EngineProcess:
    """An engine in a process of its own, so that its memory and time are its own."""

    def __init__(self, make: Callable[..., Engine], *arguments: Any, threads: int = 1) -> None:
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(there, make, arguments, threads), daemon=True)
        self._process.start()
        self._pipe = here
        here.recv()  # it is ready

    def run(self, job: int) -> Answer:
        """Do one job."""
        self._pipe.send(job)
        return Answer(*self._pipe.recv())

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


def _serve(pipe: Connection, make: Callable[..., Engine], arguments: tuple[Any, ...], threads: int) -> None:
    import torch

    import sartorius.detectron  # noqa: F401  the shims, before an engine imports detectron2

    torch.set_num_threads(threads)
    now = time.process_time if threads == 1 else time.perf_counter
    engine = make(*arguments)
    pipe.send(_peak_mb())
    while (job := pipe.recv()) is not None:
        began = now()
        result = engine(job)
        pipe.send((now() - began, _peak_mb(), result))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_turn(
    engines: dict[str, EngineProcess], jobs: int, report: Callable[[str], None]
) -> dict[str, list[Answer]]:
    """The answers of every engine to every job; engines take turns, so that other work on the machine hits all alike.

    A first round with job 0, in which caches fill, is not counted. The engines' processes end with the last answer.
    """
    answers: dict[str, list[Answer]] = {name: [] for name in engines}
    for engine in engines.values():
        engine.run(0)
    for job in range(jobs):
        for name, engine in engines.items():
            answers[name].append(engine.run(job))
        report(
            f"{job + 1} of {jobs}: "
            + ", ".join(f"{name} {a[-1].seconds:.2f} s" for name, a in answers.items())
        )
    for engine in engines.values():
        engine.close()
    return answers


def matmul_gflops() -> float:
    """Billions of float32 operations a second of CPU time in a matrix product of 2,000 × 2,000, the best of seven."""
    import torch

    torch.set_num_threads(1)
    left = torch.randn(2000, 2000)
    return 2 * 2000**3 / min(_seconds(lambda: left @ left) for _ in range(7)) / 1e9


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def gigaflops(work: Callable[[], object]) -> float:
    """Billions of operations in the convolutions and matrix products of the work, counted by torch.

    Convolutions count as the direct ones that torch knows: it cannot count Winograd's algorithm.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.backends.nnpack.flags(enabled=False), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def median_ratio(slow: list[Answer], fast: list[Answer]) -> float:
    """How many times longer one engine takes, the median over jobs."""
    return statistics.median(a.seconds / b.seconds for a, b in zip(slow, fast, strict=True))


def run_benchmark(
    parser: argparse.ArgumentParser, name: str, title: str, section: Callable[[argparse.Namespace], list[str]]
) -> None:
    """Parse the options with those that both benchmarks have, print the section; with --write put it on the page."""
    parser.add_argument("--data", type=Path, required=True, help="the competition's folder as downloaded")
    parser.add_argument("--model", type=Path, default=ROOT / "configs/models/mask_rcnn_r50_lean.yaml")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    options = parser.parse_args()
    lines = section(options)
    print("\n".join(lines))
    if options.write:
        command = f"python {' '.join(sys.argv)}"
        write_benchmark(name, title, command, "one thread each, CPU seconds.", lines)
