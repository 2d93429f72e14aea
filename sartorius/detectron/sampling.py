"""Random draws inside the network that depend on the picture alone.

Anchors and proposals are sampled from torch's global generator. Seeding it for each picture makes the losses of a
picture the same whichever batch, process or resumed run it is seen in.
"""

from collections import deque
from collections.abc import Iterable

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances
from torch import Tensor

from sartorius.detectron.anchor_matching import match_anchors


class PictureSeeds:
    """The seeds of the pictures of one forward pass, taken one after the other."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()

    def expect(self, seeds: Iterable[int]) -> None:
        """Take these seeds for the next pass; what an earlier pass left is forgotten."""
        self._waiting = deque(seeds)

    def apply_next(self) -> None:
        """Seed torch for the next picture; without seeds its generator goes on as it was."""
        if self._waiting:
            torch.manual_seed(self._waiting.popleft())


class CellRPN(RPN):
    """detectron2's proposal network, sampling each picture's anchors by the picture's own seed."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)
        self.seeds = PictureSeeds()

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels of all anchors of each image, -1 where not sampled, and the box of the cell each stands for."""
        together = Boxes.cat(anchors).tensor
        if together.is_cuda or self.anchor_boundary_thresh >= 0 or self.anchor_matcher.labels != [0, -1, 1]:
            return super().label_and_sample_anchors(anchors, gt_instances)
        low, high = self.anchor_matcher.thresholds[1:3]
        labels, boxes = [], []
        for image in gt_instances:
            cells = image.gt_boxes.tensor
            matched, label = match_anchors(cells.numpy(), together.numpy(), low, high)
            labels.append(self._subsample_labels(torch.from_numpy(label)))
            boxes.append(cells[torch.from_numpy(matched)] if len(cells) else torch.zeros_like(together))
        return labels, boxes

    def _subsample_labels(self, label: Tensor) -> Tensor:
        self.seeds.apply_next()
        return super()._subsample_labels(label)


class CellHeads:
    """Laid over detectron2's heads: proposals are sampled by the picture's own seed, and each type has a least score."""

    def __init__(self, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> None:
        super().__init__(cfg, input_shape)
        self.seeds = PictureSeeds()
        self.register_buffer("min_scores", torch.tensor(cfg.MODEL.ROI_HEADS.MIN_SCORES), persistent=False)

    def _forward_box(self, *arguments: object) -> object:
        """Losses in training; otherwise detections, before a mask is drawn of any."""
        found = super()._forward_box(*arguments)
        if self.training or not len(self.min_scores):
            return found
        return [image[image.scores >= self.min_scores[image.pred_classes]] for image in found]

    def _sample_proposals(self, *matches: Tensor) -> tuple[Tensor, Tensor]:
        self.seeds.apply_next()
        return super()._sample_proposals(*matches)


class CellRCNN(GeneralizedRCNN):
    """detectron2's Mask R-CNN that hands each training picture's `seed` to where it draws at random."""

    def forward(self, batched_inputs: list[dict[str, object]]) -> object:
        """Losses in training, detections otherwise."""
        if self.training and "seed" in batched_inputs[0]:
            seeds = [int(picture["seed"]) for picture in batched_inputs]
            self.proposal_generator.seeds.expect(seeds)
            self.roi_heads.seeds.expect(seed + 1 for seed in seeds)
        return super().forward(batched_inputs)


if CellRPN.__name__ not in PROPOSAL_GENERATOR_REGISTRY:
    PROPOSAL_GENERATOR_REGISTRY.register(CellRPN)
if CellRCNN.__name__ not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(CellRCNN)
