"""The mask head: only the mask of each cell's own class is computed, and its loss can be chosen.

detectron2 draws a mask for every class and then takes one; its transposed convolution is slow on CPUs. Here that is one
matrix product, and the last layer is one vector for each cell.
"""

from collections.abc import Iterator, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling import ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor
from torch.nn import functional

#: Cells that a CPU takes at once through the convolutions, which prepare their weights each time, and through what
#: follows, whose many numbers then stay near the processor.
CONVOLVED_AT_ONCE, DRAWN_AT_ONCE = 256, 32


def add_mask_keys(cfg: CfgNode) -> None:
    """Give a detectron2 configuration the keys of this module."""
    cfg.MODEL.ROI_MASK_HEAD.LOSS = "bce"


class CellMaskHead(MaskRCNNConvUpsampleHead):
    """detectron2's mask head with the loss that the settings name.

    loss: "bce", "dice" or "bce_dice".
    """

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, loss: str, **rest: object) -> None:
        super().__init__(input_shape, **rest)
        self.loss = loss

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, object]:
        """The arguments that a configuration stands for."""
        return super().from_config(cfg, input_shape) | {"loss": cfg.MODEL.ROI_MASK_HEAD.LOSS}

    def forward(self, x: Tensor, instances: list[Instances]) -> dict[str, Tensor] | list[Instances]:
        """The mask loss in training; otherwise the instances with `pred_masks`, (N, 1, 2 S, 2 S) probabilities.

        x: (N, C, S, S) features of all images' instances in a row.
        """
        if self.training:
            classes = cat([image.gt_classes for image in instances])
            logits = self.own_logits(x, classes).float()
            return {"loss_mask": mask_loss(logits, instances, self.loss) * self.loss_weight}
        classes = cat([image.pred_classes for image in instances])
        drawn = torch.cat(list(self._probabilities(x, classes)))[:, None]
        for image, masks in zip(instances, drawn.split([len(image) for image in instances]), strict=True):
            image.pred_masks = masks
        return instances

    def own_logits(self, x: Tensor, classes: Tensor) -> Tensor:
        """(N, 2 S, 2 S) logits of each instance's mask for its class; x is (N, C, S, S)."""
        return self._drawn(self._convolved(x), classes)

    def _probabilities(self, x: Tensor, classes: Tensor) -> Iterator[Tensor]:
        """Parts of the (N, 2 S, 2 S) probabilities, as many at once as the device is quick with."""
        sizes = (max(len(x), 1),) * 2 if x.is_cuda else (CONVOLVED_AT_ONCE, DRAWN_AT_ONCE)
        for pixels, own in zip(x.split(sizes[0]), classes.split(sizes[0]), strict=True):
            parts = self._convolved(pixels).split(sizes[1]), own.split(sizes[1])
            yield from (self._drawn(*part).float().sigmoid() for part in zip(*parts, strict=True))

    def _convolved(self, x: Tensor) -> Tensor:
        """(N, C, S, S) after the convolutions at the features' own resolution."""
        for convolution in self.conv_norm_relus:
            x = convolution(x)
        return x

    def _drawn(self, x: Tensor, classes: Tensor) -> Tensor:
        """(N, 2 S, 2 S) logits from what `_convolved` returned."""
        count, channels, rows, cols = x.shape
        kernel = self.deconv.weight.permute(0, 2, 3, 1).reshape(channels, -1)
        pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
        finer = torch.addmm(self.deconv.bias.repeat(4), pixels, kernel).relu_()
        if self.predictor.out_channels == 1:
            classes = torch.zeros_like(classes)
        own = self.predictor.weight[classes].view(count, self.deconv.out_channels, 1)
        logits = (
            torch.bmm(finer.view(count, rows * cols * 4, self.deconv.out_channels), own)
            + self.predictor.bias[classes, None, None]
        )
        quarters = logits.view(count, rows, cols, 2, 2)
        return quarters.permute(0, 1, 3, 2, 4).reshape(count, 2 * rows, 2 * cols)


def mask_loss(logits: Tensor, instances: list[Instances], kind: str) -> Tensor:
    """The mean over images of the mean loss of an image's masks; an image without cells counts as 0.

    logits: (N, S, S) of all images' foreground proposals in a row, each for its own class.
    instances: for each image its proposals with `proposal_boxes` and `gt_masks`.
    kind: "bce", "dice" or "bce_dice", see `MASK_LOSSES`.
    """
    counts = [len(image) for image in instances]
    if not sum(counts):
        return logits.sum() * 0
    side = logits.shape[-1]
    targets = cat(
        [
            image.gt_masks.crop_and_resize(image.proposal_boxes.tensor, side)
            for image in instances
            if len(image)
        ]
    )
    get_event_storage().put_scalar("mask_rcnn/accuracy", float(((logits > 0) == targets).float().mean()))
    each = sum(MASK_LOSSES[name](logits, targets.float()) for name in kind.split("_"))
    return (each * image_shares(counts, logits.device)).sum()


def well_found(found: Instances, cells: Instances, numbers: Tensor, fits: Tensor) -> Instances:
    """Detections as proposals that train the mask head, each with its own cell and the class that it was found to have.

    numbers: (n,) of each detection's own cell. fits: (n,) bool, which detections are taken.
    """
    return Instances(
        found.image_size,
        proposal_boxes=found.pred_boxes[fits],
        gt_classes=found.pred_classes[fits],
        gt_masks=cells.gt_masks[numbers[fits]],
    )


def bce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean cross entropy of each mask's pixels: (N, S, S) logits and 0/1 targets to (N,)."""
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=(1, 2))


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus each mask's soft Dice overlap: (N, S, S) logits and 0/1 targets to (N,) of 0 to 1.

    One pixel is added above and below the fraction bar, so that empty masks have a loss of 0 and a gradient.
    Source: Sudre et al. 2017, Generalised Dice overlap, for one class; V-Net's (Milletari et al. 2016) squares the sums' terms.
    """
    inside = torch.sigmoid(logits)
    shared = (inside * targets).sum(dim=(1, 2))
    return 1 - (2 * shared + 1) / (inside.sum(dim=(1, 2)) + targets.sum(dim=(1, 2)) + 1)


MASK_LOSSES = {"bce": bce_loss, "dice": dice_loss}


def image_shares(counts: Sequence[int], device: torch.device) -> Tensor:
    """(sum of counts,) weights that turn a sum over rows into the mean over images of each image's mean."""
    each = torch.tensor([1 / (len(counts) * max(count, 1)) for count in counts])
    return each.repeat_interleave(torch.tensor(counts)).to(device)


if CellMaskHead.__name__ not in ROI_MASK_HEAD_REGISTRY:
    ROI_MASK_HEAD_REGISTRY.register(CellMaskHead)
