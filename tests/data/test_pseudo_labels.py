import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from sartorius.cells import Cells
from sartorius.cli import main
from sartorius.data.competition import read_truth
from sartorius.data.images import read_image
from sartorius.data.predictions import PredictionManifest, prediction_path, write_cells, write_manifest
from sartorius.data.pseudo_labels import choose_pseudo_labels, surest_of_each_type
from sartorius.errors import UserError
from sartorius.rle import coco_from_dense


def found(image_id: str, scores: list[float], cell_type: str = "cort") -> Cells:
    """One cell of a pixel for each score."""
    masks = []
    for number in range(len(scores)):
        mask = np.zeros((4, 6), dtype=bool)
        mask[1, number] = True
        masks.append(coco_from_dense(mask))
    return Cells(
        image_id=image_id,
        size_hw=(4, 6),
        masks=tuple(masks),
        scores=np.array(scores, dtype=np.float32),
        cell_types=np.full(len(scores), cell_type),
        sources=np.full(len(scores), "fused"),
    )


def chosen(images: list[Cells], **changes: object) -> list[str]:
    settings = {"min_score": 0.5, "min_confidence": 0.7, "most_images": 9} | changes
    most_images = settings.pop("most_images")
    labels = choose_pseudo_labels({cells.image_id: cells for cells in images}, **settings)
    return list(surest_of_each_type(labels, most_images))


def test_cells_below_the_score_are_left_out_before_the_image_is_judged() -> None:
    labels = choose_pseudo_labels({"a": found("a", [0.9, 0.8, 0.2])}, 0.5, 0.7)
    assert len(labels["a"].cells) == 2
    assert labels["a"].confidence == pytest.approx(0.85)


def test_unsure_and_empty_images_are_left_out() -> None:
    assert chosen([found("a", [0.9]), found("b", [0.6, 0.6]), found("c", []), found("d", [0.3])]) == ["a"]


def test_each_type_has_its_own_bar_and_its_own_cap_and_the_surest_stay() -> None:
    images = [found("a", [0.8]), found("b", [0.9]), found("c", [0.95]), found("s", [0.6], "shsy5y")]
    bars = {"shsy5y": 0.5, "default": 0.7}
    assert chosen(images, min_confidence=bars, most_images={"cort": 2, "default": 1}) == ["b", "c", "s"]
    assert chosen(images, most_images=0) == []


@pytest.mark.parametrize("count", [1, 3, 6])
def test_an_image_whose_scores_are_all_the_bar_reaches_it(count: int) -> None:
    assert chosen([found("a", [0.7] * count)], min_confidence=0.7) == ["a"]


