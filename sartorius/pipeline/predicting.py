"""The prediction cache filled: every image through every model and view, once."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sartorius import __version__
from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings, MemberSettings, ViewSettings
from sartorius.data.images import read_image
from sartorius.data.predictions import (
    MANIFEST,
    PredictionManifest,
    prediction_path,
    read_manifest,
    write_cells,
    write_manifest,
)
from sartorius.errors import UserError

#: Called as report(what, done, total) whenever a piece of work is done.
Report = Callable[[str, int, int], None]


def no_report(what: str, done: int, total: int) -> None:
    """Say nothing."""


class Predictor(Protocol):
    """One trained model, whatever framework it comes from.

    Called with an image (height, width) uint8, its id and a view it returns the cells it finds, in the frame and at
    the resolution of the image it was given; soft masks make probability-level fusion possible. The `sources` column
    is the pipeline's. Nothing found is `no_cells`, never an error.
    """

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, which tells two trained models apart."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The merged model settings as plain values."""

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        """The cells of one image seen through one view."""


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
    all other images done, naming every image that could not be read.
    """
    sources = [
        _Source(predictors[member.name], member, view, out_dir / member.name / view.name)
        for member, view in settings.runs
    ]
    for source in sources:
        _refuse_other_model(source)
    for source in sources:
        if not (source.folder / MANIFEST).exists():
            write_manifest(source.folder, source.manifest)
    broken: list[str] = []
    made, done, total = 0, 0, len(image_paths) * len(sources)
    for image_id, path in image_paths.items():
        missing = [source for source in sources if not prediction_path(source.folder, image_id).exists()]
        done += len(sources) - len(missing)
        if not missing:
            continue
        try:
            image = read_image(path)
        except UserError as error:
            broken.append(str(error))
            continue
        for source in missing:
            _predict(source, image, image_id)
            made, done = made + 1, done + 1
            report("predict", done, total)
    if broken:
        raise UserError(_all_broken(broken, len(image_paths)))
    return Predicted(made=made, kept=total - made)


class _Source(NamedTuple):
    predictor: Predictor
    member: MemberSettings
    view: ViewSettings
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.member.name}/{self.view.name}"

    @property
    def manifest(self) -> PredictionManifest:
        return PredictionManifest(
            source=self.name,
            model=self.member.model,
            view=self.view.name,
            config=json.loads(json.dumps(dict(self.predictor.config))),  # as it will be read back
            package_version=__version__,
            weights_sha256=self.predictor.weights_sha256,
        )


def _predict(source: _Source, image: NDArray[np.uint8], image_id: str) -> None:
    cells = source.predictor(image, image_id, source.view)
    cells = replace(cells, sources=np.full(len(cells), source.name))
    write_cells(prediction_path(source.folder, image_id), cells)


def _refuse_other_model(source: _Source) -> None:
    """Raise UserError if the source's folder holds predictions of anything else."""
    if (source.folder / MANIFEST).exists():
        differing = _differences(read_manifest(source.folder), source.manifest)
        if differing:
            raise UserError(
                f"{source.folder}: holds predictions of another model: {'; '.join(differing)}; choose another "
                "folder, or delete this one to predict again"
            )
    elif any(source.folder.glob("*.npz")):
        raise UserError(
            f"{source.folder}: holds .npz files but no {MANIFEST} that says which model they are of; choose "
            "another folder, or delete this one to predict again"
        )


def _differences(there: PredictionManifest, now: PredictionManifest) -> list[str]:
    """What tells two sources apart, as text; where the settings file lies and the package's version do not."""
    found = [
        f"{name} is {_short(getattr(there, name))} there and {_short(getattr(now, name))} now"
        for name in ("source", "weights_sha256")
        if getattr(there, name) != getattr(now, name)
    ]
    keys = sorted(key for key in {*there.config, *now.config} if there.config.get(key) != now.config.get(key))
    found += [f"{key} is {there.config.get(key)!r} there and {now.config.get(key)!r} now" for key in keys[:5]]
    return found + ([f"{len(keys) - 5} more settings differ"] if len(keys) > 5 else [])


def _short(text: str) -> str:
    return f"{text[:12]}…" if len(text) == 64 else repr(text)


def _all_broken(broken: list[str], images: int) -> str:
    rest = f"the predictions of the other {images - len(broken)} images are kept"
    return "\n".join([f"{len(broken)} of {images} images cannot be read; {rest}", *broken])
