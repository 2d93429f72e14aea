import json

import numpy as np
import pytest
from drawing import cell, cells
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_metrics import precisions

from sartorius.cells import Cells, annotated, no_cells
from sartorius.errors import UserError
from sartorius.metrics.competition import average_precision, evaluate, image_type, images_with_overlap
from sartorius.rle import coco_from_dense

EMPTY = no_cells("drawn", (1, 4))


def precision_at_50(predicted: Cells, truth: Cells, variant: str = "one_to_one") -> float:
    return float(average_precision(predicted, truth, variant)[0])


def test_a_cell_found_exactly_counts_at_every_threshold():
    assert average_precision(cell("##.."), cell("##..")).tolist() == [1.0] * 10


def test_an_iou_of_exactly_one_half_is_not_a_hit():
    half = average_precision(cell("##..", "...."), cell("####", "...."))
    assert half.tolist() == [0.0] * 10
    more = average_precision(cell("###.", "...."), cell("####", "...."))
    assert more.tolist() == [1.0] * 5 + [0.0] * 5  # .75 exceeds .70 but not .75


@pytest.mark.parametrize("k", range(10, 20))
def test_an_iou_equal_to_a_threshold_passes_only_the_thresholds_below_it(k):
    found = average_precision(cell("#" * k + "." * (20 - k)), cell("#" * 20))
    assert found.tolist() == [1.0] * (k - 10) + [0.0] * (20 - k)


def test_true_positives_false_positives_and_misses_share_the_denominator():
    truth = cells(cell("##......"), cell("...##..."))
    found = cells(cell("##......"), cell("......##"))
    assert precision_at_50(found, truth) == pytest.approx(1 / 3)


def test_two_predictions_cannot_both_hit_one_cell():
    # The original system's local metric counted both as found, and scored this 1.
    truth = cell("####")
    found = cells(cell("####"), cell("###."))
    assert precision_at_50(found, truth) == 0.5
    assert precision_at_50(found, truth, "drop") == 1.0


def test_one_prediction_on_a_cell_annotated_twice_finds_one_and_misses_one():
    truth = cells(cell("###."), cell("####"))
    found = cell("###.")
    assert precision_at_50(found, truth) == 0.5
    assert average_precision(found, truth)[9] == 0.5


def test_the_variant_drop_forgets_a_prediction_that_hits_two_cells():
    truth = cells(cell("###......"), cell("####....."), cell(".......##"))
    found = cells(cell("###......"), cell(".......##"))
    assert precision_at_50(found, truth, "drop") == 1.0  # TP 1, the double hit is in no count
    assert precision_at_50(cell("###......"), truth[:2], "drop") == 0.0  # all counts 0


def test_the_variant_double_counts_a_prediction_that_hits_two_cells_twice():
    truth = cells(cell("###......"), cell("####....."), cell(".......##"))
    assert precision_at_50(cell("###......"), truth, "double") == pytest.approx(2 / 3)


def test_a_greedy_matching_would_find_one_cell_less():
    # The first prediction hits both cells (IoU 1, .75), the second only the first (.83, .625): both can be paired.
    truth = cells(cell("######...."), cell("########.."))
    found = cells(cell("######...."), cell("#####....."))
    assert average_precision(found, truth)[3] == 1.0  # at .65


def test_an_image_without_predictions_scores_zero_when_it_has_cells():
    assert average_precision(EMPTY, cell("##..")).tolist() == [0.0] * 10
    score = evaluate({}, {"drawn": cell("##..")})
    assert score.total == 0
    assert score.false_negatives.tolist() == [[1] * 10]


def test_predictions_in_an_image_without_cells_score_zero():
    for variant in ("one_to_one", "drop", "double"):
        assert average_precision(cell("##.."), EMPTY, variant).tolist() == [0.0] * 10


def test_finding_nothing_where_nothing_is_scores_one():
    for variant in ("one_to_one", "drop", "double"):
        assert average_precision(EMPTY, EMPTY, variant).tolist() == [1.0] * 10
    assert evaluate({}, {"drawn": EMPTY}).total == 1


def test_an_empty_true_mask_is_a_cell_that_cannot_be_found():
    assert precision_at_50(cells(cell("##.."), cell("....")), cells(cell("##.."), cell("...."))) == 1 / 3


def test_the_total_is_the_mean_over_images_not_over_cells_or_types():
    truth = {
        "a": cells(cell("##......"), cell("...##...")),
        "b": cell("##......", cell_type="astro"),
        "c": cell("##......", cell_type="astro"),
        "d": no_cells("d", (1, 8)),
    }
    found = {"a": cell("##......"), "b": cell("##......"), "c": cell("......##")}
    score = evaluate(found, truth)
    assert score.per_image == {"a": 0.5, "b": 1.0, "c": 0.0, "d": 1.0}
    assert score.total == pytest.approx(2.5 / 4)
    assert score.per_type == {"astro": 0.5, "cort": 0.5, "none": 1.0}
    assert list(score.per_threshold) == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert score.per_threshold[0.5] == pytest.approx(2.5 / 4)


