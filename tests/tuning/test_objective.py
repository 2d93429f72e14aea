"""The quick score is the pipeline's own, whatever the settings and whatever was asked before."""

from dataclasses import replace

import numpy as np
import pytest

from sartorius.config.fusion import (
    MaskNmsSettings,
    MasksSettings,
    NmsSettings,
    NmwSettings,
    PostprocessSettings,
    SoftNmsSettings,
    WbfSettings,
)
from sartorius.fusion.engine import fused_by
from sartorius.metrics.competition import average_precision
from sartorius.pipeline import fused_and_cleaned, read_sources
from sartorius.tuning import stages
from sartorius.tuning.objective import KNOWN_OPTIONS, Objective
from sartorius.tuning.stages import ImageStages


@pytest.fixture(scope="module")
def sources(scene):
    found = {image_id: read_sources(scene.settings, scene.cache, image_id) for image_id in scene.truth}
    a, b = sorted(scene.truth)[:2]
    mixed = found[a]["model00/none"]  # an image whose models disagree on its type
    mixed.cell_types[::3] = str(found[b]["model00/none"].cell_types[0])
    found[b] = {name: cells[:0] for name, cells in found[b].items()}  # one in which nothing was found
    return found


@pytest.fixture(scope="module")
def objective(scene, sources):
    return Objective([ImageStages(sources[name], scene.truth[name], scene.settings) for name in scene.truth])


def slow_scores(settings, sources, truth):
    """Fuse, clean and score, image by image."""
    return [
        average_precision(fused_and_cleaned(sources[name], settings), cells).mean()
        for name, cells in truth.items()
    ]


def random_settings(settings, rng: np.random.Generator):
    def fusion():
        shared = {
            "min_votes": int(rng.integers(1, 4)),
            "min_iou": float(rng.uniform(0.1, 0.8)),
            "vote_iou_power": float(rng.choice([0, 3])),
        }
        return [
            MasksSettings(
                **shared,
                mask_threshold={"astro": 0.3, "default": float(rng.uniform(0.3, 0.7))},
                second_of_source=str(rng.choice(["keep", "drop"])),
                mask_score_power=float(rng.choice([0, 1])),
            ),
            MasksSettings(**shared),
            MaskNmsSettings(**shared),
            NmsSettings(**shared),
            WbfSettings(**shared),
            NmwSettings(**shared),
            SoftNmsSettings(),
        ][rng.choice(7, p=[0.3, 0.3, 0.1, 0.1, 0.1, 0.05, 0.05])]

    def per_type(draw):
        return {"shsy5y": draw(), "default": draw()}

    postprocess = PostprocessSettings(
        type_rule=str(rng.choice(["vote", "vote", "none"])),
        score_threshold=per_type(lambda: float(rng.uniform(0, 0.9))),
        max_hole_px=per_type(lambda: int(rng.choice([0, 0, 20]))),
        min_island_px=per_type(lambda: int(rng.choice([0, 0, 20]))),
        min_area_px=per_type(lambda: int(rng.integers(0, 200))),
        nms_iou=per_type(lambda: float(rng.choice([0.0, 0.1, 0.3, 1.0]))),
        label_fill_types=("astro", "cort") if rng.random() < 0.3 else (),
    )
    own = {"cort": fusion()} if rng.random() < 0.5 else {}
    return settings.model_copy(
        update={"fusion": fusion(), "fusion_per_type": own, "postprocess": postprocess}
    )


@pytest.mark.parametrize("seed", range(12))
def test_every_images_score_is_exactly_the_pipelines(scene, sources, objective, seed):
    settings = random_settings(scene.settings, np.random.default_rng(seed))
    assert objective.image_scores(settings).tolist() == slow_scores(settings, sources, scene.truth)


