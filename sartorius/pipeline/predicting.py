"""The prediction cache filled: every image through every model and view, once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sartorius.config.ensemble import EnsembleSettings
from sartorius.data.images import read_image
from sartorius.data.leakage import pixel_hash
from sartorius.data.predictions import prediction_path, write_cells
from sartorius.errors import UserError
from sartorius.pipeline.predictor import Predictor
from sartorius.pipeline.sources import open_sources, predictions

#: Called as report(what, done, total) whenever a piece of work is done.
Report = Callable[[str, int, int], None]


def no_report(what: str, done: int, total: int) -> None:
    """Say nothing."""


class Predicted(NamedTuple):
    """How many predictions (image x model x view) were made now and how many were there already."""

    made: int
    kept: int


def predict_images(
    predictors: Mapping[str, Predictor],
    settings: EnsembleSettings,
    image_paths: Mapping[str, Path],
    out_dir: Path,
    report: Report = no_report,
) -> Predicted:
    """The cache `<out_dir>/<member>/<view>/<image id>.npz` holds a prediction of every image from every source.

    predictors: one for each member of the ensemble's `runs`, by its name.
    image_paths: image files by image id.
    What is in the cache already is kept, so that an interrupted run goes on where it stopped.
    Raises UserError, before anything is predicted, if a folder of the cache belongs to another model; and at the end,
    all other images done, naming every image that could not be read or whose name another image in the cache has.
    """
    sources = open_sources(predictors, settings, out_dir)
    broken: list[str] = []
    made, done, total = 0, 0, len(image_paths) * len(sources)
    for image_id, path in image_paths.items():
        missing = [source for source in sources if source.kept(image_id) is None]
        done += len(sources) - len(missing)
        try:
            image = read_image(path)
            picture = pixel_hash(image)
            for source in sources:
                source.refuse_other_picture(image_id, picture)
        except UserError as error:
            broken.append(str(error))
            continue
        for source, cells, _ in predictions(missing, image, image_id):
            write_cells(prediction_path(out_dir / source.name, image_id), cells, picture)
            made, done = made + 1, done + 1
            report("predict", done, total)
    if broken:
        raise UserError(_all_broken(broken, len(image_paths)))
    return Predicted(made=made, kept=total - made)


def _all_broken(broken: list[str], images: int) -> str:
    rest = f"the predictions of the other {images - len(broken)} images are kept"
    return "\n".join([f"{len(broken)} of {images} images cannot be used; {rest}", *broken])
