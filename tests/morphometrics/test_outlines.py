"""Lengths and areas of shapes whose true values are known, in many positions and directions."""

from math import cos, hypot, pi, sin

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

CANVAS = 280
PLACES = 8


def grid(angle, rng):
    """Coordinates of pixel centres around a point that lies anywhere in its pixel, turned by an angle."""
    rows, cols = np.mgrid[:CANVAS, :CANVAS] - CANVAS / 2 + rng.uniform(0, 1, (2, 1, 1))
    return cols * cos(angle) + rows * sin(angle), rows * cos(angle) - cols * sin(angle)


def ellipses(width, height):
    rng = np.random.default_rng(0)
    for angle in np.linspace(0, pi, PLACES, endpoint=False):
        x, y = grid(angle, rng)
        yield (x / (width / 2)) ** 2 + (y / (height / 2)) ** 2 <= 1


def rectangles(width, height):
    rng = np.random.default_rng(0)
    for angle in np.linspace(0, pi, PLACES, endpoint=False):
        x, y = grid(angle, rng)
        yield (abs(x) <= width / 2) & (abs(y) <= height / 2)


def ellipse_perimeter(width, height):
    return 2 * width * ellipe(1 - (height / width) ** 2)


SHAPES = [
    *((ellipses, size, size) for size in (12, 20, 40, 60, 200)),
    *((ellipses, width, height) for width, height in ((40, 20), (80, 40), (80, 20))),
    *((rectangles, width, height) for width, height in ((40, 40), (60, 20), (200, 100))),
]


@pytest.mark.parametrize(("shapes", "width", "height"), SHAPES)
def test_the_perimeter_is_that_of_the_shape_to_three_percent(shapes, width, height):
    true = ellipse_perimeter(width, height) if shapes is ellipses else 2 * (width + height)
    for pixels in shapes(width, height):
        assert perimeter_px(pixels) == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize(
    ("shapes", "width", "height", "tolerance"),
    [
        (ellipses, 60, 60, 0.010),
        (ellipses, 200, 200, 0.010),
        (ellipses, 80, 40, 0.010),
        (ellipses, 40, 40, 0.014),
        (ellipses, 20, 20, 0.03),
        (rectangles, 200, 100, 0.010),
        (rectangles, 60, 20, 0.015),
    ],
)
def test_the_feret_diameter_is_the_longest_width_of_the_shape(shapes, width, height, tolerance):
    true = width if shapes is ellipses else hypot(width, height)
    for pixels in shapes(width, height):
        assert feret_diameter_px(outline_points_xy(pixels)) == pytest.approx(true, rel=tolerance)


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
