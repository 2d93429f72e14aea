import re
import xml.etree.ElementTree as ET

import numpy as np
from drawing import cell

from sartorius.svg import TEXT_COLOUR, chart, outline_path


def area_of(path: str) -> float:
    """The area inside a path of straight lines, holes taken away, in px² (Gauss's formula)."""
    total = 0.0
    for ring in re.findall(r"M(.*?)Z", path):
        points = np.array([list(map(float, point.split())) for point in ring.split("L")])
        x, y = points.T
        total += (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    return abs(total)


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


def test_a_chart_has_a_name_and_the_colour_of_the_text_around_it():
    html = chart(lambda axes: axes.plot([0, 1], color=TEXT_COLOUR), "Rise & fall", (3, 2))
    drawing = html.removeprefix("<figure>").removesuffix("</figure>")
    assert ET.fromstring(drawing).get("aria-label") == "Rise & fall"
    assert "currentColor" in drawing
    assert TEXT_COLOUR not in drawing
