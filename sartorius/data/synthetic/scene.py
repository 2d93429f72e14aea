"""Cells, neurites and debris laid out on one image: the phase-shift map and the true masks."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.data.synthetic.looks import LOOKS, Body, Look
from sartorius.data.synthetic.optics import Field, smooth_noise
from sartorius.data.synthetic.outlines import Outline, Points, body_outline, neurite_path
from sartorius.rle import Crop

#: The image size that the counts of `Look` refer to.
STANDARD_AREA_PX = 520 * 704
#: A body may claim at most this share of pixels that are taken; what is taken stays with the older cell.
MAX_TAKEN = 0.12
TRIES = 14
SMALLEST_CELL_PX = 30
#: Fixed-point bits of the points handed to OpenCV.
SHIFT = 4
LAYER_MAX = 2.0
#: Share of a body's thickness by depth in px under its outline; below 0 where the edge bends light outwards.
RIM = ((0.0, 1.0, 2.4, 3.6), (-0.2, -0.2, 1.05, 1.0))


class Scene:
    """A phase-shift map that cells are put into; `crops` holds their disjoint masks."""

    def __init__(self, cell_type: str, size_hw: tuple[int, int], rng: np.random.Generator) -> None:
        self.look: Look = LOOKS[cell_type]
        self.size_hw = size_hw
        self.rng = rng
        self.phase: Field = np.zeros(size_hw, dtype=np.float32)
        self.threads = np.zeros(size_hw, dtype=np.uint8)
        self.taken = np.zeros(size_hw, dtype=bool)
        self.grain = smooth_noise(size_hw, 0.8, rng)
        self.growth = float(np.exp(rng.normal(0, self.look.growth_log_sd)))
        self.crops: list[Crop] = []
        crowd = np.exp(self.look.crowding * 0.5 * smooth_noise(size_hw, min(size_hw) / 8, rng))
        self._likelihood = np.cumsum(crowd, dtype=np.float64)

    def add_cells(self, density: float) -> None:
        """Put in a random number of cells, `density` times the usual; fewer where there is no room."""
        share = self.size_hw[0] * self.size_hw[1] / STANDARD_AREA_PX
        expected = self.look.cells * density * share
        shape = self.look.cells_shape
        count = max(1, round(self.rng.gamma(shape, expected / shape))) if expected > 0 else 0
        shares = np.array([body.share for body in self.look.bodies])
        kinds = self.rng.choice(len(shares), size=count, p=shares / shares.sum())
        for kind in kinds.tolist():
            self._add_cell(self.look.bodies[kind])

    def _add_cell(self, body: Body) -> None:
        outline = body_outline(body, self.rng)
        for _ in range(TRIES):
            place_xy = self._place()
            if self.taken[int(place_xy[1]), int(place_xy[0])]:
                continue
            parts = [part + place_xy for part in (outline.points_xy, *outline.arms_xy)]
            crop = _filled(parts, self.size_hw)
            window = _window(crop)
            pixels = _largest_piece(crop.pixels & ~self.taken[window])
            if pixels.sum() < max(SMALLEST_CELL_PX, (1 - MAX_TAKEN) * crop.pixels.sum()):
                continue
            self.taken[window] |= pixels
            self.crops.append(Crop(crop.row, crop.col, pixels))
            self._add_body(body, window, pixels)
            self._add_neurites(body, outline, place_xy)
            return

    def _place(self) -> Points:
        spot = int(np.searchsorted(self._likelihood, self.rng.uniform(0, self._likelihood[-1])))
        row, col = divmod(min(spot, len(self._likelihood) - 1), self.size_hw[1])
        return np.array([col, row]) + self.rng.uniform(0, 1, 2)

    def _add_body(self, body: Body, window: tuple[slice, slice], pixels: NDArray[np.bool_]) -> None:
        """A rim that is brighter than nothing, then a plateau that rises to the middle; grain and a nucleus on top."""
        depth_px = cv2.distanceTransform(np.pad(pixels, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        profile = np.where(pixels, np.interp(depth_px, *RIM), 0).astype(np.float32)
        dome = 0.85 + 0.15 * np.sqrt(depth_px / max(float(depth_px.max()), 1))
        thickness = self.rng.uniform(*body.thickness)
        grain = np.where(depth_px > 1.5, body.grain, 0) * self.grain[window]
        self.phase[window] += thickness * profile * dome + grain
        if body.nucleus_px:
            self._add_nucleus(body, pixels, window, 0.35 * thickness + 0.08)

    def _add_nucleus(
        self, body: Body, pixels: NDArray[np.bool_], window: tuple[slice, slice], thickness: float
    ) -> None:
        depth_px = cv2.distanceTransform(np.pad(pixels, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        row, col = np.unravel_index(int(depth_px.argmax()), depth_px.shape)
        radius = min(body.nucleus_px * self.rng.uniform(0.8, 1.2), 0.8 * float(depth_px.max()))
        disc = np.zeros(pixels.shape, dtype=np.uint8)
        cv2.circle(disc, (int(col), int(row)), max(1, round(radius)), 255, -1, cv2.LINE_AA)
        for _ in range(int(self.rng.integers(1, 4))):
            dot_col, dot_row = np.rint(np.array([col, row]) + self.rng.normal(0, radius / 2.5, 2)).astype(int)
            cv2.circle(disc, (int(dot_col), int(dot_row)), 1, 0, -1, cv2.LINE_AA)
        self.phase[window] += np.where(pixels, disc, 0).astype(np.float32) * np.float32(thickness / 255)

    def _add_neurites(self, body: Body, outline: Outline, place_xy: Points) -> None:
        """Threads from the tips of a body first, then from anywhere on its rim; the first parts are thicker."""
        low, high = body.neurites
        for number in range(round(self.rng.uniform(low, high) * self.growth)):
            if number < len(outline.tips_xy):
                start, angle = outline.tips_xy[number], float(outline.tip_angles_rad[number])
            else:
                start = outline.points_xy[int(self.rng.integers(len(outline.points_xy)))]
                angle = float(np.arctan2(start[1], start[0]))
            short, long = body.neurite_px
            length_px = short + (long - short) * self.rng.uniform() ** 2
            wiggle = self.rng.uniform(*self.look.wiggle_rad)
            path = neurite_path(start * 0.9 + place_xy, angle, length_px, wiggle, self.rng)
            self._draw_thread(path, self.rng.uniform(*self.look.neurite_thickness))

    def add_loose_threads(self) -> None:
        """Long faint threads whose cells lie elsewhere."""
        share = self.size_hw[0] * self.size_hw[1] / STANDARD_AREA_PX
        for _ in range(int(self.rng.poisson(self.look.loose_threads * share * self.growth**2))):
            length_px, angle = self.rng.uniform(40, 300), self.rng.uniform(0, 2 * np.pi)
            path = neurite_path(self._place(), angle, length_px, self.look.wiggle_rad[0], self.rng)
            self._draw_thread(path, 0.6 * self.rng.uniform(*self.look.neurite_thickness))

    def _draw_thread(self, path_xy: Points, thickness: float) -> None:
        root = max(2, len(path_xy) // 4)
        points = np.rint(path_xy * 2**SHIFT).astype(np.int32)
        grey = round(255 * min(thickness, LAYER_MAX) / LAYER_MAX)
        cv2.polylines(self.threads, [points], False, grey, 1, cv2.LINE_AA, SHIFT)
        cv2.polylines(self.threads, [points[:root]], False, min(255, 2 * grey), 1, cv2.LINE_AA, SHIFT)

    def add_debris(self) -> None:
        """Dead cells and crumbs: dark dots with a bright spot beside the middle, alone or in heaps on the cells."""
        share = self.size_hw[0] * self.size_hw[1] / STANDARD_AREA_PX
        dark = np.zeros(self.size_hw, dtype=np.uint8)
        bright = np.zeros(self.size_hw, dtype=np.uint8)
        left = int(self.rng.poisson(self.look.dots * share))
        while left > 0:
            heap = int(self.rng.integers(4, 14)) if self.rng.uniform() < self.look.clumped / 4 else 1
            place_xy = self._place()
            for _ in range(min(heap, left)):
                self._draw_dot(
                    dark, bright, place_xy + self.rng.normal(0, 1.5 * np.sqrt(heap), 2) * (heap > 1)
                )
            left -= heap
        self.phase += (dark.astype(np.float32) - bright) * np.float32(LAYER_MAX / 255)

    def _draw_dot(self, dark: NDArray[np.uint8], bright: NDArray[np.uint8], place_xy: Points) -> None:
        """A crumb is dark; a dead cell is dark with a bright rim, thicker on one side, and often bright in the middle."""
        radius = self.rng.choice([0.7, 1.2, 1.9, 2.6], p=self.look.dot_shares)
        grey = int(self.rng.integers(110, 256))
        if radius < 1.5:
            _circle(dark, place_xy, radius, grey)
            return
        shift = self.rng.normal(0, 0.6, 2)
        _circle(bright, place_xy + shift, radius + 1.1, grey // 2)
        _circle(bright, place_xy, radius, 0)
        _circle(dark, place_xy, radius, grey)
        if self.rng.uniform() < 0.5:
            _circle(bright, place_xy + self.rng.normal(0, radius / 3, 2), 0.45 * radius, 255)

    def whole_phase(self) -> Field:
        """The phase shift of bodies, threads and debris; threads that pass over bodies are fainter there."""
        beads = np.clip(0.8 + 0.35 * self.grain, 0.2, 1.5)
        threads = beads * self.threads.astype(np.float32) * np.float32(LAYER_MAX / 255)
        return np.asarray(self.phase + np.where(self.taken, 0.3, 1.0) * threads, dtype=np.float32)


def _filled(polygons_xy: list[Points], size_hw: tuple[int, int]) -> Crop:
    """The pixels inside any of some polygons, cut at the image's border."""
    together = np.vstack(polygons_xy)
    left, top = np.floor(together.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(together.max(axis=0)).astype(int) + 2
    canvas = np.zeros((bottom - top, right - left), dtype=np.uint8)
    for polygon in polygons_xy:
        points = np.rint((polygon - (left, top)) * 2**SHIFT).astype(np.int32)
        cv2.fillPoly(canvas, [points], 255, cv2.LINE_AA, SHIFT)
    row, col = max(0, -top), max(0, -left)
    inside = canvas[row : max(0, size_hw[0] - top), col : max(0, size_hw[1] - left)]
    return Crop(top + row, left + col, inside > 127)


def _window(crop: Crop) -> tuple[slice, slice]:
    rows, cols = crop.pixels.shape
    return slice(crop.row, crop.row + rows), slice(crop.col, crop.col + cols)


def _largest_piece(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=4)
    if count <= 2:
        return pixels
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def _circle(layer: NDArray[np.uint8], place_xy: Points, radius_px: float, grey: int) -> None:
    x, y = (round(float(value) * 2**SHIFT) for value in place_xy)
    cv2.circle(layer, (x, y), round(radius_px * 2**SHIFT), grey, -1, cv2.LINE_AA, SHIFT)
