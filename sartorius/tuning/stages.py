"""One image, with everything kept that trials of other settings can use again.

    detections ─► fused cells, by fusion settings ─► table over score thresholds, by votes, areas and NMS ─► score

Each stage is kept by the settings that it depends on. A trial that changes only a score threshold is a look into the
last table; one that changes votes, areas or NMS is one pass over the pixels of the fused cells.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, Strings
from sartorius.column_runs import ColumnRuns, areas_px, boxes_xyxy, column_runs
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.fusion import FusionSettings, PostprocessSettings
from sartorius.fusion.engine import Fusion, Prepared, fused_by, prepared
from sartorius.line_runs import Ints
from sartorius.metrics.competition import average_precision, image_type
from sartorius.overlap import Pairs, pairs_within
from sartorius.parts import without_holes, without_islands
from sartorius.pipeline.by_type import detected_type, typed_fusion
from sartorius.polygon_fill import filled_as_labels
from sartorius.postprocess import clean, repeated_by, type_of_scores
from sartorius.tuning.prefixes import PrefixTable, TrueCells, prefix_table

#: Fused results of one image that are kept, the least recently used being dropped; about 50 kB each.
KEPT_FUSIONS = 32
#: Scores of one image by the pipeline itself that are kept, for two curves over a hundred score thresholds.
KEPT_SLOW_SCORES = 200


class FusionKey(NamedTuple):
    """Settings that the fused cells of an image depend on: fusion but for the votes needed, and what mends masks."""

    fusion: str
    max_hole_px: int
    min_island_px: int
    label_fill: bool


class CleanKey(NamedTuple):
    """What the clean-up after fusion depends on beside the score threshold, for an image of one type."""

    min_votes: int
    min_area_px: int
    nms_iou: float


@dataclass(frozen=True, eq=False)
class FusedImage:
    """The fused cells of one image by falling score, whatever the number of votes that a cell needs.

    runs: masks, after holes and islands were mended and outlines filled.
    scores: (N,) float32; cell_types: (N,); votes: (N,) number of sources that voted for the cell.
    """

    size_hw: tuple[int, int]
    runs: ColumnRuns
    scores: NDArray[np.float32]
    cell_types: Strings
    votes: Ints

    @cached_property
    def areas_px(self) -> Ints:
        """(N,) pixels of the masks."""
        return areas_px(self.runs)

    @cached_property
    def pairs(self) -> Pairs:
        """Cells whose masks share pixels."""
        return pairs_within(self.runs, boxes_xyxy(self.runs, self.size_hw[0]))

    def repeats(self, rows: Ints, nms_iou: float) -> tuple[Ints, Ints]:
        """Places in `rows` of a surer cell and of the one that repeats it, sorted by the surer one."""
        if nms_iou >= 1:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        surer, repeated = repeated_by(self.pairs, self.areas_px, np.full(len(self.scores), nms_iou))
        places = np.full(len(self.scores), -1, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        both = (places[surer] >= 0) & (places[repeated] >= 0)
        return places[surer[both]], places[repeated[both]]


class ImageStages:
    """The stages of one image, each kept; what they give does not depend on what was asked before."""

    def __init__(
        self,
        sources: Mapping[str, Cells],
        truth: Cells,
        settings: EnsembleSettings,
        cell_type: str | None = None,
    ) -> None:
        """sources: of every source that is fused in the image. settings: the ensemble's; only its weights matter.

        cell_type: of the image; None asks its detections.
        """
        self.truth = truth
        self.sources = sources
        self.true_type = image_type(truth)
        self.detected_type = cell_type or detected_type(sources, settings)
        self._fused_of, _, self._weights = typed_fusion(sources, settings, self.detected_type)
        runs = column_runs(truth.masks)
        self._true_cells = TrueCells(runs, areas_px(runs))
        self._fusions: OrderedDict[FusionKey, FusedImage] = OrderedDict()
        self._types: dict[tuple[FusionKey, int], str | None] = {}
        self._tables: dict[tuple[FusionKey, CleanKey], PrefixTable] = {}
        self._slow: OrderedDict[str, float] = OrderedDict()
        self._slowly_fused: tuple[str, Cells] | None = None

    def fused(self, fusion: FusionSettings, key: FusionKey) -> FusedImage:
        """The fused cells of the image by settings that need one vote; key: theirs."""
        if key not in self._fusions:
            found = fused_by(self._prepared, fusion)
            self._fusions[key] = _fused_image(found, key)
            if len(self._fusions) > KEPT_FUSIONS:
                self._fusions.popitem(last=False)
        self._fusions.move_to_end(key)
        return self._fusions[key]

    def voted_type(self, fusion: FusionSettings, key: FusionKey, min_votes: int) -> str | None:
        """The type that the fused cells with enough votes give the image."""
        if (key, min_votes) not in self._types:
            fused = self.fused(fusion, key)
            rows = fused.votes >= min_votes
            self._types[key, min_votes] = type_of_scores(fused.cell_types[rows], fused.scores[rows])
        return self._types[key, min_votes]

    def table(
        self, fusion: FusionSettings, key: FusionKey, cleaning: CleanKey, owners: NDArray[np.int32]
    ) -> PrefixTable:
        """The image's score at every score threshold; owners: (H * W,) zeros to work in."""
        if (key, cleaning) not in self._tables:
            fused = self.fused(fusion, key)
            rows = np.flatnonzero(fused.votes >= cleaning.min_votes)
            repeats = fused.repeats(rows, cleaning.nms_iou)
            scores = fused.scores[rows]
            self._tables[key, cleaning] = prefix_table(
                fused.runs, rows, scores, cleaning.min_area_px, repeats, self._true_cells, owners
            )
        return self._tables[key, cleaning]

    def slow_score(self, fusion: FusionSettings, postprocess: PostprocessSettings) -> float:
        """The image's score by the pipeline itself, for settings that the tables do not know."""
        fusing = fusion.model_dump_json()
        key = f"{fusing}{postprocess.model_dump_json()}"
        if key not in self._slow:
            if self._slowly_fused is None or self._slowly_fused[0] != fusing:
                self._slowly_fused = fusing, fused_by(self._prepared, fusion).cells
            found = clean(self._slowly_fused[1], postprocess)
            self._slow[key] = float(average_precision(found, self.truth).mean())
            if len(self._slow) > KEPT_SLOW_SCORES:
                self._slow.popitem(last=False)
        return self._slow[key]

    @cached_property
    def detected_types(self) -> frozenset[str]:
        """All types that the detections have."""
        return frozenset(name for cells in self.sources.values() for name in cells.cell_types.tolist())

    @cached_property
    def _prepared(self) -> Prepared:
        return prepared(self._fused_of, self._weights)


def _fused_image(found: Fusion, key: FusionKey) -> FusedImage:
    cells = found.cells
    if key.max_hole_px:
        cells = without_holes(cells, np.full(len(cells), key.max_hole_px))
    if key.min_island_px:
        cells = without_islands(cells, np.full(len(cells), key.min_island_px))
    if key.label_fill:
        cells = filled_as_labels(cells, np.ones(len(cells), dtype=np.bool_))
    _, cell = found.clusters.voters()
    seeds = found.clusters.seeds
    votes = np.bincount(cell, minlength=len(seeds))[np.searchsorted(seeds, found.cell_seeds)]
    return FusedImage(cells.size_hw, column_runs(cells.masks), cells.scores, cells.cell_types, votes)