def test_every_images_score_is_exactly_the_pipelines_with_weights_by_type(scene, sources):
    expert, other = scene.settings.members
    expert = expert.model_copy(update={"weight": {"astro": 2.0, "cort": 0.5, "default": 0.0}})
    settings = scene.settings.model_copy(update={"members": (expert, other)})
    own = Objective([ImageStages(sources[name], scene.truth[name], settings) for name in scene.truth])
    assert own.image_scores(settings).tolist() == slow_scores(settings, sources, scene.truth)


@pytest.mark.parametrize("rule", ["vote", "none"])
def test_a_curve_is_the_score_at_each_threshold(scene, sources, objective, rule):
    thresholds = np.array([0.0, 0.21, 0.5, 0.8, 1.0])
    postprocess = PostprocessSettings(score_threshold={"default": 0.4}, nms_iou=0.3, type_rule=rule)
    settings = scene.settings.model_copy(update={"postprocess": postprocess})
    curves = objective.curves(settings, "astro", thresholds)
    for place, threshold in enumerate(thresholds.tolist()):
        own = postprocess.model_copy(update={"score_threshold": {"default": 0.4, "astro": threshold}})
        at = settings.model_copy(update={"postprocess": own})
        assert curves[:, place].tolist() == slow_scores(at, sources, scene.truth)


def test_scores_do_not_depend_on_what_was_asked_before(scene, sources, objective):
    settings = random_settings(scene.settings, np.random.default_rng(99))
    new = Objective([ImageStages(sources[name], scene.truth[name], scene.settings) for name in scene.truth])
    assert new.image_scores(settings).tolist() == objective.image_scores(settings).tolist()


def test_scores_do_not_depend_on_how_many_fused_results_are_kept(monkeypatch, scene, sources, objective):
    monkeypatch.setattr("sartorius.tuning.stages.KEPT_FUSIONS", 1)
    name = next(iter(scene.truth))
    forgetful = Objective([ImageStages(sources[name], scene.truth[name], scene.settings)])
    for seed in (99, 3, 98):
        settings = random_settings(scene.settings, np.random.default_rng(seed))
        expected = objective.image_scores(settings, np.array([0])).tolist()
        assert forgetful.image_scores(settings).tolist() == expected


def test_chosen_images_have_the_scores_they_have_among_all(scene, objective):
    rows = np.array([4, 1])
    everything = objective.image_scores(scene.settings)
    assert objective.image_scores(scene.settings, rows).tolist() == everything[rows].tolist()


def test_the_tables_know_every_option_of_the_clean_up_there_is():
    """An option that is not known is no fault, only slow: then every score goes through the pipeline."""
    assert set(KNOWN_OPTIONS) <= set(PostprocessSettings.model_fields)


def test_where_images_hold_several_types_those_of_few_cells_are_searched_too(scene, sources):
    image_id = sorted(sources)[0]
    several = {
        name: replace(cells, cell_types=np.where(np.arange(len(cells)) < 1, "hela", "glia"))
        for name, cells in sources[image_id].items()
    }
    objective = Objective([ImageStages(several, scene.truth[image_id], scene.settings)])
    assert objective.types_of(objective.rows) == ["glia"]
    assert objective.types_of(objective.rows, "none") == ["glia", "hela"]


def test_cells_are_fused_once_for_all_score_thresholds_also_where_the_pipeline_itself_scores(
    scene, sources, monkeypatch
):
    image_id = sorted(sources)[0]
    image = ImageStages(sources[image_id], scene.truth[image_id], scene.settings)
    several = scene.settings.model_copy(
        update={"postprocess": scene.settings.postprocess.model_copy(update={"type_rule": "none"})}
    )
    fused = []
    monkeypatch.setattr(stages, "fused_by", lambda *given: fused.append(given) or fused_by(*given))
    monkeypatch.setattr(stages, "KEPT_SLOW_SCORES", 4)
    curve = Objective([image]).curves(several, "cort", np.arange(6) / 10)
    assert curve.shape == (1, 6)
    assert (len(fused), len(image._slow)) == (1, 4)
