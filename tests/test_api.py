"""What `from sartorius import …` offers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_predictors import Blind, JitteredTruth, small_ensemble, small_truth, two_predictors

import sartorius
from sartorius import Ensemble, measure_cells
from sartorius.config import load_ensemble_settings
from sartorius.config.fusion import PostprocessSettings

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture
def ensemble(tmp_path: Path) -> Ensemble:
    truth = small_truth()
    return Ensemble(load_ensemble_settings(small_ensemble(tmp_path)), two_predictors(truth))


def test_an_image_array_becomes_cells_and_cells_become_a_table(ensemble):
    image = np.full((40, 56), 127, np.uint8)
    cells = ensemble(image, "cort_image")
    assert (cells.image_id, len(cells), set(cells.cell_types)) == ("cort_image", 3, {"cort"})
    table = measure_cells(cells, image, um_per_px=1.24)
    assert table["area_px"].tolist() == cells.areas_px.tolist()


@pytest.mark.parametrize(
    "image",
    [np.zeros((40, 56), np.uint16), np.zeros((40, 56)), np.zeros((40, 56, 3), np.uint8)],
    ids=["16 bit", "float", "colour"],
)
def test_images_of_any_number_type_and_colour_are_taken(ensemble, image):
    assert len(ensemble(image, "astro_image")) == 2


def test_an_image_without_cells_gives_a_record_without_cells(ensemble):
    assert len(ensemble(np.zeros((40, 56), np.uint8), "empty_image")) == 0
    blind = Ensemble(ensemble.settings, {name: Blind({}, name) for name in ("r50", "x101")})
    assert len(blind(np.zeros((4, 5), np.uint8))) == 0


def test_other_thresholds_run_no_model_again(ensemble):
    predicted = ensemble.predict(np.zeros((40, 56), np.uint8), "cort_image")
    assert list(predicted) == ["r50/none", "r50/horizontal", "x101/none", "x101/horizontal"]
    asked = len(ensemble.predictors["r50"].seen)
    assert len(ensemble.fuse(predicted)) == 3
    assert len(ensemble.fuse(predicted, PostprocessSettings(score_threshold=1.0))) == 0
    assert len(ensemble.predictors["r50"].seen) == asked
    assert ensemble.settings.postprocess.score_threshold == 0.5


def test_an_image_of_another_shape_is_refused(ensemble):
    with pytest.raises(ValueError, match=r"pixels have shape \(5,\)"):
        ensemble(np.zeros(5))


@pytest.mark.parametrize("name", sartorius.__all__)
def test_every_offered_name_is_there(name):
    assert getattr(sartorius, name) is not None


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sartorius.nothing
    with pytest.raises(ImportError, match="nothing"):
        from sartorius import nothing  # noqa: F401


def test_importing_the_package_imports_nothing_that_takes_time():
    code = "import sys; before = set(sys.modules); import sartorius; print(*(set(sys.modules) - before))"
    added = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    ).stdout
    assert {name.split(".")[0] for name in added.split()} & {
        "numpy",
        "numba",
        "pandas",
        "cv2",
        "torch",
    } == set()
    assert "sartorius" in added.split()


def test_the_starter_ensemble_loads_from_its_file():
    pytest.importorskip("torch")
    loaded = sartorius.load_ensemble(PROJECT / "configs" / "ensembles" / "starter.yaml")
    assert set(loaded.predictors) == {member.name for member in loaded.settings.members}
    assert not isinstance(next(iter(loaded.predictors.values())), JitteredTruth)


def test_what_is_offered_is_listed():
    assert set(sartorius.__all__) <= set(dir(sartorius))


def test_a_misspelt_format_is_told_with_the_nearest_one(tmp_path):
    for attempt in (
        lambda: sartorius.read_any(tmp_path, format_name="coc"),
        lambda: sartorius.write_any(tmp_path / "a.json", {}, "coc"),
    ):
        with pytest.raises(sartorius.UserError, match="did you mean coco"):
            attempt()
