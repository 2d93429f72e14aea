"""Fusion inside the networks: boxes of all models and views first, then every mask head on the fused boxes.

Averaging finished masks compares masks drawn on different boxes. Here all mask heads look at the same boxes, so their
probabilities can be averaged cell by cell of one grid. Detections of R50 and X101, or any other mix, take part alike.
Source: the fusion most common among the competition's best teams.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from sartorius.cells import Cells, no_cells
from sartorius.config.ensemble import EnsembleSettings, StageWiseSettings
from sartorius.config.members import ViewSettings
from sartorius.detectron.predictor import MASK_THRESHOLD, Predictor
from sartorius.errors import UserError
from sartorius.fusion import boxes as box_fusion
from sartorius.fusion.engine import fusion_of
from sartorius.pipeline.staleness import MEMBERS_SHA256
from sartorius.soft_masks import binarised

Floats = NDArray[np.float64]


class StageWisePredictor:
    """All members and views of an ensemble as one predictor.

    members: the predictors by member name; they must know the same cell types.
    settings: the ensemble; its `stage_wise` says how boxes are fused.
    `part_seconds` are the seconds of each `member/view` in the last call.
    Raises UserError if two members have different cell types, or one draws no masks in boxes.
    """

    def __init__(self, members: Mapping[str, Predictor], settings: EnsembleSettings) -> None:
        self._members = members
        self._settings = settings
        self._stage_wise = settings.stage_wise or StageWiseSettings()
        self.part_seconds: dict[str, float] = {}
        for name, member in members.items():
            if member.settings.network == "flows":
                raise UserError(
                    f"stage_wise: masks are drawn in fused boxes, which member {name!r} with `network: flows` does not do; "
                    "leave it out, or stage_wise"
                )
        types = {name: sorted(member.settings.cell_types) for name, member in members.items()}
        if len({tuple(known) for known in types.values()}) > 1:
            raise UserError(f"stage_wise: all members must have the same cell_types, got {types}")

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the members' own, by name."""
        parts = (f"{name}={member.weights_sha256}" for name, member in sorted(self._members.items()))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def config(self) -> dict[str, object]:
        """Everything that the prediction depends on, as plain values."""
        return {
            "stage_wise": self._stage_wise.model_dump(mode="json"),
            "views": [view.model_dump(mode="json", exclude={"weight"}) for view in self._settings.views],
            "weights": {member.name: member.weight for member in self._settings.members},
            "members": {name: dict(member.config) for name, member in sorted(self._members.items())},
            MEMBERS_SHA256: {name: member.weights_sha256 for name, member in sorted(self._members.items())},
        }

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        """The cells of one image: fused boxes with the mean mask probability of all members and views on them.

        image: (H, W) uint8 grey. view: the identity; the ensemble's own views are run inside.
        """
        if view != ViewSettings():
            raise ValueError(f"a stage-wise ensemble runs its views itself, got view {view.name!r}")
        self.part_seconds = {}
        found = {}
        for name, member in self._members.items():
            for view in self._settings.views:
                with self._timed(f"{name}/{view.name}"):
                    found[f"{name}/{view.name}"] = member(image, image_id, view)
        fused, boxes = self._fused_boxes(found)
        if not len(fused):
            return no_cells(image_id, fused.size_hw)
        soft = np.rint(self._mean_probabilities(image, boxes, fused) * 255).astype(np.uint8)
        cells = Cells(
            image_id=image_id,
            size_hw=fused.size_hw,
            masks=binarised(soft, boxes, fused.size_hw, MASK_THRESHOLD),
            scores=fused.scores,
            cell_types=fused.cell_types,
            sources=fused.sources,
            soft_masks=soft,
            soft_boxes_xyxy=boxes,
        )
        return cells[cells.areas_px > 0]

    def narrowed(self, settings: EnsembleSettings) -> "StageWisePredictor":
        """The same with the members and views of `settings` only."""
        return StageWisePredictor(
            {member.name: self._members[member.name] for member in settings.members}, settings
        )

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began_s = time.monotonic()
        yield
        self.part_seconds[part] = self.part_seconds.get(part, 0.0) + time.monotonic() - began_s

    def _fused_boxes(self, found: Mapping[str, Cells]) -> tuple[Cells, NDArray[np.float32]]:
        """The fused cells and their boxes, each the mean of its votes' boxes weighted by score and member weight."""
        weight = {member.name: member.weight for member in self._settings.members}
        weights = {source: weight[source.split("/")[0]] for source in found}
        fusion = fusion_of(found, self._stage_wise.boxes, weights)
        boxes = box_fusion.detected_boxes(fusion.found, [found[name] for name in fusion.found.names])
        rows, cell = fusion.clusters.voters()
        shares = np.maximum(fusion.found.votes[rows], np.finfo(np.float32).tiny)
        count = len(fusion.clusters.seeds)
        total = np.bincount(cell, shares, minlength=count)
        means = [np.bincount(cell, shares * boxes[rows, side], minlength=count) / total for side in range(4)]
        chosen = np.searchsorted(fusion.clusters.seeds, fusion.cell_seeds)
        return fusion.cells, np.stack(means, axis=1)[chosen].astype(np.float32)

    def _mean_probabilities(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float32], fused: Cells
    ) -> Floats:
        """(N, S, S) mean over members, by their weights, and views; S is the largest grid of any member."""
        weight = {member.name: member.weight for member in self._settings.members}
        side = max(member.mask_side for member in self._members.values())
        total = np.zeros((len(fused), side, side))
        for name, member in self._members.items():
            for view in self._settings.views:
                with self._timed(f"{name}/{view.name}"):
                    probabilities = member.probabilities_on(image, view, boxes, fused.cell_types)
                total += weight[name] * _on_grid(probabilities, side)
        return total / (sum(weight[name] for name in self._members) * len(self._settings.views))


def _on_grid(probabilities: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Soft masks resampled to a grid of another side; before binarising, so that no edge is lost."""
    if probabilities.shape[1] == side:
        return probabilities
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(probabilities)[:, None], (side, side), mode="bilinear", align_corners=False
    )
    return resized[:, 0].numpy()
