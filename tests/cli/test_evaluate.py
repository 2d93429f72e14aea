import json
from pathlib import Path

import pytest
from command_line import run as run_command
from drawing import cell, cells

from sartorius import __version__
from sartorius.cells import Cells, no_cells
from sartorius.data.predictions import PredictionManifest, write_cells, write_manifest

TRUTH = """\
id,annotation,width,height,cell_type
a,1 4,8,1,cort
a,5 4,8,1,cort
b,1 4,8,1,astro
c,1 4,8,1,astro
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit status of `sartorius evaluate <arguments>`."""
    return run_command(monkeypatch, "evaluate", *arguments)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv"
    path.write_text(TRUTH)
    return path


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    path = tmp_path / "folds.csv"
    path.write_text("id,fold\na,0\nb,1\nc,1\n")
    return path


def folder(path: Path, *images: Cells) -> Path:
    write_manifest(path, PredictionManifest(source="fused", package_version=__version__))
    for image in images:
        write_cells(path / f"{image.image_id}.npz", image)
    return path


def half_found(path: Path) -> Path:
    """One of the two cells of a, none of b, all of c."""
    return folder(
        path,
        cell("####....", image_id="a", score=0.9),
        no_cells("b", (1, 8)),
        cell("####....", image_id="c", score=0.8, cell_type="astro"),
    )


def submission(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["id,predicted", *rows]) + "\n")
    return path


