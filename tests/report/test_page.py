"""The page needs nothing beside it, and its figures are those of the metrics."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from command_line import run
from drawing import cell, cells

from sartorius.metrics.competition import evaluate
from sartorius.pipeline import fused_and_cleaned, read_sources
from sartorius.report.outcomes import SCORE_THRESHOLDS, found_over_scores, outcome_of_result, sum_of_losses
from sartorius.report.pictures import crop, examples_of, picture
from sartorius.report.tables import waterfalls
from sartorius.submission import write_submission

VOID = {"meta", "input", "br"}


class Tags(HTMLParser):
    """The tags of a page; raises where one is closed that is not open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def given(scene):
    return ("--truth", scene.truth_csv, "--images", scene.truth_csv.parent)


@pytest.fixture(scope="module")
def html(scene, given, monkeypatch_module, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    assert (
        run(monkeypatch_module, "report", scene.ensemble, "--predictions", scene.cache, *given, "--out", out)
        == 0
    )
    return out.read_text()


def results(scene):
    return {
        name: fused_and_cleaned(read_sources(scene.settings, scene.cache, name), scene.settings)
        for name in scene.truth
    }


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(html):
    tags = Tags(html[html.index("<html") :])
    assert tags.open == []
    addresses = [value for _, attrs in tags.seen for name, value in attrs.items() if name in ("src", "href")]
    assert [
        value for value in addresses if not value.startswith("data:image/webp;base64,") and value[0] != "#"
    ] == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags.seen}
    assert "url(http" not in html
    assert "@import" not in html


def test_every_picture_says_what_it_shows(html):
    pictures = [attrs for tag, attrs in Tags(html).seen if tag == "svg" and "aria-hidden" not in attrs]
    assert len(pictures) > 15
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)


def test_the_figures_are_those_of_the_metrics(scene, html):
    score = evaluate(results(scene), scene.truth)
    assert f"<b>{score.total:.4f}</b><span>competition mAP" in html
    found = score.true_positives[:, 0].sum()
    assert re.search(rf"<td>{found:,}</td><td>[\d.]+ %</td></tr>\s*</tbody>", html)
    assert "fused from model00/none, model01/none" in html


def test_a_waterfall_begins_with_all_true_cells_and_ends_with_the_found_ones():
    truth = cells(cell("####......"), cell("....####.."), cell("........##"), cell("##........"))
    outcome = outcome_of_result(cells(cell("####......", score=0.9), cell("....##....", score=0.8)), truth)
    (fall,) = waterfalls([outcome])
    assert (fall.true_cells, fall.found) == (4, 1)
    assert [(step.fate, step.lost, step.left) for step in fall.steps] == [
        ("not proposed", 1, 3),
        ("poorly outlined", 2, 1),
    ]
    assert sum(sum_of_losses([outcome, outcome]).values()) == 8


def test_precision_and_recall_over_scores_count_the_cells_that_are_sure_enough():
    truth = cells(cell("##......"), cell("...##..."))
    found = cells(cell("##......", score=0.9), cell("......##", score=0.6), cell("...##...", score=0.3))
    precision, recall = found_over_scores([outcome_of_result(found, truth)])
    at = {round(float(t), 2): place for place, t in enumerate(SCORE_THRESHOLDS)}
    assert precision[[at[0.0], at[0.3], at[0.31], at[0.7]]].tolist() == [2 / 3, 2 / 3, 1 / 2, 1]
    assert recall[[at[0.0], at[0.31], at[0.95]]].tolist() == [1, 0.5, 0]
    assert np.isnan(precision[at[0.95]])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_overlapping_detections_of_one_cell_the_surest_is_the_find(order):
    truth = cells(cell("##......"))
    both = [cell("##......", score=0.9), cell("##......", score=0.3)]
    precision, recall = found_over_scores([outcome_of_result(cells(*(both[n] for n in order)), truth)])
    at = {round(float(t), 2): place for place, t in enumerate(SCORE_THRESHOLDS)}
    assert (precision[at[0.5]], recall[at[0.5]], precision[at[0.2]]) == (1, 1, 0.5)


def test_a_cut_in_the_unthresholded_result_is_the_result_with_that_threshold(scene):
    from sartorius.report.outcomes import outcome_of_sources

    settings = scene.settings
    outcomes = [
        outcome_of_sources(read_sources(settings, scene.cache, name), settings, truth)
        for name, truth in scene.truth.items()
    ]
    score = evaluate(results(scene), scene.truth)
    found = score.true_positives[:, 0].sum()
    precision, recall = found_over_scores(outcomes)
    place = 50  # the threshold of the scene's ensemble is .5 for all types
    assert recall[place] == found / (found + score.false_negatives[:, 0].sum())
    assert precision[place] == found / (found + score.false_positives[:, 0].sum())


