"""Lengths and areas of shapes whose true values are known, in many positions and directions."""

from math import ceil, cos, hypot, pi, sin

import numpy as np
import pytest
from scipy.special import ellipe

from sartorius.morphometrics.outlines import (
    count_parts,
    feret_diameter_px,
    filled,
    hull_area_px,
    outline_points_xy,
    perimeter_px,
)

PLACES = 120


def grids(width, height):
    """Coordinates of pixel centres around the centre of a shape, turned anyhow.

    The centre lies anywhere in its pixel, every other time in the middle, or halfway along an edge or on a corner.
    """
    rng = np.random.default_rng(0)
    side = ceil(hypot(width, height)) + 4
    for place in range(PLACES):
        offset = rng.uniform(0, 1, (2, 1, 1)) if place % 2 else rng.integers(0, 2, (2, 1, 1)) / 2
        rows, cols = np.mgrid[:side, :side] - side // 2 + offset
        angle = rng.uniform(0, pi)
        yield cols * cos(angle) + rows * sin(angle), rows * cos(angle) - cols * sin(angle)


def ellipses(width, height):
    for x, y in grids(width, height):
        yield (x / (width / 2)) ** 2 + (y / (height / 2)) ** 2 <= 1


def rectangles(width, height):
    for x, y in grids(width, height):
        yield (abs(x) <= width / 2) & (abs(y) <= height / 2)


def ellipse_perimeter(width, height):
    return 2 * width * ellipe(1 - (height / width) ** 2)


#: Shapes with the worst errors of perimeter and Feret diameter that `outlines` states for them.
SHAPES = [
    (ellipses, 12, 12, 0.035, 0.05),
    (ellipses, 14, 14, 0.035, 0.05),
    (ellipses, 16, 12, 0.035, 0.05),
    (ellipses, 24, 12, 0.035, 0.05),
    (ellipses, 20, 20, 0.03, 0.05),
    (ellipses, 40, 12, 0.035, 0.026),
    (ellipses, 40, 20, 0.03, 0.026),
    (ellipses, 40, 40, 0.03, 0.026),
    (ellipses, 60, 12, 0.035, 0.022),
    (ellipses, 60, 60, 0.03, 0.022),
    (ellipses, 80, 40, 0.03, 0.022),
    (ellipses, 200, 200, 0.03, 0.022),
    (rectangles, 40, 12, 0.05, 0.04),
    (rectangles, 40, 40, 0.04, 0.04),
    (rectangles, 60, 20, 0.04, 0.026),
    (rectangles, 60, 60, 0.04, 0.026),
    (rectangles, 200, 100, 0.04, 0.026),
]


@pytest.mark.parametrize(("shapes", "width", "height", "of_perimeter", "of_feret"), SHAPES)
def test_perimeter_and_feret_diameter_err_by_no_more_than_is_stated(
    shapes, width, height, of_perimeter, of_feret
):
    is_ellipse = shapes is ellipses
    perimeter = ellipse_perimeter(width, height) if is_ellipse else 2 * (width + height)
    feret = width if is_ellipse else hypot(width, height)
    for pixels in shapes(width, height):
        assert perimeter_px(pixels) == pytest.approx(perimeter, rel=of_perimeter)
        assert feret_diameter_px(outline_points_xy(pixels)) == pytest.approx(feret, rel=of_feret)


def test_large_cells_have_their_perimeter_and_feret_diameter_to_one_percent():
    for pixels in ellipses(80, 40):
        assert perimeter_px(pixels) == pytest.approx(ellipse_perimeter(80, 40), rel=0.01)
        assert feret_diameter_px(outline_points_xy(pixels)) == pytest.approx(80, rel=0.01)


@pytest.mark.parametrize(("shapes", "width", "height"), [(ellipses, 60, 60), (ellipses, 200, 100)])
def test_the_hull_of_a_convex_shape_has_the_area_of_the_shape_to_one_percent(shapes, width, height):
    for pixels in shapes(width, height):
        assert hull_area_px(outline_points_xy(pixels)) == pytest.approx(pi * width * height / 4, rel=0.01)


def test_an_outline_runs_between_cell_and_background():
    pixels = np.zeros((30, 40), dtype=bool)
    pixels[5:25, 10:30] = True
    points = outline_points_xy(pixels)
    assert (points.min(axis=0), points.max(axis=0)) == (
        pytest.approx([10, 5], abs=1e-9),
        pytest.approx([30, 25], abs=1e-9),
    )


def test_nothing_has_no_outline_and_no_length():
    nothing = np.zeros((3, 4), dtype=bool)
    points = outline_points_xy(nothing)
    assert points.shape == (0, 2)
    assert (perimeter_px(nothing), feret_diameter_px(points), hull_area_px(points)) == (0, 0, 0)


def test_a_hole_is_background_that_touches_the_outside_along_no_edge():
    drawn = ["####.", "#..#.", "##.#.", "####.", "##.##", "###.."]
    pixels = np.array([[pixel == "#" for pixel in row] for row in drawn])
    whole = filled(pixels)
    assert whole.holes == 2
    expected = ["####.", "####.", "####.", "####.", "#####", "###.."]
    assert ["".join(".#"[pixel] for pixel in row.astype(int)) for row in whole.pixels] == expected


def test_parts_that_touch_at_a_corner_are_one():
    assert count_parts(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=bool)) == 2
    assert count_parts(np.zeros((2, 2), dtype=bool)) == 0
