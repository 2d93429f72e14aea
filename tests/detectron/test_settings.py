import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model, build_resnet_backbone
from detectron2.solver import build_lr_scheduler
from tiny_models import TINY

from sartorius.config import ModelSettings, load_model_settings
from sartorius.detectron.settings import BACKBONES, _dotted_keys, detectron_config
from sartorius.detectron.unread_keys import NOT_READ
from sartorius.errors import UserError

MODELS = sorted((Path(__file__).parents[2] / "configs" / "models").glob("*.yaml"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_shipped_model_can_be_built(path: Path) -> None:
    settings = load_model_settings(path)
    model = build_model(detectron_config(settings, "cpu"))
    types = model.type_head.out_channels if settings.network == "flows" else model.roi_heads.num_classes
    assert types == len(settings.cell_types)


def test_detections_are_not_capped_below_the_densest_image() -> None:
    cfg = detectron_config(ModelSettings(), "cpu")
    assert cfg.TEST.DETECTIONS_PER_IMAGE >= 1000
    assert cfg.MODEL.RPN.POST_NMS_TOPK_TEST >= 1000


def test_each_backbone_gets_its_own_normalisation() -> None:
    assert detectron_config(ModelSettings(backbone="r50"), "cpu").MODEL.PIXEL_STD == [1.0, 1.0, 1.0]
    assert detectron_config(ModelSettings(backbone="x101_32x8d"), "cpu").MODEL.PIXEL_STD == [
        57.375,
        57.12,
        58.395,
    ]
    dataset = detectron_config(ModelSettings(normalisation="dataset"), "cpu").MODEL
    assert (dataset.PIXEL_MEAN, dataset.PIXEL_STD) == ([127.0] * 3, [15.0] * 3)


@pytest.mark.parametrize(
    ("backbone", "blocks", "groups"),
    [
        ("r50", [3, 4, 6, 3], 1),
        ("r50_thin", [3, 4, 6, 3], 1),
        ("r101", [3, 4, 23, 3], 1),
        ("r152", [3, 8, 36, 3], 1),
        ("x101_32x8d", [3, 4, 23, 3], 32),
    ],
)
def test_each_backbone_has_its_own_depth_width_and_groups(
    backbone: str, blocks: list[int], groups: int
) -> None:
    cfg = detectron_config(ModelSettings(backbone=backbone), "cpu")
    with torch.device("meta"):  # shapes alone
        network = build_resnet_backbone(cfg, ShapeSpec(channels=3))
    assert [len(stage) for stage in network.stages] == blocks
    assert network.res2[0].conv2.groups == groups
    assert network.res2[0].out_channels == (128 if backbone == "r50_thin" else 256)


def test_steps_fall_at_fractions_of_the_iterations() -> None:
    cfg = detectron_config(
        ModelSettings(schedule="steps", iterations=1000, step_fractions=(0.5, 0.75)), "cpu"
    )
    assert (cfg.SOLVER.LR_SCHEDULER_NAME, cfg.SOLVER.STEPS) == ("WarmupMultiStepLR", (500, 750))


@pytest.mark.parametrize(("iterations", "steps"), [(1, ()), (2, (1,)), (3, (2,)), (20, (16, 18))])
def test_a_run_of_a_few_iterations_has_a_schedule(iterations: int, steps: tuple[int, ...]) -> None:
    settings = ModelSettings(iterations=iterations, schedule="steps", step_fractions=(0.8, 0.94))
    cfg = detectron_config(settings, "cpu")
    assert steps == cfg.SOLVER.STEPS
    build_lr_scheduler(cfg, torch.optim.SGD([torch.zeros(1)], lr=1.0))


def test_any_detectron2_key_can_be_set() -> None:
    cfg = detectron_config(ModelSettings(detectron={"MODEL.RPN.NMS_THRESH": 0.6}), "cpu")
    assert cfg.MODEL.RPN.NMS_THRESH == 0.6


def test_a_detectron2_key_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"no setting 'MODEL\.RPN\.NMS_TRESH'; did you mean MODEL\.RPN\.NMS_THRESH"
    ):
        detectron_config(ModelSettings(detectron={"MODEL.RPN.NMS_TRESH": 0.6}), "cpu")


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("SOLVER.IMS_PER_BATCH", "; use batch_size"),
        ("INPUT.MIN_SIZE_TEST", "; use input_scale"),
        ("VIS_PERIOD", "$"),
        ("MODEL.RETINANET.NUM_CONVS", "$"),
        ("MODEL.SEM_SEG_HEAD.CONVS_DIM", "$"),
        ("MODEL.PANOPTIC_FPN.COMBINE.ENABLED", "$"),
        ("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", "$"),
        ("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", "; use cascade: true"),
        ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "; use min_score"),
        ("MODEL.ROI_HEADS.MIN_SCORES", "; use min_score"),
        ("MODEL.ROI_MASK_HEAD.LOSS", "; use mask_loss"),
        ("SOLVER.MAX_ITER", "; use iterations"),
        ("MODEL.ROI_HEADS.NUM_CLASSES", "; use cell_types"),
        ("MODEL.META_ARCHITECTURE", "$"),
    ],
)
def test_a_detectron2_key_that_nothing_reads_is_refused(key: str, instead: str) -> None:
    with pytest.raises(UserError, match=rf"{key} has no effect here{instead}"):
        detectron_config(ModelSettings(detectron={key: 4}), "cpu")


