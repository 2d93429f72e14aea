from drawing import cell, cells

from sartorius.app.names import palette
from sartorius.app.scene import scene
from sartorius.cells import no_cells

COLOURS = palette(["shsy5y", "astro", "cort"])


def test_a_scene_names_the_image_and_counts_its_cells_by_type():
    found = cells(
        cell("##..", "##..", score=0.9, cell_type="cort"),
        cell("....", "...#", score=0.51239, cell_type="astro"),
    )
    drawn = scene("well", (2, 4), "session/x/image/well", found, COLOURS)
    assert (drawn["name"], drawn["width"], drawn["height"], drawn["searched"]) == ("well", 4, 2, True)
    assert drawn["types"] == [
        {"name": "Astrocyte", "colour": "#56b4e9", "count": 1},
        {"name": "Cortical neuron", "colour": "#f0e442", "count": 1},
    ]
    assert [(one["type"], one["box"], one["score"]) for one in drawn["cells"]] == [
        (1, [0, 0, 2, 2], 0.9),
        (0, [3, 1, 4, 2], 0.512),
    ]


def test_an_image_that_was_not_searched_differs_from_one_without_cells():
    assert scene("a", (2, 3), "", None, COLOURS)["searched"] is False
    empty = scene("a", (2, 3), "", no_cells("a", (2, 3)), COLOURS)
    assert (empty["searched"], empty["cells"], empty["types"]) == (True, [], [])


def test_types_of_other_data_sets_have_colours_and_keep_their_names():
    colours = palette(["nucleus", "astro", "debris"])
    assert set(colours) == {"nucleus", "astro", "debris"}
    assert len(set(colours.values())) == 3
