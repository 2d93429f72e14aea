"""An ensemble as one callable: an image array in, its cells out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings, load_ensemble_settings
from sartorius.config.fusion import PostprocessSettings
from sartorius.data.grey_levels import grey_bytes
from sartorius.pipeline.foreign import refuse_foreign
from sartorius.pipeline.fusing import fused_and_cleaned
from sartorius.pipeline.predictor import Predictor
from sartorius.pipeline.sources import fused_predictions, open_sources


class Ensemble:
    """The models of an ensemble file, loaded, with its views, fusion and clean-up.

    settings: the ensemble file's settings.
    predictors: the model of each member of `settings.runs`, by its name.
    """

    def __init__(self, settings: EnsembleSettings, predictors: Mapping[str, Predictor]) -> None:
        self.settings = settings
        self.predictors = predictors

    def __call__(self, image: NDArray[Any], image_id: str = "image") -> Cells:
        """The cells of an image: found by every model in every view, fused into one mask per cell, cleaned.

        image: (height, width) grey or (height, width, 3 or 4) red, green, blue, of any number type; what becomes black
            and white is told by `sartorius.data.grey_levels.levels_of`.
        image_id: what to call the image in the result.
        Returns disjoint cells by falling score; an image without cells gives a record of length 0.
        Raises ValueError for arrays of other shapes or with pixels that are no numbers.
        """
        return self.fuse(self.predict(image, image_id))

    def predict(self, image: NDArray[Any], image_id: str = "image") -> dict[str, Cells]:
        """What every model finds in every view, by source `member/view`: the slow half, worth keeping.

        image: as for the call. Sources that the image's type leaves out do not look at it.
        """
        sources = open_sources(self.predictors, self.settings, None)
        found = fused_predictions(sources, self.settings, {}, grey_bytes(image), image_id)
        return {prediction.source.name: prediction.cells for prediction in found}

    def fuse(self, predicted: Mapping[str, Cells], postprocess: PostprocessSettings | None = None) -> Cells:
        """The cells that all sources agree on, cleaned: the quick half, to run again with other thresholds.

        predicted: what `predict` returned.
        postprocess: thresholds and minimum areas in place of the ensemble's own.
        """
        settings = self.settings
        if postprocess is not None:
            settings = settings.model_copy(update={"postprocess": postprocess})
        return fused_and_cleaned(predicted, settings)


def load_ensemble(path: str | Path, device: str = "cpu") -> Ensemble:
    """The ensemble of a YAML file with its models loaded.

    path: the ensemble file; model and weights files are found relative to it.
    device: what torch computes on: cpu, cuda, cuda:1 …
    Raises UserError if a file is missing or wrong, torch or detectron2 is not installed, or the device is not there.
    """
    settings = load_ensemble_settings(Path(path))
    refuse_foreign(Path(path), settings, "an image array may be of any image")
    from sartorius.detectron.ensemble import load_predictors  # torch takes seconds to import

    return Ensemble(settings, dict(load_predictors(Path(path), settings, device)))
