import pytest
from fake_predictors import small_ensemble

from sartorius.config import load_ensemble_settings
from sartorius.config.ensemble import StageWiseSettings
from sartorius.config.fusion import WbfSettings
from sartorius.config.members import MemberSettings, ViewSettings
from sartorius.pipeline.budget import narrowed_like
from sartorius.pipeline.smaller import smaller_ensemble


@pytest.fixture
def settings(tmp_path):
    """Models r50 and x101, views none and horizontal."""
    return load_ensemble_settings(small_ensemble(tmp_path))


def test_predictions_of_another_program_are_one_source_each(settings):
    foreign = MemberSettings(name="cellpose", predictions="labels")
    both = settings.model_copy(
        update={"members": (*settings.members, foreign), "fusion": WbfSettings(min_votes=4)}
    )
    assert len(both.sources) == 5
    smaller = smaller_ensemble(both, ["horizontal"])
    assert (len(smaller.sources), smaller.fusion.min_votes) == (3, 2)


def test_each_type_asks_for_its_share_of_the_votes_that_its_images_can_give(settings):
    for_others = {"astro": 0.0, "default": 1.0}
    views = (
        ViewSettings(flip="none"),
        ViewSettings(flip="vertical"),
        ViewSettings(flip="horizontal", weight=for_others),
        ViewSettings(flip="rotate180", weight=for_others),
    )
    members, fusion = settings.members[:1], WbfSettings(min_votes=2)
    whole = settings.model_copy(update={"members": members, "views": views, "fusion": fusion})
    one_of_astro = smaller_ensemble(whole, ["vertical"])
    assert votes_of_types(one_of_astro) == {"astro": 1, "cort": 2}
    none_of_astro = smaller_ensemble(whole, ["horizontal", "rotate180"])
    assert votes_of_types(none_of_astro) == {"astro": 2, "cort": 1}
    own = whole.model_copy(update={"fusion_per_type": {"astro": fusion}})
    assert smaller_ensemble(own, ["vertical"]) == one_of_astro


def votes_of_types(settings):
    return {name: settings.fusion_of_type(name).min_votes for name in ("astro", "cort")}


def test_votes_do_not_depend_on_how_many_times_something_was_dropped(settings):
    views = tuple(
        ViewSettings(flip=flip, scale=scale) for flip in ("none", "horizontal") for scale in (1, 1.5)
    )
    whole = settings.model_copy(update={"views": views, "fusion": WbfSettings(min_votes=3)})
    left = whole
    for name in ("horizontal_x1.5", "horizontal", "none_x1.5"):
        left = narrowed_like(whole, smaller_ensemble(left, [name]))
    assert left == smaller_ensemble(whole, ["none_x1.5", "horizontal", "horizontal_x1.5"])


def test_boxes_fused_inside_the_networks_need_the_same_share_of_votes_without_a_view(settings):
    stage_wise = StageWiseSettings(boxes=WbfSettings(min_votes=4))
    whole = settings.model_copy(update={"stage_wise": stage_wise})
    assert len(whole.parts) == 4
    assert smaller_ensemble(whole, ["horizontal"]).stage_wise.boxes.min_votes == 2
