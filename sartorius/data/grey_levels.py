"""Pixels of any number type and colour as one grey plane of bytes."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Bits per pixel that cameras and converters really use. A 16-bit file says how wide its container is, not how much
#: of it the camera filled; the smallest of these that holds the image's maximum is taken for the camera's.
CAMERA_BITS = (8, 10, 12, 14, 16)

#: Fractions up to this have a scale of their own, such as ratios around 1; no 8-bit picture is as dark.
MOST_RATIO = 16

#: How bright red, green and blue look. Source: ITU-R BT.601.
_RGB_WEIGHTS = (0.299, 0.587, 0.114)
#: Rows that are converted at once, so that a large image has no second copy of itself as floats.
_ROWS_AT_ONCE = 256


class Levels(NamedTuple):
    """The grey values that become 0 and 255."""

    black: float
    white: float


def grey_plane(pixels: NDArray[Any]) -> NDArray[Any]:
    """The grey values of pixels, shape (height, width), in their own number type.

    pixels: (height, width), (height, width, 1), or red, green and blue with or without transparency, which is
        ignored: (height, width, 3 or 4). Colour is weighted as ITU-R BT.601 does, whole numbers are rounded.
    Raises ValueError for other shapes.
    """
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"pixels have shape {pixels.shape}, expected (height, width) grey or (height, width, 3 or 4) colour"
        )
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    grey = np.empty(pixels.shape[:2], dtype=pixels.dtype)
    for rows in _blocks(len(pixels)):
        mixed = pixels[rows, :, :3] @ np.array(_RGB_WEIGHTS)
        grey[rows] = mixed if pixels.dtype.kind == "f" else np.round(mixed)
    return grey


def levels_of(lowest: float, highest: float, dtype: np.dtype[Any]) -> Levels:
    """Which values of pixels of this type become black and white.

    8 bit stays as it is. Whole numbers from 0 to 65535 use the range of the smallest of `CAMERA_BITS` that holds the
    highest value, so a 12-bit camera's file and an 8-bit picture multiplied by 257 both use the whole range, the
    latter giving the picture again. Fractions inside [0, 1] use that range, those up to 16, ratios to a flat field for
    example, from 0 to the highest value, other fractions up to 65535 that of `CAMERA_BITS`. Anything else, negative
    numbers for example, is stretched from its lowest to its highest value.
    """
    if dtype == np.bool_ or (dtype.kind == "f" and lowest >= 0 and highest <= MOST_RATIO):
        return Levels(0, max(1, highest))
    if dtype == np.uint8:
        return Levels(0, 255)
    if lowest >= 0 and highest < 2 ** CAMERA_BITS[-1]:
        return Levels(0, next(2**bits - 1 for bits in CAMERA_BITS if highest < 2**bits))
    return Levels(lowest, highest if highest > lowest else lowest + 1)


def as_bytes(grey: NDArray[Any], levels: Levels | None = None) -> NDArray[np.uint8]:
    """A grey plane as bytes: `levels.black` becomes 0, `levels.white` 255, in even steps between.

    levels: None takes those of `levels_of` for this plane; planes of one stack share theirs.
    Raises ValueError if a pixel is not a number.
    """
    if grey.dtype == np.uint8 and levels in (None, Levels(0, 255)):
        return np.asarray(grey, dtype=np.uint8)
    black, white = levels or levels_of(*extremes(grey), grey.dtype)
    scaled = np.empty(grey.shape, dtype=np.uint8)
    for rows in _blocks(len(grey)):
        scaled[rows] = np.clip(
            np.round((grey[rows].astype(np.float64) - black) * (255 / (white - black))), 0, 255
        )
    return scaled


def grey_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of any number type, grey or colour, as one grey plane of bytes, shape (height, width).

    Raises ValueError for shapes that `grey_plane` refuses, an image without pixels, or pixels that are not numbers.
    """
    if not pixels.size or pixels.dtype.kind not in "buif":
        raise ValueError(
            f"pixels have type {pixels.dtype} and shape {pixels.shape}, expected at least one number"
        )
    return as_bytes(grey_plane(pixels))


def extremes(grey: NDArray[Any]) -> tuple[float, float]:
    """The lowest and the highest value; raises ValueError if one is not a number."""
    lowest, highest = float(grey.min()), float(grey.max())
    if not np.isfinite([lowest, highest]).all():
        raise ValueError("pixels are not all numbers: there are infinite or undefined (NaN) ones")
    return lowest, highest


def _blocks(height: int) -> list[slice]:
    return [slice(first, first + _ROWS_AT_ONCE) for first in range(0, height, _ROWS_AT_ONCE)]
