"""The competition's metric as one would write it down: dense masks, every pair, fractions, every matching tried."""

from fractions import Fraction
from itertools import combinations, permutations

import numpy as np

from sartorius.cells import Cells
from sartorius.rle import dense_from_coco

THRESHOLDS = [Fraction(k, 20) for k in range(10, 20)]


def dense_ious(predicted: Cells, truth: Cells) -> list[list[Fraction]]:
    """IoU of every prediction (row) with every true cell, exact; two empty masks have 0."""
    rows = []
    for a in (dense_from_coco(mask) for mask in predicted.masks):
        row = []
        for b in (dense_from_coco(mask) for mask in truth.masks):
            union = int(np.count_nonzero(a | b))
            row.append(Fraction(int(np.count_nonzero(a & b)), union) if union else Fraction(0))
        rows.append(row)
    return rows


def largest_matching(matches: list[list[bool]]) -> int:
    """The size of the largest one-to-one matching, by trying all of them; for a handful of cells."""
    n_rows, n_cols = len(matches), len(matches[0]) if matches else 0
    for size in range(min(n_rows, n_cols), 0, -1):
        for rows in combinations(range(n_rows), size):
            for cols in permutations(range(n_cols), size):
                if all(matches[row][col] for row, col in zip(rows, cols, strict=True)):
                    return size
    return 0


def precisions(predicted: Cells, truth: Cells, variant: str = "one_to_one") -> list[float]:
    """TP / (TP + FP + FN) at each threshold."""
    ious = dense_ious(predicted, truth)
    result = []
    for threshold in THRESHOLDS:
        matches = [[iou > threshold for iou in row] for row in ious]
        hits_of_predictions = [sum(row) for row in matches]
        hits_of_truths = [sum(row[col] for row in matches) for col in range(len(truth))]
        if variant == "one_to_one":
            tp = largest_matching(matches)
            fp, fn = len(predicted) - tp, len(truth) - tp
        else:
            tp = hits_of_predictions.count(1) if variant == "drop" else sum(hits_of_predictions)
            fp, fn = hits_of_predictions.count(0), hits_of_truths.count(0)
        if len(predicted) == len(truth) == 0:
            result.append(1.0)
        else:
            result.append(tp / (tp + fp + fn) if tp + fp + fn else 0.0)
    return result
