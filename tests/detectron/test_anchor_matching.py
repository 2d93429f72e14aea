import numpy as np
import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, pairwise_iou

from sartorius.detectron.anchor_matching import match_anchors


def boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    corner = rng.uniform(0, 100, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_anchors_are_matched_as_detectron2_matches_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells, anchors = boxes(12, rng), boxes(3000, rng)
    cell, label = match_anchors(cells, anchors, 0.3, 0.7)
    ious = pairwise_iou(Boxes(torch.from_numpy(cells)), Boxes(torch.from_numpy(anchors)))
    expected_cell, expected_label = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)(ious)
    assert (label == expected_label.numpy()).all()
    met = ious.max(dim=0).values.numpy() > 0
    assert (cell[met] == expected_cell.numpy()[met]).all()
    assert (label == 1).sum() >= 12


def test_without_cells_every_anchor_is_background() -> None:
    cell, label = match_anchors(np.zeros((0, 4), np.float32), boxes(5, np.random.default_rng(0)), 0.3, 0.7)
    assert (cell.tolist(), label.tolist()) == ([0] * 5, [0] * 5)


def test_a_cell_that_no_anchor_meets_makes_none_positive() -> None:
    far = np.array([[500, 500, 510, 510]], dtype=np.float32)
    assert (match_anchors(far, boxes(50, np.random.default_rng(0)), 0.3, 0.7)[1] == 0).all()
