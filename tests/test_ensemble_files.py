"""Every ensemble file under configs/ loads, and says what it is meant to say."""

from pathlib import Path

import pytest

from sartorius.config import load_ensemble_settings, load_model_settings
from sartorius.config.fusion import MasksSettings, NmsSettings

ENSEMBLES = Path(__file__).resolve().parents[1] / "configs" / "ensembles"
FILES = sorted(ENSEMBLES.glob("*.yaml"))
FOUR_FLIPS = ["none", "horizontal", "vertical", "rotate180"]


def test_the_three_ensembles_are_there():
    assert {"original.yaml", "r50_x101.yaml", "starter.yaml"} <= {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_ensemble_names_model_files_that_load(file):
    for member in load_ensemble_settings(file).members:
        assert load_model_settings((file.parent / member.model).resolve()).cell_types


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_model_of_an_ensemble_is_capped_below_a_thousand_detections(file):
    for member in load_ensemble_settings(file).members:
        assert load_model_settings((file.parent / member.model).resolve()).detections_per_image >= 1000


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_trained_cell_type_has_a_threshold_and_a_minimum_area(file):
    settings = load_ensemble_settings(file)
    for member in settings.members:
        for cell_type in load_model_settings((file.parent / member.model).resolve()).cell_types:
            for setting in (settings.postprocess.score_threshold, settings.postprocess.min_area_px):
                assert not isinstance(setting, dict) or {cell_type, "default"} & set(setting)


@pytest.mark.parametrize("name", ["original", "r50_x101"])
def test_weights_lie_where_training_the_member_s_model_puts_them(name):
    for member in load_ensemble_settings(ENSEMBLES / f"{name}.yaml").members:
        assert member.weights == f"../../runs/{Path(member.model).stem}/fold0/model.safetensors"


def test_two_models_through_four_flips_make_eight_sources():
    settings = load_ensemble_settings(ENSEMBLES / "r50_x101.yaml")
    assert settings.sources == tuple(f"{model}/{flip}" for model in ("r50", "x101") for flip in FOUR_FLIPS)


def test_the_original_system_is_described_exactly():
    settings = load_ensemble_settings(ENSEMBLES / "original.yaml")
    assert settings.sources == ("r50/none", "x101/none")
    assert settings.fusion == NmsSettings(min_iou=0.4)
    assert settings.postprocess.score_threshold == {"shsy5y": 0.18, "astro": 0.38, "cort": 0.58}
    assert settings.postprocess.min_area_px == {"shsy5y": 75, "astro": 150, "cort": 75}
    for member in settings.members:
        model = load_model_settings((ENSEMBLES / member.model).resolve())
        assert model.detections_per_image == 1000


def test_the_starter_fuses_the_masks_of_two_views_of_the_model_that_ships():
    settings = load_ensemble_settings(ENSEMBLES / "starter.yaml")
    assert settings.sources == ("starter/vertical", "starter/none_x1.25")
    assert isinstance(settings.fusion, MasksSettings)
    (member,) = settings.members
    assert (member.model, member.weights) == (
        "../models/mask_rcnn_r50_lean_heads.yaml",
        "../../models/starter/model.safetensors",
    )


def test_flows_are_fused_with_the_starter_where_they_gain():
    for name, views in (("starter_flows", 2), ("starter_flows_six_views", 6)):
        settings = load_ensemble_settings(ENSEMBLES / f"{name}.yaml")
        assert len(settings.views) == views
        assert [member.name for member in settings.members] == ["starter", "flows"]
        assert not any(source.startswith("flows/") for source in settings.sources_for("cort"))
        assert {source.split("/")[0] for source in settings.sources_for("astro")} == {"starter", "flows"}


@pytest.mark.parametrize(
    "folder", sorted((ENSEMBLES.parents[1] / "models").iterdir()), ids=lambda folder: folder.name
)
def test_every_model_that_ships_has_weights_a_card_its_images_and_an_ensemble(folder):
    assert {"README.md", "model.safetensors", "trained_on.csv"} == {file.name for file in folder.iterdir()}
    named = {member.weights for file in FILES for member in load_ensemble_settings(file).members}
    assert f"../../models/{folder.name}/model.safetensors" in named
