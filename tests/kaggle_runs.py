"""Kernels run on a machine like Kaggle's, with a bundle and the competition attached."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import yaml
from kaggle_machine import environment, kaggle_environment, target_here, without_network
from tiny_models import TINY

from sartorius.submission import check_submission

SMALL_HW = (64, 96)
SAMPLE_ONLY = "named_by_the_sample_alone"
ENSEMBLE = """\
members: [{name: first, model: tiny.yaml, weights: 1.safetensors}, {name: second, model: tiny.yaml, weights: 2.safetensors}]
views: [{flip: none}, {flip: horizontal}]
gains: {views: {none: 0.03, horizontal: 0.002}, members: {first: 0.3, second: 0.1}}
postprocess: {score_threshold: {shsy5y: 0.0, astro: 0.0, cort: 0.0}, min_area_px: {shsy5y: 1, astro: 1, cort: 1}}
"""


class Machine(NamedTuple):
    """A machine like Kaggle's and a bundle for it.

    python: of the kernel's environment. printed: by the command that made the bundle.
    """

    python: Path
    home: Path
    bundle: Path
    printed: str


def made_machine(folder: Path) -> Machine:
    """A machine in a new folder, with a bundle of two tiny models, each seen straight and mirrored."""
    write_ensemble(folder)
    image = folder / "image.txt"
    image.write_text("".join(f"{name}=={version}\n" for name, version in target_here().has.items()))
    command = [sys.executable, "-m", "sartorius", "bundle", "ensemble.yaml", "--out", "bundle"]
    command += ["--python", target_here().python, "--image", "image.txt", "--user", "somebody"]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder / "home"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Machine(kaggle_environment(folder), folder / "home", folder / "bundle", done.stdout + done.stderr)


def write_ensemble(folder: Path) -> None:
    """Two models that learnt nothing but find something; sartorius.detectron is what makes them."""
    import torch
    from safetensors.torch import save_file

    import sartorius.detectron  # noqa: F401 - makes detectron2 importable
    from sartorius.detectron.settings import detectron_config

    from detectron2.modeling import build_model  # isort: skip

    for seed in (1, 2):
        torch.manual_seed(seed)
        model = build_model(detectron_config(TINY, "cpu"))
        model.roi_heads.mask_head.predictor.weight.data *= 300  # far from .5, where untrained masks all lie
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / f"{seed}.safetensors")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY.model_dump(mode="json")))
    (folder / "ensemble.yaml").write_text(ENSEMBLE)


def kaggle_tree(folder: Path, bundle: Path) -> Path:
    """/kaggle as Kaggle lays it out: data sets by owner, attached without folders; no competition yet."""
    attached = folder / "input" / "datasets" / "somebody" / "sartorius-bundle"
    attached.mkdir(parents=True)
    for path in bundle.iterdir():
        if path.is_file() and path.name != "dataset-metadata.json":
            (attached / path.name).symlink_to(path)
    competition(folder).mkdir(parents=True)
    (folder / "working").mkdir()
    return folder


def competition(kaggle: Path) -> Path:
    """Where the competition is attached."""
    return kaggle / "input" / "competitions" / "sartorius-cell-instance-segmentation"


def add_test_images(kaggle: Path, images: int) -> Path:
    """The competition with so many times the same noise; the sample submission names one image more than there is."""
    test = competition(kaggle) / "test"
    test.mkdir()
    ids = [f"image{number:04}" for number in range(images)]
    noise = np.random.default_rng(3).integers(0, 255, SMALL_HW, dtype=np.uint8)
    cv2.imwrite(str(test / f"{ids[0]}.png"), noise)
    for image_id in ids[1:]:
        (test / f"{image_id}.png").hardlink_to(test / f"{ids[0]}.png")
    rows = "".join(f"{image_id},\n" for image_id in [*ids, SAMPLE_ONLY])
    (competition(kaggle) / "sample_submission.csv").write_text("id,predicted\n" + rows)
    return kaggle


def problems(kaggle: Path) -> list[str]:
    """What the check says about the submission that is there, every image being of one size."""
    images = (competition(kaggle) / "test").glob("*.png")
    sizes_hw = dict.fromkeys([SAMPLE_ONLY, *(path.stem for path in images)], SMALL_HW)
    return [str(problem) for problem in check_submission(kaggle / "working" / "submission.csv", sizes_hw)]


def kernel_command(machine: Machine, kaggle: Path, kind: str, *more: object) -> list[str]:
    """A kernel without network, where that is permitted; its packages go to `kaggle / "site"`."""
    script = machine.bundle / "kernels" / kind / {"inference": "infer.py", "training": "train.py"}[kind]
    paths = ["--input", kaggle / "input", "--working", kaggle / "working", "--site", kaggle / "site"]
    return [*without_network(), *map(str, [machine.python, script, *paths, *more])]


def run_kernel(machine: Machine, kaggle: Path, kind: str, *more: object) -> subprocess.CompletedProcess[str]:
    """A kernel run to its end."""
    return subprocess.run(
        kernel_command(machine, kaggle, kind, *more),
        capture_output=True, text=True, check=False, cwd=kaggle, env=environment(machine.home),
    )  # fmt: skip


def start_kernel(
    machine: Machine, kaggle: Path, kind: str, *more: object, **variables: str
) -> subprocess.Popen[bytes]:
    """A kernel that is running, with more environment variables; what it prints goes to `kaggle / "log.txt"`."""
    with (kaggle / "log.txt").open("wb") as file:
        return subprocess.Popen(
            kernel_command(machine, kaggle, kind, *more), cwd=kaggle, env=environment(machine.home) | variables,
            start_new_session=True, stdout=file, stderr=file,
        )  # fmt: skip


def kill_after(running: subprocess.Popen[bytes], happened: Callable[[], bool], delay_s: float) -> None:
    """End a kernel as Kaggle does, some time after something has happened."""
    try:
        while running.poll() is None and not happened():
            time.sleep(0.002)
        time.sleep(delay_s)
        assert running.poll() is None, "it ended by itself"
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
