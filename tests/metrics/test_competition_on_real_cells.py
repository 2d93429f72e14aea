"""The metric on the competition's own annotations, where the real data is there."""

from pathlib import Path

import numpy as np
import pytest
from reference_metrics import THRESHOLDS, dense_ious, precisions
from scipy.optimize import linear_sum_assignment

from sartorius.cells import Cells
from sartorius.data.competition import read_truth
from sartorius.metrics.competition import average_precision, evaluate
from sartorius.postprocess import remove_overlap

#: Forty cort cells, of which nineteen pairs are nearly the same cell annotated twice.
DUPLICATED = "ce5d0de993bd"


@pytest.fixture(scope="module")
def truth(competition_dir: Path) -> dict[str, Cells]:
    return read_truth(competition_dir / "train.csv")


def without_overlap(cells: Cells) -> Cells:
    return remove_overlap(cells, min_area_px=1)


@pytest.mark.parametrize("variant", ["one_to_one", "drop", "double"])
def test_the_truth_scores_one_against_itself_though_its_masks_overlap(truth, variant):
    score = evaluate(truth, truth, variant)
    assert score.total == 1
    assert set(score.image_scores.tolist()) == {1.0}


def test_cells_annotated_twice_are_counted_as_the_slow_dense_metric_counts_them(truth):
    cells = truth[DUPLICATED]
    found = without_overlap(cells)
    for variant in ("drop", "double"):
        assert average_precision(found, cells, variant).tolist() == precisions(found, cells, variant)
    ious = dense_ious(found, cells)
    for place, threshold in enumerate(THRESHOLDS):
        matches = np.array([[iou > threshold for iou in row] for row in ious])
        matched = matches[linear_sum_assignment(matches, maximize=True)].sum()
        expected = matched / (len(found) + len(cells) - matched)
        assert average_precision(found, cells)[place] == expected


def test_a_perfect_submission_cannot_score_one_because_true_masks_overlap(truth):
    some = dict(list(truth.items())[::10])
    found = {image_id: without_overlap(cells) for image_id, cells in some.items()}
    totals = [evaluate(found, some, variant).total for variant in ("one_to_one", "drop", "double")]
    assert 0.9 < min(totals) <= max(totals) < 1
    assert totals[0] < totals[2]
