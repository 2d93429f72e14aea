"""An ensemble at work on one image after the other, which can be made smaller while it runs."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings
from sartorius.data.images import read_image
from sartorius.data.leakage import pixel_hash
from sartorius.data.predictions import prediction_path, read_cells, write_cells
from sartorius.errors import UserError
from sartorius.pipeline.budget import part_names
from sartorius.pipeline.predictor import ManyPartsPredictor, Predictor
from sartorius.pipeline.sources import Source, fused_predictions, open_sources, wanted_sources


class Seen(NamedTuple):
    """What every source found in one image that is fused there.

    found: cells by name of the source.
    part_seconds: seconds of each `member/view` that was run, so of none that was in the cache.
    """

    found: dict[str, Cells]
    part_seconds: Mapping[str, float]


class NarrowingEnsemble:
    """The sources of an ensemble with their cache.

    cache_dir: predictions are kept there and used again; None keeps none.
    Raises UserError, before anything is written, if a folder of the cache belongs to another model.
    """

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        settings: EnsembleSettings,
        cache_dir: Path | None,
        clock: Callable[[], float],
    ) -> None:
        self._predictors, self._cache_dir, self._clock = predictors, cache_dir, clock
        self._keeps = True
        self.settings = settings
        self._sources = open_sources(predictors, settings, cache_dir)

    def narrow(self, settings: EnsembleSettings) -> None:
        """Go on with fewer members or views; what they would have found is in no cache.

        Where members and views are fused inside the networks the result is another one, which is not kept; what the
        whole ensemble found is still taken from the cache.
        """
        self.settings = settings
        if settings.stage_wise is None:
            self._sources = open_sources(self._predictors, settings, self._cache_dir)
        else:
            self._sources = [_narrowed(source, settings) for source in self._sources]
            self._keeps = False

    def lacking(self, image_id: str) -> list[str]:
        """Every `member/view` that will be run on an image because it is not in the cache.

        Those that the image's type leaves out are among them unless all is in the cache that tells the type.
        """
        missing = [source for source in self._sources if source.kept(image_id) is None]
        names = [source.name for source in self._wanted(missing, image_id)]
        return part_names(self.settings) if names and self.settings.stage_wise is not None else names

    def seen(self, image_id: str, path: Path) -> Seen:
        """What every source finds in one image in which it is fused, taken from the cache where it is there.

        Raises UserError if the image cannot be read, or what is in the cache was found in another one of its name.
        """
        image = read_image(path)
        picture = pixel_hash(image)
        for source in self._sources:
            source.refuse_other_picture(image_id, picture)
        found = {source.name: _kept(source, image_id) for source in self._sources}
        cells = {name: kept for name, kept in found.items() if kept is not None}
        seconds = self._predict(image_id, image, cells, picture)
        in_order = {source.name: cells[source.name] for source in self._sources if source.name in cells}
        return Seen(in_order, seconds)

    def _predict(
        self,
        image_id: str,
        image: NDArray[np.uint8],
        cells: dict[str, Cells],
        picture: str,
    ) -> dict[str, float]:
        """The seconds of each part that is run; what is found beside what `cells` has goes there and into the cache."""
        seconds: dict[str, float] = {}
        looks = fused_predictions(self._sources, self.settings, dict(cells), image, image_id, self._clock)
        for source, found, part_seconds in looks:
            cells[source.name] = found
            seconds.update(part_seconds)
            if source.folder is not None and self._keeps:
                _keep(prediction_path(source.folder, image_id), found, picture)
        return seconds

    def _wanted(self, missing: list[Source], image_id: str) -> list[Source]:
        """Those of the missing sources that the image's type does not leave out; all as long as its type is not told."""
        paths = {
            source.name: source.kept(image_id)
            for source in self._sources
            if source.name in self.settings.typing_sources
        }
        kept = {name: path for name, path in paths.items() if path is not None}
        if not missing or len(kept) < len(paths):
            return missing
        try:
            told = {name: read_cells(path) for name, path in kept.items()}
            return wanted_sources(missing, self.settings, told)
        except UserError:  # told when it is the image's turn
            return missing


def _narrowed(source: Source, settings: EnsembleSettings) -> Source:
    """The source with fewer members or views inside, if its predictor can do with fewer."""
    predictor = source.predictor
    if not isinstance(predictor, ManyPartsPredictor):
        return source
    return source._replace(predictor=predictor.narrowed(settings))


def _keep(path: Path, found: Cells, picture: str) -> None:
    """Write what was found into the cache; if it cannot be written, the log tells so and the cells still count."""
    try:
        write_cells(path, found, picture)
    except (UserError, OSError) as error:
        logging.getLogger("sartorius").warning("not kept for another run: %s", error)


def _kept(source: Source, image_id: str) -> Cells | None:
    """The cached cells of an image; None if there are none or their file is damaged, told in the log."""
    path = source.kept(image_id)
    if path is None:
        return None
    try:
        return read_cells(path)
    except UserError as error:
        logging.getLogger("sartorius").warning("predicting again: %s", error)
        return None
