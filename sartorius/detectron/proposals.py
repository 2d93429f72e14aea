"""The proposal network, trained on its sampled anchors alone.

Its loss looks at 256 anchors of an image. detectron2 takes the gradient through the convolution over every pixel; here
the sampled places are computed a second time, for the loss. Losses and gradients are the same.
"""

import torch
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.box_regression import _dense_box_regression_loss
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor
from torch.nn import functional

from sartorius.detectron import batched
from sartorius.detectron.anchor_matching import match_anchors
from sartorius.detectron.batched import (
    ProposalRules,
    best_of_level,
    drawn_labels,
    labelled_anchors,
    top_proposals,
)
from sartorius.detectron.convolution import QuickConv2d
from sartorius.detectron.precision import require_range
from sartorius.detectron.sampling import PictureSeeds


class CellRPN(RPN):
    """detectron2's proposal network, sampling each picture's anchors by the picture's own seed."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)
        self.seeds = PictureSeeds()

    def forward(
        self, images: ImageList, features: dict[str, Tensor], gt_instances: list[Instances] | None = None
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Proposals of each image and, in training, the losses."""
        head = self.rpn_head
        if not self.training or type(head) is not StandardRPNHead or type(head.conv) is not QuickConv2d:
            return super().forward(images, features, gt_instances)
        levels = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(levels)
        with torch.no_grad():
            logits, deltas = head(levels)
            torch.clear_autocast_cache()  # it holds weights that remember no gradient
            flat = [level.permute(0, 2, 3, 1).flatten(1) for level in logits]
            boxes = [level.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for level in deltas]
            if batched.is_quicker(levels[0].device):
                rules = ProposalRules(
                    self.pre_nms_topk[True], self.post_nms_topk[True], self.nms_thresh, self.min_box_size
                )
                sizes = images.image_sizes
                proposals = top_proposals(anchors, flat, boxes, sizes, self.box2box_transform, rules)
            else:
                proposals = self.predict_proposals(anchors, flat, boxes, images.image_sizes)
        labels, cells = self.label_and_sample_anchors(anchors, gt_instances)
        return proposals, self._sampled_losses(levels, anchors, torch.stack(labels), torch.stack(cells))

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        logits: list[Tensor],
        deltas: list[Tensor],
        sizes_hw: list[tuple[int, int]],
    ) -> list[Instances]:
        """`RPN.predict_proposals`, which in inference leaves out boxes that are no numbers without a word.

        That one decodes and sorts all anchors, of an image some 370,000; on a CPU only the best of each level are decoded.
        A GPU goes on as it did: of its scores in 16 bits many are equal, of which another choice would be made.
        Raises UserError in inference if numbers did not fit into float16 or bfloat16.
        """
        if not self.training:
            require_range(logits)
        if logits[0].device.type != "cpu":
            return super().predict_proposals(anchors, logits, deltas, sizes_hw)
        most = self.pre_nms_topk[self.training]
        found = [
            best_of_level(*level, self.box2box_transform, most)
            for level in zip(anchors, logits, deltas, strict=True)
        ]
        scores, boxes = map(list, zip(*found, strict=True))
        return find_top_rpn_proposals(
            boxes,
            scores,
            sizes_hw,
            self.nms_thresh,
            most,
            self.post_nms_topk[self.training],
            self.min_box_size,
            self.training,
        )

    def _sampled_losses(
        self, levels: list[Tensor], anchors: list[Boxes], labels: Tensor, cells: Tensor
    ) -> dict[str, Tensor]:
        """The losses of `RPN.losses`, with predictions made for the sampled anchors only.

        labels: (images, anchors) of all levels, -1 where not sampled. cells: (images, anchors, 4).
        """
        sizes = [len(level) for level in anchors]
        found = []
        for level, own, label, cell in zip(
            levels, anchors, labels.split(sizes, dim=1), cells.split(sizes, dim=1), strict=True
        ):
            image, number = (label >= 0).nonzero(as_tuple=True)
            rows = label[image, number], cell[image, number], own.tensor[number]
            found.append((*self._at(level, image, number), *rows))
        logits, deltas, label, cell, anchor = (torch.cat(column) for column in zip(*found, strict=True))
        box_loss = _dense_box_regression_loss(
            [Boxes(anchor)],
            self.box2box_transform,
            [deltas[None]],
            [cell],
            (label == 1)[None],
            box_reg_loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        class_loss = functional.binary_cross_entropy_with_logits(
            logits, label.to(logits.dtype), reduction="sum"
        )
        sampled = self.batch_size_per_image * len(labels)
        losses = {"loss_rpn_cls": class_loss / sampled, "loss_rpn_loc": box_loss / sampled}
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def _at(self, level: Tensor, image: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
        """The logits (M,) and box deltas (M, 4) that the head gives for some anchors of a level.

        level: (N, C, H, W) features. image, anchor: (M,) numbers of image and of anchor, in the order of `RPN`.
        """
        head, (rows, cols) = self.rpn_head, level.shape[2:]
        kinds = head.objectness_logits.out_channels
        place, kind = anchor // kinds, anchor % kinds
        near = torch.arange(-1, 2, device=level.device)
        row = (place // cols)[:, None, None] + near[:, None]
        col = (place % cols)[:, None, None] + near
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        around = level[image[:, None, None], :, row.clamp(0, rows - 1), col.clamp(0, cols - 1)]
        around = (around * inside[..., None]).flatten(1)
        kernel = head.conv.weight.permute(0, 2, 3, 1).flatten(1)
        hidden = head.conv.activation(functional.linear(around, kernel, head.conv.bias))
        return (
            _own_rows(hidden, head.objectness_logits, kinds, kind)[:, 0],
            _own_rows(hidden, head.anchor_deltas, kinds, kind),
        )

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels of all anchors of each image, -1 where not sampled, and the box of the cell each stands for."""
        together = Boxes.cat(anchors).tensor
        if self.anchor_boundary_thresh >= 0 or self.anchor_matcher.labels != [0, -1, 1]:
            return super().label_and_sample_anchors(anchors, gt_instances)
        low, high = self.anchor_matcher.thresholds[1:3]
        cells = [image.gt_boxes.tensor for image in gt_instances]
        if batched.is_quicker(together.device):
            matched, found = labelled_anchors(cells, together, low, high)
            labels = list(self._drawn_together(found))
        else:
            pairs = [match_anchors(own.numpy(), together.numpy(), low, high) for own in cells]
            matched = [torch.from_numpy(numbers) for numbers, _ in pairs]
            labels = [self._subsample_labels(torch.from_numpy(label)) for _, label in pairs]
        boxes = [
            own[numbers] if len(own) else torch.zeros_like(together)
            for own, numbers in zip(cells, matched, strict=True)
        ]
        return labels, boxes

    def _drawn_together(self, labels: Tensor) -> Tensor:
        """(pictures, A) the labels of the anchors that are drawn, each picture's by its own seed."""
        keys = torch.empty(labels.shape, device=labels.device)
        for own in keys:
            self.seeds.apply_next()
            own.uniform_()
        most = self.batch_size_per_image
        return drawn_labels(labels, keys, most, int(most * self.positive_fraction))

    def _subsample_labels(self, label: Tensor) -> Tensor:
        self.seeds.apply_next()
        return super()._subsample_labels(label)


def _own_rows(hidden: Tensor, layer: QuickConv2d, kinds: int, kind: Tensor) -> Tensor:
    """A 1 × 1 convolution at M places, of which each wants the outputs of its own kind of anchor alone.

    hidden: (M, C). kind: (M,). Returns (M, outputs / kinds).
    """
    every = functional.linear(hidden, layer.weight.flatten(1), layer.bias)
    return every.unflatten(1, (kinds, -1))[torch.arange(len(kind), device=kind.device), kind].float()


if CellRPN.__name__ not in PROPOSAL_GENERATOR_REGISTRY:
    PROPOSAL_GENERATOR_REGISTRY.register(CellRPN)
