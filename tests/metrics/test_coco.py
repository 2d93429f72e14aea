import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from drawing import cell, cells
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sartorius.cells import Cells, no_cells
from sartorius.errors import UserError
from sartorius.metrics.coco import SizeBounds, coco_figures, coco_intervals, coco_intervals_at
from sartorius.metrics.competition import evaluate
from sartorius.metrics.matching import by_falling_score
from sartorius.rle import coco_from_dense, dense_from_coco


def test_every_cell_found_exactly_gives_one_everywhere_it_is_defined():
    truth = {"a": cells(cell("##.."), cell("..##"))}
    assert coco_figures(truth, truth, "mask") == {
        **dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "recall"), 1),
        **dict.fromkeys(("ap_medium", "ap_large")),
    }


def test_an_iou_of_exactly_one_half_is_a_hit_for_coco():
    score = coco_figures({"a": cell("##..")}, {"a": cell("####")}, "mask")
    assert (score["ap50"], score["ap75"], score["ap"]) == (1, 0, pytest.approx(0.1))


def test_boxes_and_masks_are_scored_apart():
    # Two triangles that share the box but hardly a pixel.
    found, truth = {"a": cell("#..", "##.", "###")}, {"a": cell("###", ".##", "..#")}
    assert coco_figures(found, truth, "box")["ap"] == 1
    assert coco_figures(found, truth, "mask")["ap"] == 0


def test_a_low_detection_cap_leaves_out_the_less_sure_cells():
    parts = [cell("." * k + "#" + "." * (9 - k), score=1 - k / 20) for k in range(10)]
    truth = {"a": cells(*parts)}
    few, all_of_them = (coco_figures(truth, truth, "mask", cap) for cap in (5, 10))
    assert (few["recall"], all_of_them["recall"]) == (0.5, 1)
    assert few["ap"] < 0.52
    assert all_of_them["ap"] == 1


def test_a_sure_false_positive_costs_more_than_an_unsure_one():
    truth = {"a": cell("##..")}
    unsure = {"a": cells(cell("##..", score=0.9), cell("..##", score=0.1))}
    sure = {"a": cells(cell("##..", score=0.1), cell("..##", score=0.9))}
    assert coco_figures(unsure, truth, "mask")["ap"] == pytest.approx(1)
    assert coco_figures(sure, truth, "mask")["ap"] == pytest.approx(0.5)


def test_equally_sure_cells_count_the_same_in_any_order_of_rows_and_images():
    truth = {"a": cell("##.."), "b": cell("##..")}
    right, wrong = cell("##..", score=0.5), cell("..##", score=0.5)
    found = {"a": cells(wrong, right), "b": right}
    turned = {"b": right, "a": cells(right, wrong)}
    other_way = {"b": truth["b"], "a": truth["a"]}
    assert coco_figures(found, truth, "mask") == coco_figures(turned, other_way, "mask")
    assert coco_figures(found, truth, "mask", 1) == coco_figures(turned, truth, "mask", 1)
    intervals = [
        coco_intervals(some, {name: truth[name] for name in some}, "mask", np.random.default_rng(0))
        for some in (found, turned)
    ]
    assert intervals[0] == intervals[1]


def sized(found: dict[str, Cells], truth: dict[str, Cells], shape: str, sizes: SizeBounds) -> dict:
    """The figures under other bounds of size."""
    (figures,) = coco_intervals_at(found, truth, shape, np.random.default_rng(0), (100,), sizes)
    return {name: interval and interval.value for name, interval in figures.items()}


def test_a_true_cell_is_sized_by_its_pixels_and_a_found_box_by_its_own_area():
    corner = cell("###......", "#........", "#........")  # 5 px in a box of 9
    away = cell("......###", "......#..", "......#..", score=0.9)
    found = {"a": cells(away, replace(corner, scores=np.array([0.5], np.float32)))}
    score = sized(found, {"a": corner}, "box", SizeBounds(6, 50))
    assert (score["ap_medium"], score["ap_large"]) == (None, None)
    assert score["ap_small"] == pytest.approx(1)  # the surer box is no small one
    assert score["ap"] == pytest.approx(0.5)


def test_sizes_are_those_of_the_true_cells_under_the_bounds_given():
    truth = {"a": cells(cell("#........"), cell("..###...."), cell("......###"))}
    found = {"a": truth["a"][:2]}
    score = sized(found, truth, "mask", SizeBounds(2, 4))
    assert (score["ap_small"], score["ap_large"]) == (1, None)
    assert score["ap_medium"] == pytest.approx(51 / 101)


def test_intervals_stand_around_the_figures_and_come_again_with_the_seed():
    truth = {name: cells(cell("##...."), cell("..##..")) for name in "abcd"}
    found = {"a": cell("##...."), "b": truth["b"], "c": cell("....##", score=0.5), "d": truth["d"]}
    intervals = coco_intervals(found, truth, "mask", np.random.default_rng(0))
    values = {name: interval and interval.value for name, interval in intervals.items()}
    assert values == coco_figures(found, truth, "mask")
    assert intervals["ap_large"] is None
    assert 0 <= intervals["ap"].low < intervals["ap"].value < intervals["ap"].high <= 1
    assert intervals["recall"].high == 1
    assert intervals == coco_intervals(found, truth, "mask", np.random.default_rng(0))


