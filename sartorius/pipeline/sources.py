"""One model seen through one view, and where its predictions are kept."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sartorius import __version__
from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings, MemberSettings, ViewSettings
from sartorius.data.predictions import (
    MANIFEST,
    PredictionManifest,
    prediction_path,
    read_manifest,
    write_manifest,
)
from sartorius.errors import UserError


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


@runtime_checkable
class ManyViewsPredictor(Protocol):
    """A predictor that can look through several views at once, which keeps a GPU busier."""

    def of_views(self, image: NDArray[np.uint8], image_id: str, views: Sequence[ViewSettings]) -> list[Cells]:
        """What the predictor finds in each view by itself, in the order of the views."""


class Source(NamedTuple):
    """One model seen through one view; folder: where its predictions are kept, None keeps none."""

    predictor: Predictor
    member: MemberSettings
    view: ViewSettings
    folder: Path | None

    @property
    def name(self) -> str:
        """`member/view`."""
        return f"{self.member.name}/{self.view.name}"

    @property
    def manifest(self) -> PredictionManifest:
        """What tells this source's predictions from another's."""
        return PredictionManifest(
            source=self.name,
            model=self.member.model,
            view=self.view.name,
            config=json.loads(json.dumps(dict(self.predictor.config))),  # as it will be read back
            package_version=__version__,
            weights_sha256=self.predictor.weights_sha256,
        )

    def kept(self, image_id: str) -> Path | None:
        """The file of an image's prediction if it is there already."""
        path = None if self.folder is None else prediction_path(self.folder, image_id)
        return path if path is not None and path.exists() else None


class Prediction(NamedTuple):
    """What one source found in one image, and the seconds it took."""

    source: Source
    cells: Cells
    seconds: float


def open_sources(
    predictors: Mapping[str, Predictor], settings: EnsembleSettings, cache_dir: Path | None
) -> list[Source]:
    """Every source of an ensemble, its folder of the cache made and marked as its own.

    predictors: one for each member of the ensemble's `runs`, by its name.
    cache_dir: predictions are kept in `<cache_dir>/<member>/<view>`; None keeps none.
    Raises UserError, before anything is written, if a folder of the cache belongs to another model.
    """
    sources = [
        Source(predictors[member.name], member, view, cache_dir and cache_dir / member.name / view.name)
        for member, view in settings.runs
    ]
    for source in sources:
        if source.folder is not None:
            _refuse_other_model(source, source.folder)
    for source in sources:
        if source.folder is not None and not (source.folder / MANIFEST).exists():
            write_manifest(source.folder, source.manifest)
    return sources


def predictions(
    sources: Sequence[Source],
    image: NDArray[np.uint8],
    image_id: str,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Prediction]:
    """What each source finds in one image, one after the other; nothing is kept.

    clock: seconds that only rise.
    The views of a model that can look through several at once share its seconds evenly.
    """
    for _, group in groupby(sources, key=lambda source: id(source.predictor)):
        of_model = list(group)
        predictor, views = of_model[0].predictor, [source.view for source in of_model]
        if isinstance(predictor, ManyViewsPredictor) and len(views) > 1:
            began = clock()
            found = predictor.of_views(image, image_id, views)
            each_s = (clock() - began) / len(views)
            for source, cells in zip(of_model, found, strict=True):
                yield Prediction(source, _named(cells, source), each_s)
            continue
        for source in of_model:
            began = clock()
            cells = predictor(image, image_id, source.view)
            yield Prediction(source, _named(cells, source), clock() - began)


def _named(cells: Cells, source: Source) -> Cells:
    return replace(cells, sources=np.full(len(cells), source.name))


def _refuse_other_model(source: Source, folder: Path) -> None:
    """Raise UserError if the source's folder holds predictions of anything else."""
    if (folder / MANIFEST).exists():
        differing = _differences(read_manifest(folder), source.manifest)
        if differing:
            raise UserError(
                f"{folder}: holds predictions of another model: {'; '.join(differing)}; choose another "
                "folder, or delete this one to predict again"
            )
    elif any(folder.glob("*.npz")):
        raise UserError(
            f"{folder}: holds .npz files but no {MANIFEST} that says which model they are of; choose "
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