def test_every_key_that_only_our_own_settings_fill_names_the_one_to_use() -> None:
    """`CfgNode` holds what our layers read beside what detectron2 does; keys that it lacks are no way round our checks."""
    found = set(_dotted_keys(detectron_config(ModelSettings(), "cpu"))) - set(_dotted_keys(get_cfg()))
    assert len(found) >= 8
    assert found <= {key for key, instead in NOT_READ.items() if instead}


#: Every field that is translated, with another value than its default's.
ELSEWHERE: dict[str, Any] = {
    "backbone_stages": 4,
    "first_stride": 1,
    "pyramid_channels": 128,
    "cascade": True,
    "box_head_channels": 512,
    "box_loss": "giou",
    "class_weights": {"astro": 2.0},
    "mask_head_channels": 128,
    "mask_grid_px": 56,
    "mask_loss": "dice",
    "box_refinement_head": True,
    "mask_iou_head": True,
    "cell_types": ("shsy5y", "astro"),
    "anchor_sizes_px": (10.0, 20.0, 40.0, 80.0),
    "anchor_ratios": (1.0,),
    "iterations": 20_000,
    "batch_size": 4,
    "optimizer": "adamw",
    "base_lr": 1.0e-3,
    "warmup_iterations": 100,
    "schedule": "steps",
    "step_fractions": (0.5,),
    "weight_decay": 0.0,
    "clip_gradient_norm": 1.0,
    "freeze_stages": 0,
    "rpn_batch": 128,
    "roi_batch": 64,
    "checkpoint_period": 100,
    "evaluation_period": 100,
    "data_workers": 0,
    "normalisation": "dataset",
    "proposals_before_nms": 1000,
    "proposals_after_nms": 1000,
    "detections_per_image": 100,
    "min_score": 0.1,
    "box_nms_iou": 0.6,
    "box_voting_sigma": 0.06,
}
#: A field that goes without some of these.
ALONE = {"train_only": ("mask_head",)}
#: What these fields settle but cannot say, and what may be said for them.
OPEN = {
    "MODEL.PIXEL_MEAN": [120.0] * 3,
    "MODEL.PIXEL_STD": [50.0] * 3,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": 2.0,
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 3000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 500,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 3000,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 500,
}


def values(**changes: Any) -> dict[str, Any]:
    """The translation of settings, by dotted key."""
    cfg = detectron_config(ModelSettings(**changes), "cpu")
    return {key: reduce(getattr, key.split("."), cfg) for key in _dotted_keys(cfg)}


def test_a_detectron2_key_that_a_field_of_ours_fills_is_refused() -> None:
    plain, filled = values(), set(OPEN)
    for other in (ELSEWHERE, ALONE, {"backbone_lr_factor": 0.1}, *({"backbone": name} for name in BACKBONES)):
        filled |= {key for key, value in values(**other).items() if value != plain[key]}
    assert {"SOLVER.BASE_LR", "MODEL.RESNETS.WIDTH_PER_GROUP", "MODEL.RPN.PRE_NMS_TOPK_TRAIN"} <= filled
    for key in filled - set(OPEN):
        with pytest.raises(UserError, match=rf"{key} has no effect here; use \w+"):
            detectron_config(ModelSettings(detectron={key: 4}), "cpu")


def test_a_network_takes_what_our_fields_cannot_say() -> None:
    heads = build_model(detectron_config(TINY.model_copy(update={"detectron": OPEN}), "cpu")).roi_heads
    assert heads.box_predictor.bbox_pred.out_features == 4
    assert heads.box_predictor.loss_weight["loss_box_reg"] == 2.0


@pytest.mark.parametrize(
    ("settings", "key", "value", "told"),
    [
        ({"cascade": True}, "MODEL.ROI_HEADS.IOU_LABELS", [0, 1], ""),
        ({"cascade": True}, "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", True, ""),
        ({"cascade": True}, "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", [1.0] * 4, "; use .*CASCADE.*_WEIGHTS"),
        ({"box_loss": "giou"}, "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA", 0.5, "; use box_loss: smooth_l1"),
        ({"schedule": "cosine"}, "SOLVER.GAMMA", 0.5, "; use schedule: steps"),
        ({}, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 2.0, "; use .*ENABLED: true"),
    ],
)
def test_a_detectron2_key_that_another_setting_makes_useless_is_refused(
    settings: dict[str, Any], key: str, value: Any, told: str
) -> None:
    with pytest.raises(UserError, match=f"{re.escape(key)} has no effect here{told}$"):
        detectron_config(ModelSettings(**settings, detectron={key: value}), "cpu")
    others = {"cascade": False, "box_loss": "smooth_l1", "schedule": "steps"}
    clipping = {"SOLVER.CLIP_GRADIENTS.ENABLED": True}
    detectron_config(ModelSettings(**others, detectron={key: value, **clipping}), "cpu")


def test_the_cascade_s_keys_can_be_set_where_there_is_one() -> None:
    settings = ModelSettings(cascade=True, detectron={"MODEL.ROI_BOX_CASCADE_HEAD.IOUS": [0.5, 0.55, 0.6]})
    assert detectron_config(settings, "cpu").MODEL.ROI_BOX_CASCADE_HEAD.IOUS == (0.5, 0.55, 0.6)


def test_a_detectron2_value_of_another_type_is_refused() -> None:
    with pytest.raises(UserError, match=r"MODEL\.RPN\.NMS_THRESH"):
        detectron_config(ModelSettings(detectron={"MODEL.RPN.NMS_THRESH": [1, 2]}), "cpu")
