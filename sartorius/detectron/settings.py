"""`ModelSettings` in detectron2's own words: one `CfgNode` on top of `get_cfg()`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from detectron2.config import CfgNode, get_cfg

from sartorius.config import ModelSettings
from sartorius.config.per_type import value_for
from sartorius.detectron.backbones import add_backbone_keys, build_cell_fpn_backbone
from sartorius.detectron.clipping import add_clipping_keys
from sartorius.detectron.flow_network import CellFlows
from sartorius.detectron.heads import CascadeCellROIHeads, CellROIHeads, add_box_keys
from sartorius.detectron.mask_head import CellMaskHead, add_mask_keys
from sartorius.detectron.network import CellRCNN
from sartorius.detectron.optimizers import add_optimizer_keys
from sartorius.detectron.proposals import CellRPN
from sartorius.detectron.sampling import add_detection_head_keys
from sartorius.detectron.unread_keys import keys_not_read
from sartorius.detectron.weights import reason
from sartorius.errors import UserError, did_you_mean

#: Depth, groups, width per group and res2 channels of each backbone, and whether stride 2 sits in the 1 × 1 convolution.
BACKBONES: Mapping[str, tuple[int, int, int, int, bool]] = {
    "r50": (50, 1, 64, 256, True),
    "r50_thin": (50, 1, 32, 128, True),
    "r101": (101, 1, 64, 256, True),
    "r152": (152, 1, 64, 256, False),
    "x101_32x8d": (101, 32, 8, 256, False),
}
IMAGENET_MEAN_BGR = (103.53, 116.28, 123.675)
IMAGENET_STD_BGR = (57.375, 57.120, 58.395)
#: The MSRA backbones were trained without dividing by a standard deviation, FAIR's with it, torchvision's on RGB.
IMAGENET_MEAN_STD: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "r50": (IMAGENET_MEAN_BGR, (1.0, 1.0, 1.0)),
    "r50_thin": (IMAGENET_MEAN_BGR, (1.0, 1.0, 1.0)),
    "r101": (IMAGENET_MEAN_BGR, (1.0, 1.0, 1.0)),
    "r152": (IMAGENET_MEAN_BGR[::-1], IMAGENET_STD_BGR[::-1]),
    "x101_32x8d": (IMAGENET_MEAN_BGR, IMAGENET_STD_BGR),
}
#: Mean and standard deviation of the competition's grey images.
DATASET_MEAN, DATASET_STD = 127.0, 15.0
#: Factor on a box loss that is one minus an IoU; source: mmdetection's GIoU configurations.
IOU_LOSS_WEIGHT = 10.0


def detectron_config(settings: ModelSettings, device: str) -> CfgNode:
    """The detectron2 configuration of a model: architecture, solver and inference; frozen.

    device: "cpu", "cuda" or "cuda:1".
    Raises UserError when `settings.detectron` has a key that detectron2 does not know, or that nothing reads here, in
    such a network, or beside `clip_gradient_norm`.
    """
    cfg = get_cfg()
    add_backbone_keys(cfg)
    add_box_keys(cfg)
    add_mask_keys(cfg)
    add_detection_head_keys(cfg)
    add_clipping_keys(cfg)
    add_optimizer_keys(cfg)
    _set_architecture(cfg, settings)
    _set_solver(cfg, settings)
    _set_inference(cfg, settings)
    cfg.MODEL.DEVICE = device
    not_read = keys_not_read(settings)
    for key, value in settings.detectron.items():
        _set_key(cfg, key, value, not_read)
    cfg.freeze()
    return cfg


@contextmanager
def refusals_told(settings: ModelSettings) -> Iterator[None]:
    """Within the context, where a network is built or tried, what detectron2 says of values of its own keys is a UserError."""
    try:
        yield
    except Exception as error:
        if not settings.detectron:
            raise
        given = ", ".join(f"{key}: {value}" for key, value in settings.detectron.items())
        raise UserError(
            f"detectron: expected values that a network can be built and trained with, got {given} "
            f"({type(error).__name__}: {reason(error)}); correct them or leave them out"
        ) from None


def _set_architecture(cfg: CfgNode, settings: ModelSettings) -> None:
    networks = {"mask_rcnn": CellRCNN, "flows": CellFlows}
    cfg.MODEL.META_ARCHITECTURE = networks[settings.network].__name__
    cfg.MODEL.MASK_ON = True
    _set_backbone(cfg, settings)
    _set_proposals(cfg, settings)
    _set_heads(cfg, settings)
    if settings.normalisation == "dataset":
        mean, std = (DATASET_MEAN,) * 3, (DATASET_STD,) * 3
    else:
        mean, std = IMAGENET_MEAN_STD[settings.backbone]
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = list(mean), list(std)


def _set_backbone(cfg: CfgNode, settings: ModelSettings) -> None:
    depth, groups, width, res2_channels, stride_in_1x1 = BACKBONES[settings.backbone]
    stages = [f"res{stage}" for stage in range(2, settings.backbone_stages + 1)]
    cfg.MODEL.BACKBONE.NAME = build_cell_fpn_backbone.__name__
    cfg.MODEL.BACKBONE.FREEZE_AT = settings.freeze_stages
    resnets = cfg.MODEL.RESNETS
    resnets.DEPTH = depth
    resnets.NUM_GROUPS = groups
    resnets.WIDTH_PER_GROUP = width
    resnets.RES2_OUT_CHANNELS = res2_channels
    resnets.STRIDE_IN_1X1 = stride_in_1x1
    resnets.STEM_STRIDE = settings.first_stride
    resnets.OUT_FEATURES = stages
    cfg.MODEL.FPN.IN_FEATURES = stages
    cfg.MODEL.FPN.OUT_CHANNELS = settings.pyramid_channels


def _set_proposals(cfg: CfgNode, settings: ModelSettings) -> None:
    levels = _pyramid_levels(settings)
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[size] for size in settings.anchor_sizes_px]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(settings.anchor_ratios)]
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = CellRPN.__name__
    cfg.MODEL.RPN.IN_FEATURES = levels
    cfg.MODEL.RPN.CONV_DIMS = [-1]
    cfg.MODEL.RPN.HEAD_NAME = "StandardRPNHead"


def _pyramid_levels(settings: ModelSettings) -> list[str]:
    """Names of all pyramid levels from the finest, p2 with stride 4 (p1 with `first_stride: 1`)."""
    finest = 2 if settings.first_stride == 2 else 1
    return [f"p{level}" for level in range(finest, finest + settings.backbone_stages)]


def _set_heads(cfg: CfgNode, settings: ModelSettings) -> None:
    heads, box, mask = cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_MASK_HEAD
    heads.NAME = (CascadeCellROIHeads if settings.cascade else CellROIHeads).__name__
    heads.NUM_CLASSES = len(settings.cell_types)
    heads.IN_FEATURES = _pyramid_levels(settings)[:-1]
    heads.CLASS_WEIGHTS = [float(settings.class_weights.get(name, 1.0)) for name in settings.cell_types]
    box.NAME = "FastRCNNConvFCHead"
    box.NUM_FC = 2
    box.FC_DIM = settings.box_head_channels
    box.POOLER_RESOLUTION = 7
    box.CLS_AGNOSTIC_BBOX_REG = settings.cascade
    box.BBOX_REG_LOSS_TYPE = settings.box_loss
    box.BBOX_REG_LOSS_WEIGHT = 1.0 if settings.box_loss == "smooth_l1" else IOU_LOSS_WEIGHT
    mask.NAME = CellMaskHead.__name__
    mask.NUM_CONV = 4
    mask.CONV_DIM = settings.mask_head_channels
    mask.POOLER_RESOLUTION = settings.mask_grid_px // 2
    mask.LOSS = settings.mask_loss
    heads.BOX_REFINEMENT_HEAD = settings.box_refinement_head
    heads.MASK_IOU_HEAD = settings.mask_iou_head


def _set_solver(cfg: CfgNode, settings: ModelSettings) -> None:
    solver = cfg.SOLVER
    solver.IMS_PER_BATCH = settings.batch_size
    solver.OPTIMIZER = settings.optimizer
    solver.BASE_LR = settings.base_lr
    solver.BACKBONE_LR_FACTOR = settings.backbone_lr_factor
    solver.MAX_ITER = settings.iterations
    solver.WARMUP_ITERS = min(settings.warmup_iterations, max(1, settings.iterations // 4))
    solver.WEIGHT_DECAY = settings.weight_decay
    solver.CHECKPOINT_PERIOD = settings.checkpoint_period
    solver.LR_SCHEDULER_NAME = {"cosine": "WarmupCosineLR", "steps": "WarmupMultiStepLR"}[settings.schedule]
    falls = {int(fraction * settings.iterations) for fraction in settings.step_fractions}
    solver.STEPS = tuple(sorted(falls - {0}))  # in a run of a few iterations some coincide
    if settings.clip_gradient_norm is not None:
        for key in settings.detectron:
            if key.startswith("SOLVER.CLIP_GRADIENTS."):
                raise UserError(
                    f"detectron: {key} has no effect beside clip_gradient_norm; set one of the two"
                )
        solver.LARGEST_GRADIENT_NORM = settings.clip_gradient_norm
    cfg.MODEL.ROI_HEADS.TRAIN_ONLY = list(settings.train_only)
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = settings.rpn_batch
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = settings.roi_batch
    cfg.DATALOADER.NUM_WORKERS = settings.data_workers
    cfg.TEST.EVAL_PERIOD = settings.evaluation_period


def _set_inference(cfg: CfgNode, settings: ModelSettings) -> None:
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = settings.proposals_before_nms
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = cfg.MODEL.RPN.POST_NMS_TOPK_TEST = settings.proposals_after_nms
    least = [float(value_for(settings.min_score, name)) for name in settings.cell_types]
    cfg.MODEL.ROI_HEADS.MIN_SCORES = least
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = min(least)
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = settings.box_nms_iou
    cfg.MODEL.ROI_HEADS.BOX_VOTING_SIGMA = settings.box_voting_sigma
    cfg.TEST.DETECTIONS_PER_IMAGE = settings.detections_per_image


def _set_key(cfg: CfgNode, key: str, value: Any, not_read: Mapping[str, str]) -> None:
    known = _dotted_keys(cfg)
    if key not in known:
        raise UserError(f"detectron: detectron2 has no setting {key!r}{did_you_mean(key, known)}")
    for unread, instead in not_read.items():
        if key == unread or (unread.endswith(".") and key.startswith(unread)):
            hint = f"; use {instead}" if instead else ""
            raise UserError(f"detectron: {key} has no effect here{hint}")
    try:
        cfg.merge_from_list([key, value])
    except (ValueError, AssertionError) as error:
        raise UserError(f"detectron: {key}: {error}") from None


def _dotted_keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in cfg.items():
        keys += _dotted_keys(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else [f"{prefix}{name}"]
    return keys
