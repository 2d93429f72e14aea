"""Image files as one grey plane of bytes, whole or not at all."""

import io
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from sartorius.errors import UserError

#: File name endings of images, in small letters.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

#: Bits per pixel that cameras and converters really use. A 16-bit file says how wide its container is, not how much
#: of it the camera filled; the smallest of these that holds the image's maximum is taken for the camera's.
CAMERA_BITS = (8, 10, 12, 14, 16)

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"


def list_images(folder: Path) -> dict[str, Path]:
    """Every PNG, JPG and TIFF file of a folder by image id (its name without ending), sorted by id.

    Hidden files and subfolders are left out.
    Raises UserError if the folder is missing, holds no image, or two files have the same id.
    """
    if not folder.is_dir():
        came = "a file" if folder.exists() else "nothing there"
        raise UserError(f"{folder}: expected a folder of images ({', '.join(IMAGE_SUFFIXES)}), got {came}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            raise UserError(
                f"{folder}: {found[path.stem].name} and {path.name} would both be image {path.stem!r}; "
                "rename or remove one of them"
            )
        found[path.stem] = path
    if not found:
        inside = sorted(path.name for path in folder.iterdir() if path.is_dir())
        hint = f"; it has the folders {', '.join(inside[:5])}, was one of them meant?" if inside else ""
        raise UserError(f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}), found none{hint}")
    return dict(sorted(found.items()))


def read_image(path: Path) -> NDArray[np.uint8]:
    """The grey image of a PNG, JPG or TIFF file, shape (height, width).

    path: 8 or 16 bit; grey, colour (weighted to grey as ITU-R BT.601 does) or with transparency, which is ignored.
        What the file holds decides its format, not its name.
    16 bits are divided by the range of the smallest of `CAMERA_BITS` that holds the image's maximum, so a 12-bit
    camera's file and an 8-bit picture multiplied by 257 both use the whole range, the latter giving the picture again.
    Raises UserError naming the file if it is missing, empty, cut short, damaged, of another format, or not one
    plane of 8 or 16 bit.
    """
    data = _file_bytes(path)
    if data.startswith(_PNG):
        fault = _png_fault(data)
    elif data.startswith(_JPEG):
        fault = _jpeg_fault(data)
    elif data.startswith(_TIFF):
        fault = _tiff_fault(data)
    else:
        fault = f"begins with {data[:8]!r}, as none of them does" if data else "is empty (0 bytes)"
    if fault:
        raise UserError(_message(path, f"the file {fault}"))
    pixels = _decoded(path, data)
    return _as_bytes(_as_grey(pixels))


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such image file") from None
    except IsADirectoryError:
        raise UserError(_message(path, "this is a folder")) from None
    except OSError as error:
        raise UserError(_message(path, f"it cannot be read: {error.strerror}")) from None


def _message(path: Path, came: str) -> str:
    return f"{path}: expected a whole PNG, JPEG or TIFF image of 8 or 16 bit, but {came}; export or copy it again"


def _png_fault(data: bytes) -> str | None:
    """What is wrong with the chunks of a PNG file; OpenCV fills what is missing with black and says nothing."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return f"is damaged: the checksum of chunk {kind!r} at byte {at} is wrong"
        if kind == b"IEND":
            return None
        at = end + 4
    return f"is cut short after {len(data)} bytes: a PNG's end mark is missing"


def _jpeg_fault(data: bytes) -> str | None:
    """Whether a JPEG file lacks the mark that ends its pixels; thumbnails in its head have end marks of their own."""
    at = len(_JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == _JPEG_SCAN:
            whole = data.find(_JPEG_END, at) != -1
            return None if whole else f"is cut short after {len(data)} bytes: a JPEG's end mark is missing"
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return f"is cut short or damaged: no pixels in its {len(data)} bytes"


def _tiff_fault(data: bytes) -> str | None:
    with _silent("tifffile"):
        try:
            with tifffile.TiffFile(io.BytesIO(data)) as tiff:
                return _tiff_pages_fault(tiff.pages, len(data))
        except (tifffile.TiffFileError, ValueError, IndexError, KeyError, struct.error) as error:
            return f"is cut short or damaged: {error}"


def _tiff_pages_fault(pages: Any, file_bytes: int) -> str | None:
    if len(pages) == 0:
        return f"is cut short or damaged: no picture in its {file_bytes} bytes"
    page = pages[0]
    ends = [start + length for start, length in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if not ends or max(ends) > file_bytes:
        return f"is cut short after {file_bytes} bytes: pixels are missing"
    if len(pages) > 1:
        return f"has {len(pages)} pages instead of one"
    if page.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        return f"has pixels of type {page.dtype}"
    return None


@contextmanager
def _silent(logger_name: str) -> Iterator[None]:
    """A library's log messages left out: what is wrong with a file is told once, by our own error."""
    logger = logging.getLogger(logger_name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _decoded(path: Path, data: bytes) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UserError(_message(path, f"it cannot be decoded: {error.err}")) from None
    if pixels is None:
        raise UserError(_message(path, "it cannot be decoded"))
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UserError(_message(path, f"its pixels are of type {pixels.dtype}"))
    return pixels


def _as_grey(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.ndim == 2:
        return pixels
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[:, :, :3]), cv2.COLOR_BGR2GRAY))


def _as_bytes(grey: NDArray[Any]) -> NDArray[np.uint8]:
    if grey.dtype == np.uint8:
        return grey
    highest = int(grey.max())
    full_range = next(2**bits - 1 for bits in CAMERA_BITS if highest < 2**bits)
    scaled: NDArray[np.float64] = np.round(grey * (255 / full_range))
    return scaled.astype(np.uint8)
