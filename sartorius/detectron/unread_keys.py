"""Keys of detectron2's own configuration that have no effect here, so that setting one is refused and not ignored."""

from collections.abc import Mapping

from sartorius.config import ModelSettings
from sartorius.config.architecture import ONLY_OF_BOXES

#: Keys of a detectron2 configuration that nothing here reads or that a key of ours has, and what to use in their place.
#: Left out is what a key of ours settles but cannot say: the stride, mean and deviation that a backbone was trained with
#: elsewhere, the weight of a box loss, boxes of one class, other numbers of proposals in training than in prediction.
NOT_READ: Mapping[str, str] = {
    "CUDNN_BENCHMARK": "",
    "DATALOADER.": "sampling, data_workers",
    "DATASETS.": "--data, --folds",
    "GLOBAL.": "",
    "INPUT.": "input_scale, scale_jitter, crop_px, flips, turns",
    "MODEL.ANCHOR_GENERATOR.ANGLES": "",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "anchor_ratios",
    "MODEL.ANCHOR_GENERATOR.SIZES": "anchor_sizes_px",
    "MODEL.BACKBONE.FREEZE_AT": "freeze_stages",
    "MODEL.BACKBONE.NAME": "",
    "MODEL.DEVICE": "--gpus, --device",
    "MODEL.FPN.IN_FEATURES": "backbone_stages",
    "MODEL.FPN.OUT_CHANNELS": "pyramid_channels",
    "MODEL.KEYPOINT_ON": "",
    "MODEL.LOAD_PROPOSALS": "",
    "MODEL.MASK_ON": "",
    "MODEL.META_ARCHITECTURE": "",
    "MODEL.PANOPTIC_FPN.": "",
    "MODEL.PROPOSAL_GENERATOR.NAME": "",
    "MODEL.RESNETS.DEPTH": "backbone",
    "MODEL.RESNETS.NUM_GROUPS": "backbone",
    "MODEL.RESNETS.OUT_FEATURES": "backbone_stages",
    "MODEL.RESNETS.RES2_OUT_CHANNELS": "backbone",
    "MODEL.RESNETS.STEM_STRIDE": "first_stride",
    "MODEL.RESNETS.WIDTH_PER_GROUP": "backbone",
    "MODEL.RETINANET.": "",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "box_loss",
    "MODEL.ROI_BOX_HEAD.FC_DIM": "box_head_channels",
    "MODEL.ROI_BOX_HEAD.NAME": "",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "roi_batch",
    "MODEL.ROI_HEADS.BOX_REFINEMENT_HEAD": "box_refinement_head",
    "MODEL.ROI_HEADS.BOX_VOTING_SIGMA": "box_voting_sigma",
    "MODEL.ROI_HEADS.CLASS_WEIGHTS": "class_weights",
    "MODEL.ROI_HEADS.IN_FEATURES": "backbone_stages",
    "MODEL.ROI_HEADS.MASK_IOU_HEAD": "mask_iou_head",
    "MODEL.ROI_HEADS.MIN_SCORES": "min_score",
    "MODEL.ROI_HEADS.NAME": "cascade",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": "box_nms_iou",
    "MODEL.ROI_HEADS.NUM_CLASSES": "cell_types",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "min_score",
    "MODEL.ROI_HEADS.TRAIN_ONLY": "train_only",
    "MODEL.ROI_KEYPOINT_HEAD.": "",
    "MODEL.ROI_MASK_HEAD.CONV_DIM": "mask_head_channels",
    "MODEL.ROI_MASK_HEAD.LOSS": "mask_loss",
    "MODEL.ROI_MASK_HEAD.NAME": "",
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": "mask_grid_px",
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "rpn_batch",
    "MODEL.RPN.IN_FEATURES": "backbone_stages",
    "MODEL.SEM_SEG_HEAD.": "",
    "MODEL.WEIGHTS": "--weights",
    "OUTPUT_DIR": "--runs",
    "SEED": "--seed",
    "SOLVER.AMP.": "precision",
    "SOLVER.BACKBONE_LR_FACTOR": "backbone_lr_factor",
    "SOLVER.BASE_LR": "base_lr",
    "SOLVER.CHECKPOINT_PERIOD": "checkpoint_period",
    "SOLVER.IMS_PER_BATCH": "batch_size",
    "SOLVER.LARGEST_GRADIENT_NORM": "clip_gradient_norm",
    "SOLVER.LR_SCHEDULER_NAME": "schedule",
    "SOLVER.MAX_ITER": "iterations",
    "SOLVER.OPTIMIZER": "optimizer",
    "SOLVER.REFERENCE_WORLD_SIZE": "batch_size",
    "SOLVER.STEPS": "step_fractions",
    "SOLVER.WARMUP_ITERS": "warmup_iterations",
    "SOLVER.WEIGHT_DECAY": "weight_decay",
    "TEST.": "detections_per_image, evaluation_period, the views of an ensemble",
    "VERSION": "",
    "VIS_PERIOD": "",
}
#: The same where there is one box head.
NOT_READ_WITHOUT_CASCADE: Mapping[str, str] = {"MODEL.ROI_BOX_CASCADE_HEAD.": "cascade: true"}
#: The same where there are three.
NOT_READ_WITH_CASCADE: Mapping[str, str] = {
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS",
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": "",
    "MODEL.ROI_HEADS.IOU_LABELS": "",
}
#: The same where there are no boxes; keys of `NOT_READ` have been told before.
NOT_READ_BY_FLOWS: Mapping[str, str] = dict.fromkeys(
    ("MODEL.ANCHOR_GENERATOR.", "MODEL.FPN.", "MODEL.PROPOSAL_GENERATOR.", "MODEL.ROI_BOX_HEAD.", "MODEL.ROI_HEADS.",
     "MODEL.ROI_BOX_CASCADE_HEAD.", "MODEL.ROI_MASK_HEAD.", "MODEL.RPN."), "",
)  # fmt: skip
#: The same where AdamW takes the steps.
NOT_READ_BY_ADAMW: Mapping[str, str] = {"SOLVER.MOMENTUM": "", "SOLVER.NESTEROV": ""}
#: The same where the rate falls along a cosine.
NOT_READ_BY_COSINE: Mapping[str, str] = {"SOLVER.GAMMA": "schedule: steps"}
#: The same where the boxes' loss is no smooth L1.
NOT_READ_BY_GIOU: Mapping[str, str] = {"MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": "box_loss: smooth_l1"}
#: The same where detectron2 clips no gradients.
CLIPPING = "SOLVER.CLIP_GRADIENTS.ENABLED"
NOT_READ_UNCLIPPED: Mapping[str, str] = dict.fromkeys(
    (f"SOLVER.CLIP_GRADIENTS.{name}" for name in ("CLIP_TYPE", "CLIP_VALUE", "NORM_TYPE")),
    f"{CLIPPING}: true",
)


def keys_not_read(settings: ModelSettings) -> Mapping[str, str]:
    """Keys of detectron2 that have no effect beside these settings, and what to use in their place."""
    not_read = dict(NOT_READ)
    if settings.network == "flows":
        useless = {name for name in not_read if not_read[name] in ONLY_OF_BOXES}
        not_read |= dict.fromkeys(useless, "") | NOT_READ_BY_FLOWS
    else:
        not_read |= NOT_READ_WITH_CASCADE if settings.cascade else NOT_READ_WITHOUT_CASCADE
        not_read |= NOT_READ_BY_GIOU if settings.box_loss != "smooth_l1" else {}
    not_read |= NOT_READ_BY_ADAMW if settings.optimizer == "adamw" else {}
    not_read |= NOT_READ_BY_COSINE if settings.schedule == "cosine" else {}
    return not_read | ({} if settings.detectron.get(CLIPPING) else NOT_READ_UNCLIPPED)
