"""A network that draws flows instead of boxes: a residual network, a U-Net's way up, and cells where the flows lead.

What it finds has the form of Mask R-CNN's detections, so that views, fusion and submission take it as they take those.
Source: Stringer et al. 2021, Cellpose; Ronneberger et al. 2015, U-Net.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.backbone.resnet import ResNet
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn
from torch.nn import functional

from sartorius.detectron.backbones import build_cell_resnet
from sartorius.detectron.flow_cells import cells_of
from sartorius.detectron.quick import quicken

#: Channels on the way up beside the stem and each residual stage.
WIDTHS = {"stem": 64, "res2": 64, "res3": 96, "res4": 128, "res5": 160}
#: Flows of length 1 are learnt as vectors of this length, so that they weigh as much as the pixels' kinds.
FLOW_LENGTH = 5.0
#: Padding makes sides multiples of this, the largest stride.
DIVISIBILITY = 32


def add_flow_keys(cfg: CfgNode) -> None:
    """Give a detectron2 configuration the keys of this module."""
    cfg.MODEL.FLOWS = CfgNode()
    cfg.MODEL.FLOWS.MASK_SIDE = 28


class Drawing(NamedTuple):
    """What the network draws of B pictures, each pixel of the stem's stride.

    flows: (B, 2, H, W) vertical and horizontal, of `FLOW_LENGTH`. inside: (B, H, W) logits of being in a cell.
    types: (B, K, H, W) logits of that cell's type.
    """

    flows: Tensor
    inside: Tensor
    types: Tensor


class UNet(nn.Module):
    """The way down, a residual network, and up again to the stem's resolution.

    `bottom_up` has the name that a feature pyramid gives it, so that weights of one fit the other.
    """

    def __init__(self, bottom_up: ResNet) -> None:
        super().__init__()
        self.bottom_up = bottom_up
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)  # the stem's
        deep = bottom_up.output_shape()
        names = ["stem", *bottom_up.stage_names]
        sides = [bottom_up.stem.out_channels, *(deep[name].channels for name in bottom_up.stage_names)]
        widths = [WIDTHS[name] for name in names]
        self.laterals = nn.ModuleList(
            Conv2d(side, width, 1) for side, width in zip(sides, widths, strict=True)
        )
        self.deepest = _block(widths[-1], widths[-1])
        self.narrowed = nn.ModuleList(_block(deeper, width) for width, deeper in pairwise(widths))
        self.joined = nn.ModuleList(_block(width, width) for width in widths[:-1])

    @property
    def in_features(self) -> list[str]:
        """The residual stages, as a feature pyramid names those under it."""
        return self.bottom_up.stage_names

    @property
    def lateral_convs(self) -> list[nn.Module]:
        """The convolutions of the residual stages' results, the deepest first as in a feature pyramid."""
        return list(self.laterals)[:0:-1]

    @property
    def output_convs(self) -> list[nn.Module]:
        """The convolutions on the way up."""
        return [block[0] for block in (self.deepest, *self.narrowed, *self.joined)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pixels to (B, C, H / 2, W / 2), with a stem of stride 1 (B, C, H, W)."""
        x = functional.relu(self.bottom_up.stem.conv1(x))
        features = [x]
        x = self.pool(x)
        for stage in self.bottom_up.stages:
            x = stage(x)
            features.append(x)
        up = self.deepest(self.laterals[-1](features[-1]))
        for level in range(len(self.joined) - 1, -1, -1):
            wider = functional.interpolate(self.narrowed[level](up), size=features[level].shape[-2:])
            up = self.joined[level](wider + self.laterals[level](features[level]))
        return up


def _block(given: int, channels: int) -> nn.Sequential:
    conv = Conv2d(given, channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(8, channels), nn.ReLU(inplace=True))


class CellFlows(nn.Module):
    """The network of `network: flows`: losses of what it draws in training, cells otherwise."""

    @configurable
    def __init__(
        self,
        *,
        backbone: UNet,
        types: int,
        mask_side: int,
        min_scores: list[float],
        most_cells: int,
        pixel_mean: list[float],
        pixel_std: list[float],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        width = WIDTHS["stem"]
        self.flow_head = Conv2d(width, 3, 3, padding=1)
        self.type_head = Conv2d(width, types, 3, padding=1)
        self.mask_side = mask_side
        self._min_scores = np.array(min_scores)
        self._most_cells = most_cells
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        quicken(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        """The arguments that a configuration stands for."""
        return {
            "backbone": UNet(build_cell_resnet(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN)))),
            "types": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "mask_side": cfg.MODEL.FLOWS.MASK_SIDE,
            "min_scores": cfg.MODEL.ROI_HEADS.MIN_SCORES,
            "most_cells": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, object]]) -> object:
        """Losses in training, detections otherwise.

        batched_inputs: each with `image` (1, H, W) and, in training, the targets that `flow_targets` made of the picture.
        """
        if not self.training:
            return self.inference(batched_inputs)
        drawn, images = self._drawing(batched_inputs)
        losses = [
            _losses(Drawing(*(part[row, ..., :rows, :cols] for part in drawn)), picture)
            for row, (picture, (rows, cols)) in enumerate(
                zip(batched_inputs, (self._drawn_hw(size) for size in images.image_sizes), strict=True)
            )
        ]
        return {name: torch.stack([one[name] for one in losses]).mean() for name in losses[0]}

    def inference(
        self,
        batched_inputs: list[dict[str, object]],
        detected_instances: None = None,
        do_postprocess: bool = False,
    ) -> list[Instances]:
        """The cells of each picture by falling score, in its pixels, on the CPU, with soft masks (N, 1, S, S).

        The other arguments are those of detectron2's networks; cells cannot be given, and nothing is pasted.
        """
        assert detected_instances is None
        assert not do_postprocess
        drawn, images = self._drawing(batched_inputs)
        flows, inside = (drawn.flows / FLOW_LENGTH).cpu().numpy(), drawn.inside.sigmoid().cpu().numpy()
        types = drawn.types.softmax(dim=1).cpu().numpy()
        found = []
        for row, size_hw in enumerate(images.image_sizes):
            rows, cols = self._drawn_hw(size_hw)
            window = np.s_[..., :rows, :cols]
            cells = cells_of(flows[row][window], inside[row][window], types[row][window], self.mask_side)
            kept = np.flatnonzero(cells.scores >= self._min_scores[cells.classes])
            best = kept[np.argsort(-cells.scores[kept], kind="stable")][: self._most_cells]
            found.append(cells.instances(best, size_hw, (size_hw[0] / rows, size_hw[1] / cols)))
        return found

    def _drawing(self, batched_inputs: list[dict[str, object]]) -> tuple[Drawing, ImageList]:
        planes = [picture["image"].to(self.device) for picture in batched_inputs]
        normalised = [(plane - self.pixel_mean) / self.pixel_std for plane in planes]
        images = ImageList.from_tensors(normalised, DIVISIBILITY)
        up = self.backbone(images.tensor.contiguous(memory_format=torch.channels_last))
        flows, types = self.flow_head(up).float(), self.type_head(up).float()
        return Drawing(flows[:, :2], flows[:, 2], types), images

    def _drawn_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of what is drawn of a picture."""
        stride = self.backbone.bottom_up.stem.stride // 2  # with its pooling
        return -(-size_hw[0] // stride), -(-size_hw[1] // stride)


def _losses(drawn: Drawing, picture: dict[str, object]) -> dict[str, Tensor]:
    """What one picture adds: squared distance of the flows, cross entropies of being in a cell and of its type."""
    flows, classes = (picture[name].to(drawn.flows.device) for name in ("flows", "cell_classes"))
    inside = classes >= 0
    pixels = inside.sum().clamp(min=1)
    types = functional.cross_entropy(drawn.types[None], classes[None], ignore_index=-1, reduction="sum")
    return {
        "loss_flows": functional.mse_loss(drawn.flows, FLOW_LENGTH * flows) / 2,
        "loss_inside": functional.binary_cross_entropy_with_logits(drawn.inside, inside.float()),
        "loss_types": types / pixels,
    }


if CellFlows.__name__ not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(CellFlows)
