"""`ModelSettings` in detectron2's own words: one `CfgNode` on top of `get_cfg()`."""

import difflib
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode, get_cfg

from sartorius.config import ModelSettings
from sartorius.detectron.backbones import build_cell_fpn_backbone
from sartorius.errors import UserError

#: Depth, groups, width per group and res2 channels of each backbone, and whether stride 2 sits in the 1 × 1 convolution.
BACKBONES: Mapping[str, tuple[int, int, int, int, bool]] = {
    "r50": (50, 1, 64, 256, True),
    "r50_thin": (50, 1, 32, 128, True),
    "x101_32x8d": (101, 32, 8, 256, False),
}
#: ImageNet weights of each backbone in detectron2's model zoo; none is published for the thin one.
MODEL_ZOO: Mapping[str, str | None] = {
    "r50": "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
    "r50_thin": None,
    "x101_32x8d": "detectron2://ImageNetPretrained/FAIR/X-101-32x8d.pkl",
}
IMAGENET_MEAN_BGR = (103.53, 116.28, 123.675)
#: The MSRA backbones were trained without dividing by a standard deviation, FAIR's with it.
IMAGENET_STD_BGR: Mapping[str, tuple[float, float, float]] = {
    "r50": (1.0, 1.0, 1.0),
    "r50_thin": (1.0, 1.0, 1.0),
    "x101_32x8d": (57.375, 57.120, 58.395),
}
#: Mean and standard deviation of the competition's grey images.
DATASET_MEAN, DATASET_STD = 127.0, 15.0


def detectron_config(settings: ModelSettings, device: str) -> CfgNode:
    """The detectron2 configuration of a model: architecture, solver and inference; frozen.

    device: "cpu", "cuda" or "cuda:1".
    Raises UserError naming the nearest key when `settings.detectron` has one that detectron2 does not know.
    """
    cfg = get_cfg()
    _set_architecture(cfg, settings)
    _set_solver(cfg, settings)
    _set_inference(cfg, settings)
    cfg.MODEL.DEVICE = device
    for key, value in settings.detectron.items():
        _set_key(cfg, key, value)
    cfg.freeze()
    return cfg


def _set_architecture(cfg: CfgNode, settings: ModelSettings) -> None:
    depth, groups, width, res2_channels, stride_in_1x1 = BACKBONES[settings.backbone]
    model = cfg.MODEL
    model.META_ARCHITECTURE = "GeneralizedRCNN"
    model.MASK_ON = True
    model.BACKBONE.NAME = build_cell_fpn_backbone.__name__
    model.BACKBONE.FREEZE_AT = settings.freeze_stages
    model.RESNETS.DEPTH = depth
    model.RESNETS.NUM_GROUPS = groups
    model.RESNETS.WIDTH_PER_GROUP = width
    model.RESNETS.RES2_OUT_CHANNELS = res2_channels
    model.RESNETS.STRIDE_IN_1X1 = stride_in_1x1
    stages = range(2, settings.backbone_stages + 1)
    model.RESNETS.OUT_FEATURES = [f"res{stage}" for stage in stages]
    model.FPN.IN_FEATURES = [f"res{stage}" for stage in stages]
    model.FPN.OUT_CHANNELS = settings.pyramid_channels
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in settings.anchor_sizes_px]
    model.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(settings.anchor_ratios)]
    model.RPN.IN_FEATURES = [f"p{stage}" for stage in range(2, settings.backbone_stages + 2)]
    model.RPN.CONV_DIMS = [-1]
    model.RPN.HEAD_NAME = "StandardRPNHead"
    model.ROI_HEADS.NAME = "StandardROIHeads"
    model.ROI_HEADS.NUM_CLASSES = len(settings.cell_types)
    model.ROI_HEADS.IN_FEATURES = [f"p{stage}" for stage in stages]
    model.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    model.ROI_BOX_HEAD.NUM_FC = 2
    model.ROI_BOX_HEAD.FC_DIM = settings.box_head_channels
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    model.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    model.ROI_MASK_HEAD.NUM_CONV = 4
    model.ROI_MASK_HEAD.CONV_DIM = settings.mask_head_channels
    model.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
    if settings.normalisation == "dataset":
        model.PIXEL_MEAN, model.PIXEL_STD = [DATASET_MEAN] * 3, [DATASET_STD] * 3
    else:
        model.PIXEL_MEAN, model.PIXEL_STD = list(IMAGENET_MEAN_BGR), list(IMAGENET_STD_BGR[settings.backbone])


def _set_solver(cfg: CfgNode, settings: ModelSettings) -> None:
    solver = cfg.SOLVER
    solver.IMS_PER_BATCH = settings.batch_size
    solver.BASE_LR = settings.base_lr
    solver.MAX_ITER = settings.iterations
    solver.WARMUP_ITERS = min(settings.warmup_iterations, settings.iterations)
    solver.WEIGHT_DECAY = settings.weight_decay
    solver.CHECKPOINT_PERIOD = settings.checkpoint_period
    solver.LR_SCHEDULER_NAME = {"cosine": "WarmupCosineLR", "steps": "WarmupMultiStepLR"}[settings.schedule]
    solver.STEPS = tuple(int(fraction * settings.iterations) for fraction in settings.step_fractions)
    if settings.clip_gradient_norm is not None:
        solver.CLIP_GRADIENTS.ENABLED = True
        solver.CLIP_GRADIENTS.CLIP_TYPE = "norm"
        solver.CLIP_GRADIENTS.CLIP_VALUE = settings.clip_gradient_norm
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = settings.rpn_batch
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = settings.roi_batch
    cfg.DATALOADER.NUM_WORKERS = settings.data_workers
    cfg.TEST.EVAL_PERIOD = settings.evaluation_period


def _set_inference(cfg: CfgNode, settings: ModelSettings) -> None:
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = settings.proposals_before_nms
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = cfg.MODEL.RPN.POST_NMS_TOPK_TEST = settings.proposals_after_nms
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = settings.min_score
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = settings.box_nms_iou
    cfg.TEST.DETECTIONS_PER_IMAGE = settings.detections_per_image


def _set_key(cfg: CfgNode, key: str, value: Any) -> None:
    known = _dotted_keys(cfg)
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"detectron: detectron2 has no setting {key!r}{hint}")
    try:
        cfg.merge_from_list([key, value])
    except (ValueError, AssertionError) as error:
        raise UserError(f"detectron: {key}: {error}") from None


def _dotted_keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in cfg.items():
        keys += _dotted_keys(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else [f"{prefix}{name}"]
    return keys