def test_a_folder_is_scored_by_total_type_and_threshold(monkeypatch, capsys, tmp_path, truth):
    assert run(monkeypatch, half_found(tmp_path / "fused"), "--truth", truth, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["total"] == pytest.approx(0.5)
    assert result["per_type"] == {"astro": 0.5, "cort": 0.5}
    assert result["per_threshold"]["0.95"] == pytest.approx(0.5)
    assert (result["images"], result["images_of_truth"], result["fold"]) == (3, 3, None)
    assert result["confusion"]["cort"] == {"astro": 0, "cort": 1, "no cell": 1}
    assert "coco" not in result


def test_people_read_tables(monkeypatch, capsys, tmp_path, truth):
    assert run(monkeypatch, half_found(tmp_path / "fused"), "--truth", truth, "--coco") == 0
    out = capsys.readouterr().out
    assert "3 images scored; the truth has 3, the predictions 3" in out
    assert "competition mAP (one-to-one): 0.5000, 95 % interval over images" in out
    for piece in ("astro", "0.95", "f1", "found as", "COCO at 1000 detections"):
        assert piece in out


def test_a_submission_file_is_scored_and_an_empty_row_is_an_image_that_was_looked_at(
    monkeypatch, capsys, tmp_path, truth
):
    rows = submission(tmp_path / "submission.csv", "a,1 4", "b,", "c,1 4")
    assert run(monkeypatch, rows, "--truth", truth, "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["total"] == pytest.approx(0.5)
    assert "confusion" not in result  # the file names no types
    assert captured.err == ""


def test_only_the_images_of_the_fold_count(monkeypatch, capsys, tmp_path, truth, folds):
    found = half_found(tmp_path / "fused")
    assert run(monkeypatch, found, "--truth", truth, "--folds", folds, "--fold", 0, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["images"], result["fold"], result["images_per_type"]) == (1, 0, {"cort": 1})
    assert result["total"] == 0.5


def test_missing_predictions_are_refused_unless_only_predicted_images_are_asked_for(
    monkeypatch, capsys, tmp_path, truth
):
    found = folder(tmp_path / "fused", cell("####....", image_id="c"))
    assert run(monkeypatch, found, "--truth", truth) == 2
    assert "2 of the 3 images to score have no predictions, for example a, b" in capsys.readouterr().err
    assert run(monkeypatch, found, "--truth", truth, "--only-predicted", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["total"], result["images"], result["images_of_truth"]) == (1, 1, 3)


def test_overlapping_predictions_get_a_warning_until_the_overlap_is_removed(
    monkeypatch, capsys, tmp_path, truth
):
    both = cells(
        cell("####....", image_id="a", score=0.9),
        cell("..######", image_id="a", score=0.5),
    )
    found = folder(tmp_path / "fused", both)
    arguments = (found, "--truth", truth, "--only-predicted", "--json")
    assert run(monkeypatch, *arguments) == 0
    captured = capsys.readouterr()
    assert "masks overlap in 1 of 1 images, for example a" in captured.err
    assert "fuse and clean them first, or use --remove-overlap\n" in captured.err
    assert json.loads(captured.out)["per_threshold"]["0.70"] == pytest.approx(1 / 3)
    assert run(monkeypatch, *arguments, "--remove-overlap") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["per_threshold"]["0.70"] == 1


def test_two_results_are_compared_image_by_image(monkeypatch, capsys, tmp_path, truth):
    ours = half_found(tmp_path / "ours")
    theirs = submission(tmp_path / "theirs.csv", "a,", "b,", "c,1 4")
    assert run(monkeypatch, ours, "--truth", truth, "--against", theirs, "--json") == 0
    against = json.loads(capsys.readouterr().out)["against"]
    assert against["total"] == pytest.approx(1 / 3)
    assert against["differences"]["total"]["difference"] == pytest.approx(1 / 6)
    assert against["differences"]["astro"]["difference"] == 0
    assert run(monkeypatch, ours, "--truth", truth, "--against", theirs) == 0
    assert "+0.1667" in capsys.readouterr().out


def test_the_variants_of_other_people_go_by_name(monkeypatch, capsys, tmp_path, truth):
    twice = cells(cell("####....", image_id="c"), cell("###.....", image_id="c"))
    found = folder(tmp_path / "fused", twice)
    totals = {}
    for variant in ("one_to_one", "drop", "double"):
        run(monkeypatch, found, "--truth", truth, "--only-predicted", "--variant", variant, "--json")
        totals[variant] = json.loads(capsys.readouterr().out)["per_threshold"]["0.50"]
    assert totals == {"one_to_one": 0.5, "drop": 1, "double": 1}


def test_a_fold_without_its_file_is_refused(monkeypatch, capsys, tmp_path, truth):
    assert run(monkeypatch, half_found(tmp_path / "fused"), "--truth", truth, "--fold", 0) == 2
    assert "go together" in capsys.readouterr().err


def test_a_path_without_predictions_is_refused(monkeypatch, capsys, tmp_path, truth):
    assert run(monkeypatch, tmp_path / "nothing", "--truth", truth) == 2
    assert "nothing" in capsys.readouterr().err


def test_coco_figures_of_a_file_without_scores_are_refused(monkeypatch, capsys, tmp_path, truth):
    rows = submission(tmp_path / "submission.csv", "a,1 4", "b,", "c,1 4")
    assert run(monkeypatch, rows, "--truth", truth, "--coco") == 2
    assert "--coco ranks cells by score" in capsys.readouterr().err


def test_a_cap_of_detections_is_only_for_coco_figures(monkeypatch, capsys, tmp_path, truth):
    asked = (half_found(tmp_path / "fused"), "--truth", truth, "--max-detections", 50)
    assert run(monkeypatch, *asked) == 2
    assert "--max-detections 50 is for the figures of --coco: give both" in capsys.readouterr().err
    assert run(monkeypatch, *asked, "--coco", "--json") == 0
    assert json.loads(capsys.readouterr().out)["coco"]["max_detections"] == 50


def test_livecell_figures_come_under_the_conventions_asked_for(monkeypatch, capsys, tmp_path, truth):
    found = half_found(tmp_path / "fused")
    asked = ("--livecell", "paper", "--livecell", "evaluation")
    assert run(monkeypatch, found, "--truth", truth, *asked, "--json") == 0
    told = json.loads(capsys.readouterr().out)["livecell"]
    assert list(told) == ["paper", "evaluation"]
    assert told["evaluation"]["sizes_px"] == {"small_px": 324, "large_px": 961}
    assert list(told["paper"]["lines"]) == ["astro", "cort", "all"]
    assert list(told["paper"]["lines"]["all"]["at_caps"]) == ["100", "500", "3000"]
    assert told["paper"]["lines"]["cort"]["afnr"]["value"] == 0.5
    assert run(monkeypatch, found, "--truth", truth, "--livecell", "paper") == 0
    assert "convention 'paper': masks at 3000 detections" in capsys.readouterr().out


def test_livecell_figures_of_a_file_without_scores_are_refused(monkeypatch, capsys, tmp_path, truth):
    rows = submission(tmp_path / "submission.csv", "a,1 4", "b,", "c,1 4")
    assert run(monkeypatch, rows, "--truth", truth, "--livecell", "paper") == 2
    assert "--livecell ranks cells by score" in capsys.readouterr().err


def test_folds_that_tear_a_well_apart_are_refused(monkeypatch, capsys, tmp_path, truth, folds):
    lines = truth.read_text().splitlines()
    wells = ["sample_id", "w", "w", "w", ""]
    truth.write_text("".join(f"{line},{well}\n" for line, well in zip(lines, wells, strict=True)))
    found = half_found(tmp_path / "fused")
    assert run(monkeypatch, found, "--truth", truth, "--folds", folds, "--fold", 0) == 2
    assert "folds.csv: group 'w' leaks: its image a is in fold 0, b in fold 1" in capsys.readouterr().err


def test_types_with_brackets_are_shown_as_they_are_written(monkeypatch, capsys, tmp_path, truth):
    truth.write_text(TRUTH.replace("astro", "cort [/x]").replace(",cort\n", ",cort [gfp]\n"))
    assert run(monkeypatch, half_found(tmp_path / "fused"), "--truth", truth) == 0
    out = capsys.readouterr().out
    assert "│ cort [/x] " in out
    assert "┃ cort [gfp] ┃" in out


def test_a_cap_beyond_all_detections_changes_nothing(monkeypatch, capsys, tmp_path, truth):
    found = half_found(tmp_path / "fused")
    told = []
    for cap in (2, 2**31 - 1, 10**10):
        arguments = (found, "--truth", truth, "--coco", "--max-detections", cap, "--json")
        assert run(monkeypatch, *arguments) == 0
        told.append(json.loads(capsys.readouterr().out)["coco"])
        assert told[-1].pop("max_detections") == cap
    assert told[0] == told[1] == told[2]
