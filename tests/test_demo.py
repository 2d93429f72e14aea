"""The demo from end to end, with a predictor that knows the truth and jitters it, and once with the real models."""

import json
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from fake_predictors import Blind, JitteredTruth
from PIL import Image

import sartorius
from sartorius import cli
from sartorius.cli import ensembles
from sartorius.config import load_ensemble_settings
from sartorius.data.competition import read_truth
from sartorius.data.synthetic import synthesize
from sartorius.demo import SEED, checkout_file, run_demo
from sartorius.errors import UserError
from sartorius.pipeline.predicting import no_report
from sartorius.submission import Problem

STARTER_WEIGHTS = Path(sartorius.__file__).parent.parent / "models" / "starter" / "model.safetensors"


@cache
def truth_of_demo():
    """The true cells of the images that every demo makes."""
    with tempfile.TemporaryDirectory() as folder:
        return read_truth(synthesize(Path(folder) / "data", images_per_type=1, seed=SEED) / "test_truth.csv")


def knowing(predictor):
    """A loader of predictors that know the truth of the demo's images."""

    def load(ensemble, settings, device="cpu"):
        return {member.name: predictor(truth_of_demo(), member.name) for member in settings.members}

    return load


def demo_with(predictor, out_dir, report=no_report):
    return run_demo(out_dir, knowing(predictor), report)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("demo")
    said = []
    return demo_with(JitteredTruth, out_dir, lambda *words: said.append(words)), said


def test_the_demo_leaves_data_fused_cells_submission_and_picture(made):
    demo, _ = made
    assert sorted(path.name for path in demo.submission.parent.iterdir()) == [
        "data", "fused", "overlay.png", "submission.csv",
    ]  # fmt: skip
    assert sorted(demo.cells) == ["astro_test_0000", "cort_test_0000", "shsy5y_test_0000"]


def test_cells_found_a_pixel_beside_the_truth_score_high_but_not_perfectly(made):
    demo, _ = made
    assert demo.problems == ()
    assert set(demo.score.per_type) == {"shsy5y", "astro", "cort"}
    assert 0.4 < demo.score.total < 0.99


def test_the_picture_shows_three_images_each_beside_its_truth(made):
    demo, _ = made
    with Image.open(demo.overlay) as picture:
        assert picture.width > 2 * 2 * 704
        assert picture.height > 3 * 2 * 520


def test_progress_is_reported_for_every_stage(made):
    _, said = made
    assert [what for what, *_ in said[:2]] == ["load models", "make images"]
    settings = load_ensemble_settings(checkout_file("configs/ensembles/starter.yaml"))
    predictions = 3 * len(settings.members) * len(settings.views)
    assert ("predict", predictions, predictions) in said
    assert ("fuse", 3, 3) in said


def test_a_model_that_finds_nothing_still_gives_a_valid_submission_that_scores_zero(tmp_path):
    demo = demo_with(Blind, tmp_path)
    assert demo.problems == ()
    assert demo.score.total == 0
    assert demo.submission.read_text().splitlines()[1:] == [
        "astro_test_0000,", "cort_test_0000,", "shsy5y_test_0000,",
    ]  # fmt: skip


def test_a_second_demo_in_the_same_folder_replaces_the_first(made):
    demo, _ = made
    out_dir = demo.submission.parent
    again = demo_with(JitteredTruth, out_dir)
    assert again.score.total == demo.score.total


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("submission.csv", "submission.csv"),
        ("overlay.png", "overlay.png"),
        ("fused", "fused/manifest.json"),
        ("fused", "fused/well.npz"),
    ],
)
def test_what_is_the_users_own_is_not_replaced_and_nothing_is_done(tmp_path, place, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(
        UserError, match=rf"{place}: would be replaced, but .* holds no earlier demo; move it"
    ):
        demo_with(Blind, tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [place]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UserError, match=r"taken: expected a folder"):
        demo_with(Blind, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_package_without_its_checkout_says_where_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setattr(sartorius, "__file__", str(tmp_path / "site-packages" / "sartorius" / "__init__.py"))
    with pytest.raises(UserError, match=r"starter\.yaml beside the package.*clone it"):
        checkout_file("configs/ensembles/starter.yaml")


@pytest.fixture
def run_command(made, monkeypatch):
    """Runs the command line, the demo itself taken as done; returns the exit status."""

    def run(*arguments, problems=()):
        monkeypatch.setattr(
            "sartorius.demo.run_demo", lambda out, load, report: made[0]._replace(problems=problems)
        )
        monkeypatch.setattr(sys, "argv", ["sartorius", "demo", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    return run


def test_the_command_prints_where_everything_is_and_the_score(run_command, capsys):
    assert run_command("--out", "anywhere") == 0
    printed = capsys.readouterr().out
    for name in ("test_truth.csv", "submission.csv  (checked: valid)", "overlay.png", "competition mAP"):
        assert name in printed


def test_the_command_prints_json_alone_on_stdout(run_command, made, capsys):
    assert run_command("--out", "anywhere", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["problems"] == []
    assert result["score"]["total"] == made[0].score.total
    assert Path(result["overlay"]).is_file()


def test_problems_with_the_submission_are_printed_and_end_with_status_1(run_command, capsys):
    assert run_command("--out", "anywhere", problems=(Problem(7, "two cells share a pixel"),)) == 1
    assert "line 7: two cells share a pixel" in capsys.readouterr().out


def test_nothing_is_left_where_no_model_can_be_loaded(tmp_path):
    def load(ensemble, settings):
        raise UserError("this command needs torch")

    with pytest.raises(UserError, match="needs torch"):
        run_demo(tmp_path / "demo", load, no_report)
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_the_real_demo_finds_cells_with_the_model_that_ships(tmp_path):
    pytest.importorskip("detectron2", reason="the demo's models need detectron2")
    if not STARTER_WEIGHTS.is_file():
        pytest.skip("models/starter has no weights in this checkout")
    demo = run_demo(
        tmp_path,
        lambda path, settings: ensembles.loaded_predictors(path, settings, "cpu"),
        no_report,
    )
    assert demo.problems == ()
    assert demo.score.total > 0.35
    assert min(demo.cells.values()) > 0
