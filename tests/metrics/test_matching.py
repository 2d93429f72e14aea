import numpy as np
import pytest
from drawing import cell, cells

from sartorius.metrics.matching import Hits, by_falling_score, found_by_falling_score, largest_matching


@pytest.mark.parametrize("seed", range(20))
def test_finds_by_falling_score_are_at_every_score_as_many_as_the_largest_matching(seed):
    rng = np.random.default_rng(seed)
    near = np.argwhere(rng.random((8, 6)) < 0.25)
    scores = rng.random(8).astype(np.float32)
    found = Hits(near[:, 0], near[:, 1], np.ones(len(near), dtype=np.int64), 8, 6)
    finds = found_by_falling_score(found, scores)
    for score in scores:
        kept = scores[near[:, 0]] >= score
        sure = found._replace(
            rows_predicted=near[kept, 0], rows_true=near[kept, 1], passed=found.passed[kept]
        )
        assert finds[scores >= score].sum() == len(largest_matching(sure))


def test_equally_sure_cells_come_by_type_and_then_by_mask_whatever_the_order_of_rows():
    parts = [
        cell("#...", score=0.5, cell_type="cort"),
        cell(".#..", score=0.5, cell_type="cort"),
        cell("..#.", score=0.5, cell_type="astro"),
        cell("...#", score=0.9, cell_type="cort"),
    ]
    ranked, turned = by_falling_score(cells(*parts)), by_falling_score(cells(*parts[::-1]))
    assert ranked.cell_types.tolist() == ["cort", "astro", "cort", "cort"]
    assert ranked.scores.tolist() == pytest.approx([0.9, 0.5, 0.5, 0.5])
    assert turned.masks == ranked.masks
