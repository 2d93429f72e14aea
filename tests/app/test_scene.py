import re

import numpy as np
from drawing import cell, cells

from sartorius.app.names import palette
from sartorius.app.scene import outline_path, scene
from sartorius.cells import no_cells

COLOURS = palette(["shsy5y", "astro", "cort"])


def area_of(path: str) -> float:
    """The area inside a path of straight lines, holes taken away, in px² (Gauss's formula)."""
    total = 0.0
    for ring in re.findall(r"M(.*?)Z", path):
        points = np.array([list(map(float, point.split())) for point in ring.split("L")])
        x, y = points.T
        total += (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    return abs(total)


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


def test_an_outline_runs_around_the_cell_and_its_hole():
    rows, cols = np.ogrid[:40, :40]
    distance = np.hypot(rows - 20, cols - 20)
    ring = cell(*("".join(".#"[int(p)] for p in row) for row in (distance < 15) & (distance > 6)))
    path = outline_path(ring.masks[0])
    assert path.count("M") == 2
    outer, inner = re.findall("M.*?Z", path)
    np.testing.assert_allclose(area_of(outer), np.pi * 15**2, rtol=0.08)
    np.testing.assert_allclose(area_of(inner), np.pi * 6**2, rtol=0.25)


def test_an_outline_lies_on_the_pixels_of_its_cell():
    path = outline_path(cell("......", "..##..", "..##..", "......").masks[0])
    numbers = np.array(re.findall(r"[\d.]+", path), dtype=float).reshape(-1, 2)
    assert numbers[:, 0].min() >= 2
    assert numbers[:, 0].max() <= 4
    assert numbers[:, 1].min() >= 1
    assert numbers[:, 1].max() <= 3


def test_an_empty_mask_has_no_outline():
    assert outline_path(cell("...", "...").masks[0]) == ""


def test_types_of_other_data_sets_have_colours_and_keep_their_names():
    colours = palette(["nucleus", "astro", "debris"])
    assert set(colours) == {"nucleus", "astro", "debris"}
    assert len(set(colours.values())) == 3
