"""One model seen through one view, and where its predictions are kept."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius import __version__
from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.members import MemberSettings, ViewSettings
from sartorius.config.model import ModelSettings
from sartorius.config.tiling import TilingSettings
from sartorius.data.predictions import (
    MANIFEST,
    PredictionManifest,
    prediction_path,
    read_manifest,
    read_picture,
    write_manifest,
)
from sartorius.errors import UserError
from sartorius.pipeline.by_type import fused_sources
from sartorius.pipeline.predictor import (
    ManyPartsPredictor,
    ManyViewsPredictor,
    OverlappingPredictor,
    Predictor,
)
from sartorius.pipeline.staleness import INFERENCE_KEYS, MEMBERS_SHA256, PRECISION_KEYS
from sartorius.pipeline.tiling import pieces_of, put_together


class Source(NamedTuple):
    """One model seen through one view.

    tiling: how large images are cut up; None where the predictor wants every image whole.
    folder: where its predictions are kept; None keeps none.
    """

    predictor: Predictor
    member: MemberSettings
    view: ViewSettings
    tiling: TilingSettings | None
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
            model=self.member.model or self.member.predictions,
            view=self.view.name,
            config=self._config,
            package_version=__version__,
            weights_sha256=self.predictor.weights_sha256,
        )

    @property
    def _config(self) -> dict[str, Any]:
        """The predictor's own, as it will be read back; with the tiling, if it is not the usual one."""
        config: dict[str, Any] = json.loads(json.dumps(dict(self.predictor.config)))
        if self.tiling in (None, TilingSettings()):
            return config
        return {**config, "tiling": self.tiling.model_dump(mode="json")}

    def kept(self, image_id: str) -> Path | None:
        """The file of an image's prediction if it is there already."""
        path = None if self.folder is None else prediction_path(self.folder, image_id)
        return path if path is not None and path.exists() else None

    def refuse_other_picture(self, image_id: str, picture: str) -> None:
        """Raise UserError if what is kept was found in another image of the same name; picture: this one's `pixel_hash`."""
        path = self.kept(image_id)
        if path is not None and read_picture(path) not in ("", picture):
            raise UserError(
                f"{path}: holds predictions of another image called {image_id}; choose another folder, or delete this "
                "file to predict again"
            )


class Prediction(NamedTuple):
    """What one source found in one image.

    part_seconds: the seconds of the source, or of each `member/view` that its predictor runs inside, by name.
    """

    source: Source
    cells: Cells
    part_seconds: Mapping[str, float]


#: Makes the cells of a look, of which the network's part is done.
Finish = Callable[[], list[Prediction]]


