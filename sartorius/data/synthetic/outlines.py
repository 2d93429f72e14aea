"""Outlines of cell bodies and paths of neurites, as points in pixels (x to the right, y down)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.data.synthetic.looks import Body

Points = NDArray[np.float64]
OUTLINE_POINTS = 180


class Outline(NamedTuple):
    """A closed polygon around (0, 0), the arms that belong to it as closed polygons too, and its tips.

    tips_xy, tip_angles_rad: the points where the body is drawn out, and the directions they point in.
    """

    points_xy: Points
    arms_xy: tuple[Points, ...]
    tips_xy: Points
    tip_angles_rad: NDArray[np.float64]


def body_outline(body: Body, rng: np.random.Generator) -> Outline:
    """A random outline of one kind of cell, centred on the origin, turned any way.

    An ellipse with a few corners drawn out to points, slightly rough, its long axis bent; scaled so that its area
    is a draw of the body's log-normal area in px. Tips: (K, 2), at least one.
    """
    angles = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    aspect = rng.uniform(*body.aspect)
    corners = _corner_angles(int(rng.integers(body.corners[0], body.corners[1] + 1)), aspect, rng)
    points = _polar(_radii(angles, aspect, corners, body, rng), angles)
    tips = points[np.searchsorted(angles, corners) % OUTLINE_POINTS]
    area_px = body.area_px * np.exp(body.area_log_sd * rng.standard_normal())
    scale = np.sqrt(area_px / _polygon_area(points))
    sag, turn = body.bend * rng.uniform(-1, 1), rng.uniform(0, 2 * np.pi)
    half_length = float(np.abs(points[:, 0]).max())
    bent, bent_tips = (_bent(p, sag, half_length) for p in (points, tips))
    turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) * scale
    directions = bent_tips @ turned
    tip_angles = np.arctan2(directions[:, 1], directions[:, 0])
    arms = tuple(
        _arm(body, 0.8 * tip, float(angle), rng) for tip, angle in zip(directions, tip_angles, strict=True)
    )
    return Outline(bent @ turned, arms if body.arm_px[1] else (), directions, tip_angles)


def neurite_path(
    start_xy: Points, angle_rad: float, length_px: float, wiggle: float, rng: np.random.Generator
) -> Points:
    """(K, 2) points of a thread that starts in a direction and wanders off it, one every 4 px.

    wiggle: standard deviation of the change of direction from one point to the next, in radians.
    """
    steps = max(2, round(length_px / 4))
    drift = rng.normal(0, wiggle / 4)
    angles = angle_rad + np.cumsum(rng.normal(drift, wiggle, steps))
    return np.vstack([start_xy, start_xy + np.cumsum(_polar(np.full(steps, 4.0), angles), axis=0)])


def _arm(body: Body, start_xy: Points, angle_rad: float, rng: np.random.Generator) -> Points:
    """A ribbon that leaves a tip, wanders and gets narrower, as a closed polygon."""
    path = neurite_path(start_xy, angle_rad, rng.uniform(*body.arm_px), 0.12, rng)
    along = np.gradient(path, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.linalg.norm(along, axis=1, keepdims=True)
    half_width_px = np.linspace(rng.uniform(1.6, 3.0), 0.9, len(path))[:, None]
    return np.vstack([path + half_width_px * across, (path - half_width_px * across)[::-1]])


def _corner_angles(count: int, aspect: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Where the corners are: the ends of a long body first, evenly with some disorder on a round one."""
    if aspect > 1.8:
        ends = np.array([0.0, np.pi])[: max(count, 1)]
        angles = np.append(ends, rng.uniform(0, 2 * np.pi, max(count - 2, 0)))
        spread = 0.15
    else:
        angles = rng.uniform(0, 2 * np.pi) + np.arange(max(count, 1)) * 2 * np.pi / max(count, 1)
        spread = 0.35
    return (angles + rng.normal(0, spread, len(angles))) % (2 * np.pi)


def _radii(
    angles: NDArray[np.float64],
    aspect: float,
    corners: NDArray[np.float64],
    body: Body,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    long_axis, short_axis = np.sqrt(aspect), 1 / np.sqrt(aspect)
    pointed = rng.uniform(*body.pointed)  # exponent of the superellipse: 2 is an ellipse, 1 a rhombus
    radii = np.abs(np.cos(angles) / long_axis) ** pointed + np.abs(np.sin(angles) / short_axis) ** pointed
    radii **= -1 / pointed
    for waves in (2, 3, 5, 8):
        radii *= 1 + rng.normal(0, 0.09 / np.sqrt(waves)) * np.cos(waves * angles + rng.uniform(0, 2 * np.pi))
    for corner in corners:
        away = np.abs((angles - corner + np.pi) % (2 * np.pi) - np.pi)
        radii += (
            rng.uniform(*body.reach) * long_axis * np.exp(-away / rng.uniform(0.12, 0.3) * short_axis**-0.5)
        )
    return np.asarray(radii)


def _bent(points_xy: Points, sag: float, half_length: float) -> Points:
    along = points_xy[:, 0] / half_length
    return np.stack([points_xy[:, 0], points_xy[:, 1] + sag * half_length * (along**2 - 0.3)], axis=1)


def _polar(radii: NDArray[np.float64], angles: NDArray[np.float64]) -> Points:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _polygon_area(points_xy: Points) -> float:
    x, y = points_xy.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
