"""`original.yaml` does what the original system did, and none of what was wrong with it.

Each test named `defect` fails on the original's code: two models' detections in one list, box NMS, the mask of a
surviving box looked up by its score, thresholds and areas by the voted type, overlaps clipped by falling score. Here
the whole system runs with the original's settings; test_original_defects.py holds the same faults against every
fusion strategy and the clean-up by themselves, metrics/test_competition.py against the metric.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_predictors import Blind, JitteredTruth, written_images

from sartorius.cells import Cells, annotated, no_cells
from sartorius.config import ModelSettings, load_ensemble_settings, load_model_settings
from sartorius.metrics.competition import evaluate
from sartorius.pipeline import fused_and_cleaned, submit
from sartorius.postprocess import clean
from sartorius.rle import CocoRle, Crop, coco_from_crop
from sartorius.submission import check_submission

ORIGINAL = Path(__file__).resolve().parents[1] / "configs" / "ensembles" / "original.yaml"
SETTINGS = load_ensemble_settings(ORIGINAL)
SIZE_HW = (64, 96)
NOTHING = no_cells("image", SIZE_HW)


def shape(row: int, col: int, pixels: np.ndarray) -> CocoRle:
    return coco_from_crop(Crop(row, col, pixels), SIZE_HW)


def block(row: int, col: int, height: int, width: int) -> CocoRle:
    """A filled rectangle; `original.yaml` drops cort cells below 75 px."""
    return shape(row, col, np.ones((height, width), dtype=bool))


def corner(row: int, col: int) -> CocoRle:
    """An L in a box of 12 x 12, 108 px."""
    pixels = np.ones((12, 12), dtype=bool)
    pixels[:6, 6:] = False
    return shape(row, col, pixels)


def found(*cells: tuple, cell_type: str = "cort") -> Cells:
    """Detections given as (mask, score) or (mask, score, cell type)."""
    return Cells(
        image_id="image",
        size_hw=SIZE_HW,
        masks=tuple(cell[0] for cell in cells),
        scores=np.array([cell[1] for cell in cells], dtype=np.float32),
        cell_types=np.array([cell[2] if len(cell) > 2 else cell_type for cell in cells]),
        sources=np.full(len(cells), "?"),
    )


def result(r50: Cells, x101: Cells) -> Cells:
    return fused_and_cleaned({"r50/none": r50, "x101/none": x101}, SETTINGS)


def test_the_surer_of_two_boxes_on_one_cell_stays_with_its_own_mask():
    sure, unsure = corner(10, 10), block(10, 10, 12, 12)
    cells = result(found((sure, 0.9)), found((unsure, 0.8)))
    assert cells.masks == (sure,)
    assert cells.scores.tolist() == [np.float32(0.9)]


def test_boxes_that_overlap_by_less_than_two_fifths_are_two_cells_and_the_unsure_one_is_clipped():
    sure, unsure = block(10, 10, 12, 20), block(10, 20, 12, 20)  # box IoU 1/3
    cells = result(found((sure, 0.9)), found((unsure, 0.8)))
    assert cells.masks == (sure, block(10, 30, 12, 10))


@pytest.mark.parametrize(("cell_type", "threshold"), [("shsy5y", 0.18), ("astro", 0.38), ("cort", 0.58)])
def test_each_type_has_the_originals_threshold(cell_type, threshold):
    mask = block(10, 10, 15, 15)
    above, below = (threshold + 0.01, threshold - 0.01)
    assert len(result(found((mask, above), cell_type=cell_type), NOTHING)) == 1
    assert len(result(found((mask, below), cell_type=cell_type), NOTHING)) == 0


@pytest.mark.parametrize(("cell_type", "area_px"), [("shsy5y", 75), ("astro", 150), ("cort", 75)])
def test_each_type_has_the_originals_minimum_area(cell_type, area_px):
    pixels = np.ones((3, area_px // 3), dtype=bool)
    assert len(result(found((shape(10, 10, pixels), 0.9), cell_type=cell_type), NOTHING)) == 1
    pixels[0, 0] = False
    assert len(result(found((shape(10, 10, pixels), 0.9), cell_type=cell_type), NOTHING)) == 0


def test_the_type_of_most_detections_sets_the_threshold_of_all():
    majority = [(block(5, 5 + 20 * k, 15, 15), 0.3, "shsy5y") for k in range(4)]
    cells = result(found(*majority, (block(30, 5, 15, 15), 0.3, "cort")), NOTHING)
    assert cells.cell_types.tolist() == ["shsy5y"] * 5


def test_defect_cells_of_equal_score_keep_their_own_masks():
    """The original looked a mask up by its score and took the first with that score."""
    left, right = block(10, 10, 12, 12), corner(40, 60)
    assert set(result(found((left, 0.9), (right, 0.9)), NOTHING).masks) == {left, right}
    assert set(result(found((left, 0.9)), found((right, 0.9))).masks) == {left, right}


def test_defect_overlapping_cells_of_equal_score_are_clipped_without_an_error():
    """The original sorted tuples of score and mask array, which raises where scores are equal."""
    one, other = block(10, 10, 12, 20), block(10, 20, 12, 20)
    cells = result(found((one, 0.9), (other, 0.9)), NOTHING)
    assert sorted(cells.areas_px.tolist()) == [120, 240]


def test_defect_neither_the_order_of_models_nor_of_rows_decides_a_tie():
    one, other = (corner(10, 10), 0.9), (block(10, 10, 12, 12), 0.9)
    sources = {"r50/none": found(one), "x101/none": found(other)}
    backwards = dict(reversed(sources.items()))
    assert fused_and_cleaned(sources, SETTINGS).masks == fused_and_cleaned(backwards, SETTINGS).masks
    assert result(found(one, other), NOTHING).masks == result(found(other, one), NOTHING).masks


def test_defect_an_image_without_any_detection_is_no_error():
    """The original's vote on the image's type failed on an empty list."""
    assert len(result(NOTHING, NOTHING)) == 0


def test_defect_an_image_whose_detections_are_all_unsure_is_no_error():
    assert len(result(found((block(10, 10, 12, 12), 0.1)), NOTHING)) == 0


def test_defect_a_cell_that_clipping_leaves_too_small_is_dropped():
    """The original asked for the minimum area before it clipped overlaps, and submitted the slivers."""
    sure, thin = block(10, 10, 30, 30), block(10, 39, 30, 3)  # 90 px, 60 of them outside the surer cell
    assert result(found((sure, 0.9)), found((thin, 0.8))).masks == (sure,)
    wider = block(10, 39, 30, 4)  # 90 px outside it
    assert result(found((sure, 0.9)), found((wider, 0.8))).masks == (sure, block(10, 40, 30, 3))


def test_defect_an_image_without_cells_has_its_row_and_the_file_passes_the_check(tmp_path):
    """The original wrote rows for cells only, so that an image without any was missing."""
    truth = {"full": annotated("full", SIZE_HW, [block(10, 10, 12, 12)], ["cort"]), "image": NOTHING}
    paths = written_images(tmp_path / "images", truth)
    predictors = {"r50": JitteredTruth(truth, "r50"), "x101": Blind(truth, "x101")}
    submit(predictors, SETTINGS, paths, tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text().splitlines()[-1] == "image,"
    assert check_submission(tmp_path / "submission.csv", {"full": SIZE_HW, "image": SIZE_HW}) == []


def test_defect_no_model_file_caps_detections_at_detectron2s_default():
    """The original validated with detectron2's 100 detections per image; shsy5y averages 337 cells."""
    files = sorted((ORIGINAL.parents[1] / "models").glob("*.yaml"))
    assert files
    caps = {file.name: load_model_settings(file).detections_per_image for file in files}
    assert {name: cap for name, cap in caps.items() if cap < 1000} == {}