def open_sources(
    predictors: Mapping[str, Predictor], settings: EnsembleSettings, cache_dir: Path | None
) -> list[Source]:
    """Every source of an ensemble, its folder of the cache made and marked as its own.

    predictors: one for each member of the ensemble's `runs`, by its name.
    cache_dir: predictions are kept in `<cache_dir>/<member>/<view>`; None keeps none.
    Raises UserError, before anything is written, if a folder of the cache belongs to another model.
    """
    sources = [
        Source(
            predictors[member.name],
            member,
            view,
            None if member.predictions else settings.tiling,
            cache_dir and cache_dir / member.name / view.name,
        )
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
    """What each source finds in one image of any size, one after the other; nothing is kept.

    clock: seconds that only rise.
    The views of a model that can look through several at once share its seconds by their pixels.
    """
    for finish in looks(sources, image, image_id, clock):
        yield from finish()


def fused_predictions(
    sources: Sequence[Source],
    settings: EnsembleSettings,
    known: Mapping[str, Cells],
    image: NDArray[np.uint8],
    image_id: str,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Prediction]:
    """What each source that is not known and is fused in the image finds there: first those that tell its type.

    sources: all of the ensemble's. known: what some found, by name. Otherwise as `predictions`.
    """
    found = dict(known)
    telling = [source for source in sources if source.name in settings.typing_sources]
    for prediction in predictions([one for one in telling if one.name not in known], image, image_id, clock):
        found[prediction.source.name] = prediction.cells
        yield prediction
    yield from predictions(wanted_sources(sources, settings, found), image, image_id, clock)


def wanted_sources(
    sources: Sequence[Source], settings: EnsembleSettings, told: Mapping[str, Cells]
) -> list[Source]:
    """Those of the sources that are fused in an image and have not looked at it.

    told: the cells of those that have, among them all that tell its type, by name.
    """
    fused = fused_sources(told, settings)
    return [source for source in sources if source.name in fused and source.name not in told]


def looks(
    sources: Sequence[Source],
    image: NDArray[np.uint8],
    image_id: str,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Finish]:
    """Each look of a predictor at one image, through as many views as it takes at once, with its networks' part done.

    What is yielded makes the cells when it is called, once, by any thread. In turn they give what `predictions` does.
    """
    for _, group in groupby(sources, key=lambda source: id(source.predictor)):
        of_model = list(group)
        at_once = isinstance(of_model[0].predictor, ManyViewsPredictor)
        for together in [of_model] if at_once else [[source] for source in of_model]:
            yield _looked(together, image, image_id, clock)


def _looked(
    together: Sequence[Source], image: NDArray[np.uint8], image_id: str, clock: Callable[[], float]
) -> Finish:
    """One predictor's look at an image through the views of all its sources, with the network's part done.

    Of a large image's pieces only the last is left unfinished: what a network drew takes the memory of many pictures.
    """
    began, parts, tiling = clock(), dict[str, float](), together[0].tiling
    pieces = iter([image]) if tiling is None else pieces_of(image, tiling)
    last, seen = _look(together, next(pieces), image_id, parts), list[list[Cells]]()
    for piece in pieces:
        seen.append(last())
        last = _look(together, piece, image_id, parts)
    network_s, size_hw = clock() - began, (image.shape[0], image.shape[1])
    pixels = sum(source.view.scale**2 for source in together)

    def finish() -> list[Prediction]:
        began = clock()
        all_seen = [*seen, last()]
        found = all_seen[0] if tiling is None else put_together(all_seen, size_hw, tiling)
        pixel_s = (network_s + clock() - began) / pixels
        return [
            Prediction(source, _named(cells, source), parts or {source.name: pixel_s * source.view.scale**2})
            for source, cells in zip(together, found, strict=True)
        ]

    return finish


def _look(
    together: Sequence[Source], piece: NDArray[np.uint8], image_id: str, part_seconds: dict[str, float]
) -> Callable[[], list[Cells]]:
    """One predictor's look at a piece of an image through the views of all its sources; adds to the seconds of its parts."""
    predictor, views = together[0].predictor, [source.view for source in together]
    if isinstance(predictor, OverlappingPredictor):
        return predictor.look(piece, image_id, views)
    if isinstance(predictor, ManyViewsPredictor):
        found = predictor.of_views(piece, image_id, views)
    else:
        found = [predictor(piece, image_id, view) for view in views]
    if isinstance(predictor, ManyPartsPredictor):
        for part, seconds in predictor.part_seconds.items():
            part_seconds[part] = part_seconds.get(part, 0.0) + seconds
    return lambda: found


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
    """What tells two sources apart, as text; where the settings file lies, how weights that are the same were trained
    and the package's version do not, nor whether the members' hashes, which `weights_sha256` is made of, are told too.
    """
    found = [
        f"{name} is {_short(getattr(there, name))} there and {_short(getattr(now, name))} now"
        for name in ("source", "weights_sha256")
        if getattr(there, name) != getattr(now, name)
    ]
    of_training = ModelSettings.model_fields.keys() - {*INFERENCE_KEYS, *PRECISION_KEYS}
    keys = sorted(
        key
        for key in {*there.config, *now.config} - of_training - {MEMBERS_SHA256}
        if there.config.get(key) != now.config.get(key)
    )
    found += [f"{key} is {there.config.get(key)!r} there and {now.config.get(key)!r} now" for key in keys[:5]]
    return found + ([f"{len(keys) - 5} more settings differ"] if len(keys) > 5 else [])


def _short(text: str) -> str:
    return f"{text[:12]}…" if len(text) == 64 else repr(text)
