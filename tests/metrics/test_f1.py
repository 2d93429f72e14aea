import numpy as np
import pytest
from drawing import cell, cells

from sartorius.cells import no_cells
from sartorius.metrics.competition import evaluate
from sartorius.metrics.f1 import f1_score

RNG = np.random.default_rng(0)


def test_cells_are_pooled_over_images():
    truth = {"full": cells(cell("#...."), cell("..#.."), cell("....#")), "sparse": cell("#....")}
    found = {"full": truth["full"][:2], "sparse": cells(cell(".#..."), cell("...#."))}
    score = f1_score(evaluate(found, truth), RNG)
    assert (score.precision.value, score.recall.value) == (0.5, 0.5)  # TP 2, FP 2, FN 2
    assert score.precision == (0.5, 0, 1)
    assert score.recall == pytest.approx((0.5, 0, 2 / 3))
    assert score.f1.value == 0.5
    assert (score.f1.low, score.f1.high) == (0, pytest.approx(4 / 5))  # only sparse, only full


def test_a_cell_is_found_at_an_iou_above_one_half():
    truth = {"a": cell("#" * 100)}
    just, not_quite = ({"a": cell("#" * k + "." * (100 - k))} for k in (51, 50))
    assert f1_score(evaluate(just, truth), RNG).f1.value == 1
    assert f1_score(evaluate(not_quite, truth), RNG).f1.value == 0


def test_nothing_found_where_nothing_is_has_an_f1_of_one():
    score = f1_score(evaluate({}, {"a": no_cells("a", (2, 2))}), RNG)
    assert score == ((0, 0, 0), (0, 0, 0), (1, 1, 1))


def test_no_predictions_have_no_precision():
    score = f1_score(evaluate({}, {"a": cell("##..")}), RNG)
    assert score == ((0, 0, 0), (0, 0, 0), (0, 0, 0))


def test_a_variant_whose_counts_do_not_add_up_is_refused():
    truth = {"a": cell("##..")}
    with pytest.raises(ValueError, match="one_to_one"):
        f1_score(evaluate(truth, truth, "drop"), RNG)
