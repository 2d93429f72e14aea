import pytest
from fake_predictors import small_ensemble

from sartorius.config import load_ensemble_settings
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


def test_votes_do_not_depend_on_how_many_times_something_was_dropped(settings):
    views = tuple(
        ViewSettings(flip=flip, scale=scale) for flip in ("none", "horizontal") for scale in (1, 1.5)
    )
    whole = settings.model_copy(update={"views": views, "fusion": WbfSettings(min_votes=3)})
    left = whole
    for name in ("horizontal_x1.5", "horizontal", "none_x1.5"):
        left = narrowed_like(whole, smaller_ensemble(left, [name]))
    assert left == smaller_ensemble(whole, ["none_x1.5", "horizontal", "horizontal_x1.5"])
