import json

import numpy as np
import pytest
from drawing import cell, cells

from sartorius.cells import Cells, annotated, no_cells
from sartorius.metrics.livecell import CONVENTIONS, livecell_score, livecell_table
from sartorius.rle import coco_from_dense

RNG = np.random.default_rng(0)


def square(side_px: int) -> Cells:
    dense = np.zeros((40, 40), dtype=bool)
    dense[:side_px, :side_px] = True
    return annotated("drawn", (40, 40), [coco_from_dense(dense)], ["BV2"])


def sizes_defined(truth: Cells, convention: str) -> list[str]:
    score = livecell_score({"a": truth}, {"a": truth}, RNG, convention)
    figures = list(score.at_caps.values())[-1]
    return [name for name in ("small", "medium", "large") if figures[f"ap_{name}"] is not None]


def test_the_published_evaluation_and_the_paper_differ_in_sizes_and_cap():
    assert CONVENTIONS["evaluation"] == ((100, 500, 2000), (324, 961))
    assert CONVENTIONS["paper"] == ((100, 500, 3000), (500, 1500))
    twenty_px_wide = square(20)  # 400 px
    assert sizes_defined(twenty_px_wide, "evaluation") == ["medium"]
    assert sizes_defined(twenty_px_wide, "paper") == ["small"]
    assert sizes_defined(square(35), "evaluation") == ["large"]  # 1225 px
    assert sizes_defined(square(35), "paper") == ["medium"]


def test_the_false_negative_ratio_is_the_mean_share_of_cells_not_found():
    truth = {"a": cells(cell("####...."), cell("....####"))}
    found = {"a": cells(cell("####...."), cell("....###."))}  # IoU 1 and .75
    assert livecell_score(found, truth, RNG).afnr == pytest.approx((0.2, 0.2, 0.2))


def test_the_interval_of_the_false_negative_ratio_stands_the_right_way_round():
    truth = {name: cells(cell("####...."), cell("....####")) for name in "abcdef"}
    found = {name: truth[name][:1] if name in "ab" else truth[name] for name in truth}
    afnr = livecell_score(found, truth, RNG).afnr
    assert afnr.value == pytest.approx(1 / 6)
    assert 0 <= afnr.low < afnr.value < afnr.high <= 1 / 2


def test_each_cap_has_its_own_figures():
    parts = [cell("." * k + "#" + "." * (149 - k), score=1 - k / 200) for k in range(150)]
    truth = {"a": cells(*parts)}
    score = livecell_score(truth, truth, RNG)
    recalls = {cap: figures["recall"].value for cap, figures in score.at_caps.items()}
    assert recalls == pytest.approx({100: 2 / 3, 500: 1, 2000: 1})
    assert score.afnr.value == 0


def test_the_table_has_a_row_for_each_cell_line_and_one_for_all():
    truth = {
        "a": cell("##..", cell_type="Huh7"),
        "b": cell("##..", cell_type="A172"),
        "c": cell("##..", cell_type="A172"),
    }
    found = {"a": cell("..##", score=0.5), "b": cell("##.."), "c": cell("##..")}
    table = livecell_table(found, truth, RNG)
    assert list(table) == ["A172", "Huh7", "all"]
    assert [row.at_caps[2000]["ap50"].value for row in table.values()] == [1, 0, pytest.approx(67 / 101)]
    assert [(row.images, row.cells) for row in table.values()] == [(2, 2), (1, 1), (3, 3)]
    assert json.loads(json.dumps(table["all"].to_json()))["afnr"]["value"] == pytest.approx(1 / 3)


def test_cells_of_an_image_without_predictions_are_not_found():
    table = livecell_table({}, {"a": cell("##..", cell_type="A172")}, RNG)
    assert [row.afnr.value for row in table.values()] == [1, 1]


def test_images_without_cells_have_no_ratio():
    assert livecell_score({}, {"a": no_cells("a", (1, 4))}, RNG).afnr is None
