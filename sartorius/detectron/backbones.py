"""The feature pyramid over a residual network, with as many stages and as fine a first one as the settings ask for."""

import math

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
from detectron2.modeling.backbone.resnet import ResNet, build_resnet_backbone

#: How the names of the residual network's weights begin, in every network here.
RESIDUAL_WEIGHTS = "backbone.bottom_up."


def add_backbone_keys(cfg: CfgNode) -> None:
    """Give a detectron2 configuration the keys of this module."""
    cfg.MODEL.RESNETS.STEM_STRIDE = 2


def build_cell_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """A ResNet under a feature pyramid whose coarsest level is pooled from the last stage that is used.

    detectron2's `build_resnet_fpn_backbone` is the same for networks that end at res5 with stride 32, which it takes
    for granted. Levels are named after their stride: p2 has 4, and with a stem of stride 1 there is p1 with 2.
    """
    bottom_up = build_cell_resnet(cfg, input_shape)
    _end_frozen_stages_in_planes(bottom_up, cfg.MODEL.BACKBONE.FREEZE_AT)
    coarsest = LastLevelMaxPool()
    last_stride = bottom_up.output_shape()[cfg.MODEL.FPN.IN_FEATURES[-1]].stride
    coarsest.in_feature = f"p{int(math.log2(last_stride))}"
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=coarsest,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def build_cell_resnet(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """A ResNet with the stride of its stem, and the stages, that the configuration asks for."""
    network = build_resnet_backbone(cfg, input_shape)
    if cfg.MODEL.RESNETS.STEM_STRIDE == 1:
        _remove_first_stride(network)
    return network


def _end_frozen_stages_in_planes(bottom_up: ResNet, freeze_at: int) -> None:
    """On a CPU in training the first layers with gradients get channels as planes, however the frozen ones computed."""
    if freeze_at:
        stages = [bottom_up.stem, *bottom_up.stages]
        last = stages[min(freeze_at, len(stages)) - 1]
        last.register_forward_hook(
            lambda stage, given, x: x.contiguous() if stage.training and not x.is_cuda else x
        )


def _remove_first_stride(network: ResNet) -> None:
    network.stem.conv1.stride = (1, 1)
    network.stem.stride //= 2
    for name in network._out_feature_strides:
        network._out_feature_strides[name] //= 2


if build_cell_fpn_backbone.__name__ not in BACKBONE_REGISTRY:
    BACKBONE_REGISTRY.register(build_cell_fpn_backbone)
