"""Where the time of a training step goes: the operations that take most, of the processor and of a GPU.

python tools/profile_training.py --data DIR --weights R-50.pkl [--model YAML] [--set key=value] [--device cuda] [--steps 10]
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from bench_models import ROOT
from torch.autograd import DeviceType

import sartorius.detectron  # noqa: F401  the shims, before anything imports detectron2
from sartorius.config import load_model_settings
from sartorius.data.competition import image_folder
from sartorius.data.images import list_images

#: Steps before the clock starts, and steps that are profiled after those that it times.
WARM_UP, PROFILED = 8, 3


def main() -> None:
    """Parse, train a few steps, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the competition's folder as downloaded")
    parser.add_argument("--weights", type=Path, required=True, help="weights to start from")
    parser.add_argument("--model", type=Path, default=ROOT / "configs/models/mask_rcnn_r50_whole.yaml")
    parser.add_argument("--set", action="append", default=[], help="change a setting: key=value")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--images", type=int, default=64, help="images that pictures are made of")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--rows", type=int, default=25, help="operations in each table")
    options = parser.parse_args()
    sys.stdout.write(profiled(options) + "\n")


def profiled(options: argparse.Namespace) -> str:
    """The seconds of a step, the share of them in which the GPU computes, and the tables of operations."""
    from bench_training import our_engine

    settings = load_model_settings(options.model, options.set)
    if options.device == "cpu":
        settings = settings.model_copy(update={"cuda_graphs": False})
    known = sorted(list_images(image_folder(options.data, "train")))
    ids = known[:: max(1, len(known) // options.images)][: options.images]
    step = our_engine(settings, options.data, ids, options.weights, options.device)
    for number in range(WARM_UP):
        step(number)
    began = time.perf_counter()
    for number in range(options.steps):
        step(number)
    step_s = (time.perf_counter() - began) / max(options.steps, 1)
    on_gpu = options.device == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * on_gpu
    with torch.profiler.profile(activities=kinds) as profile:
        for number in range(PROFILED):
            step(number)
    averages = profile.key_averages()
    lines = [f"{step_s:.3f} s a step of {settings.batch_size} pictures, without the profiler"]
    if on_gpu:
        kernels = [event for event in averages if event.device_type == DeviceType.CUDA]
        busy_us = sum(event.self_device_time_total for event in kernels)
        lines.append(f"{busy_us / PROFILED / 1e6:.3f} s of a step's kernels on the GPU")
    for order in ["self_cpu_time_total"] + ["self_device_time_total"] * on_gpu:
        lines.append(averages.table(sort_by=order, row_limit=options.rows, max_name_column_width=60))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
