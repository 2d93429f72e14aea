import numpy as np
from drawing import cell, cells

from sartorius.app.quantities import shown_table, shown_texts
from sartorius.cells import no_cells
from sartorius.morphometrics import measure_cells

FOUND = cells(
    cell("####....", "####....", "........", score=0.875, cell_type="astro"),
    cell("........", "........", ".......#", score=0.5, cell_type="other"),
)
IMAGE = np.full((3, 8), 100, np.uint8)


def test_the_table_counts_cells_from_one_and_says_units():
    table = shown_table(measure_cells(FOUND, IMAGE), in_um=False)
    assert table["Cell"].tolist() == [1, 2]
    assert table["Type"].tolist() == ["Astrocyte", "other"]
    assert table["Confidence"].tolist() == [0.88, 0.5]
    assert table["Area (px²)"].tolist() == [8, 1]
    assert table["Brightness"].tolist() == [100, 100]
    assert table["At border"].tolist() == ["yes", "yes"]


def test_with_a_known_pixel_size_lengths_and_areas_are_in_micrometres():
    table = shown_table(measure_cells(FOUND, IMAGE, um_per_px=0.5), in_um=True)
    assert table["Area (µm²)"].tolist() == [2.0, 0.2]
    assert "Area (px²)" not in table
    assert table["Nearest cell (µm)"].tolist() == [2.9, 2.9]


def test_rows_are_told_in_as_many_digits_each_with_dashes_for_what_is_not_defined():
    table = shown_table(measure_cells(FOUND[:1], IMAGE), in_um=False)
    of_cell = dict(zip(table, shown_texts(table, in_um=False)[0], strict=True))
    assert (of_cell["Cell"], of_cell["Area (px²)"], of_cell["Confidence"]) == ("1", "8", "0.88")
    assert of_cell["Diameter (px)"] == "3.2"
    assert of_cell["Nearest cell (px)"] == "–"


def test_the_brightness_of_fractions_is_told_with_three_digits_and_sorted_by_them():
    fractions = np.where(np.arange(8) < 4, np.float32(0.902), np.float32(0.31)) * np.ones((3, 1))
    table = shown_table(measure_cells(FOUND, fractions), in_um=False)
    assert table["Brightness"].tolist() == [0.902, 0.31]
    at = list(table).index("Brightness")
    assert [row[at] for row in shown_texts(table, in_um=False)] == ["0.902", "0.310"]


def test_no_cells_give_a_table_without_rows():
    table = shown_table(measure_cells(no_cells("a", (3, 8)), IMAGE), in_um=False)
    assert len(table) == 0
    assert shown_texts(table, in_um=False) == []
