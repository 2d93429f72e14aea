"""`fuse`: the detections of many sources become the cells of one image."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, together
from sartorius.config.fusion import (
    ClusterSettings,
    FusionSettings,
    MaskNmsSettings,
    MasksSettings,
    NmsSettings,
    NmwSettings,
    SoftNmsSettings,
    WbfSettings,
)
from sartorius.config.per_type import values_for
from sartorius.fusion import boxes
from sartorius.fusion.clusters import Clusters, with_votes
from sartorius.fusion.detections import LEAST_WEIGHT, Detections, detections, soft_boxes
from sartorius.fusion.overlaps import mask_clusters, mask_nms
from sartorius.fusion.scoring import confidences, voted_types
from sartorius.line_runs import Ints
from sartorius.mask_means import Means, Probabilities, averaged
from sartorius.overlap import Pairs, pairs_within
from sartorius.soft_masks import grid_bounds

Floats = NDArray[np.float64]

#: Where a row keeps its own mask, the probability inside it is that of the pixels from here on.
OWN_MASK_THRESHOLD = 0.5


class Fusion(NamedTuple):
    """A fused image and how it came to be.

    found: the N detections.
    grouped: what the strategy made of them, before cells with too few votes are dropped.
    clusters: the same after that, K cells.
    cells: the fused cells by falling score; those without a pixel left out.
    cell_seeds: (len(cells),) the seed of each fused cell.
    """

    found: Detections
    grouped: Clusters
    clusters: Clusters
    cells: Cells
    cell_seeds: Ints


def fuse(
    sources: Mapping[str, Cells], settings: FusionSettings, weights: Mapping[str, float] | None = None
) -> Cells:
    """The cells of one image that its sources found, each once.

    sources: cells by source name "member/view"; every source that looked at the image is a key, even if it found
        nothing, for that counts against what only others found.
    settings: the strategy and its options.
    weights: positive weight of each source's votes; only ratios matter. None weighs all alike.
    Returns cells by falling score, in an order that does not depend on that of sources or rows; masks may overlap.
    `sources` names where each cell's seed comes from, the detection with the highest weight times score. With
    "masks" a cell has the mean mask of its votes and no soft mask; with the others it has its seed's own masks.
    Detections with empty masks take no part. No detections, no cells.
    Raises ValueError if there is no source, sources are of different images, or the weights do not fit.
    Raises UserError if a per-type setting has no value for a cell's type.
    """
    return fusion_of(sources, settings, weights).cells


def fusion_of(
    sources: Mapping[str, Cells], settings: FusionSettings, weights: Mapping[str, float] | None = None
) -> Fusion:
    """What `fuse` does, with its intermediate results; arguments and errors are the same."""
    return fused_by(prepared(sources, weights), settings)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What every fusion of one image begins with, whatever its settings.

    found: the N detections of all sources.
    parts: the sources' records in the order of `found.names`.
    """

    found: Detections
    parts: list[Cells]

    @cached_property
    def pairs(self) -> Pairs:
        """The detections whose masks share pixels."""
        return pairs_within(self.found.runs, self.found.boxes_xyxy)


def prepared(sources: Mapping[str, Cells], weights: Mapping[str, float] | None = None) -> Prepared:
    """The detections of all sources, ready for `fused_by`; arguments and errors are those of `fuse`."""
    if not sources:
        raise ValueError("fuse() needs at least one source, one that found nothing at least")
    found = detections(sources, weights)
    return Prepared(found, [sources[name] for name in found.names])


def fused_by(image: Prepared, settings: FusionSettings) -> Fusion:
    """The fusion of a prepared image; raises UserError if a per-type setting has no value for a cell's type."""
    found, parts = image.found, image.parts
    grouped = _group(image, settings)
    clusters = with_votes(grouped, settings.min_votes) if isinstance(settings, ClusterSettings) else grouped
    types = voted_types(found, clusters)
    seeds = clusters.seeds
    means = _mean_masks(found, parts, clusters, types, settings)
    scores = confidences(found, clusters, settings, means.inside, lambda: image.pairs)
    names = np.array(found.names)[found.source[seeds]]
    if isinstance(settings, MasksSettings):
        fused = Cells(found.image_id, found.size_hw, means.masks, scores, types, names)
    else:
        own = together(parts)[found.origin[seeds]]
        fused = replace(own, scores=scores, cell_types=types, sources=names)
    order = np.argsort(-fused.scores, kind="stable")
    order = order[fused.areas_px[order] > 0]
    return Fusion(found, grouped, clusters, fused[order], seeds[order])


def _group(image: Prepared, settings: FusionSettings) -> Clusters:
    found = image.found
    if isinstance(settings, MasksSettings):
        return mask_clusters(found, image.pairs, settings)
    if isinstance(settings, MaskNmsSettings):
        return mask_nms(found, image.pairs, settings)
    detected = boxes.detected_boxes(found, image.parts)
    if isinstance(settings, NmsSettings):
        return boxes.box_nms(found, detected, settings)
    if isinstance(settings, SoftNmsSettings):
        return boxes.soft_nms(found, detected, settings)
    if isinstance(settings, NmwSettings):
        return boxes.nmw(found, detected, settings)
    if isinstance(settings, WbfSettings):
        return boxes.wbf(found, detected, settings)
    raise ValueError(f"no strategy for {type(settings).__name__}")


def _mean_masks(
    found: Detections,
    parts: list[Cells],
    clusters: Clusters,
    types: NDArray[np.str_],
    settings: FusionSettings,
) -> Means:
    """The mean masks of the cells; for strategies that keep the seed's mask only the probability inside it."""
    if isinstance(settings, MasksSettings):
        rows, cell = clusters.voters()
        weights = found.weights[rows]
        if settings.weigh_masks_by_score:
            weights = weights * np.maximum(found.scores[rows], LEAST_WEIGHT)
        thresholds = values_for(settings.mask_threshold, types)
    else:
        rows, cell = clusters.seeds, np.arange(len(clusters.seeds))
        if settings.mask_score_power == 0:
            return Means((), np.ones(len(rows)))
        weights, thresholds = np.ones(len(rows)), np.full(len(rows), OWN_MASK_THRESHOLD)
    return averaged(_probabilities(found, parts), rows, cell, weights, thresholds, found.size_hw)


def _probabilities(found: Detections, parts: list[Cells]) -> Probabilities:
    """What every detection says about every pixel, each source at the resolution of its own soft masks."""
    grids = [_grids(part) for part in parts]
    sides = np.concatenate(
        [np.full(len(part), grid.shape[-1]) for part, grid in zip(parts, grids, strict=True)]
    )
    boxes_xyxy = soft_boxes(found, parts)
    values = sides.astype(np.int64) ** 2
    grid_starts, sides = (np.cumsum(values) - values)[found.origin], sides[found.origin].astype(np.int64)
    on_grid = grid_bounds(boxes_xyxy, sides, found.size_hw)
    bounds = np.where((sides > 0)[:, None], on_grid, found.boxes_xyxy)
    return Probabilities(
        np.concatenate([grid.ravel() for grid in grids]), grid_starts, sides, boxes_xyxy, bounds, found.runs
    )


def _grids(cells: Cells) -> NDArray[np.uint8]:
    return np.zeros((len(cells), 0, 0), dtype=np.uint8) if cells.soft_masks is None else cells.soft_masks
