from dataclasses import replace

import numpy as np
import pytest
from drawing import drawn
from fake_predictors import JitteredTruth, small_ensemble, small_truth

from sartorius.cells import Cells
from sartorius.config import load_ensemble_settings
from sartorius.config.fusion import MasksSettings
from sartorius.fusion import fuse
from sartorius.pipeline import fused_and_cleaned
from sartorius.pipeline.by_type import detected_type
from sartorius.postprocess import clean


@pytest.fixture
def settings(tmp_path):
    """Models r50 and x101, views none and horizontal."""
    return load_ensemble_settings(small_ensemble(tmp_path))


@pytest.fixture
def sources(settings):
    """What these find in an image of three cells of the type cort."""
    truth = small_truth()
    image = np.zeros(truth["cort_image"].size_hw, np.uint8)
    return {
        f"{member.name}/{view.name}": JitteredTruth(truth, member.name)(image, "cort_image", view)
        for member, view in settings.runs
    }


def contents_of(cells: Cells):
    """Everything that cells say, in plain values."""
    return drawn(cells), cells.scores.tolist(), cells.cell_types.tolist(), cells.sources.tolist()


def of_type(cells, cell_type: str):
    return replace(cells, cell_types=np.full(len(cells), cell_type))


def test_a_type_with_fusion_settings_of_its_own_is_fused_by_them(settings, sources):
    own = MasksSettings(min_votes=5)  # more than there are sources: nothing is left
    per_type = settings.model_copy(update={"fusion_per_type": {"cort": own}})
    assert len(fused_and_cleaned(sources, per_type)) == 0
    astro = {name: of_type(cells, "astro") for name, cells in sources.items()}
    assert len(fused_and_cleaned(astro, per_type)) == len(fused_and_cleaned(astro, settings)) == 3


def weighed(settings, weight):
    """The ensemble with this weight for its first model."""
    first, *others = settings.members
    return settings.model_copy(update={"members": (first.model_copy(update={"weight": weight}), *others)})


def test_a_model_with_a_weight_of_0_for_a_type_is_fused_in_images_of_other_types_only(settings, sources):
    expert = weighed(settings, {"astro": 3.0, "default": 0.0})
    others = {name: cells for name, cells in sources.items() if not name.startswith("r50/")}
    assert contents_of(fused_and_cleaned(sources, expert)) == contents_of(
        clean(fuse(others, settings.fusion), settings.postprocess)
    )
    astro = {name: of_type(cells, "astro") for name, cells in sources.items()}
    weights = {name: 3.0 if name.startswith("r50/") else 1.0 for name in astro}
    assert contents_of(fused_and_cleaned(astro, expert)) == contents_of(
        clean(fuse(astro, settings.fusion, weights), settings.postprocess)
    )


def test_a_model_that_a_type_leaves_out_has_no_say_in_the_type_of_an_image(settings, sources):
    expert = weighed(settings, {"astro": 100.0, "default": 0.0})
    believes = sources | {
        name: of_type(cells, "astro") for name, cells in sources.items() if name.startswith("r50/")
    }
    assert detected_type(believes, expert) == "cort"
    alone = believes | {name: cells[:0] for name, cells in sources.items() if not name.startswith("r50/")}
    assert detected_type(alone, expert) is None
    assert len(fused_and_cleaned(alone, expert)) == 0


def test_the_weights_of_a_model_and_a_view_are_multiplied(settings):
    weight = {"cort": 0.5, "default": 2.0}
    views = (settings.views[0].model_copy(update={"weight": weight}), *settings.views[1:])
    both = weighed(settings, 3.0).model_copy(update={"views": views})
    assert both.weights_for("cort") == {
        "r50/none": 1.5,
        "r50/horizontal": 3.0,
        "x101/none": 0.5,
        "x101/horizontal": 1.0,
    }
    assert both.weights_for("astro")["r50/none"] == 6


def test_an_image_has_the_type_that_its_detections_have_by_weight_and_score(settings, sources):
    mixed = sources | {"r50/none": of_type(sources["r50/none"], "astro")}
    assert detected_type(mixed, settings) == "cort"
    assert detected_type(mixed, weighed(settings, {"astro": 100.0, "default": 1.0})) == "astro"
    assert detected_type(dict(reversed(mixed.items())), settings) == "cort"
    nothing = {name: cells[:0] for name, cells in sources.items()}
    assert detected_type(nothing, settings) is None
    assert len(fused_and_cleaned(nothing, settings)) == 0
