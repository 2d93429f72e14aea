"""Tuned settings of a stage-wise ensemble know the members, views and box fusion that they were searched with."""

from types import SimpleNamespace
from typing import Any

import pytest

from sartorius.config.ensemble import STAGE_WISE_MEMBER, EnsembleSettings, StageWiseSettings
from sartorius.config.fusion import NmsSettings
from sartorius.config.tuned import TunedGain, TunedRecord, TunedScore, TunedSource
from sartorius.pipeline.staleness import SourceModel, fusing_sha256, models_loaded, stale_reasons

CONFIG: dict[str, Any] = {
    "stage_wise": {"boxes": {"method": "wbf", "min_iou": 0.55}},
    "views": [{"flip": "none", "scale": 1.0}],
    "weights": {"a.2": 1.0},
    "members": {"a.2": {"min_score": 0.05, "base_lr": 0.01, "gpu_precision": "float16"}},
    "members_sha256": {"a.2": "a" * 64},
}
SETTINGS = EnsembleSettings(
    members=[{"name": "a.2", "model": "a.yaml", "weights": "a.safetensors"}], stage_wise=StageWiseSettings()
)

#: What tuned files have that were written before views had weights, of an ensemble of one model without settings.
WITHOUT_WEIGHTS_SHA256 = "236861487b28e4c58e0500be133757b4f44828acc1872af3a669e77ed7f3621a"


def model(config: dict[str, Any]) -> SourceModel:
    predictor = SimpleNamespace(weights_sha256="0" * 64, config=config)
    return models_loaded(SETTINGS, {STAGE_WISE_MEMBER.name: predictor})["stage_wise/none"]


def tuned_with(*inference: dict[str, Any]) -> EnsembleSettings:
    source = TunedSource(
        source="stage_wise/none", weights_sha256=("0" * 64,), inference=inference, predictions_sha256=""
    )
    score = TunedScore(total=0, low=0, high=0, per_type={})
    record = TunedRecord(
        ensemble="a.yaml", command="", package_version="0", sources=(source,), settings_sha256=fusing_sha256(SETTINGS),
        truth_sha256="", folds_sha256="", images=1, left_out=0, trained_on="", parts=(1,), parts_from="", searched=(),
        trials=0, seed=0, untuned=score, in_fold=score, out_of_fold=score, gain=TunedGain(difference=0, low=0, high=0),
    )  # fmt: skip
    return SETTINGS.model_copy(update={"tuned": record})


def test_a_stage_wise_ensemble_is_told_by_its_members_views_and_box_fusion():
    found = model(CONFIG)
    assert found.inference == {
        "stage_wise": {"boxes": {"method": "wbf", "min_iou": 0.55}},
        "views": [{"flip": "none", "scale": 1.0}],
        "weights": {"a.2": 1.0},
        "members.a.2.min_score": 0.05,
    }
    assert found.members_sha256 == ("a" * 64,)
    assert stale_reasons(tuned_with(dict(found.inference)), {"stage_wise/none": found}) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"members": {"a.2": {"min_score": 0.3}}}, "members.a.2.min_score 0.3 now, searched with 0.05"),
        ({"stage_wise": {"boxes": {"method": "nms"}}}, "stage_wise {'boxes': {'method': 'nms'}} now"),
        ({"views": [{"flip": "vertical", "scale": 1.0}]}, "views [{'flip': 'vertical', 'scale': 1.0}] now"),
        ({"weights": {"a.2": 0.5}}, "weights {'a.2': 0.5} now"),
    ],
)
def test_another_member_setting_view_or_box_fusion_makes_a_stage_wise_ensemble_stale(changed, reason):
    settings = tuned_with(dict(model(CONFIG).inference))
    (found,) = stale_reasons(settings, {"stage_wise/none": model(CONFIG | changed)})
    assert reason in found


def test_weights_by_type_or_of_a_view_count_as_settings_and_plain_ones_as_they_did_before():
    member = {"name": "a", "model": "a.yaml", "weights": "a.safetensors"}
    plain, doubled, of_view, by_type = (
        fusing_sha256(EnsembleSettings(members=[member | {"weight": weight}], views=[{"weight": other}]))
        for weight, other in ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0), (1.0, {"astro": 2.0, "default": 1.0}))
    )
    assert doubled == of_view
    assert len({plain, doubled, by_type}) == 3
    assert plain == WITHOUT_WEIGHTS_SHA256


def test_a_record_that_tells_nothing_of_a_stage_wise_ensemble_is_not_stale():
    assert stale_reasons(tuned_with({}), {"stage_wise/none": model(CONFIG)}) == []


def test_settings_that_this_version_does_not_know_are_not_compared():
    settings = tuned_with({"members.a.2.gone": 1, "gone": 1})
    assert stale_reasons(settings, {"stage_wise/none": model(CONFIG)}) == []


@pytest.mark.parametrize(
    "key",
    [
        "anchor_ratios", "anchor_sizes_px", "box_nms_iou", "box_voting_sigma", "cell_types", "detections_per_image",
        "detectron", "first_stride", "input_scale", "mask_grid_px", "min_score", "normalisation", "proposals_after_nms",
        "proposals_before_nms",
    ],
)  # fmt: skip
def test_every_setting_that_says_what_is_found_makes_tuned_settings_stale(key):
    settings = tuned_with(dict(model({key: 1}).inference))
    assert stale_reasons(settings, {"stage_wise/none": model({key: 2})}) == [
        f"stage_wise/none has {key} 2 now, searched with 1"
    ]


def test_settings_that_were_searched_with_two_models_suit_each_of_them():
    settings = tuned_with({"min_score": 0.05}, {"min_score": 0.3})
    assert stale_reasons(settings, {"stage_wise/none": model({"min_score": 0.3})}) == []
    assert len(stale_reasons(settings, {"stage_wise/none": model({"min_score": 0.4})})) == 1


def test_a_fusion_of_one_type_counts_as_a_setting():
    own = SETTINGS.model_copy(update={"fusion_per_type": {"astro": NmsSettings()}})
    assert fusing_sha256(own) != fusing_sha256(SETTINGS)
