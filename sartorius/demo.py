"""The whole main job on data it makes itself: images, predictions, a checked and scored submission, a picture."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sartorius.cells import Cells
from sartorius.checkout import checkout_file
from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.data.competition import image_folder, read_truth
from sartorius.data.images import list_images, read_image
from sartorius.data.predictions import MANIFEST, read_prediction_folder
from sartorius.data.synthetic import synthesize
from sartorius.errors import UserError
from sartorius.metrics.competition import CompetitionScore, evaluate
from sartorius.pipeline import Predictor, Report, fuse_predictions, predict_images, write_checked
from sartorius.plots import overlay, stacked, write_picture
from sartorius.submission import Problem, check_submission, read_submission

#: Gives the trained models of an ensemble file by member name.
Loader = Callable[[Path, EnsembleSettings], Mapping[str, Predictor]]

#: Chosen so that the three images have about as many cells as the competition's mean image of their type.
SEED = 9


class Demo(NamedTuple):
    """What the demo made and how well it went.

    data_dir: images with truth in the competition's layout.
    fused_dir: the found cells as a folder of predictions.
    submission, overlay: the submission and the picture of found cells beside true ones.
    cells: found cells by image id.
    problems: what the check has to say about the submission; none when it is valid.
    score: the submission against the truth.
    """

    data_dir: Path
    fused_dir: Path
    submission: Path
    overlay: Path
    cells: Mapping[str, int]
    problems: tuple[Problem, ...]
    score: CompetitionScore

    def to_json(self) -> dict[str, Any]:
        """Plain values that the json module writes."""
        return {
            "data": str(self.data_dir),
            "fused": str(self.fused_dir),
            "submission": str(self.submission),
            "overlay": str(self.overlay),
            "cells": dict(self.cells),
            "problems": [problem._asdict() for problem in self.problems],
            "score": self.score.to_json(),
        }


def run_demo(out_dir: Path, load: Loader, report: Report) -> Demo:
    """`out_dir` holds images of the three cell types, the starter ensemble's submission for them, and a picture.

    out_dir: gets `data/`, `fused/`, `submission.csv` and `overlay.png`; an earlier demo there is replaced.
    load: loads the ensemble's models.
    report: called as report(what, done, total) after each piece of work.
    Raises UserError if the package is not in a checkout, a model cannot be loaded, or `out_dir` holds something else.
    """
    ensemble = checkout_file("configs/ensembles/starter.yaml")
    settings = load_ensemble_settings(ensemble)
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"{out_dir}: expected a folder to write into, found a file; choose another --out")
    _refuse_other_results(out_dir)
    predictors = load(ensemble, settings)
    report("load models", 1, 1)
    data_dir = synthesize(out_dir / "data", images_per_type=1, seed=SEED)
    report("make images", 1, 1)
    image_paths = list_images(image_folder(data_dir, "test"))
    # The cache is not kept: images that an earlier version made under the same names would be taken from it.
    with tempfile.TemporaryDirectory(prefix="sartorius-") as cache:
        predict_images(predictors, settings, image_paths, Path(cache), report)
        fused = fuse_predictions(settings, Path(cache), out_dir / "fused", report=report)
    submission = out_dir / "submission.csv"
    write_checked(fused.folder, submission)
    truth = read_truth(data_dir / "test_truth.csv")
    sizes_hw = {image_id: cells.size_hw for image_id, cells in truth.items()}
    problems = check_submission(submission, sizes_hw)
    score = evaluate(read_submission(submission, sizes_hw), truth)
    picture = _picture(out_dir / "overlay.png", image_paths, read_prediction_folder(fused.folder), truth)
    return Demo(data_dir, fused.folder, submission, picture, fused.cells, tuple(problems), score)


def _refuse_other_results(out_dir: Path) -> None:
    """Raise UserError if a file or folder to write is there, but not what an earlier demo leaves before it."""
    if (out_dir / "data" / "test_truth.csv").is_file() and (out_dir / "fused" / MANIFEST).is_file():
        return
    for path in (out_dir / "fused", out_dir / "submission.csv", out_dir / "overlay.png"):
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise UserError(
                f"{path}: would be replaced, but {out_dir} holds no earlier demo; move it, or choose another --out"
            )


def _picture(
    path: Path, image_paths: Mapping[str, Path], found: Mapping[str, Cells], truth: Mapping[str, Cells]
) -> Path:
    rows = [
        overlay(read_image(image_path), found[image_id], truth[image_id])
        for image_id, image_path in image_paths.items()
    ]
    return write_picture(path, stacked(rows))
