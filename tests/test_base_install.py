"""What works on a machine with neither torch nor detectron2."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_predictors import small_ensemble, small_truth, two_predictors, written_images

from sartorius.cells import Cells
from sartorius.config import load_ensemble_settings
from sartorius.pipeline import predict_images
from sartorius.rle import kaggle_from_coco

PROJECT = Path(__file__).resolve().parent.parent
#: Modules that only the extra `detectron` installs.
MISSING = (
    "torch",
    "torchvision",
    "detectron2",
    "fvcore",
    "iopath",
    "yacs",
    "omegaconf",
    "hydra",
    "tensorboard",
)
BARE = f"""
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {MISSING!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from sartorius.cli import main
main()
"""


def bare_sartorius(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process that cannot import what the extra `detectron` installs."""
    command = [sys.executable, "-c", BARE, *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)


def written_csv(path: Path, columns: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def written_truth(path: Path, truth: dict[str, Cells]) -> Path:
    rows: list[list[object]] = [
        [name, kaggle_from_coco(mask).text, cells.size_hw[1], cells.size_hw[0], cell_type]
        for name, cells in truth.items()
        for mask, cell_type in zip(cells.masks, cells.cell_types, strict=True)
    ]
    return written_csv(path, ["id", "annotation", "width", "height", "cell_type"], rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images, their truth, an ensemble and its cached predictions, all made where torch may be."""
    path = tmp_path_factory.mktemp("base")
    truth = {name: cells for name, cells in small_truth().items() if len(cells)}
    images = written_images(path / "images", truth)
    settings = load_ensemble_settings(small_ensemble(path))
    predict_images(two_predictors(truth), settings, images, path / "cache")
    written_truth(path / "train.csv", truth)
    return path


def test_cached_predictions_are_fused_and_scored_without_torch(folder):
    fused = bare_sartorius(
        "fuse", folder / "ensemble.yaml", "--predictions", folder / "cache", "--out", folder / "fused"
    )
    assert (fused.returncode, fused.stderr.count("Traceback")) == (0, 0), fused.stderr
    scored = bare_sartorius("evaluate", folder / "fused", "--truth", folder / "train.csv", "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["total"] > 0.3


def test_a_submission_is_checked_without_torch(folder):
    truth = {name: cells for name, cells in small_truth().items() if len(cells)}
    rows: list[list[object]] = [
        [name, kaggle_from_coco(m).text] for name, cells in truth.items() for m in cells.masks
    ]
    good = written_csv(folder / "good.csv", ["id", "predicted"], rows)
    bad = written_csv(folder / "bad.csv", ["id", "predicted"], [*rows, ["nobody", "1 2"]])
    checked = bare_sartorius("check", good, "--images", folder / "images")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert bare_sartorius("check", bad, "--images", folder / "images").returncode == 1


def test_a_command_that_needs_torch_says_what_to_install(folder):
    predicted = bare_sartorius(
        "predict", folder / "ensemble.yaml", "--images", folder / "images", "--out", folder / "again"
    )
    assert predicted.returncode == 2
    assert "in a clone run `uv sync --extra detectron`" in predicted.stderr
    assert "with pip install PyTorch, torchvision and Detectron2 from its source" in predicted.stderr
    assert "Traceback" not in predicted.stderr


def test_the_page_says_all_that_is_to_be_installed(folder):
    served = bare_sartorius("app")
    assert served.returncode == 2
    assert (
        "torch, detectron2, not installed; in a clone run `uv sync --extra app --extra detectron`"
        in served.stderr
    )
    assert "loading" not in served.stderr
