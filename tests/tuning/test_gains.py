"""What parts of a tuned ensemble are worth, and what holds for the parts that are left without them."""

import numpy as np
import pytest
from command_line import run
from drawing import cell, cells
from tuning_scene import mean_with

from sartorius.config import load_ensemble_settings
from sartorius.config.ensemble import EnsembleSettings, StageWiseSettings
from sartorius.config.fusion import NmsSettings
from sartorius.config.members import MemberSettings
from sartorius.config.per_type import value_for
from sartorius.pipeline import read_sources
from sartorius.pipeline.budget import narrowed_like, narrowings
from sartorius.tuning.gains import measured_gains
from sartorius.tuning.images import Data
from sartorius.tuning.objective import Objective, with_threshold
from sartorius.tuning.search import Budget
from sartorius.tuning.stages import ImageStages
from sartorius.tuning.tuned_file import tune


def tuned_settings(scene, folder, *names):
    out = folder / "tuned.yaml"
    data = Data((scene.cache,), scene.truth_csv, scene.folds)
    tune(scene.ensemble, data, out, Budget(names, 2, 0), 5, "sartorius tune …")
    return load_ensemble_settings(out)


@pytest.fixture(scope="module")
def tuned(scene, tmp_path_factory):
    return tuned_settings(
        scene, tmp_path_factory.mktemp("tuned"), "score_threshold", "fusion_iou", "min_area"
    )


def test_it_says_what_every_view_and_model_is_worth(tuned, scene):
    whole = mean_with(tuned, scene)
    for kind, parts in (("views", tuned.views), ("members", tuned.members)):
        gains = getattr(tuned.gains, kind)
        assert set(gains) == ({part.name for part in parts} if len(parts) > 1 else set())
        for part in parts if len(parts) > 1 else ():
            others = tuple(other for other in parts if other != part)
            without = tuned.model_copy(update={kind: others})
            assert gains[part.name] == pytest.approx(whole - mean_with(without, scene), abs=1e-5)
    assert tuned.gains.views or tuned.gains.members
    for part, gain in [("model model00", tuned.gains.members["model00"])]:
        of_types = tuned.gains.per_type[part]
        assert list(of_types) == ["astro", "cort", "shsy5y"]
        assert np.mean(list(of_types.values())) == pytest.approx(
            gain, abs=1e-5
        )  # as many images of each type
    assert "6 images" in tuned.gains.measured_on


def test_an_ensemble_of_one_source_has_no_part_to_measure_and_a_stage_wise_one_none_to_tell_apart(scene):
    single = scene.settings.model_copy(
        update={"members": scene.settings.members[:1], "views": scene.settings.views[:1]}
    )
    stage_wise = scene.settings.model_copy(update={"stage_wise": StageWiseSettings()})
    for settings in (single, stage_wise):
        assert measured_gains([], settings, np.ones(2), "2 images") is None


def test_a_part_that_types_cannot_be_told_without_has_no_gain(scene):
    expert, other = scene.settings.members
    expert = expert.model_copy(update={"weight": {"astro": 1.0, "default": 0.0}})
    settings = scene.settings.model_copy(update={"members": (expert, other)})
    images = [
        ImageStages(read_sources(settings, scene.cache, name), truth, settings)
        for name, truth in scene.truth.items()
    ]
    gains = measured_gains(images, settings, Objective(images).image_scores(settings), "6 images")
    assert set(gains.members) == {expert.name}


def test_an_image_keeps_its_type_without_the_model_that_told_it():
    """Model a tells that the image is of type astro, where the expert's cell counts; b alone would say cort."""
    weights = {"a": 1.0, "b": 1.0, "expert": {"astro": 1.0, "default": 0.0}}
    members = [
        {"name": name, "model": "model.yaml", "weights": f"{name}.safetensors", "weight": weight}
        for name, weight in weights.items()
    ]
    settings = EnsembleSettings(members=members, fusion=NmsSettings())
    one, other = cell("##..", score=0.9, cell_type="astro"), cell("..##", score=0.9, cell_type="astro")
    sources = {"a/none": one, "b/none": cell("##..", score=0.8, cell_type="cort"), "expert/none": other}
    image = ImageStages(sources, cells(one, other), settings)
    gains = measured_gains([image], settings, np.ones(1), "1 image")
    assert gains.members == {"a": 0, "b": 0, "expert": 0.5}


def test_the_only_view_has_no_gain_beside_predictions_of_another_program(scene):
    model, other = scene.settings.members
    foreign = MemberSettings(name=other.name, predictions="found.json")
    settings = scene.settings.model_copy(update={"members": (model, foreign)})
    assert len(settings.views) == 1
    images = [
        ImageStages(read_sources(settings, scene.cache, name), truth, settings)
        for name, truth in scene.truth.items()
    ]
    gains = measured_gains(images, settings, Objective(images).image_scores(settings), "6 images")
    assert gains.views == {}
    assert set(gains.members) == {model.name, foreign.name}


def test_what_parts_were_worth_before_is_not_told_where_nothing_was_measured(
    monkeypatch, capsys, scene, tmp_path
):
    lines = scene.ensemble.read_text().splitlines()
    single = [*(line for line in lines if "model01" not in line), "gains: {members: {gone: 0.1}}"]
    (tmp_path / "single.yaml").write_text("\n".join(single))
    inputs = ("--predictions", scene.cache, "--truth", scene.truth_csv, "--folds", scene.folds)
    outputs = ("--out", tmp_path / "tuned.yaml", "--search", "score_threshold")
    assert run(monkeypatch, "tune", tmp_path / "single.yaml", *inputs, *outputs) == 0
    assert "Worth" not in capsys.readouterr().out


def test_score_thresholds_of_what_is_left_are_searched_too(tuned, scene):
    (smaller,) = narrowings(tuned)
    assert len(smaller.sources) == 1
    (fewer,) = tuned.gains.fewer_sources
    left = narrowed_like(tuned, smaller)
    assert (fewer.sources, fewer.score_threshold) == (1, left.postprocess.score_threshold)
    assert left.model_copy(update={"postprocess": smaller.postprocess}) == smaller
    assert fewer.total == pytest.approx(mean_with(left, scene), abs=1e-5)
    for cell_type in ("shsy5y", "astro", "cort"):
        threshold = value_for(fewer.score_threshold, cell_type)
        for other in (threshold - 0.2, threshold + 0.2):
            assert mean_with(with_threshold(left, cell_type, max(other, 0)), scene) <= fewer.total + 1e-3


def test_without_a_search_for_score_thresholds_those_of_the_file_stay(scene, tmp_path):
    tuned = tuned_settings(scene, tmp_path, "fusion_iou")
    assert tuned.gains.fewer_sources == ()
    (smaller,) = narrowings(tuned)
    assert narrowed_like(tuned, smaller) == smaller
