"""Images that show more cells than are labelled."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.rle import crops_from_cocos

#: How far around a label structure belongs to it, in pixels.
NEAR_PX = 7
#: Structure thinner than this is a branch or debris, in pixels.
THICK_PX = 9
#: An image stands out that lies this many interquartile ranges above the upper quartile of its type.
FENCE = 1.5
#: Fewer images of a type have no usual value.
LEAST_IMAGES = 8


def unlabelled_share(image: NDArray[np.uint8], cells: Cells) -> float:
    """Pixels of thick structure far from any label, over labelled pixels (at least one).

    image: (height, width). Structure is as rough as the rougher three quarters of the labelled pixels; without labels,
    as rough as twice the plainest fifth.
    """
    labelled = _labelled(cells)
    grey = image.astype(np.float32)
    mean = cv2.GaussianBlur(grey, (0, 0), 2)
    deviation = np.sqrt(np.maximum(cv2.GaussianBlur(grey * grey, (0, 0), 2) - mean * mean, 0))
    plain = float(np.percentile(deviation, 20))
    inside = deviation[labelled > 0]
    least = max(float(np.percentile(inside, 25)), 1.5 * plain) if inside.size else 2 * plain
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THICK_PX, THICK_PX))
    thick = cv2.morphologyEx((deviation > least).astype(np.uint8), cv2.MORPH_OPEN, disc)
    near = cv2.dilate(labelled, np.ones((2 * NEAR_PX + 1, 2 * NEAR_PX + 1), np.uint8))
    unlabelled_px = int(np.count_nonzero((thick > 0) & (near == 0)))
    return unlabelled_px / max(int(labelled.sum()), 1)


def standing_out(shares: Mapping[str, float], types: Mapping[str, str]) -> list[str]:
    """The images whose share is far above what is usual for their type, the farthest first.

    Far is above the upper quartile by `FENCE` interquartile ranges; types with fewer than `LEAST_IMAGES` have none.
    """
    found: list[tuple[float, str]] = []
    for cell_type in sorted(set(types.values())):
        images = [image_id for image_id in shares if types[image_id] == cell_type]
        if len(images) >= LEAST_IMAGES:
            found += _above_fence({image_id: shares[image_id] for image_id in images})
    return [image_id for _, image_id in sorted(found, key=lambda entry: (-entry[0], entry[1]))]


def _above_fence(shares: Mapping[str, float]) -> Sequence[tuple[float, str]]:
    """Image ids above the fence with how many interquartile ranges they lie above the upper quartile."""
    lower, upper = np.percentile(list(shares.values()), [25, 75])
    width = max(float(upper - lower), 1e-9)
    excess = {image_id: (share - float(upper)) / width for image_id, share in shares.items()}
    return [(value, image_id) for image_id, value in excess.items() if value > FENCE]


def _labelled(cells: Cells) -> NDArray[np.uint8]:
    """(height, width) 1 where any mask lies."""
    labelled = np.zeros(cells.size_hw, dtype=np.uint8)
    for crop in crops_from_cocos(cells.masks):
        rows, cols = crop.pixels.shape
        labelled[crop.row : crop.row + rows, crop.col : crop.col + cols] |= crop.pixels
    return labelled