def test_a_picture_has_a_layer_for_each_kind_of_cell():
    truth = cells(cell("####......"), cell("......####"))
    outcome = outcome_of_result(cells(cell("####......", score=0.9), cell("....##....", score=0.5)), truth)
    svg = str(picture(np.zeros((1, 10), dtype=np.uint8), outcome))
    drawn = dict(re.findall(r'<path class="(\w+)" d="([^"]*)"', svg))
    assert {name: path.count("M") for name, path in drawn.items()} == {
        "truth": 1, "hit": 1, "false": 1, "missed": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match="image of shape"):
        picture(np.zeros((2, 10), dtype=np.uint8), outcome)


def test_a_crop_lies_around_its_cell_inside_the_image():
    row = "." * 150 + "##" + "." * 48
    outcome = outcome_of_result(cell("." * 200, score=0.5), cell(row))
    (example,) = examples_of("not proposed", [outcome], 6)
    svg = str(crop(np.zeros((1, 200), dtype=np.uint8), example))
    assert 'viewBox="115 0 72 1"' in svg


def test_examples_are_spread_over_all_cells_and_each_is_shown_once():
    truth = cells(*(cell("." * place + "#" + "." * (9 - place)) for place in range(10)))
    outcome = outcome_of_result(cell("." * 10, score=0.5), truth)
    assert [one.row for one in examples_of("not proposed", [outcome], 4)] == [0, 3, 6, 9]
    assert [one.row for one in examples_of("found", [outcome], 4)] == []


def test_a_submission_is_told_without_the_steps_that_led_to_it(monkeypatch, capsys, scene, given, tmp_path):
    csv, out = tmp_path / "submission.csv", tmp_path / "report.html"
    write_submission(csv, results(scene).values(), sorted(scene.truth))
    assert run(monkeypatch, "report", csv, *given, "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    for name, fates in told["true_cells"].items():
        assert set(fates) <= {"not proposed", "poorly outlined", "shared", "found"}, name
    assert sum(told["true_cells"]["all types"].values()) == sum(map(len, scene.truth.values()))
    assert told["total"] == pytest.approx(evaluate(results(scene), scene.truth).total)
    html = out.read_text()
    assert "Only the result is known here" in html
    assert "score threshold" not in html


def test_overlapping_predictions_get_a_warning_that_names_no_option_of_another_command(
    monkeypatch, capsys, scene, given, tmp_path
):
    found = scene.cache / "model00" / "none"
    assert run(monkeypatch, "report", found, *given, "--out", tmp_path / "report.html") == 0
    warning = capsys.readouterr().err
    assert "masks overlap" in warning
    assert "fuse and clean them first\n" in warning


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{ensemble}",), "name them with --predictions DIR"),
        (("{cache}", "--predictions", "{cache}"), "--predictions goes with an ensemble file"),
        (("{ensemble}", "--predictions", "{cache}", "--fold", "0"), "--folds FILE and --fold K go together"),
        (("{ensemble}", "--predictions", "{empty}"), "expected predictions of model00/none"),
        (("{ensemble}", "--predictions", "{cache}", "--out", "{empty}"), "expected the name of a file"),
        (
            ("{ensemble}", "--predictions", "{cache}", "--out", "{ensemble}"),
            "expected the name of a page ending in .html, got 'ensemble.yaml'",
        ),
        (("{cache}/model00/none", "--out", "{truth}"), "ending in .html, got 'train.csv'"),
        (("{ensemble}", "--predictions", "{cache}", "--out", "{truth}/r.html"), "cannot be written"),
    ],
)
def test_wrong_input_is_told_in_one_line(monkeypatch, capsys, scene, given, tmp_path, arguments, message):
    places = {
        "ensemble": scene.ensemble,
        "cache": scene.cache,
        "empty": tmp_path,
        "truth": scene.truth_csv,
    }
    asked = [argument.format(**places) for argument in arguments]
    assert run(monkeypatch, "report", "--out", tmp_path / "r.html", *asked, *given) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("option", ["what", "--truth", "--folds"])
def test_what_the_page_is_about_is_never_overwritten_whatever_its_name(
    monkeypatch, capsys, scene, given, tmp_path, option
):
    odd = tmp_path / "odd.html"
    odd.write_text("precious")
    what = odd if option == "what" else scene.cache / "model00" / "none"
    more = () if option == "what" else (option, odd)
    command = ("report", what, *given, "--folds", scene.folds, "--fold", 0, *more, "--out", odd)
    assert run(monkeypatch, *command) == 2
    assert f"{odd}: expected another file than the input" in capsys.readouterr().err
    assert odd.read_text() == "precious"


def test_images_that_are_not_those_of_the_predictions_are_refused(monkeypatch, capsys, scene, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    source = sorted((scene.truth_csv.parent / "train").iterdir())[0]
    (images / "other.png").write_bytes(source.read_bytes())
    given = ("--predictions", scene.cache, "--truth", scene.truth_csv, "--images", images)
    assert run(monkeypatch, "report", scene.ensemble, *given, "--out", tmp_path / "r.html") == 2
    assert "are not among the 1 images" in capsys.readouterr().err
