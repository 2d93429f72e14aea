"""What the two benchmarks of models share: engines in processes of their own, taken in turn, and the limit."""

import argparse
import atexit
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from bench_page import write_benchmark, write_gpu_benchmark

from sartorius.config import load_model_settings

ROOT = Path(__file__).resolve().parents[1]

#: An engine made in its own process: called with a job's number it does the work and returns what is compared, or
#: something without arguments that makes it when the clock has stopped.
Engine = Callable[[int], Any]
#: The jobs of engines that are timed in blocks: a few pieces of work that do not count, those that do, and what it
#: finds, which is not timed.
WARM_UP, TIMED, FOUND = 0, 1, 2


class Answer(NamedTuple):
    """Seconds of one job, the process's peak memory so far, and what the engine returned.

    seconds: on a CPU with one thread of the processor, which other work on the machine hardly changes; otherwise of the
        clock, once a GPU is done with all it was given.
    peak_mb: of the GPU where there is one.
    """

    seconds: float
    peak_mb: float
    result: Any


class EngineProcess:
    """An engine in a process of its own, so that its memory and time are its own. It starts while others do."""

    def __init__(
        self, make: Callable[..., Engine], *arguments: Any, threads: int = 1, device: str = "cpu"
    ) -> None:
        self._pipe, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(there, make, arguments, threads, device))
        self._process.start()
        there.close()  # only the process has it now: if that ends, so does our waiting
        self._started = False
        atexit.register(self.close)

    def send(self, job: int) -> None:
        """Let it begin with a job; waits until the engine is there."""
        if not self._started:
            self._pipe.recv()
            self._started = True
        self._pipe.send(job)

    def receive(self) -> Answer:
        """What came of the job that was sent."""
        return Answer(*self._pipe.recv())

    def run(self, job: int) -> Answer:
        """Do one job."""
        self.send(job)
        return self.receive()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


def _serve(
    pipe: Connection, make: Callable[..., Engine], arguments: tuple[Any, ...], threads: int, device: str
) -> None:
    import torch

    import sartorius.detectron  # noqa: F401  the shims, before an engine imports detectron2

    multiprocessing.set_start_method("fork", force=True)  # for loaders' processes, as outside a benchmark
    torch.set_num_threads(threads)
    now = _clock(threads, device)
    engine = make(*arguments)
    try:
        pipe.send("ready")
        while True:
            job = pipe.recv()
            began = now()
            result = engine(job)
            seconds, peak = now() - began, _peak_mb(device)
            pipe.send((seconds, peak, result() if callable(result) else result))
    except (EOFError, BrokenPipeError):
        return  # it was closed


def _clock(threads: int, device: str) -> Callable[[], float]:
    """The seconds of `Answer`."""
    if torch_device(device) == "cuda":
        return _seconds_when_done
    return time.process_time if threads == 1 else time.perf_counter


def _seconds_when_done() -> float:
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def torch_device(device: str) -> str:
    """The kind of a device: "cpu" or "cuda"."""
    return device.split(":")[0]


def _peak_mb(device: str) -> float:
    if torch_device(device) == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_blocks(
    engines: dict[str, EngineProcess], rounds: int, report: Callable[[str], None]
) -> dict[str, list[Answer]]:
    """The answers of every engine to `TIMED`, in so many rounds; engines take turns and warm up before each block."""
    answers: dict[str, list[Answer]] = {name: [] for name in engines}
    for number in range(rounds):
        for name, engine in engines.items():
            engine.run(WARM_UP)
            answers[name].append(engine.run(TIMED))
        times = ", ".join(f"{name} {own[-1].seconds:.2f} s" for name, own in answers.items())
        report(f"round {number + 1} of {rounds}: {times}")
    return answers


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


def half_matmul_gflops(device: str) -> float:
    """Billions of float16 operations a second in a matrix product of 4,096 × 4,096 on a GPU, the best of nine."""
    import torch

    left, now = torch.randn(4096, 4096, device=device, dtype=torch.float16), _clock(0, device)
    return 2 * 4096**3 / min(_seconds(lambda: left @ left, now) for _ in range(9)) / 1e9


def _seconds(work: Callable[[], object], now: Callable[[], float] = time.process_time) -> float:
    began = now()
    work()
    return now() - began


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


#: Runs a benchmark on a device and returns the lines of its section.
Section = Callable[[argparse.Namespace], list[str]]


def run_benchmark(
    parser: argparse.ArgumentParser, name: str, title: str, sections: dict[str, Section]
) -> None:
    """Parse the options with those that both benchmarks have, print the section; with --write put it on the page.

    sections: what to run by kind of device, "cpu" and "cuda".
    """
    parser.add_argument("--data", type=Path, required=True, help="the competition's folder as downloaded")
    parser.add_argument("--model", type=Path, default=ROOT / "configs/models/mask_rcnn_r50_lean.yaml")
    parser.add_argument("--device", choices=sorted(sections), default="cpu")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    parser.add_argument("--out", type=Path, help="a text file for the section's lines")
    options = parser.parse_args()
    if load_model_settings(options.model, getattr(options, "set", ())).network == "flows":
        parser.error(f"--model {options.model}: detectron2 has no network of flows to compare with")
    with temporary_files_removed():
        lines = sections[options.device](options)
    print("\n".join(lines))
    if options.out is not None:
        options.out.write_text("\n".join([*lines, ""]), encoding="utf-8")
    if options.write:
        command = f"python {' '.join(sys.argv)}"
        if options.device == "cpu":
            how = f"{processor_name()}, one thread each, CPU seconds."
            write_benchmark(*named_for_processor(name, title, processor_name()), command, how, lines)
        else:
            write_gpu_benchmark(f"{name}-gpu", f"{title} on a GPU", command, gpu_name(), lines)


@contextmanager
def temporary_files_removed() -> Iterator[None]:
    """A block whose temporary files, also of the processes that it starts, lie in a folder that is removed after it."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"TMPDIR": folder}):
        tempfile.tempdir = None  # so that `TMPDIR` is read anew
        try:
            yield
        finally:
            tempfile.tempdir = None


def named_for_processor(name: str, title: str, processor: str) -> tuple[str, str]:
    """Name and title of a section: its own, or one for processors that lack the fast bytes and halves of AVX512."""
    return (
        (name, title)
        if processor == "AVX512"
        else (f"{name}-{processor.lower()}", f"{title} with {processor}")
    )


def processor_name() -> str:
    """What torch computes with on this processor, for example AVX512."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def gpu_name() -> str:
    """The GPU and the version of torch."""
    import torch

    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
