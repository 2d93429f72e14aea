"""A tuned file says where it comes from, is loaded like any other, and knows when it is stale."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from command_line import run
from tuning_scene import data_of, mean_with

from sartorius.cells import no_cells
from sartorius.config import load_ensemble_settings
from sartorius.data.folds import write_folds
from sartorius.errors import UserError
from sartorius.experiment import file_sha256
from sartorius.pipeline.staleness import models_in_cache, stale_reasons
from sartorius.tuning.curves import draw_curves
from sartorius.tuning.images import read_cached_images
from sartorius.tuning.objective import Objective
from sartorius.tuning.search import Budget
from sartorius.tuning.space import SEARCHED
from sartorius.tuning.stages import ImageStages
from sartorius.tuning.tuned_file import score_of, tune


@pytest.fixture(scope="module")
def tuned(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "tuned.yaml"
    budget = Budget(("score_threshold", "fusion_iou", "min_area"), 2, 0)
    return tune(scene.ensemble, data_of(scene), out, budget, 5, "sartorius tune …")


def test_a_tuned_file_loads_to_the_settings_that_were_found(tuned, scene):
    loaded = load_ensemble_settings(tuned.path)
    assert loaded.model_copy(update={"tuned": None, "members": scene.settings.members}) == tuned.settings
    assert loaded.tuned == tuned.record
    written = yaml.safe_load(tuned.path.read_text())
    assert set(written) <= {"base", "fusion_per_type", "postprocess", "gains", "tuned"}
    assert "nms_iou" not in written.get("postprocess", {})  # it was not searched


def test_its_scores_are_those_of_the_pipeline(tuned, scene):
    loaded = load_ensemble_settings(tuned.path)
    assert tuned.record.in_fold.total == pytest.approx(mean_with(loaded, scene), abs=1e-12)
    assert tuned.record.untuned.total == pytest.approx(mean_with(scene.settings, scene), abs=1e-12)


def test_a_score_has_its_interval_and_the_mean_of_each_type():
    score = score_of(np.array([0.2, 0.9, 0.4]), ["cort", "astro", "cort"])
    assert (score.total, score.low, score.high) == pytest.approx((0.5, 0.2, 0.9))  # only one image drawn
    assert score.per_type == pytest.approx({"astro": 0.9, "cort": 0.3})


def test_it_says_what_was_searched_on(tuned, scene):
    record = tuned.record
    assert (record.images, record.parts, record.parts_from) == (6, (3, 3), "folds 0, 1")
    assert record.searched == ("score_threshold", "fusion_iou", "min_area")
    assert record.truth_sha256 == file_sha256(scene.truth_csv)
    assert [source.source for source in record.sources] == ["model00/none", "model01/none"]
    assert record.sources[0].weights_sha256 == ("model00",)
    gain = record.out_of_fold.total - record.untuned.total
    assert record.gain.difference == pytest.approx(gain)


def test_a_truth_that_changes_or_goes_during_the_search_is_named_as_it_was_read(scene, tmp_path):
    data = data_of(scene, truth=tmp_path / "train.csv", folds=tmp_path / "folds.csv")
    shutil.copy(scene.truth_csv, data.truth)
    shutil.copy(scene.folds, data.folds)
    read = file_sha256(data.truth)

    def lose(*_: object) -> None:
        data.truth.write_text("another")
        data.folds.unlink(missing_ok=True)

    budget = Budget(("min_area",), 0, 0)
    made = tune(scene.ensemble, data, tmp_path / "tuned.yaml", budget, 5, "sartorius tune …", lose)
    assert made.record.truth_sha256 == read


def test_settings_are_not_stale_on_the_predictions_they_were_searched_on(tuned, scene):
    settings = load_ensemble_settings(tuned.path)
    assert stale_reasons(settings, models_in_cache(settings, scene.cache)) == []
    assert stale_reasons(scene.settings, {}) == []


def changed_source(models, **changes):
    return models | {"model00/none": models["model00/none"]._replace(**changes)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda models: changed_source(models, weights_sha256="other"), "model00/none has other weights now"),
        (
            lambda models: changed_source(models, inference={"min_score": 0.3}),
            "min_score 0.3 now, searched with 0.05",
        ),
        (lambda models: {"model00/none": models["model00/none"]}, "model01/none was there"),
        (
            lambda models: models | {"model00/vertical": models["model00/none"]},
            "model00/vertical was not there",
        ),
    ],
)
def test_another_model_or_view_makes_them_stale(tuned, scene, change, reason):
    settings = load_ensemble_settings(tuned.path)
    (found,) = stale_reasons(settings, change(models_in_cache(settings, scene.cache)))
    assert reason in found


def test_a_setting_changed_by_hand_makes_them_stale(tuned, scene):
    settings = load_ensemble_settings(tuned.path)
    postprocess = settings.postprocess.model_copy(update={"score_threshold": 0.123})
    by_hand = settings.model_copy(update={"postprocess": postprocess})
    (reason,) = stale_reasons(by_hand, models_in_cache(settings, scene.cache))
    assert "by hand" in reason


def test_an_image_in_two_caches_is_refused(scene):
    data = data_of(scene, caches=(scene.cache, scene.cache))
    with pytest.raises(UserError, match="in one cache"):
        read_cached_images(scene.ensemble, scene.settings, data, 3, 0)


def test_an_image_without_a_fold_is_refused(scene, tmp_path):
    some = dict.fromkeys(sorted(scene.truth), 0)
    write_folds(tmp_path / "folds.csv", some)
    text = (tmp_path / "folds.csv").read_text().splitlines()
    (tmp_path / "folds.csv").write_text("\n".join(text[:-1]) + "\n")
    with pytest.raises(UserError, match="no fold"):
        read_cached_images(scene.ensemble, scene.settings, data_of(scene, folds=tmp_path / "folds.csv"), 3, 0)


def command(scene, *more):
    return (
        "tune", scene.ensemble, "--predictions", scene.cache, "--truth", scene.truth_csv, "--folds", scene.folds, *more
    )  # fmt: skip


def test_the_command_writes_file_and_curves_and_fuse_tells_a_stale_file(monkeypatch, capsys, scene, tmp_path):
    out = tmp_path / "tuned.yaml"
    assert run(monkeypatch, *command(scene, "--out", out, "--search", "score_threshold")) == 0
    shown = capsys.readouterr().out
    assert "6 images in 2 parts: folds 0, 1" in shown
    assert "tuned, out of fold" in shown
    assert re.search(r"part +┃ +all ┃ +astro ┃ +cort ┃ +shsy5y ┃", shown)
    assert re.search(r"model model01 │( +[+-]?0\.\d{4} │){4}", shown)
    assert re.search(r"score thresholds searched for each number of them: 1 0\.\d{4}", shown)
    assert (tmp_path / "tuned.png").read_bytes().startswith(b"\x89PNG")
    fuse = ("fuse", out, "--predictions", scene.cache, "--out", tmp_path / "fused")
    assert run(monkeypatch, *fuse) == 0
    assert "warning" not in capsys.readouterr().err
    out.write_text(out.read_text().replace("- model01", "- other"))
    assert run(monkeypatch, *fuse) == 0
    said = capsys.readouterr().err
    assert f"warning: {out}: its settings were tuned on something else" in said
    assert "model01/none has other weights now" in said


def test_the_command_tells_its_record_as_json(monkeypatch, capsys, scene, tmp_path):
    out = tmp_path / "tuned.yaml"
    assert run(monkeypatch, *command(scene, "--out", out, "--search", "score_threshold", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["out"] == str(out)
    assert result["tuned"]["searched"] == ["score_threshold"]


def test_the_ensemble_and_what_it_stands_on_are_never_overwritten(monkeypatch, capsys, scene, tmp_path):
    ensemble, base = tmp_path / "own.yaml", tmp_path / "base.yaml"
    base.write_text(f"base: {scene.ensemble}\n# by hand\nfusion: {{method: nms}}\n")
    ensemble.write_text("base: base.yaml\npostprocess: {score_threshold: 0.4}\n")
    name, _, *others = command(scene)
    for out in (ensemble, base, scene.ensemble):
        before = out.read_bytes()
        assert run(monkeypatch, name, ensemble, *others, "--out", out) == 2
        assert f"{out}: expected another file than the input" in capsys.readouterr().err
        assert out.read_bytes() == before


@pytest.mark.parametrize("option", ["--out", "--curves"])
def test_a_place_that_cannot_be_written_is_told_before_the_search(
    monkeypatch, capsys, scene, tmp_path, option
):
    monkeypatch.setattr("sartorius.tuning.tuned_file.tune", lambda *_: pytest.fail("searched"))
    (tmp_path / "file").touch()
    places = {"--out": tmp_path / "t.yaml", "--curves": tmp_path / "t.png"}
    places[option] = tmp_path / "file" / places[option].name
    named = [part for place in places.items() for part in place]
    assert run(monkeypatch, *command(scene, *named, "--search", "score_threshold")) == 2
    assert "file cannot be written" in capsys.readouterr().err


def test_folds_truth_models_and_images_are_never_overwritten(monkeypatch, capsys, scene, tmp_path):
    image = sorted((scene.truth_csv.parent / "train").glob("*.png"))[0]
    folds = shutil.copy(scene.folds, tmp_path / "folds.yaml")
    truth = shutil.copy(scene.truth_csv, tmp_path / "truth.yaml")
    ensemble = shutil.copy(scene.ensemble, tmp_path / "ensemble.yaml")
    model = tmp_path / "model.yaml"
    model.write_text("iterations: 7\n")
    name, _, *others = command(scene)
    fine = ("--out", tmp_path / "tuned.yaml")
    for given in (
        ("--folds", folds, "--out", folds),
        ("--truth", truth, "--out", truth),
        ("--out", model),
        (*fine, "--curves", image),
        ("--out", image.with_suffix(".yaml")),
    ):
        assert run(monkeypatch, name, ensemble, *others, *given) == 2
        assert ": expected another file than the input" in capsys.readouterr().err
    assert image.read_bytes().startswith(b"\x89PNG")
    assert not image.with_suffix(".yaml").exists()
    assert not (tmp_path / "tuned.yaml").exists()
    assert (folds.read_bytes(), truth.read_bytes()) == (
        scene.folds.read_bytes(),
        scene.truth_csv.read_bytes(),
    )
    assert model.read_text() == "iterations: 7\n"


def test_an_ensemble_that_nothing_may_stand_on_is_told_before_the_search(
    monkeypatch, capsys, scene, tmp_path
):
    ensemble, base = tmp_path / "own.yaml", tmp_path / "base.yaml"
    base.write_text(f"base: {scene.ensemble}\n")
    ensemble.write_text("base: base.yaml\n")
    monkeypatch.setattr("sartorius.tuning.tuned_file.cross_tuned", None)
    name, _, *others = command(scene)
    assert run(monkeypatch, name, ensemble, *others, "--out", tmp_path / "tuned.yaml") == 2
    assert f"{ensemble}: a file that stands on it would have more than 2 levels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--out", "x.png"], "tuned ensemble file ending in .yaml or .yml, got 'x.png'"),
        (["--out", "."], "tuned ensemble file ending in .yaml or .yml, got ''"),
        (["--out", "x.yaml", "--curves", "x.yaml"], "picture ending in .png, got 'x.yaml'"),
    ],
)
def test_file_and_picture_have_names_of_their_own(monkeypatch, capsys, scene, tmp_path, given, message):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *command(scene, *given)) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_does_not_exist_is_told_in_one_line(monkeypatch, capsys, scene, tmp_path):
    assert run(monkeypatch, *command(scene, "--out", tmp_path / "x.yaml", "--search", "thresholds")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_only_settings_that_the_images_have_are_searched_and_others_refused_if_asked_for(scene, tmp_path):
    ensemble, out = scene.folder / "one_source.yaml", tmp_path / "tuned.yaml"
    ensemble.write_text(
        "base: ensemble.yaml\nmembers: [{name: model00, model: model.yaml, weights: run/fold0/model.safetensors}]\n"
    )
    with pytest.raises(
        UserError, match=r"one_source.yaml: expected settings to search .* min_area.*; got min_votes"
    ):
        tune(ensemble, data_of(scene), out, Budget(("min_votes", "nms"), 1, 0), 5, "sartorius tune …")
    made = tune(ensemble, data_of(scene), out, Budget(SEARCHED, 1, 0), 5, "sartorius tune …")
    assert set(SEARCHED) - set(made.record.searched) == {"min_votes", "vote_iou_power"}


def test_a_setting_without_a_value_for_a_type_is_told_with_file_and_key(scene, tmp_path):
    ensemble = scene.folder / "two_types.yaml"
    ensemble.write_text("base: ensemble.yaml\npostprocess: {score_threshold: {astro: 0.1, shsy5y: 0.1}}\n")
    budget = Budget(("score_threshold",), 0, 0)
    with pytest.raises(
        UserError, match=r"two_types.yaml: postprocess.score_threshold: no value for .* 'cort'"
    ):
        tune(ensemble, data_of(scene), tmp_path / "tuned.yaml", budget, 5, "sartorius tune …")


@pytest.mark.parametrize("name", ["tune", "ablate"])
def test_a_seed_that_the_search_cannot_take_is_refused(monkeypatch, capsys, scene, name):
    assert run(monkeypatch, name, scene.ensemble, "--seed", 2**32) == 2
    assert "'--seed': Input should be less than or equal to 4294967295" in capsys.readouterr().err


def test_the_help_names_everything_that_can_be_searched(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "400")
    assert run(monkeypatch, "tune", "--help") == 0
    assert f"{', '.join(SEARCHED)}." in capsys.readouterr().out


def test_curves_of_images_without_cells_have_no_marked_threshold(scene, tmp_path):
    nothing = no_cells("a", (4, 4))
    objective = Objective(
        [ImageStages(dict.fromkeys(scene.settings.sources, nothing), nothing, scene.settings)]
    )
    cleaning = scene.settings.postprocess.model_copy(update={"score_threshold": {"cort": 0.5}})
    settings = scene.settings.model_copy(update={"postprocess": cleaning})
    draw_curves(tmp_path / "curves.png", objective, settings, settings)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
