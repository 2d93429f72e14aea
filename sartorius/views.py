"""Test-time views: an image turned and resized for the model, and what it finds brought back, exact to the half pixel.

Boxes are continuous: pixel (row, col) covers [row, row + 1) x [col, col + 1), so a mirrored x is `width - x`, with no
`- 1`, and resizing multiplies. cv2 resizes by the same convention (pixel centres at + 0.5, edges stay edges).
"""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.config.members import Flip, ViewSettings

Pixel = TypeVar("Pixel", bound=np.generic)

#: Whether a flip turns the order of (rows, columns); each flip is its own inverse.
_TURNS: dict[Flip, tuple[bool, bool]] = {
    "none": (False, False),
    "horizontal": (False, True),
    "vertical": (True, False),
    "rotate180": (True, True),
}


def network_size_hw(
    size_hw: tuple[int, int], view: ViewSettings, input_scale: float = 1.0
) -> tuple[int, int]:
    """The (height, width) in network pixels that an image of `size_hw` has in a view; at least 1 x 1.

    input_scale: the model's own network pixels per image pixel; `view.scale` multiplies it.
    """
    scale = input_scale * view.scale
    return max(1, int(size_hw[0] * scale + 0.5)), max(1, int(size_hw[1] * scale + 0.5))


def forward(image: NDArray[np.uint8], view: ViewSettings, input_scale: float = 1.0) -> NDArray[np.uint8]:
    """The image as the network sees it: flipped, then resized once to `network_size_hw`.

    image: (height, width) uint8; it is not changed.
    Enlarging interpolates linearly, shrinking averages areas, so that no pixel is skipped.
    Raises ValueError if the image is not (height, width) uint8.
    """
    if image.ndim != 2 or image.dtype != np.uint8:
        raise ValueError(
            f"image has dtype {image.dtype} and shape {image.shape}, expected uint8 (height, width)"
        )
    turned = np.ascontiguousarray(_turned(image, view))
    height, width = network_size_hw((image.shape[0], image.shape[1]), view, input_scale)
    if (height, width) == image.shape:
        return turned
    smaller = height * width < image.size
    resized = cv2.resize(
        turned, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    )
    return np.asarray(resized, dtype=np.uint8)


def backward_boxes(
    boxes_xyxy: NDArray[np.float32],
    view: ViewSettings,
    size_hw: tuple[int, int],
    network_hw: tuple[int, int],
) -> NDArray[np.float32]:
    """Boxes of the network's input as boxes of the original image, shape (N, 4) float32, not rounded.

    boxes_xyxy: (N, 4) left, top, right, bottom in network pixels.
    size_hw: the original image in pixels. network_hw: the network's input, see `network_size_hw`; the two axes are
        scaled by their own ratio because each size was rounded.
    """
    ratio_y, ratio_x = size_hw[0] / network_hw[0], size_hw[1] / network_hw[1]
    boxes = boxes_xyxy.astype(np.float64) * np.array([ratio_x, ratio_y, ratio_x, ratio_y])
    return _turned_boxes(boxes, view, size_hw).astype(np.float32)


def forward_boxes(
    boxes_xyxy: NDArray[np.float32],
    view: ViewSettings,
    size_hw: tuple[int, int],
    network_hw: tuple[int, int],
) -> NDArray[np.float32]:
    """Boxes of the original image as boxes of the network's input: what `backward_boxes` undoes."""
    ratio_y, ratio_x = network_hw[0] / size_hw[0], network_hw[1] / size_hw[1]
    turned = _turned_boxes(boxes_xyxy.astype(np.float64), view, size_hw)
    boxes: NDArray[np.float64] = turned * np.array([ratio_x, ratio_y, ratio_x, ratio_y])
    return boxes.astype(np.float32)


def backward_soft_masks(soft_masks: NDArray[Pixel], view: ViewSettings) -> NDArray[Pixel]:
    """Soft masks (N, S, S) on the boxes of the flipped image, turned to lie on the boxes of the original image."""
    return np.ascontiguousarray(_turned(soft_masks, view))


def _turned(pixels: NDArray[Pixel], view: ViewSettings) -> NDArray[Pixel]:
    """The last two axes, rows and columns, flipped."""
    rows, cols = (slice(None, None, -1) if turns else slice(None) for turns in _TURNS[view.flip])
    return pixels[..., rows, cols]


def _turned_boxes(
    boxes_xyxy: NDArray[np.float64], view: ViewSettings, size_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Mirrored edges; what was the right edge becomes the left one."""
    left, top, right, bottom = boxes_xyxy.T
    turns_rows, turns_cols = _TURNS[view.flip]
    if turns_rows:
        top, bottom = size_hw[0] - bottom, size_hw[0] - top
    if turns_cols:
        left, right = size_hw[1] - right, size_hw[1] - left
    return np.stack([left, top, right, bottom], axis=1)
