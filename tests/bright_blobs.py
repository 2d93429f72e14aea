"""Dark images with bright discs, and a predictor that sees nothing but the pixels it is shown."""

import hashlib
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, no_cells
from sartorius.config.members import ViewSettings
from sartorius.rle import Crop, boxes_xyxy, cocos_from_crops

#: The grey value of each type's discs; a higher value is a surer cell.
TYPE_OF_GREY = {100: "shsy5y", 150: "astro", 200: "cort"}
SOFT_SIDE = 28


def with_discs(size_hw: tuple[int, int], discs: Iterable[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """A dark image with a disc for each (row, column, radius), the types taking turns."""
    image = np.zeros(size_hw, dtype=np.uint8)
    for number, (row, col, radius) in enumerate(discs):
        cv2.circle(image, (col, row), radius, list(TYPE_OF_GREY)[number % 3], thickness=-1)
    return image


class BrightBlobs:
    """Finds every connected bright blob, up to `jitter_px` beside where it is; the score is told by its grey value."""

    weights_sha256 = hashlib.sha256(b"blobs").hexdigest()

    def __init__(self, jitter_px: int = 0, softly: bool = True) -> None:
        self.jitter_px, self.softly = jitter_px, softly
        self.config: dict[str, object] = {"jitter_px": jitter_px}
        self.shown_hw: list[tuple[int, int]] = []
        self._rng = np.random.default_rng(0)

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        size_hw = (image.shape[0], image.shape[1])
        self.shown_hw.append(size_hw)
        if not image.any():
            return no_cells(image_id, size_hw)
        count, labels, stats, _ = cv2.connectedComponentsWithStats((image > 0).astype(np.uint8))
        crops, greys = [], []
        for number in range(1, count):
            left, top, width, height = stats[number, :4].tolist()
            box = slice(top, top + height), slice(left, left + width)
            pixels = labels[box] == number
            greys.append(int(image[box][pixels].max()))
            crops.append(self._jittered(Crop(top, left, pixels), size_hw))
        masks = tuple(cocos_from_crops(crops, size_hw))
        return Cells(
            image_id=image_id,
            size_hw=size_hw,
            masks=masks,
            scores=np.array(greys, dtype=np.float32) / 255,
            cell_types=np.array([TYPE_OF_GREY[grey] for grey in greys]),
            sources=np.full(len(crops), "whatever"),
            soft_masks=np.array([_soft(crop.pixels) for crop in crops]) if self.softly else None,
            soft_boxes_xyxy=boxes_xyxy(masks) if self.softly else None,
        )

    def _jittered(self, crop: Crop, size_hw: tuple[int, int]) -> Crop:
        row, col = self._rng.integers(-self.jitter_px, self.jitter_px + 1, 2).tolist()
        most_row, most_col = (side - length for side, length in zip(size_hw, crop.pixels.shape, strict=True))
        return crop._replace(
            row=min(max(crop.row + row, 0), most_row), col=min(max(crop.col + col, 0), most_col)
        )


def _soft(pixels: NDArray[np.bool_]) -> NDArray[np.uint8]:
    grey = pixels.astype(np.uint8) * 255
    return np.asarray(cv2.resize(grey, (SOFT_SIDE, SOFT_SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)
