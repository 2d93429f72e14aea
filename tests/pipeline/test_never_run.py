"""What a part of an ensemble is taken to take before it was run on any image."""

from fake_predictors import small_ensemble

from sartorius.config import load_ensemble_settings
from sartorius.config.members import ViewSettings
from sartorius.pipeline.budget import ImageSeconds, usual_seconds


def test_a_part_that_was_never_run_takes_as_long_as_the_slowest_view_of_its_model(tmp_path):
    whole = load_ensemble_settings(small_ensemble(tmp_path))
    views = tuple(ViewSettings(flip=flip) for flip in ("none", "horizontal", "vertical"))
    settings = whole.model_copy(update={"views": views})
    timed = [ImageSeconds({"r50/none": 1, "r50/horizontal": 4, "x101/none": 9}, 0)]
    assert usual_seconds(timed, settings).parts["r50/vertical"].mean == 4
