"""The numbers that a label image stores, not the colours or the brightness that they are shown in."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sartorius.data.image_bytes import JPEG_START, PNG_START, TIFF_STARTS
from sartorius.data.images import read_grey
from sartorius.errors import UserError

_PNG_GREY, _PNG_PALETTE = 0, 3
#: Where a PNG file says what its pixels are: after its start, the head's length and name, width, height and depth.
_PNG_COLOUR_AT = 25


def read_numbers(path: Path) -> NDArray[Any]:
    """The number of each pixel in the number type of the file, shape (height, width).

    A palette's numbers, whatever their colours; a negative's (WhiteIsZero) as they are stored, since programs that
    write masks so store 0 for the background. Red, green and blue have to be the same number.
    Raises UserError as `read_grey`, if colours are all that tells pixels apart, and for JPEG, which changes numbers.
    """
    shown = read_grey(path)
    try:
        stored = _stored(path)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path}: expected a label image whose numbers can be read, but {error}; save it as grey TIFF or PNG"
        ) from None
    if stored is None:
        return shown
    if stored.ndim == 2:
        return stored
    if not (stored[:, :, :3] == shown[:, :, None]).all():
        raise UserError(
            f"{path}: expected a label image with a number in each pixel, got colours of red, green and blue; save "
            "the numbers themselves as grey TIFF or PNG"
        )
    return shown


def _stored(path: Path) -> NDArray[Any] | None:
    """The pixels of a file as they are stored, (height, width) or with colours behind; None if as they are shown."""
    with path.open("rb") as stream:
        head = stream.read(_PNG_COLOUR_AT + 1)
    if head.startswith(JPEG_START):
        raise ValueError("JPEG does not keep them")
    if head.startswith(TIFF_STARTS):
        return _stored_in_tiff(path)
    if head.startswith(PNG_START):
        if head[_PNG_COLOUR_AT] == _PNG_GREY:
            return None
        if head[_PNG_COLOUR_AT] == _PNG_PALETTE:
            return _by_pillow(path)
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    return None if pixels is None or pixels.ndim == 2 else pixels


def _stored_in_tiff(path: Path) -> NDArray[Any] | None:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        if page.photometric == tifffile.PHOTOMETRIC.MINISBLACK:
            return None
        try:
            pixels: NDArray[Any] = page.asarray()
        except (ValueError, KeyError):  # compressed, with LZW for example
            return _by_pillow(path, page.photometric == tifffile.PHOTOMETRIC.MINISWHITE)
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        is_colour = pixels.ndim == 3 and pixels.shape[2] >= 3
        return pixels if is_colour or pixels.ndim == 2 else pixels[:, :, 0]  # without transparency


def _by_pillow(path: Path, is_negative: bool = False) -> NDArray[Any]:
    """The pixels as Pillow decodes them: a palette's numbers, negatives of up to 8 bits turned back as stored."""
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return ~pixels if is_negative and pixels.dtype in (np.bool_, np.uint8) else pixels