def test_images_that_are_all_alike_leave_no_doubt():
    truth = {name: cells(cell("##...."), cell("..##..")) for name in "abc"}
    found = {name: image[:1] for name, image in truth.items()}
    assert coco_intervals(found, truth, "mask", np.random.default_rng(0))["recall"] == (0.5, 0.5, 0.5)


def test_no_prediction_at_all_scores_zero():
    score = coco_figures({}, {"a": cell("##..")}, "mask")
    assert (score["ap"], score["ap50"], score["recall"]) == (0, 0, 0)


def test_no_true_cell_at_all_leaves_nothing_to_count():
    score = coco_figures({"a": cell("##..")}, {"a": no_cells("a", (1, 4))}, "mask")
    assert set(score.values()) == {None}


def test_predictions_of_an_unknown_image_are_refused():
    with pytest.raises(UserError, match="no image other"):
        coco_figures({"other": cell("##..")}, {"a": cell("##..")}, "mask")


@pytest.mark.parametrize("caps", [(500, 100), (100, 100), (0, 100), ()])
def test_caps_that_do_not_ascend_are_refused(caps):
    with pytest.raises(ValueError, match="ascending"):
        coco_intervals_at({}, {"a": cell("##..")}, "mask", np.random.default_rng(0), caps, SizeBounds(2, 4))


def pycocotools_figures(found: dict[str, Cells], truth: dict[str, Cells], kind: str) -> list[float]:
    numbers = {name: place for place, name in enumerate(truth, start=1)}

    def annotations(images: dict[str, Cells]) -> list[dict]:
        rows = []
        for name, image in images.items():
            for row in range(len(image)):
                left, top, right, bottom = image.boxes_xyxy[row].tolist()
                mask = image.masks[row]
                rows.append(
                    {
                        "id": len(rows) + 1,
                        "image_id": numbers[name],
                        "category_id": 1,
                        "segmentation": {"size": list(mask.size_hw), "counts": mask.counts},
                        "bbox": [left, top, right - left, bottom - top],
                        "area": int(image.areas_px[row]),
                        "iscrowd": 0,
                        "score": float(image.scores[row]),
                    }
                )
        return rows

    with contextlib.redirect_stdout(io.StringIO()):
        datasets = []
        for images in (truth, found):
            dataset = COCO()
            dataset.dataset = {
                "images": [{"id": number, "height": 6, "width": 8} for number in numbers.values()],
                "categories": [{"id": 1, "name": "cell"}],
                "annotations": annotations(images),
            }
            dataset.createIndex()
            datasets.append(dataset)
        evaluator = COCOeval(*datasets, kind)
        evaluator.params.maxDets = [1, 10, 100]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats.tolist()


@st.composite
def scored_cells(draw: st.DrawFn) -> Cells:
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        row, col = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        dense = np.zeros((6, 8), dtype=bool)
        dense[row : row + draw(st.integers(1, 3)), col : col + draw(st.integers(2, 5))] = True
        parts.append((coco_from_dense(dense), draw(st.sampled_from([0.25, 0.5, 0.75]))))
    return Cells(
        image_id="drawn",
        size_hw=(6, 8),
        masks=tuple(mask for mask, _ in parts),
        scores=np.array([score for _, score in parts], dtype=np.float32),
        cell_types=np.full(len(parts), "cort"),
        sources=np.full(len(parts), "a/none"),
    )


def test_disjoint_cells_are_found_as_often_by_coco_as_by_the_competition():
    rng = np.random.default_rng(0)
    for _ in range(100):
        # Two 6-pixel cells a column apart, each found with some pixels missing; no IoU k/6 is a threshold but 1/2.
        truth = cells(cell("##.", "##.", "##."), cell("..#", "..#", "..#"))
        kept = [rng.random((3, 3)) < 0.8 for _ in range(2)]
        found = replace(
            truth,
            masks=tuple(
                coco_from_dense(dense_from_coco(mask) & some)
                for mask, some in zip(truth.masks, kept, strict=True)
            ),
            scores=rng.random(2, dtype=np.float32),
        )
        if (2 * found.areas_px == truth.areas_px).any() or not found.areas_px.all():
            continue  # COCO counts an IoU of exactly a threshold, the competition does not
        score = evaluate({"a": found}, {"a": truth})
        recall = (score.true_positives / score.true_cells[:, None]).mean()
        assert coco_figures({"a": found}, {"a": truth}, "mask")["recall"] == pytest.approx(recall)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(scored_cells(), scored_cells()), min_size=1, max_size=3))
def test_figures_agree_with_pycocotools(images):
    found = {str(place): pair[0] for place, pair in enumerate(images)}
    truth = {str(place): pair[1] for place, pair in enumerate(images)}
    # pycocotools ranks cells that are equally sure as they come.
    found, truth = (
        {name: by_falling_score(image) for name, image in some.items()} for some in (found, truth)
    )
    for shape, kind in (("mask", "segm"), ("box", "bbox")):
        ours = coco_figures(found, truth, shape, max_detections=100)
        slow = pycocotools_figures(found, truth, kind)
        names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "recall")
        figures = [-1 if ours[name] is None else ours[name] for name in names]
        assert figures == pytest.approx([*slow[:6], slow[8]])
