"""A network that draws flows instead of boxes: a residual network, a U-Net's way up, and cells where the flows lead.

What it finds has the form of Mask R-CNN's detections, so that views, fusion and submission take it as they take those.
Source: Stringer et al. 2021, Cellpose; Ronneberger et al. 2015, U-Net.
"""

from collections import defaultdict
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.backbone.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional

from sartorius.detectron.backbones import build_cell_resnet
from sartorius.detectron.flow_cells import DrawnPicture, cells_of
from sartorius.detectron.precision import require_range
from sartorius.detectron.quick import quicken
from sartorius.detectron.transfer import Answer

#: Channels on the way up beside the stem and each residual stage.
WIDTHS = {"stem": 64, "res2": 64, "res3": 96, "res4": 128, "res5": 160}
#: Flows of length 1 are learnt as vectors of this length, so that they weigh as much as the pixels' kinds.
FLOW_LENGTH = 5.0
#: Padding makes sides multiples of this, the largest stride.
DIVISIBILITY = 32


class Drawing(NamedTuple):
    """What the network draws of a picture, each pixel of the stem's stride.

    flows: (2, H, W) vertical and horizontal, of `FLOW_LENGTH`. inside: (H, W) logits of being in a cell.
    types: (K, H, W) logits of that cell's type.
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
    """The network of `network: flows`: losses of what it draws in training, otherwise the drawing."""

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
        self._cells_of = partial(
            cells_of, min_scores=np.array(min_scores), most_cells=most_cells, mask_side=mask_side
        )
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        quicken(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        """The arguments that a configuration stands for."""
        return {
            "backbone": UNet(build_cell_resnet(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN)))),
            "types": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "mask_side": 2 * cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION,
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
        """The mean losses of pictures in training, otherwise the `Drawing` of each.

        batched_inputs: each with `image` (1, H, W) and, in training, the targets that `flow_targets` made of the picture.
        """
        drawings = self._drawings([picture["image"] for picture in batched_inputs])
        if not self.training:
            return drawings
        losses = [_losses(drawn, picture) for drawn, picture in zip(drawings, batched_inputs, strict=True)]
        return {name: torch.stack([one[name] for one in losses]).mean() for name in losses[0]}

    def answers(self, batched_inputs: list[dict[str, object]], given: None = None) -> list[Answer]:
        """The cells of each picture, made on the CPU when they are called for, without torch; none can be given."""
        assert given is None
        pictures = []
        for picture, drawn in zip(batched_inputs, self(batched_inputs), strict=True):
            planes = (drawn.flows / FLOW_LENGTH, drawn.inside.sigmoid(), drawn.types.softmax(dim=0))
            network_hw = tuple(picture["image"].shape[1:])
            pictures.append(
                DrawnPicture(*(plane.cpu().numpy() for plane in planes), self._stride, network_hw)
            )
        return [partial(self._cells_of, picture) for picture in pictures]

    def _drawings(self, planes: list[Tensor]) -> list[Drawing]:
        """What is drawn of each picture (1, H, W): of one size together, as no other size's padding may be seen."""
        of_size = defaultdict[torch.Size, list[int]](list)
        for number, plane in enumerate(planes):
            of_size[plane.shape].append(number)
        found: dict[int, Drawing] = {}
        for (_, height, width), numbers in of_size.items():
            pixels = torch.stack([planes[number] for number in numbers]).to(self.device)
            normalised = (pixels - self.pixel_mean) / self.pixel_std
            padded = functional.pad(normalised, (0, -width % DIVISIBILITY, 0, -height % DIVISIBILITY))
            up = self.backbone(padded.contiguous(memory_format=torch.channels_last))
            drawn = self.flow_head(up), self.type_head(up)
            if not self.training:
                require_range(drawn)
            window = np.s_[..., : -(-height // self._stride), : -(-width // self._stride)]
            flows, types = (part.float()[window] for part in drawn)
            for row, number in enumerate(numbers):
                found[number] = Drawing(flows[row, :2], flows[row, 2], types[row])
        return [found[number] for number in range(len(planes))]

    @property
    def _stride(self) -> int:
        """Side of a drawn pixel in pixels of the picture."""
        return int(self.backbone.bottom_up.stem.stride) // 2  # with its pooling


def _losses(drawn: Drawing, picture: dict[str, object]) -> dict[str, Tensor]:
    """What one picture adds: squared distance of the flows, cross entropies of being in a cell and of its type."""
    flows, classes = picture["flows"], picture["cell_classes"].long()
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
