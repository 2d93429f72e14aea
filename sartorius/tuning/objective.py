"""The competition's score of cached predictions under any settings, exact and quick."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.fusion import ClusterSettings, FusionSettings, PostprocessSettings
from sartorius.config.per_type import value_for
from sartorius.line_runs import Ints
from sartorius.tuning.prefixes import PrefixTable
from sartorius.tuning.stages import CleanKey, FusionKey, ImageStages

Floats = NDArray[np.float64]

#: Options of the clean-up that the tables know; settings that use any other go through the pipeline itself.
KNOWN_OPTIONS = (
    "type_rule", "score_threshold", "max_hole_px", "min_island_px", "min_area_px", "nms_iou", "label_fill_types",
)  # fmt: skip


class Objective:
    """The score of each of I images, in their order, under settings of the ensemble they were predicted by."""

    def __init__(self, images: Sequence[ImageStages]) -> None:
        self.images = tuple(images)
        largest = max((image.truth.size_hw[0] * image.truth.size_hw[1] for image in images), default=0)
        self._owners = np.zeros(largest, dtype=np.int32)

    @property
    def rows(self) -> Ints:
        """(I,) the numbers of all images."""
        return np.arange(len(self.images))

    def types_of(self, rows: Ints, type_rule: str = "vote") -> list[str]:
        """The types, by name, whose settings these images are cleaned by: of each image one, or with rule "none" any detected."""
        images = [self.images[row] for row in rows.tolist()]
        if type_rule == "none":
            return sorted({name for image in images for name in image.detected_types})
        return sorted({image.detected_type for image in images if image.detected_type is not None})

    def image_scores(self, settings: EnsembleSettings, rows: Ints | None = None) -> Floats:
        """The competition's score of each image, fused and cleaned by these settings; rows: only these images."""
        return self._at_thresholds(settings, rows, None, np.zeros(1))[:, 0]

    def curves(
        self, settings: EnsembleSettings, cell_type: str, thresholds: Floats, rows: Ints | None = None
    ) -> Floats:
        """(I, G) the scores with each of G score thresholds for one cell type; rows: only these images.

        Images that are given another type have the same score at each of them.
        """
        if not _is_known(settings.postprocess):
            varied = [with_threshold(settings, cell_type, float(threshold)) for threshold in thresholds]
            return np.stack([self.image_scores(one, rows) for one in varied], axis=1)
        return self._at_thresholds(settings, rows, cell_type, thresholds)

    def _at_thresholds(
        self, settings: EnsembleSettings, rows: Ints | None, cell_type: str | None, thresholds: Floats
    ) -> Floats:
        images = self.images if rows is None else [self.images[row] for row in rows.tolist()]
        scores = np.empty((len(images), len(thresholds)))
        if not _is_known(settings.postprocess):
            scores[:, 0] = [_slow_score(image, settings) for image in images]
            return scores
        resolved = _Resolved(settings)
        for row, image in enumerate(images):
            voted, table = self._voted_and_table(image, resolved)
            varied = voted is not None and voted == cell_type
            scores[row] = table.at(thresholds if varied else resolved.score_threshold(voted))
        return scores

    def _voted_and_table(self, image: ImageStages, resolved: "_Resolved") -> tuple[str | None, PrefixTable]:
        fusing = resolved.fusing(image.detected_type)
        voted = image.voted_type(fusing.settings, FusionKey(fusing.text, 0, 0, False), fusing.min_votes)
        mending, cleaning = resolved.keys(fusing, voted)
        return voted, image.table(fusing.settings, mending, cleaning, self._owners)


def with_threshold(settings: EnsembleSettings, cell_type: str, score_threshold: float) -> EnsembleSettings:
    """The same settings with another score threshold for one cell type."""
    old = settings.postprocess.score_threshold
    new = {**(old if isinstance(old, dict) else {"default": old}), cell_type: score_threshold}
    return settings.model_copy(
        update={"postprocess": settings.postprocess.model_copy(update={"score_threshold": new})}
    )


class _Fusing(NamedTuple):
    """The fusion of images of one type: settings that need one vote, as text too, and the votes needed."""

    settings: FusionSettings
    text: str
    min_votes: int


class _Resolved:
    """Settings as they hold for one type at a time, worked out once for each."""

    def __init__(self, settings: EnsembleSettings) -> None:
        self._settings = settings
        self._fusing: dict[str | None, _Fusing] = {}
        self._keys: dict[tuple[str, int, str | None], tuple[FusionKey, CleanKey]] = {}
        self._thresholds: dict[str | None, Floats] = {}

    def fusing(self, detected_type: str | None) -> _Fusing:
        """The fusion of images whose detections are of this type."""
        if detected_type not in self._fusing:
            fusion, min_votes = self._settings.fusion_of_type(detected_type), 1
            if isinstance(fusion, ClusterSettings):
                min_votes = fusion.min_votes
                fusion = fusion.model_copy(update={"min_votes": 1})
            self._fusing[detected_type] = _Fusing(fusion, fusion.model_dump_json(), min_votes)
        return self._fusing[detected_type]

    def keys(self, fusing: _Fusing, voted: str | None) -> tuple[FusionKey, CleanKey]:
        """What the stages of an image of this type are kept by."""
        key = fusing.text, fusing.min_votes, voted
        if key not in self._keys:
            clean = self._settings.postprocess
            holes, islands, area, nms = (
                0 if voted is None else value_for(setting, voted)
                for setting in (clean.max_hole_px, clean.min_island_px, clean.min_area_px, clean.nms_iou)
            )
            fill = voted in clean.label_fill_types
            mending = FusionKey(fusing.text, int(holes), int(islands), fill)
            self._keys[key] = mending, CleanKey(fusing.min_votes, int(area), float(nms))
        return self._keys[key]

    def score_threshold(self, voted: str | None) -> Floats:
        """(1,) the score threshold of images of this type; 0 for an image without cells."""
        if voted not in self._thresholds:
            setting = self._settings.postprocess.score_threshold
            self._thresholds[voted] = np.array([0.0 if voted is None else value_for(setting, voted)])
        return self._thresholds[voted]


def _slow_score(image: ImageStages, settings: EnsembleSettings) -> float:
    return image.slow_score(settings.fusion_of_type(image.detected_type), settings.postprocess)


def _is_known(postprocess: PostprocessSettings) -> bool:
    """Whether the tables know all that these settings do."""
    changed = postprocess.model_dump(exclude_defaults=True).keys()
    return postprocess.type_rule == "vote" and changed <= set(KNOWN_OPTIONS)
