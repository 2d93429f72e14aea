from pathlib import Path

import pytest
from pydantic import ValidationError

from sartorius.config import load_ensemble_settings
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.members import MemberSettings
from sartorius.errors import UserError


def loaded(folder: Path, *lines: str, member: str = "model: model.yaml, weights: w.pth") -> None:
    (folder / "model.yaml").write_text("cell_types: [shsy5y, astro]\n")
    (folder / "ensemble.yaml").write_text("\n".join([f"members: [{{name: a, {member}}}]", *lines]))
    load_ensemble_settings(folder / "ensemble.yaml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "postprocess: {score_threshold: {Astro: 0.5, default: 0.4}}",
            r"ensemble\.yaml: postprocess\.score_threshold names 'Astro', the models know astro, shsy5y; did you mean astro",
        ),
        ("postprocess: {label_fill_types: [cort]}", "postprocess.label_fill_types names 'cort'"),
        ("fusion_per_type: {Astr: {method: nms}}", "fusion_per_type names 'Astr'"),
        (
            "fusion: {method: masks, mask_threshold: {x: 0.5, default: 0.5}}",
            r"fusion\.mask_threshold names 'x'",
        ),
        (
            "postprocess: {min_area_px: {astro: 5}}",
            r"postprocess\.min_area_px has no value for 'shsy5y'; add it or 'default'",
        ),
        (
            "gains: {fewer_sources: [{sources: 1, score_threshold: {astro: 0.5}, total: 0.3}]}",
            r"gains\.fewer_sources\[0\]\.score_threshold has no value for 'shsy5y'",
        ),
    ],
)
def test_types_that_the_models_do_not_know_and_types_without_a_value_are_refused(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        loaded(tmp_path, line)


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "-x", "a/b", "", "a\n"])
def test_a_members_name_leads_to_no_other_folder(name):
    with pytest.raises(ValidationError, match="should match pattern"):
        MemberSettings(name=name, model="m.yaml", weights="w.pth")
    assert MemberSettings(name="_r50-a..b", model="m.yaml", weights="w.pth").name == "_r50-a..b"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "fusion: {method: masks, min_votes: 3}",
            r"ensemble\.yaml: fusion\.min_votes is 3, but a cell can have at most 2, one of each source \(a/none, a/vertical\)",
        ),
        (
            "fusion_per_type: {astro: {method: nms, min_votes: 3}}",
            r"fusion_per_type\.astro\.min_votes is 3, but a cell can have at most 2",
        ),
        (
            "stage_wise: {boxes: {method: wbf, min_votes: 3}}",
            r"stage_wise\.boxes\.min_votes is 3, but a cell can have at most 2, one of each source \(a/none, a/vertical\)",
        ),
        (
            "stage_wise: {}\nfusion: {method: masks, min_votes: 2}",
            r"fusion\.min_votes is 2, but a cell can have at most 1, one of each source \(stage_wise/none\)",
        ),
    ],
)
def test_more_votes_than_there_are_sources_are_refused(tmp_path, line, message):
    views = "views: [{flip: none}, {flip: vertical}]"
    with pytest.raises(UserError, match=message):
        loaded(tmp_path, views, line)


def test_as_many_votes_as_there_are_sources_can_be_asked_for(tmp_path):
    views = "views: [{flip: none}, {flip: vertical}]"
    loaded(tmp_path, views, "fusion: {method: masks, min_votes: 2}")
    loaded(tmp_path, views, "stage_wise: {boxes: {method: wbf, min_votes: 2}}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "views: [{weight: {Astro: 2, default: 1}}]",
            r"views\.none\.weight names 'Astro', .*; did you mean astro",
        ),
        ("views: [{weight: {astro: 2}}]", r"views\.none\.weight has no value for 'shsy5y'"),
        ("views: [{weight: 0}]", r"`views\.0\.weight`: expected more than 0\.0, got 0"),
        ("views: [{weight: {default: 0}}]", "view none has a weight of 0 for every type that it names"),
        (
            "views: [{}, {flip: vertical, weight: {astro: 0}}]",
            "view vertical has a weight of 0 for every type that it names; add 'default' for the others, above 0, or leave it out",
        ),
        ("views: [{weight: {astro: 0, default: 1}}]", "every source has a weight of 0 for a type"),
        (
            "views: [{}, {flip: vertical, weight: {astro: 0, default: 1}}]\nfusion: {method: masks, min_votes: 2}",
            r"fusion\.min_votes is 2, but a cell can have at most 1, one of each source \(a/none\)",
        ),
        ("views: [{weight: 2}]\nstage_wise: {}", "stage_wise fuses .* got another weight for view none"),
    ],
)
def test_weights_by_type_that_cannot_be_had_are_refused(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        loaded(tmp_path, line)


def test_a_type_that_a_weight_has_no_value_for_is_told_with_its_member():
    member = {"name": "yolo", "predictions": "found.json", "weight": {"cort": 1.0}}
    with pytest.raises(UserError, match=r"weight of member yolo: no value for cell type 'unknown'"):
        EnsembleSettings(members=[member]).weights_for("unknown")


def test_a_type_that_more_sources_look_at_can_ask_for_more_votes(tmp_path):
    views = "views: [{}, {flip: vertical, weight: {astro: 1, default: 0}}]"
    loaded(tmp_path, views, "fusion_per_type: {astro: {method: masks, min_votes: 2}}")


def test_what_other_programs_call_their_types_is_not_known_beforehand(tmp_path):
    loaded(tmp_path, "postprocess: {score_threshold: {neuron: 0.5}}", member="predictions: labels")
