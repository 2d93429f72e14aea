"""Single masks mended: hollow branches filled, webs between legs cut out where the image shows none of the cell."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.polygon_fill import filled_as_label, outline_filled

Pixels = NDArray[np.bool_]
Floats = NDArray[np.float32]

#: A hole of at most this many pixels is a gap that the drawing of lines left.
GAP_PX = 8
#: A web is looked for above straight lower edges of at least this many pixels.
STRAIGHT_PX = 12
#: A pixel is bare ground if grey values around it vary less than this many times as much as in the image's plainest fifth.
BARE_TIMES = 2.5
#: What stays of a cut cell must be this many times rougher than bare ground, or the cell itself is smooth.
ROUGH_TIMES = 1.6
#: A web is at least and at most this share of the filled mask, and has at least this share of the straight edges.
LEAST_WEB, MOST_WEB, LEAST_EDGE = 0.03, 0.5, 0.5
#: The mended mask, filled as labels are filled, must be the label again to this IoU.
LEAST_AGREEMENT = 0.9
#: Half the width that a leg is left with, in pixels.
LEG_PX = 2


class Ground(NamedTuple):
    """How much grey values vary around each pixel (height, width), and below how much a pixel is bare ground."""

    deviation: Floats
    bare: float


def ground_of(image: NDArray[np.uint8]) -> Ground:
    """The roughness of an image (height, width) within about two pixels."""
    grey = image.astype(np.float32)
    mean = cv2.GaussianBlur(grey, (0, 0), 1.5)
    variance = cv2.GaussianBlur(grey * grey, (0, 0), 1.5) - mean * mean
    deviation: Floats = np.sqrt(np.maximum(variance, 0)).astype(np.float32)
    return Ground(deviation, BARE_TIMES * float(np.percentile(deviation, 20)))


def without_hollows(pixels: Pixels) -> Pixels:
    """The mask with those holes filled that filling its outline as labels are filled leaves open, and tiny ones.

    pixels: the crop of one mask. A hole that the rule would have filled is ground that the cell surrounds; it stays.
    """
    outline = outline_filled(pixels)
    holes = outline & ~pixels
    if not holes.any():
        return pixels
    left_open = holes & ~filled_as_label(outline)
    _, numbers = cv2.connectedComponents(holes.astype(np.uint8), connectivity=4)
    sizes = np.bincount(numbers.ravel())
    open_px = np.bincount(numbers[left_open], minlength=len(sizes))
    mended = (2 * open_px > sizes) | (sizes <= GAP_PX)
    mended[0] = False
    filled: Pixels = pixels | mended[numbers]
    return filled


def without_webs(pixels: Pixels, ground: Ground, at_image_bottom: bool) -> Pixels:
    """The mask without bare ground above its straight lower edges, where that explains the label; else unchanged.

    pixels: the crop of one mask, ground: the same crop of its image. at_image_bottom: whether the crop's last row is
    the image's, where an edge is no sign of anything.
    """
    outline = np.pad(outline_filled(pixels), 1)
    deviation = np.pad(ground.deviation, 1, mode="edge")
    edge = _straight_lower_edges(outline)
    if at_image_bottom:
        edge[-2] = False
    if not edge.any():
        return pixels
    web = _web(outline, edge, deviation < ground.bare)
    cut = outline & ~web
    share = web.sum() / outline.sum()
    explains = (
        LEAST_WEB <= share <= MOST_WEB
        and (edge & web).sum() >= LEAST_EDGE * edge.sum()
        and float(np.median(deviation[cut])) >= ROUGH_TIMES * ground.bare
        and _is_one_part(cut)
        and _iou(filled_as_label(cut)[1:-1, 1:-1], pixels) >= LEAST_AGREEMENT
    )
    return pixels & ~web[1:-1, 1:-1] if explains else pixels


def _straight_lower_edges(outline: Pixels) -> Pixels:
    """The pixels of the mask with none below them that lie in a row of at least `STRAIGHT_PX` such pixels."""
    lower = outline.copy()
    lower[:-1] &= ~outline[1:]
    row = np.ones((1, STRAIGHT_PX), dtype=np.uint8)
    straight = cv2.morphologyEx(lower.astype(np.uint8), cv2.MORPH_OPEN, row)
    return straight.astype(np.bool_)


def _web(outline: Pixels, edge: Pixels, bare: Pixels) -> Pixels:
    """The bare ground inside the outline that hangs together with the edge, away from the outline's other sides."""
    inside = cv2.erode(outline.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
    rim = outline & ~inside & ~edge
    size = 2 * LEG_PX + 1
    legs = cv2.dilate(rim.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    free = cv2.morphologyEx((outline & bare).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    free_px = free.astype(np.bool_) | (edge & bare)
    _, numbers = cv2.connectedComponents(free_px.astype(np.uint8), connectivity=4)
    touching = np.unique(numbers[edge & free_px])
    web: Pixels = np.isin(numbers, touching[touching > 0]) & ~legs.astype(np.bool_)
    return web


def _is_one_part(pixels: Pixels) -> bool:
    parts, _ = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=8)
    return bool(parts == 2)


def _iou(a: Pixels, b: Pixels) -> float:
    return float((a & b).sum() / (a | b).sum())
