"""From images to a checked submission in one go."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sartorius.config.ensemble import EnsembleSettings
from sartorius.data.predictions import list_predictions, read_cells
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.pipeline.fusing import fuse_predictions
from sartorius.pipeline.predicting import Report, no_report, predict_images
from sartorius.pipeline.sources import Predictor
from sartorius.submission import check_submission, write_submission


class Submitted(NamedTuple):
    """A submission that passed the check: where it is and how many cells it has by image id."""

    path: Path
    cells: Mapping[str, int]


def submit(
    predictors: Mapping[str, Predictor],
    settings: EnsembleSettings,
    image_paths: Mapping[str, Path],
    out_csv: Path,
    cache_dir: Path | None = None,
    report: Report = no_report,
) -> Submitted:
    """`out_csv` is a checked submission with every image: predicted, fused, cleaned, written whole or not at all.

    image_paths: image files by image id. An image in which nothing is found gets its empty row.
    cache_dir: keeps the predictions, so that an interrupted run goes on; None keeps none.
    Raises UserError if an image cannot be read (after the others are predicted) or the cache is another model's.
    """
    if out_csv.is_dir():
        raise UserError(f"{out_csv}: expected the name of a CSV file to write, got a folder")
    with tempfile.TemporaryDirectory(prefix="sartorius-") as name:
        cache = cache_dir or Path(name) / "predictions"
        predict_images(predictors, settings, image_paths, cache, report)
        fused = fuse_predictions(settings, cache, Path(name) / "fused", image_paths, report=report)
        write_checked(fused.folder, out_csv)
    return Submitted(out_csv, fused.cells)


def write_checked(fused_dir: Path, out_csv: Path) -> None:
    """`out_csv` is the submission of every image of a fused folder; it replaces a file only if it passes the check.

    Raises ValueError listing the problems if it does not: fusion and clean-up have a fault.
    """
    paths = list_predictions(fused_dir)
    with atomic_path(out_csv) as temporary:
        write_submission(temporary, map(read_cells, paths.values()), list(paths))
        sizes_hw = {image_id: read_cells(path).size_hw for image_id, path in paths.items()}
        problems = check_submission(temporary, sizes_hw)
        if problems:
            lines = [f"line {problem.line}: {problem.message}" for problem in problems[:10]]
            raise ValueError(
                "\n".join([f"{len(problems)} problems in the submission of {fused_dir}", *lines])
            )
