"""Which sources are fused in an image and how, by the type that its detections have."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.fusion import FusionSettings
from sartorius.postprocess import type_of_scores


class ImageFusion(NamedTuple):
    """What is fused of one image and how: the arguments of `fuse`.

    sources: the cells of every source that takes part, by name. weights: of the same, above 0.
    """

    sources: Mapping[str, Cells]
    settings: FusionSettings
    weights: Mapping[str, float]


def image_fusion(sources: Mapping[str, Cells], settings: EnsembleSettings) -> ImageFusion:
    """How one image is fused.

    sources: the cells of every source of the ensemble by name `member/view`; those that the image's type leaves out may
        be missing.
    Raises UserError if a weight has no value for the type of a detection.
    """
    return typed_fusion(sources, settings, detected_type(sources, settings))


def typed_fusion(
    sources: Mapping[str, Cells], settings: EnsembleSettings, cell_type: str | None
) -> ImageFusion:
    """What `image_fusion` returns for an image of a type; None for one without detections."""
    weights = _weights(settings, cell_type)
    return ImageFusion({name: sources[name] for name in weights}, settings.fusion_of_type(cell_type), weights)


def fused_sources(sources: Mapping[str, Cells], settings: EnsembleSettings) -> tuple[str, ...]:
    """The names of all sources that are fused in an image; sources: those at least that no type leaves out."""
    return tuple(_weights(settings, detected_type(sources, settings)))


def _weights(settings: EnsembleSettings, cell_type: str | None) -> dict[str, float]:
    if cell_type is None:
        return dict.fromkeys(settings.typing_sources, 1.0)
    return settings.weights_for(cell_type)


def detected_type(sources: Mapping[str, Cells], settings: EnsembleSettings) -> str | None:
    """The cell type with the highest sum of score times weight over the detections of all sources that no type leaves out.

    None without any detection of these.
    """
    names = sorted(settings.typing_sources)
    types = np.concatenate([sources[name].cell_types for name in names])
    weights = {cell_type: settings.weights_for(cell_type) for cell_type in np.unique(types).tolist()}
    votes = [
        sources[name].scores * [weights[cell_type][name] for cell_type in sources[name].cell_types.tolist()]
        for name in names
    ]
    return type_of_scores(types, np.concatenate(votes))
