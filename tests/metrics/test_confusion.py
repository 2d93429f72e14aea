import numpy as np
import pytest
from drawing import cell, cells

from sartorius.cells import no_cells
from sartorius.errors import UserError
from sartorius.metrics.confusion import type_confusion


def test_found_mistaken_missed_and_invented_cells_each_have_their_place():
    truth = {
        "a": cells(
            cell("##......", cell_type="astro"),
            cell("..##....", cell_type="astro"),
            cell("....##..", cell_type="cort"),
        )
    }
    found = {
        "a": cells(
            cell("##......", cell_type="astro"),
            cell("..##....", cell_type="cort"),
            cell("......##", cell_type="shsy5y"),
        )
    }
    confusion = type_confusion(found, truth)
    assert confusion.names == ("astro", "cort", "shsy5y", "no cell")
    assert confusion.counts.tolist() == [
        [1, 1, 0, 0],  # astro: one found, one taken for cort
        [0, 0, 0, 1],  # cort: missed
        [0, 0, 0, 0],
        [0, 0, 1, 0],  # no cell: a shsy5y invented
    ]
    assert confusion.to_json()["astro"] == {"astro": 1, "cort": 1, "shsy5y": 0, "no cell": 0}


def test_a_cell_hit_twice_is_found_once_and_invented_once():
    confusion = type_confusion({"a": cells(cell("####"), cell("###."))}, {"a": cell("####")})
    assert (confusion.names, confusion.counts.tolist()) == (("cort", "no cell"), [[1, 0], [1, 0]])


def test_which_of_two_cells_is_the_one_hit_does_not_depend_on_their_order():
    one = cell(".###.", cell_type="astro")
    two = cells(cell("####.", cell_type="astro"), cell(".####", cell_type="cort"))
    for found, truth in ((one, two), (two, one)):
        there = type_confusion({"a": found}, {"a": truth})
        turned = type_confusion({"a": found[::-1]}, {"a": truth[::-1]})
        assert there.counts.tolist() == turned.counts.tolist()


def test_intervals_of_shares_do_not_depend_on_the_order_of_images():
    row = cells(*(cell("." * col + "#" + "." * (6 - col)) for col in range(7)))
    truth = {name: row[: place + 1] for place, name in enumerate("abcdefg")}
    found = {name: row[place // 2 : place] for place, name in enumerate("abcdefg")}
    one, other = (
        type_confusion(found, {name: truth[name] for name in names}).shares(np.random.default_rng(0))
        for names in ("abcdefg", "cgabfde")
    )
    assert one == other


def test_an_image_without_predictions_adds_missed_cells():
    confusion = type_confusion({}, {"a": cell("##.."), "b": no_cells("b", (1, 4))})
    assert (confusion.names, confusion.counts.tolist()) == (("cort", "no cell"), [[0, 1], [0, 0]])


def test_no_cells_on_either_side_confuse_nothing():
    confusion = type_confusion({}, {"a": no_cells("a", (1, 4))})
    assert (confusion.names, confusion.counts.tolist()) == (("no cell",), [[0]])


def test_predictions_of_an_unknown_image_are_refused():
    with pytest.raises(UserError, match="no image b"):
        type_confusion({"b": cell("#")}, {"a": cell("#")})


def test_shares_of_a_type_come_with_intervals_over_images():
    truth = {"a": cell("##..", cell_type="astro"), "b": cell("##..", cell_type="astro"), "c": cell("##..")}
    found = {"a": truth["a"], "b": cell("##.."), "c": cell("..##")}
    shares = type_confusion(found, truth).shares(np.random.default_rng(0))
    assert shares["astro"] == {"astro": (0.5, 0, 1), "cort": (0.5, 0, 1), "no cell": (0, 0, 0)}
    assert shares["cort"]["no cell"] == (1, 1, 1)
    assert type_confusion({"c": truth["c"]}, {"c": truth["c"]}).shares(np.random.default_rng(0))["no cell"] == {
        "cort": None, "no cell": None,
    }  # fmt: skip
