"""Training pictures put together: the cells of one image on the emptied background of another of the same type."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.detectron.mapper import TrainingImage
from sartorius.detectron.warping import tight
from sartorius.rle import Crop

#: Pixels around a cell that its bright halo reaches into.
HALO_PX = 3
#: Standard deviation in pixels of the blur that fills emptied places from what is around them.
FILL_SIGMA_PX = 12.0


def emptied(image: TrainingImage, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The image's pixels with every cell and its halo replaced by background of the same brightness and grain.

    The brightness is that around the cell; the grain is drawn from the differences of background pixels to theirs.
    An image that is all cells is filled with its mean.
    """
    covered = np.zeros(image.pixels.shape, dtype=np.uint8)
    for crop in image.crops:
        rows, cols = crop.pixels.shape
        covered[crop.row : crop.row + rows, crop.col : crop.col + cols] |= crop.pixels.astype(np.uint8)
    side = 2 * HALO_PX + 1
    covered = cv2.dilate(covered, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    free = (1 - covered).astype(np.float32)
    if not free.any():
        return np.full_like(image.pixels, round(float(image.pixels.mean())))
    mean = float(image.pixels[free > 0].mean())
    weight = cv2.GaussianBlur(free, (0, 0), FILL_SIGMA_PX) + 1e-3
    around = cv2.GaussianBlur((image.pixels - mean) * free, (0, 0), FILL_SIGMA_PX) / weight + mean
    grain = (image.pixels - around)[free > 0]
    filled = around + rng.choice(grain, image.pixels.shape)
    return np.rint(np.clip(np.where(covered, filled, image.pixels), 0, 255)).astype(np.uint8)


def pasted(background: TrainingImage, donor: TrainingImage, rng: np.random.Generator) -> TrainingImage:
    """A new picture: the donor's cells, each turned over at random, at random places of the emptied background.

    A cell that lies on an earlier one hides that part of it. Cells larger than the background are left out.
    """
    pixels = emptied(background, rng).astype(np.float32)
    owner = np.zeros(pixels.shape, dtype=np.int32)  # number of the cell on top, from 1
    placed: list[tuple[int, Crop]] = []
    for number in rng.permutation(len(donor.crops)).tolist():
        cell, patch, share = _lifted(donor, donor.crops[number], rng)
        rows, cols = patch.shape
        if rows > pixels.shape[0] or cols > pixels.shape[1]:
            continue
        top, left = (
            int(rng.integers(full - own + 1)) for full, own in zip(pixels.shape, patch.shape, strict=True)
        )
        window = (slice(top, top + rows), slice(left, left + cols))
        pixels[window] += share * (patch - pixels[window])
        owner[window][cell] = len(placed) + 1
        placed.append((number, Crop(top, left, cell)))
    seen = [
        (
            number,
            tight(
                c.row, c.col, owner[c.row : c.row + len(c.pixels), c.col : c.col + c.pixels.shape[1]] == rank
            ),
        )
        for rank, (number, c) in enumerate(placed, start=1)
    ]
    left_over = [(number, crop) for number, crop in seen if crop is not None]
    return TrainingImage(
        image_id=f"{background.image_id}+{donor.image_id}",
        pixels=np.rint(pixels).astype(np.uint8),
        crops=tuple(crop for _, crop in left_over),
        classes=donor.classes[[number for number, _ in left_over]],
    )


def _lifted(
    donor: TrainingImage, crop: Crop, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """A cell with its halo, turned over at random: its mask, its pixels, and how much they count (1 inside)."""
    rows, cols = crop.pixels.shape
    top, left = max(crop.row - HALO_PX, 0), max(crop.col - HALO_PX, 0)
    patch = donor.pixels[top : crop.row + rows + HALO_PX, left : crop.col + cols + HALO_PX].astype(np.float32)
    mask = np.zeros(patch.shape, dtype=bool)
    mask[crop.row - top : crop.row - top + rows, crop.col - left : crop.col - left + cols] = crop.pixels
    share = np.maximum(cv2.blur(mask.astype(np.float32), (2 * HALO_PX + 1,) * 2), mask.astype(np.float32))
    steps = tuple(int(step) for step in rng.choice([-1, 1], 2))
    turn = (slice(None, None, steps[0]), slice(None, None, steps[1]))
    return mask[turn], patch[turn], share[turn]


class Paster:
    """Replaces a share of training images by pictures put together from the training images of their type.

    share: probability that a picture is put together. images: all training images.
    """

    def __init__(self, images: Sequence[TrainingImage], share: float) -> None:
        self._images = images
        self._share = share
        types = [main_type(image) for image in images]
        self._of_type = {kind: [i for i, own in enumerate(types) if own == kind] for kind in set(types)}

    def __call__(self, image: TrainingImage, rng: np.random.Generator) -> TrainingImage:
        """The image itself, or its emptied background with the cells of another one of its type."""
        if rng.random() >= self._share or not len(image.crops):
            return image
        donor = self._images[int(rng.choice(self._of_type[main_type(image)]))]
        return replace(pasted(image, donor, rng), image_id=image.image_id)


def main_type(image: TrainingImage) -> int:
    """The class of most cells of an image, -1 without cells."""
    return int(np.bincount(image.classes).argmax()) if len(image.classes) else -1
