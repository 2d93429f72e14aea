"""Ablations of ensembles, from a cache: every row scored on the same images by settings searched on others."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from sartorius.ablation.files import Ablation, put_on, read_folder
from sartorius.ablation.fusion import SEARCHED_AS, _set_keys, ablate_fusion
from sartorius.ablation.table import write_section
from sartorius.errors import UserError
from sartorius.metrics.bootstrap import paired_difference
from sartorius.pipeline import read_sources
from sartorius.tuning.cross import cross_tuned
from sartorius.tuning.images import Data
from sartorius.tuning.objective import Objective
from sartorius.tuning.search import Budget
from sartorius.tuning.space import SEARCHED
from sartorius.tuning.stages import ImageStages
from sartorius.tuning.tuned_file import tune

THRESHOLDS = Budget(("score_threshold",), 0, 0)


@pytest.fixture(scope="module")
def folder(scene):
    where = scene.folder / "fusion"
    where.mkdir()
    files = {
        "nms": "fusion: {method: nms}",
        "one_model": "members: [{name: model00, model: model.yaml, weights: run/fold0/model.safetensors}]",
        "not_tuned": "settings_of: one_model.yaml",
        "fixed": "postprocess: {score_threshold: 0.05}",
    }
    for name, text in files.items():
        (where / f"{name}.yaml").write_text(f"base: ../ensemble.yaml\nnote: Why.\n{text}\n")
    return where


@pytest.fixture(scope="module")
def data(scene):
    return Data((scene.cache,), scene.truth_csv, scene.folds)


@pytest.fixture(scope="module")
def rows(folder, data):
    table = ablate_fusion(read_folder(folder), data, THRESHOLDS, 5)
    assert (table.images, table.parts) == (6, "folds 0, 1")
    assert table.rows[0].name == "ensemble"
    return {row.name: row for row in table.rows}


def test_whatever_is_searched_a_file_may_be_about():
    assert set(SEARCHED_AS.values()) == set(SEARCHED)


def test_an_iou_that_comes_with_another_strategy_is_searched_and_one_that_a_file_is_about_is_not():
    iou, strategy = {"fusion.min_iou": (0.5, 0.4)}, {"fusion.method": ("masks", "nms")}
    assert _set_keys(Ablation(Path("iou.yaml"), iou)) == ["fusion.min_iou"]
    assert _set_keys(Ablation(Path("nms.yaml"), iou | strategy)) == []


def test_a_base_or_file_that_was_tuned_on_these_predictions_is_refused(scene, folder, data, tmp_path):
    tuned = tune(scene.ensemble, data, tmp_path / "tuned.yaml", THRESHOLDS, 5, "sartorius tune …").path
    for folder_with_it in (put_on(read_folder(folder), tuned), read_folder(tmp_path)):
        with pytest.raises(
            UserError, match=r"tuned.yaml: its settings were searched on .* from ensemble.yaml"
        ):
            ablate_fusion(folder_with_it, data, THRESHOLDS, 5)


def cross(scene, settings):
    images = [
        ImageStages(read_sources(settings, scene.cache, name), truth, settings)
        for name, truth in sorted(scene.truth.items())
    ]
    objective = Objective(images)
    parts = np.arange(6) % 2
    return objective, cross_tuned(objective, settings, parts, THRESHOLDS)


def test_the_base_comes_first_and_the_others_by_their_score(rows):
    totals = [row.total.value for row in list(rows.values())[1:]]
    assert totals == sorted(totals, reverse=True)


def test_a_row_is_the_score_out_of_fold_and_its_paired_difference_to_the_base(scene, rows):
    base = cross(scene, scene.settings)[1].out_of_fold
    nms = scene.settings.model_copy(
        update={"fusion": type(read_nms())(), "postprocess": scene.settings.postprocess}
    )
    own = cross(scene, nms)[1].out_of_fold
    assert rows["nms"].total.value == pytest.approx(own.mean())
    assert rows["ensemble"].total.value == pytest.approx(base.mean())
    assert rows["nms"].difference == paired_difference(own, base, np.random.default_rng(0))
    assert rows["nms"].changes == "fusion.method: masks → nms"


def read_nms():
    from sartorius.config.fusion import NmsSettings

    return NmsSettings()


def test_settings_of_another_file_are_taken_part_by_part_and_not_searched_again(scene, rows):
    one = scene.settings.model_copy(update={"members": scene.settings.members[:1]})
    of_parts = cross(scene, one)[1].of_parts
    objective, _ = cross(scene, scene.settings)
    scores = np.zeros(6)
    for part, found in enumerate(of_parts):
        here = np.flatnonzero(np.arange(6) % 2 == part)
        both = scene.settings.model_copy(update={"fusion": found.fusion, "postprocess": found.postprocess})
        scores[here] = objective.image_scores(both, here)
    assert rows["not_tuned"].total.value == pytest.approx(scores.mean())


def test_its_sources_are_those_of_every_file_the_base_s_first(scene, data):
    line = "{{name: {0}, model: model.yaml, weights: run/fold0/model.safetensors}}"
    one, other = line.format("model00"), line.format("model01")
    (scene.folder / "other.yaml").write_text(f"base: ensemble.yaml\nmembers: [{other}]\n")
    (scene.folder / "more").mkdir()
    (scene.folder / "more" / "both.yaml").write_text(f"base: ../other.yaml\nmembers: [{one}, {other}]\n")
    table = ablate_fusion(read_folder(scene.folder / "more"), data, THRESHOLDS, 5)
    assert table.sources == ("model01/none", "model00/none")


def test_what_a_file_is_about_is_not_searched(rows):
    assert rows["fixed"].total.value == pytest.approx(rows["fixed"].as_written)
    assert rows["ensemble"].total.value != pytest.approx(rows["ensemble"].as_written)


def test_a_file_that_needs_predictions_that_are_not_there_says_so(folder, data):
    extra = folder / "more_views.yaml"
    extra.write_text("base: ../ensemble.yaml\nviews: [{flip: none}, {flip: vertical}]\n")
    try:
        with pytest.raises(UserError, match="missing model00/vertical"):
            ablate_fusion(read_folder(folder), data, THRESHOLDS, 5)
    finally:
        extra.unlink()


def test_changes_that_do_not_fit_on_another_ensemble_are_refused(scene):
    other = scene.folder / "other.yaml"
    other.write_text("base: ensemble.yaml\nfusion: {method: nms}\n")
    only = scene.folder / "only"
    only.mkdir()
    (only / "keep.yaml").write_text("base: ../ensemble.yaml\nfusion: {second_of_source: drop}\n")
    with pytest.raises(UserError, match="does not fit on"):
        put_on(read_folder(only), other)


def test_changes_on_another_ensemble_are_told_against_that_one(monkeypatch, capsys, scene, folder):
    other = scene.folder / "other_threshold.yaml"
    other.write_text("base: ensemble.yaml\npostprocess: {score_threshold: 0.35}\n")
    (file,) = (one for one in put_on(read_folder(folder), other).files if one.name == "fixed")
    assert file.changes["postprocess.score_threshold"][0] == 0.35
    assert run(monkeypatch, "ablate", folder, "--on", other, "--dry-run") == 0
    assert "fixed: postprocess.score_threshold: 0.35 → " in capsys.readouterr().out


def test_options_of_training_are_refused(monkeypatch, capsys, folder):
    assert run(monkeypatch, "ablate", folder, "--fold", 0, "--device", "cuda") == 2
    assert "--fold, --device: has no effect on ablations of ensembles" in capsys.readouterr().err


def test_the_command_writes_the_table_between_its_markers(monkeypatch, capsys, scene, folder, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# Mine\n")
    given = ("--predictions", scene.cache, "--truth", scene.truth_csv, "--folds", scene.folds)
    for _ in range(2):
        assert run(monkeypatch, "ablate", folder, *given, "--out", page) == 0
    text = page.read_text()
    assert text.startswith("# Mine\n")
    assert text.count("<!-- ablations/fusion: begin -->") == text.count("## Fusion") == 1
    assert "| nms | fusion.method: masks → nms | 0." in text
    assert "mAP out of fold" in capsys.readouterr().out


def test_tables_on_other_ensembles_stand_beside_the_first(monkeypatch, scene, folder, tmp_path):
    page, on = tmp_path / "README.md", scene.folder / "other_half.yaml"
    on.write_text("base: ensemble.yaml\npostprocess: {score_threshold: 0.35}\n")
    given = ("--predictions", scene.cache, "--truth", scene.truth_csv, "--folds", scene.folds, "--out", page)
    for more in ((), ("--on", on), ("--on", on)):
        assert run(monkeypatch, "ablate", folder, *given, *more) == 0
    text = page.read_text()
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## Fusion", "## Fusion on other_half"]
    assert text.count("<!-- ablations/fusion on other_half: begin -->") == 1


BEGIN, END = "<!-- ablations/fusion: begin -->", "<!-- ablations/fusion: end -->"


@pytest.mark.parametrize(
    ("markers", "got"),
    [
        ((BEGIN,), "got them 1 and 0 times"),
        ((END,), "got them 0 and 1 times"),
        ((BEGIN, BEGIN, END), "got them 2 and 1 times"),
        ((BEGIN, END, BEGIN, END), "got them 2 and 2 times"),
        ((END, BEGIN), "got them 1 and 1 times, the wrong way round"),
    ],
)
def test_a_page_with_torn_markers_is_refused_before_the_work_and_stays(
    monkeypatch, capsys, scene, folder, tmp_path, markers, got
):
    monkeypatch.setattr("sartorius.ablation.fusion.ablate_fusion", lambda *_: pytest.fail("worked"))
    page = tmp_path / "README.md"
    page.write_text(before := "\nMine.\n".join(markers))
    given = ("--predictions", scene.cache, "--truth", scene.truth_csv, "--folds", scene.folds)
    assert run(monkeypatch, "ablate", folder, *given, "--out", page) == 2
    assert got in capsys.readouterr().err
    with pytest.raises(UserError, match=got):
        write_section(page, "ablations/fusion", "the table")
    assert page.read_text() == before


def test_only_a_markdown_page_gets_the_table(monkeypatch, capsys, scene, folder):
    before = scene.truth_csv.read_bytes()
    assert run(monkeypatch, "ablate", folder, "--out", scene.truth_csv) == 2
    assert "expected the name of a Markdown page ending in .md, got 'train.csv'" in capsys.readouterr().err
    assert scene.truth_csv.read_bytes() == before


def test_a_page_that_cannot_be_written_is_told_before_the_work(monkeypatch, capsys, scene, folder, tmp_path):
    monkeypatch.setattr("sartorius.ablation.fusion.ablate_fusion", lambda *_: pytest.fail("worked"))
    (tmp_path / "file").touch()
    given = ("--predictions", scene.cache, "--truth", scene.truth_csv, "--folds", scene.folds)
    assert run(monkeypatch, "ablate", folder, *given, "--out", tmp_path / "file" / "page.md") == 2
    assert "file cannot be written" in capsys.readouterr().err


def test_the_command_tells_its_rows_as_json(monkeypatch, capsys, scene, folder):
    given = ("--predictions", scene.cache, "--truth", scene.truth_csv, "--folds", scene.folds)
    assert run(monkeypatch, "ablate", folder, *given, "--json", "--trials", 2) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["difference"] is None
    assert set(rows[1]["difference"]) == {"difference", "low", "high", "share_better"}


def test_a_dry_run_shows_the_leaves_that_differ_and_reads_no_prediction(monkeypatch, capsys, folder):
    assert run(monkeypatch, "ablate", folder, "--dry-run") == 0
    assert "fixed: postprocess.score_threshold: 0.5 → 0.05\n" in capsys.readouterr().out


def test_a_dry_run_as_json_is_json_and_nothing_else(monkeypatch, capsys, scene, folder):
    assert run(monkeypatch, "ablate", folder, "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["base"].endswith("ensemble.yaml")
    assert told["rows"][:2] == [
        {"name": "ensemble", "changes": "", "commands": []},
        {"name": "fixed", "changes": "postprocess.score_threshold: 0.5 → 0.05", "commands": []},
    ]


def test_missing_options_are_told_in_one_line(monkeypatch, capsys, folder):
    assert run(monkeypatch, "ablate", folder) == 2
    assert "need --predictions DIR, --truth CSV and --folds CSV" in capsys.readouterr().err