def test_defect_the_metric_sees_more_than_a_hundred_detections():
    masks = [block(row, col, 4, 4) for row in range(0, 60, 5) for col in range(0, 92, 5)]
    truth = annotated("image", SIZE_HW, masks, ["shsy5y"] * len(masks))
    assert len(masks) > 200
    assert evaluate({"image": truth}, {"image": truth}).total == 1.0


def test_defect_two_predictions_on_one_cell_are_one_hit_and_one_false_positive():
    """The original's metric let both hit."""
    mask, slightly_smaller = block(10, 10, 20, 20), block(10, 10, 20, 19)
    truth = annotated("image", SIZE_HW, [mask], ["cort"])
    assert evaluate({"image": found((mask, 0.9), (slightly_smaller, 0.8))}, {"image": truth}).total == 0.5


def test_defect_validation_scores_what_would_be_submitted(monkeypatch, tmp_path):
    """The original scored detections with their overlaps, which no submission may have."""
    pytest.importorskip("torch")
    from sartorius.detectron import validation

    # The second cell is found exactly, but half of it goes to the surer mask that spills over it.
    truth = annotated("image", SIZE_HW, [block(10, 10, 20, 20), block(10, 30, 20, 20)], ["cort"] * 2)
    raw = found((block(10, 10, 20, 30), 0.9), (block(10, 30, 20, 20), 0.8))
    monkeypatch.setattr(validation, "Predictor", lambda model, settings: lambda image, image_id, view: raw)
    data = SimpleNamespace(
        validation=[SimpleNamespace(image_id="image", pixels=np.zeros(SIZE_HW, np.uint8))],
        validation_truth={"image": truth},
    )
    score = validation.Judge(ModelSettings(), data, tmp_path).scores(None)["validation/mAP"]
    with_overlap = evaluate({"image": raw}, {"image": truth}).total
    submitted = evaluate({"image": clean(raw, SETTINGS.postprocess)}, {"image": truth}).total
    assert score == submitted
    assert submitted < with_overlap