def test_the_mean_of_scores_just_below_the_bar_does_not_reach_it() -> None:
    assert chosen([found("a", [0.7, 0.6999])], min_confidence=0.7) == []


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """Three images, of which `b` shows what the annotated image `known` shows."""
    for folder, names in (("images", "abc"), ("data/train", ["known"])):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            grey = 50 if name in ("b", "known") else 10 * ord(name) % 250
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), np.full((4, 6), grey, dtype=np.uint8))
    (tmp_path / "fused").mkdir()
    write_manifest(tmp_path / "fused", PredictionManifest(source="fused", package_version="0"))
    for name in "abc":
        write_cells(prediction_path(tmp_path / "fused", name), found(name, [0.9, 0.8]))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["sartorius", "data", "pseudo", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_pseudo_labels_are_a_data_set_without_images_that_are_annotated_under_another_name(
    unlabelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = unlabelled / "round1"
    arguments = (unlabelled / "fused", "--images", unlabelled / "images", "--out", out)
    assert run(monkeypatch, *arguments, "--annotated", unlabelled / "data") == 0
    said = capsys.readouterr().out
    assert "cort: 2 images, 4 cells" in said
    assert "left out because they are annotated: 1 images" in said
    truth = read_truth(out / "train.csv")
    assert {name: cells.areas_px.tolist() for name, cells in truth.items()} == {"a": [1, 1], "c": [1, 1]}
    assert sorted(path.name for path in (out / "train").iterdir()) == ["a.png", "c.png"]
    assert json.loads((out / "pseudo.json").read_text())["left_out_as_annotated"] == ["b"]


def test_cells_of_several_types_in_one_image_keep_their_own(
    unlabelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    types = np.array(["hela", "glia", "hela", "unknown"])
    mixed = replace(found("a", [0.9, 0.8, 0.9, 0.9]), cell_types=types)
    write_cells(prediction_path(unlabelled / "fused", "a"), mixed)
    out = unlabelled / "out"
    arguments = (unlabelled / "fused", "--images", unlabelled / "images", "--out", out)
    assert run(monkeypatch, *arguments, "--most-images", "glia=0,default=1") == 0
    assert read_truth(out / "train.csv")["a"].cell_types.tolist() == ["hela", "glia", "hela", "hela"]
    said = capsys.readouterr().out
    assert "cort: 1 images, 2 cells\nglia: 0 images, 1 cells\nhela: 1 images, 3 cells\n" in said


def test_a_plane_of_a_tiff_stack_becomes_an_image_of_its_own_as_the_cells_were_found_in_it(
    unlabelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = np.arange(72, dtype=np.uint16).reshape(3, 4, 6) * 100
    tifffile.imwrite(unlabelled / "images" / "well.tif", planes, photometric="minisblack")
    write_cells(prediction_path(unlabelled / "fused", "well_p002"), found("well_p002", [0.9]))
    out = unlabelled / "out"
    assert run(monkeypatch, unlabelled / "fused", "--images", unlabelled / "images", "--out", out) == 0
    assert sorted(path.name for path in (out / "train").iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
        "well_p002.png",
    ]
    written = read_image(out / "train" / "well_p002.png")
    assert np.array_equal(written, read_image(unlabelled / "images" / "well.tif" / "p002"))
    assert list(read_truth(out / "train.csv")) == ["a", "b", "c", "well_p002"]
    assert run(monkeypatch, unlabelled / "fused", "--images", unlabelled / "images", "--out", out) == 0


def test_annotated_images_do_not_use_up_the_cap_of_their_type(
    unlabelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surest_but_annotated = found("b", [1.0, 1.0])
    write_cells(prediction_path(unlabelled / "fused", "b"), surest_but_annotated)
    out = unlabelled / "out"
    arguments = (unlabelled / "fused", "--images", unlabelled / "images", "--out", out)
    assert run(monkeypatch, *arguments, "--annotated", unlabelled / "data", "--most-images", 2) == 0
    assert list(read_truth(out / "train.csv")) == ["a", "c"]


def test_an_earlier_result_is_replaced_and_any_other_folder_stays_as_it_is(
    unlabelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (unlabelled / "fused", "--images", unlabelled / "images", "--out")
    out, data, file = unlabelled / "out", unlabelled / "data", unlabelled / "notes.txt"
    out.mkdir()
    file.touch()
    assert run(monkeypatch, *arguments, out) == 0
    assert run(monkeypatch, *arguments, out, "--most-images", 1) == 0
    assert [path.name for path in (out / "train").iterdir()] == ["a.png"]
    assert run(monkeypatch, *arguments, data) == 2
    assert f"{data}: holds something that is no data set of pseudo labels" in capsys.readouterr().err
    assert (data / "train" / "known.png").is_file()
    assert run(monkeypatch, *arguments, file) == 2
    assert f"{file}: expected the name of a folder" in capsys.readouterr().err


def test_predictions_that_are_not_fused_are_no_pseudo_labels(
    unlabelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = unlabelled / "fused", unlabelled / "out"
    write_manifest(raw, PredictionManifest(source="starter/none", package_version="0"))
    assert run(monkeypatch, raw, "--images", unlabelled / "images", "--out", out) == 2
    assert capsys.readouterr().err == (
        f"sartorius: {raw}: expected a folder of `sartorius fuse`, got predictions of 'starter/none'; fuse them first\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("name", ["notes.txt", "train/notes.txt", "train/train.csv", "test"])
def test_an_earlier_result_with_a_file_of_the_users_own_is_not_replaced(
    unlabelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = unlabelled / "out"
    arguments = (unlabelled / "fused", "--images", unlabelled / "images", "--out", out)
    assert run(monkeypatch, *arguments) == 0
    (out / name).write_text("mine")
    assert run(monkeypatch, *arguments) == 2
    assert f"{out}: would be replaced, but {name} is no part of" in capsys.readouterr().err
    assert (out / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-score", "high"], "--min-score high: expected a number"),
        (["--min-score", "0.5,0.6"], "--min-score 0.5,0.6: `default` is written twice"),
        (
            ["--min-score", "cort=nan"],
            "--min-score cort=nan: `min_score.cort`: expected a finite number, got nan",
        ),
        (
            ["--min-confidence", "7"],
            "--min-confidence 7: `min_confidence.default`: expected at most 1.0, got 7.0",
        ),
        (["--most-images", "-1"], "--most-images -1: `most_images.default`: expected at least 0, got -1.0"),
        (
            ["--most-images", "inf"],
            "--most-images inf: `most_images.default`: expected a finite number, got inf",
        ),
        (
            ["--most-images", "1.5"],
            "--most-images 1.5: `most_images.default`: expected a whole number, got 1.5",
        ),
        (
            ["--min-score", "shsy=0.4,default=0.5"],
            "'shsy', expected shsy5y, astro, cort, default; did you mean shsy5y?\n",
        ),
        (
            ["--most-images", "neurite=4,default=5"],
            "--most-images: unknown cell type 'neurite', expected shsy5y, astro, cort, default\n",
        ),
        (["--min-confidence", "0.95"], "no image is labelled surely enough; lower --min-score or"),
        (
            ["--annotated", "all"],
            "the images labelled surely enough are all --annotated already: 3 of 3",
        ),
        (
            ["--most-images", "cort=0,default=5"],
            "--most-images cort=0,default=5 keeps none of the 3 images labelled surely enough",
        ),
        (
            ["--images", "large"],
            "image a: its cells are of an image of height and width (4, 6), but large/a.png has (8, 12)",
        ),
        (["--min-confidence", "astro=0.5"], "no value for cell type 'cort'"),
    ],
)
def test_a_mistake_gets_one_message(
    arguments: list[str],
    message: str,
    unlabelled: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = unlabelled / "out"
    shutil.copytree(unlabelled / "images", unlabelled / "all" / "train")
    shutil.copytree(unlabelled / "images", unlabelled / "large")
    for name in "abc":
        cv2.imwrite(str(unlabelled / "large" / f"{name}.png"), np.zeros((8, 12), dtype=np.uint8))
    monkeypatch.chdir(unlabelled)
    assert (
        run(monkeypatch, unlabelled / "fused", "--images", unlabelled / "images", "--out", out, *arguments)
        == 2
    )
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_pseudo_labels_of_an_image_to_validate_on_are_refused_in_training(tmp_path: Path) -> None:
    pytest.importorskip("detectron2")
    from tiny_models import TINY, write_tiny_data

    from sartorius.detectron.training_data import read_training_data

    data, pseudo = write_tiny_data(tmp_path / "data"), write_tiny_data(tmp_path / "pseudo")
    (pseudo / "train" / "image0.png").rename(pseudo / "train" / "renamed.png")
    csv = pseudo / "train.csv"
    csv.write_text(csv.read_text().replace("image0,", "renamed,"))
    folds = tmp_path / "folds.csv"
    folds.write_text("id,fold\nimage0,0\nimage1,1\nimage2,1\nimage3,1\n")
    with pytest.raises(UserError, match="image0"):
        read_training_data([data, pseudo], TINY.cell_types, folds, 0)