def test_the_type_of_an_image_is_that_of_its_true_cells_not_of_the_predictions():
    score = evaluate({"drawn": cell("##..", cell_type="astro")}, {"drawn": cell("##..", cell_type="cort")})
    assert score.per_type == {"cort": 1.0}
    one_a, one_b = cell("#", cell_type="a"), cell("#", cell_type="b")
    assert image_type(cells(one_b, one_a)) == "a"
    assert image_type(cells(one_a, one_b, one_b)) == "b"


def test_images_in_which_predictions_share_a_pixel_are_named():
    apart, over = cells(cell("#.."), cell(".##")), cells(cell("##."), cell(".##"))
    assert images_with_overlap({"z": over, "b": apart, "c": EMPTY, "a": over}) == ["z", "a"]


def test_the_score_as_json_survives_a_round_trip():
    score = evaluate({"drawn": cell("###.")}, {"drawn": cell("####")})
    told = json.loads(json.dumps(score.to_json()))
    assert (told["total"], told["images"], told["images_per_type"]) == (0.5, 1, {"cort": 1})
    assert (told["per_threshold"]["0.70"], told["per_threshold"]["0.75"]) == (1, 0)
    image = told["per_image"][0]
    assert (image["id"], image["cell_type"], image["true_cells"], image["score"]) == ("drawn", "cort", 1, 0.5)
    assert image["true_positives"] == [1] * 5 + [0] * 5
    assert image["false_positives"] == image["false_negatives"] == [0] * 5 + [1] * 5


def test_predictions_of_an_unknown_image_are_refused():
    with pytest.raises(UserError, match="no image other"):
        evaluate({"other": cell("##..")}, {"drawn": cell("##..")})


def test_predictions_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"1 x 4 px .* 2 x 4 px"):
        evaluate({"drawn": cell("##..")}, {"drawn": cell("##../....")})


def test_scoring_no_image_is_refused():
    with pytest.raises(UserError, match="at least one image"):
        evaluate({}, {})


@st.composite
def few_cells(draw: st.DrawFn) -> Cells:
    """Up to four rectangles on a small image, near enough to each other to hit often, sometimes equal or empty."""
    masks = []
    for _ in range(draw(st.integers(0, 4))):
        row, col = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        height, width = draw(st.integers(0, 5)), draw(st.integers(3, 6))
        dense = np.zeros((6, 8), dtype=bool)
        dense[row : row + height, col : col + width] = True
        masks.append(coco_from_dense(dense))
    return annotated("drawn", (6, 8), masks, ["cort"] * len(masks))


def random_cells(rng: np.random.Generator) -> Cells:
    """Up to four blobs near each other in a 6 x 8 image, one in eight of them a copy of another."""
    masks = []
    for _ in range(rng.integers(0, 5)):
        dense = np.zeros((6, 8), dtype=bool)
        (row, col), (height, width) = rng.integers(0, 3, 2), rng.integers([3, 4], [7, 9])
        box = dense[row : row + height, col : col + width]
        box[:] = rng.random(box.shape) < 0.9
        masks.append(masks[-1] if masks and rng.random() < 1 / 8 else coco_from_dense(dense))
    return annotated("drawn", (6, 8), masks, ["cort"] * len(masks))


@pytest.mark.parametrize("variant", ["one_to_one", "drop", "double"])
def test_the_fast_metric_agrees_with_the_slow_obvious_one_in_a_thousand_random_images(variant):
    rng = np.random.default_rng(0)
    hit = 0
    for _ in range(1000):
        found, truth = random_cells(rng), random_cells(rng)
        expected = precisions(found, truth, variant)
        assert average_precision(found, truth, variant).tolist() == expected
        hit += 0 < sum(expected) < 10
    assert hit > 300  # most random images would otherwise have nothing to get wrong


@settings(max_examples=200, deadline=None)
@given(few_cells(), few_cells(), st.sampled_from(["one_to_one", "drop", "double"]))
def test_the_fast_metric_agrees_with_the_slow_obvious_one(found, truth, variant):
    assert average_precision(found, truth, variant).tolist() == precisions(found, truth, variant)


@settings(max_examples=100, deadline=None)
@given(few_cells(), few_cells(), st.randoms(use_true_random=False))
def test_the_score_does_not_depend_on_the_order_of_cells(found, truth, random):
    rows, others = list(range(len(found))), list(range(len(truth)))
    random.shuffle(rows)
    random.shuffle(others)
    shuffled = average_precision(found[rows], truth[others])
    assert shuffled.tolist() == average_precision(found, truth).tolist()
