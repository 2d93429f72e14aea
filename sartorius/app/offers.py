"""The ensembles that a visitor can choose from, and their models, loaded when first used."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from sartorius.config import EnsembleSettings, load_ensemble_settings, load_model_settings
from sartorius.config.per_type import value_for
from sartorius.errors import UserError
from sartorius.pipeline import Predictor
from sartorius.pipeline.foreign import refuse_foreign

#: Gives the trained models of an ensemble file by member name.
Loader = Callable[[Path, EnsembleSettings], Mapping[str, Predictor]]

_say = logging.getLogger("sartorius")


class Offer(NamedTuple):
    """An ensemble that is ready to run.

    key: what its files are kept under; unique among the offers.
    title: what the visitor reads.
    cell_types: the types that its models tell apart, in their order.
    thresholds: the score that a cell of each type needs, as the ensemble's file says.
    """

    key: str
    title: str
    path: Path
    settings: EnsembleSettings
    cell_types: tuple[str, ...]
    thresholds: Mapping[str, float]


class Choice(NamedTuple):
    """What a visitor has set.

    thresholds: the least score by cell type, of all that the page has.
    um_per_px: micrometres per pixel; None measures in pixels only.
    quantity: the key of what the charts show, of the selected image or of_all that were searched.
    """

    offer: Offer
    thresholds: Mapping[str, float]
    um_per_px: float | None = None
    quantity: str = "area"
    of_all: bool = False

    def key(self, image_id: str) -> str:
        """Tells which cells are shown of an image."""
        return json.dumps([image_id, self.offer.key, sorted(self.thresholds.items())])


def find_offers(folder: Path | None, given: Sequence[Path] = ()) -> list[Offer]:
    """The ensembles to choose from: those given first, then those of the folder that have their weights here, small ones first.

    folder: a folder of ensemble files; None or a missing one has none. A file of it that is wrong is left out with a
        warning.
    Raises UserError if a given file is wrong or lacks its weights, or if there is nothing to choose from.
    """
    named = {path.resolve(): path for path in given}
    in_folder = {path.resolve(): path for path in sorted(folder.glob("*.yaml"))} if folder is not None else {}
    ready = {path: _given_settings(path) for path in named.values()}
    ready |= _complete([path for place, path in in_folder.items() if place not in named])
    if not ready:
        raise UserError(
            f"{folder or 'no folder'}: expected an ensemble file whose weights are here, found none of "
            f"{len(in_folder)}; name one on the command line: sartorius app ENSEMBLE"
        )
    titles = [_title(path) for path in ready]
    return [
        _offer(path, settings, f"{path.stem}-{number}", _told_apart(title, path, titles))
        for number, (title, (path, settings)) in enumerate(zip(titles, ready.items(), strict=True))
    ]


def _given_settings(path: Path) -> EnsembleSettings:
    """The settings of an ensemble file; raises UserError if it is wrong, has no models or lacks their files."""
    settings = load_ensemble_settings(path)
    refuse_foreign(path, settings, "the page is for images that come later")
    absent = _missing_files(path, settings)
    if absent:
        raise UserError(
            f"{path}: expected trained models, but there is no {absent[0]}; train or copy them first"
        )
    return settings


def _complete(paths: Sequence[Path]) -> dict[Path, EnsembleSettings]:
    """The settings of the ensemble files that have their weights here, small ones first; says which files are wrong."""
    found: dict[Path, EnsembleSettings] = {}
    for path in paths:
        try:
            settings = load_ensemble_settings(path)
        except UserError as error:
            _say.warning("%s is not offered: %s", path, error)
            continue
        if not _missing_files(path, settings):
            found[path] = settings
    return dict(sorted(found.items(), key=lambda item: _weight_bytes(*item)))


def _missing_files(path: Path, settings: EnsembleSettings) -> list[Path]:
    """The files of models and weights that an ensemble file names and that are not there."""
    named = [
        Path(os.path.normpath(path.parent / file))
        for member in settings.members
        for file in (member.model, member.weights)
    ]
    return [file for file in named if not file.is_file()]


def _weight_bytes(path: Path, settings: EnsembleSettings) -> int:
    """The bytes of all weights of an ensemble file, which are there: a visitor's first image is not to wait for large models."""
    return sum((path.parent / member.weights).stat().st_size for member in settings.members)


class Models:
    """The loaded models of one ensemble at a time; another one takes their place, so that memory stays bounded."""

    def __init__(self, load: Loader) -> None:
        self._load = load
        self._lock = Lock()
        self._key: str | None = None
        self._predictors: Mapping[str, Predictor] = {}

    def are_loaded(self, offer: Offer) -> bool:
        """Whether the ensemble's models need no loading."""
        return self._key == offer.key

    def of(self, offer: Offer) -> Mapping[str, Predictor]:
        """The predictors of an ensemble by member name; raises UserError if they cannot be loaded."""
        with self._lock:
            if self._key != offer.key:
                self._key, self._predictors = None, {}
                self._predictors = self._load(offer.path, offer.settings)
                self._key = offer.key
            return self._predictors


def _offer(path: Path, settings: EnsembleSettings, key: str, title: str) -> Offer:
    cell_types = _cell_types(path, settings)
    thresholds = {name: value_for(settings.postprocess.score_threshold, name) for name in cell_types}
    return Offer(key, title, path, settings, cell_types, thresholds)


def _cell_types(path: Path, settings: EnsembleSettings) -> tuple[str, ...]:
    names = [
        name
        for member in settings.members
        for name in load_model_settings(path.parent / member.model).cell_types
    ]
    return tuple(dict.fromkeys(names))


def _title(path: Path) -> str:
    name = path.stem.replace("_", " ").replace("-", " ")
    return f"{name[:1].upper()}{name[1:]}"


def _told_apart(title: str, path: Path, titles: Sequence[str]) -> str:
    """The title, with its file's folder if several have it."""
    return f"{title} ({path.resolve().parent.name})" if titles.count(title) > 1 else title
