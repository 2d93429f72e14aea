"""Heads whose random draws depend on the picture alone, and which learn from what they find as well.

Anchors and proposals are sampled from torch's global generator. Seeding it for each picture makes the losses of a
picture the same whichever batch, process or resumed run it is seen in. Exceptions are `DetectionMemory`, and pictures of
several sizes in a batch: the anchors of a margin count.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor

from sartorius.config.architecture import DETECTION_HEADS
from sartorius.detectron import batched
from sartorius.detectron.batched import SamplingRules, drawn_proposals
from sartorius.detectron.box_refinement import BoxRefinementHead, moved, to_learn
from sartorius.detectron.box_voting import voted
from sartorius.detectron.detection_memory import OF_EACH, PICTURES, DetectionMemory
from sartorius.detectron.mask_head import well_found
from sartorius.detectron.mask_iou import MaskIoUHead, mask_iou_loss, own_cells, predicting
from sartorius.metrics.matching import THRESHOLDS


def add_detection_head_keys(cfg: CfgNode) -> None:
    """Give a detectron2 configuration the keys of this module: which heads look at detections, and which alone train."""
    cfg.MODEL.ROI_HEADS.BOX_REFINEMENT_HEAD = False
    cfg.MODEL.ROI_HEADS.MASK_IOU_HEAD = False
    cfg.MODEL.ROI_HEADS.TRAIN_ONLY = []


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


class CellHeads:
    """Laid over detectron2's heads: proposals are sampled by the picture's own seed, and each type has a least score."""

    def __init__(self, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> None:
        super().__init__(cfg, input_shape)
        self.seeds = PictureSeeds()
        self._cell_counts: list[int] | None = None
        self.register_buffer("min_scores", torch.tensor(cfg.MODEL.ROI_HEADS.MIN_SCORES), persistent=False)
        self.most_detections = cfg.TEST.DETECTIONS_PER_IMAGE
        seen = (
            input_shape[cfg.MODEL.ROI_HEADS.IN_FEATURES[0]].channels,
            cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION,
            cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        )
        refines, judges = cfg.MODEL.ROI_HEADS.BOX_REFINEMENT_HEAD, cfg.MODEL.ROI_HEADS.MASK_IOU_HEAD
        self.box_refinement_head = BoxRefinementHead(*seen) if refines else None
        self.mask_iou_head = MaskIoUHead(*seen) if judges else None
        self.memory = DetectionMemory(PICTURES if cfg.MODEL.ROI_HEADS.TRAIN_ONLY else 0)
        self.least_score = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST
        self.nms_iou = cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST
        self.voting_sigma = cfg.MODEL.ROI_HEADS.BOX_VOTING_SIGMA

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Losses in training, detections otherwise."""
        found, losses = super().forward(images, features, proposals, targets)
        heads = [head for head in DETECTION_HEADS if getattr(self, head) is not None]
        if self.training and heads:
            losses |= self.detection_losses(features, proposals, targets, heads)
        return found, losses

    def detection_losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances],
        heads: Sequence[str],
    ) -> dict[str, Tensor]:
        """The losses of these heads on what the network finds in training pictures; their gradients go no further.

        heads: of "box_refinement_head", "mask_head", which learns from detections whose masks fit a cell by half at
            least, and "mask_iou_head".
        """
        losses = {}
        with predicting(self):
            found = self._forward_box(features, proposals)
            pixels = self._mask_features(features, found)
        if "box_refinement_head" in heads:
            self._remember(pixels, found, targets)
            losses["loss_box_refinement"] = self.box_refinement_head.loss(self.memory.drawn())
            if len(heads) == 1:
                return losses
        with predicting(self):
            found, pixels = self._refined(features, found, pixels)
            found = self.mask_head(pixels, found)
            numbers, ious = zip(*map(own_cells, found, targets), strict=True)
        if "mask_iou_head" in heads:
            losses["loss_mask_iou"] = mask_iou_loss(self.mask_iou_head(pixels, found), ious)
        if "mask_head" in heads:
            fits = [own >= THRESHOLDS[0] for own in ious]
            learnt = list(map(well_found, found, targets, numbers, fits))
            losses |= self.mask_head(pixels[torch.cat(fits)], learnt)
        return losses

    def remember(
        self, features: dict[str, Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> None:
        """Let `detection_losses` know these pictures as if it had computed theirs."""
        with predicting(self):
            found = self._forward_box(features, proposals)
            self._remember(self._mask_features(features, found), found, targets)

    def _remember(self, pixels: Tensor, found: list[Instances], targets: list[Instances]) -> None:
        own = []
        for picture in zip(pixels.split([len(image) for image in found]), found, targets, strict=True):
            self.seeds.apply_next()
            own.append(to_learn(*picture).some(OF_EACH))
        self.memory.add(own)

    def _forward_box(
        self, features: dict[str, Tensor], proposals: list[Instances], *targets: object
    ) -> dict[str, Tensor] | list[Instances]:
        """Losses in training; otherwise detections, before a mask is drawn of any."""
        if self.training:
            return super()._forward_box(features, proposals, *targets)
        boxes, scores = self._boxes_and_scores(features, proposals)
        sizes = [own.image_size for own in proposals]
        found, _ = fast_rcnn_inference(boxes, scores, sizes, self.least_score, self.nms_iou, -1)
        found = [
            image[image.scores >= self.min_scores[image.pred_classes]][: self.most_detections]
            for image in found
        ]
        if not self.voting_sigma:
            return found
        votes = zip(found, boxes, scores, strict=True)
        return [voted(image, *own, self.least_score, self.voting_sigma) for image, *own in votes]

    def _boxes_and_scores(
        self, features: dict[str, Tensor], proposals: list[Instances]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """For each picture (R, 4 K) boxes, or (R, 4) for all classes alike, and (R, K + 1) scores of its R proposals."""
        raise NotImplementedError

    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Proposals that train the heads, each picture's drawn by its own seed."""
        self._cell_counts = None
        usual = self.proposal_append_gt and self.proposal_matcher.labels == [0, 1]
        if not usual or not batched.is_quicker(proposals[0].proposal_boxes.device):
            return super().label_and_sample_proposals(proposals, targets)
        return self._sample_together(proposals, targets)

    def _sample_together(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """The same for all pictures at once; remembers how many of each are cells, which come first."""
        most, (cell_from,) = self.batch_size_per_image, self.proposal_matcher.thresholds[1:-1]
        rules = SamplingRules(most, int(most * self.positive_fraction), cell_from, self.num_classes)
        keys = []
        for own, cells in zip(proposals, targets, strict=True):
            self.seeds.apply_next()
            keys.append(torch.rand(len(own) + len(cells), device=own.proposal_boxes.device))
        with torch.no_grad():
            drawn, self._cell_counts = drawn_proposals(proposals, targets, keys, rules)
        storage, cell_count = get_event_storage(), sum(self._cell_counts) / len(drawn)
        storage.put_scalar("roi_head/num_fg_samples", cell_count)
        storage.put_scalar("roi_head/num_bg_samples", sum(map(len, drawn)) / len(drawn) - cell_count)
        return drawn

    def _sample_proposals(self, *matches: Tensor) -> tuple[Tensor, Tensor]:
        self.seeds.apply_next()
        return super()._sample_proposals(*matches)

    def _forward_mask(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        """The mask loss in training, of the proposals that are cells; otherwise the instances with masks."""
        if not self.training:
            return self._drawn(features, instances)
        if self._cell_counts is None:
            return super()._forward_mask(features, instances)
        cells = [own[:count] for own, count in zip(instances, self._cell_counts, strict=True)]
        self._cell_counts = None
        levels = [features[name] for name in self.mask_in_features]
        return self.mask_head(self.mask_pooler(levels, [own.proposal_boxes for own in cells]), cells)

    def _drawn(self, features: dict[str, Tensor], found: list[Instances]) -> list[Instances]:
        """The instances with masks.

        Those that were found here, and not given, lie in refined boxes where there is a head for these; where one foresees
        how well masks fit, they have its scores and the order of these.
        """
        pixels = self._mask_features(features, found)
        given = not found[0].has("scores")
        if not given:
            found, pixels = self._refined(features, found, pixels)
        found = self.mask_head(pixels, found)
        return found if given or self.mask_iou_head is None else self.mask_iou_head.rescored(pixels, found)

    def _refined(
        self, features: dict[str, Tensor], found: list[Instances], pixels: Tensor
    ) -> tuple[list[Instances], Tensor]:
        """The detections in refined boxes and what the mask head sees of these; as they were without a head for it."""
        if self.box_refinement_head is None:
            return found, pixels
        found = moved(found, self.box_refinement_head(pixels, found))
        return found, self._mask_features(features, found)

    def _mask_features(self, features: dict[str, Tensor], found: list[Instances]) -> Tensor:
        """(N, C, S, S) what the mask head sees of each detection of all pictures."""
        levels = [features[name] for name in self.mask_in_features]
        return self.mask_pooler(levels, [own.pred_boxes for own in found])
