import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from sartorius.app import charts as drawn_charts
from sartorius.app.charts import charts
from sartorius.app.names import palette

COLOURS = palette(["shsy5y", "astro", "cort"])
TYPES = pd.Series(["astro", "astro", "astro", "cort"])


def drawings(html: str) -> list[str]:
    """The text of each SVG."""
    return [f"<svg{part.split('</svg>')[0]}</svg>" for part in html.split("<svg")[1:]]


def test_a_histogram_and_a_box_plot_are_whole_drawings_with_a_name():
    html = charts(pd.Series([10.0, 20.0, 30.0, 500.0]), TYPES, "Area (px²)", COLOURS)
    histogram, box_plot = drawings(html)
    for drawing in (histogram, box_plot):
        ET.fromstring(drawing.replace("xlink:href", "href"))
        assert COLOURS["astro"] in drawing
        assert COLOURS["cort"] in drawing
        assert COLOURS["shsy5y"] not in drawing
        assert "currentColor" in drawing
        assert "#010203" not in drawing
    assert 'aria-label="Histogram of Area (px²) by cell type"' in histogram
    assert 'aria-label="Box plot of Area (px²) by cell type"' in box_plot


def test_a_line_of_numbers_says_what_the_charts_show():
    html = charts(pd.Series([10.0, 20.0, 60.0, 1500.0]), TYPES, "Area (px²)", COLOURS)
    rows = [row.split("</tr>")[0] for row in html.split("<tr>")[2:]]
    assert "Astrocyte" in rows[0]
    assert "<td>3 cells</td><td>30</td><td>20</td><td>15</td><td>40</td>" in rows[0]
    assert "<td>1 cell</td><td>1,500</td>" in rows[1]


def test_undefined_values_are_left_out_and_without_any_there_is_nothing():
    some = charts(pd.Series([1.0, float("nan"), 3.0, float("nan")]), TYPES, "Nearest cell (px)", COLOURS)
    assert "2 cells" in some
    assert "Cortical" not in some
    assert charts(pd.Series([float("nan")] * 4), TYPES, "x", COLOURS) == ""
    assert charts(pd.Series([], dtype=float), pd.Series([], dtype=str), "x", COLOURS) == ""


@pytest.mark.parametrize("values", [[0.1 + 0.2, 0.3], [np.nextafter(57, 0), 57.0], [57.0, 57.0], [0.0, 0.0]])
def test_values_that_differ_by_rounding_alone_are_drawn_as_the_same(values):
    html = charts(pd.Series(values), TYPES[:2], "Nearest cell (px)", COLOURS)
    assert len(drawings(html)) == 2
    assert "2 cells" in html


def test_names_of_types_are_text_not_markup():
    colours = palette(["<b>x</b>"])
    html = charts(pd.Series([1.0]), pd.Series(["<b>x</b>"]), "Area", colours)
    assert "<b>x</b>" not in html


def test_charts_of_the_same_values_are_drawn_once_and_those_of_others_anew(monkeypatch):
    """Drawing takes longer than all else that a search shows after each image."""
    chart, drawn = drawn_charts.chart, []
    monkeypatch.setattr(
        drawn_charts, "chart", lambda draw, label, size: drawn.append(label) or chart(draw, label, size)
    )
    values = pd.Series([11.0, 22.0, 33.0, 44.0])
    first = charts(values, TYPES, "Area (px²)", COLOURS)
    assert charts(values.copy(), TYPES, "Area (px²)", COLOURS) == first
    assert len(drawn) == 2
    assert charts(values + 1, TYPES, "Area (px²)", COLOURS) != first
    assert charts(values, TYPES, "Perimeter (px)", COLOURS) != first
    assert charts(values, TYPES, "Area (px²)", COLOURS | {"astro": "#112233"}) != first
    assert len(drawn) == 8
