"""The feature pyramid over a residual network, with as many stages as the settings ask for."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
from detectron2.modeling.backbone.resnet import build_resnet_backbone


def build_cell_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """A ResNet under a feature pyramid whose coarsest level is pooled from the last stage that is used.

    detectron2's `build_resnet_fpn_backbone` is the same for networks that end at res5, which it takes for granted.
    """
    coarsest = LastLevelMaxPool()
    coarsest.in_feature = cfg.MODEL.FPN.IN_FEATURES[-1].replace("res", "p")
    return FPN(
        bottom_up=build_resnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=coarsest,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


if build_cell_fpn_backbone.__name__ not in BACKBONE_REGISTRY:
    BACKBONE_REGISTRY.register(build_cell_fpn_backbone)
