"""One training image as the network sees it: cropped, resized, flipped, with its cells as targets."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray

from sartorius.config import ModelSettings
from sartorius.detectron.cell_masks import CellMasks
from sartorius.detectron.flow_cells import flow_targets
from sartorius.detectron.warping import random_displacement, warped
from sartorius.rle import Crop


@dataclass(frozen=True)
class TrainingImage:
    """An image in memory with its cells.

    pixels: (H, W) uint8 grey. crops: the N masks as crops. classes: (N,) int64.
    """

    image_id: str
    pixels: NDArray[np.uint8]
    crops: tuple[Crop, ...]
    classes: NDArray[np.int64]


class TrainingMapper:
    """Turns a `TrainingImage` into detectron2's training input; another picture for each seed."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings

    def __call__(self, image: TrainingImage, seed: int) -> dict[str, Any]:
        """The picture of a seed: `image` (1, H, W) uint8, and `instances` with boxes, classes and masks.

        The network samples anchors and proposals by the same `seed`. One of flows gets what `flow_targets` makes of the cells.
        """
        settings = self._settings
        rng = np.random.default_rng(seed)
        scale = settings.input_scale * float(np.exp(rng.uniform(*np.log(settings.scale_jitter))))
        window = _random_window(image.pixels.shape, settings.crop_px, scale, rng)
        flips = (rng.random() < 0.5, rng.random() < 0.5) if settings.flips else (False, False)
        pixels = _flipped(image.pixels[window], flips)
        crops, kept = _clipped(image.crops, window, flips, settings.min_box_px)
        numbers = np.array(kept, dtype=np.int64)
        if settings.elastic_px:
            size_hw = (pixels.shape[0], pixels.shape[1])
            field = random_displacement(size_hw, settings.elastic_px, rng)
            pixels, crops, left = warped(pixels, crops, field)
            numbers = numbers[left]
        if settings.turns and rng.random() < 0.5:
            pixels, crops = _transposed(pixels, crops)
        window_hw = (pixels.shape[0], pixels.shape[1])
        height, width = _network_size(pixels.shape, settings.crop_px, scale)
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
        if settings.colour_jitter:
            pixels = _recoloured(pixels, settings.colour_jitter, rng)
        classes, size_hw = image.classes[numbers], (height, width)
        picture = {"image_id": image.image_id, "seed": seed, "image": torch.from_numpy(pixels[None])}
        if settings.network == "flows":
            drawn_hw = -(-height // settings.first_stride), -(-width // settings.first_stride)
            no_cells = _instances([], np.zeros(0, dtype=np.int64), window_hw, size_hw)
            return picture | {"instances": no_cells} | flow_targets(crops, classes, window_hw, drawn_hw)
        return picture | {"instances": _instances(crops, classes, window_hw, size_hw)}


def _random_window(
    size_hw: tuple[int, ...], crop_px: int | None, scale: float, rng: np.random.Generator
) -> tuple[slice, slice]:
    """A random window of the image that is `crop_px` wide and high once resized, or all of the image."""
    slices = []
    for length in size_hw:
        extent = length if crop_px is None else min(max(1, round(crop_px / scale)), length)
        start = int(rng.integers(length - extent + 1))
        slices.append(slice(start, start + extent))
    return slices[0], slices[1]


def _network_size(window_hw: tuple[int, ...], crop_px: int | None, scale: float) -> tuple[int, int]:
    """Size after resizing: exactly `crop_px` where the window is a whole crop, so that shapes repeat."""
    sides = [max(1, round(side * scale)) for side in window_hw]
    if crop_px is not None:
        whole = max(1, round(crop_px / scale))
        sides = [
            crop_px if side == whole else resized for side, resized in zip(window_hw, sides, strict=True)
        ]
    return sides[0], sides[1]


def _flipped(pixels: NDArray[Any], flips: tuple[bool, bool]) -> NDArray[Any]:
    """The array turned over left to right and top to bottom, as the two flags say."""
    pixels = pixels[:, ::-1] if flips[0] else pixels
    return np.ascontiguousarray(pixels[::-1] if flips[1] else pixels)


def _transposed(pixels: NDArray[Any], crops: list[Crop]) -> tuple[NDArray[Any], list[Crop]]:
    """The picture and its cells with rows and columns swapped: with a flip, a quarter turn."""
    turned = [Crop(crop.col, crop.row, np.ascontiguousarray(crop.pixels.T)) for crop in crops]
    return np.ascontiguousarray(pixels.T), turned


def _clipped(
    crops: tuple[Crop, ...], window: tuple[slice, slice], flips: tuple[bool, bool], min_side_px: float
) -> tuple[list[Crop], list[int]]:
    """The cells inside the window in its flipped frame, and their numbers; slivers at the edge are left out."""
    rows, cols = window
    clipped, kept = [], []
    for number, crop in enumerate(crops):
        top, left = max(rows.start, crop.row), max(cols.start, crop.col)
        bottom = min(rows.stop, crop.row + crop.pixels.shape[0])
        right = min(cols.stop, crop.col + crop.pixels.shape[1])
        if bottom - top < max(min_side_px, 1) or right - left < max(min_side_px, 1):
            continue
        pixels = crop.pixels[top - crop.row : bottom - crop.row, left - crop.col : right - crop.col]
        inside = pixels.any(axis=1).nonzero()[0], pixels.any(axis=0).nonzero()[0]
        if not len(inside[0]) or min(np.ptp(inside[0]), np.ptp(inside[1])) + 1 < min_side_px:
            continue
        pixels = pixels[inside[0][0] : inside[0][-1] + 1, inside[1][0] : inside[1][-1] + 1]
        row, col = top - rows.start + int(inside[0][0]), left - cols.start + int(inside[1][0])
        if flips[0]:
            col = cols.stop - cols.start - col - pixels.shape[1]
        if flips[1]:
            row = rows.stop - rows.start - row - pixels.shape[0]
        clipped.append(Crop(row, col, _flipped(pixels, flips)))
        kept.append(number)
    return clipped, kept


def _recoloured(pixels: NDArray[np.uint8], amount: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Contrast and brightness changed by up to `amount` of themselves."""
    contrast, brightness = 1 + rng.uniform(-amount, amount, size=2)
    mean = float(pixels.mean())
    changed = (pixels - mean) * contrast + mean * brightness
    return np.rint(np.clip(changed, 0, 255)).astype(np.uint8)


def _instances(
    crops: list[Crop], classes: NDArray[np.int64], window_hw: tuple[int, int], size_hw: tuple[int, int]
) -> Instances:
    """Targets in network pixels of cells given in the pixels of the window before it was resized to `size_hw`."""
    scale_xy = (size_hw[1] / window_hw[1], size_hw[0] / window_hw[0])
    boxes = [[c.col, c.row, c.col + c.pixels.shape[1], c.row + c.pixels.shape[0]] for c in crops]
    instances = Instances(size_hw)
    scales = torch.tensor(scale_xy * 2, dtype=torch.float32)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * scales)
    instances.gt_classes = torch.from_numpy(classes)
    instances.gt_masks = CellMasks.from_crops(crops, window_hw, scale_xy)
    return instances
