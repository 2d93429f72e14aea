"""The planes of TIFF and OME-TIFF files: single images, Z and time stacks, channels, one plane at a time."""

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from sartorius.data.grey_levels import Levels, extremes, grey_plane, levels_of

#: What tifffile and numpy raise for files that are cut short, changed or not TIFF.
_DAMAGE = (
    tifffile.TiffFileError, ValueError, IndexError, KeyError, TypeError, AttributeError, RuntimeError, OSError,
    struct.error,
)  # fmt: skip


class TiffError(ValueError):
    """A TIFF file that cannot be read; the message goes on after "the file"."""


class _Plane(NamedTuple):
    """Where one plane lies: its page, or, where a file has one page for many planes, its number behind the first."""

    page: Any
    behind: int


def count_planes(path: Path) -> int:
    """The number of planes of a TIFF file, one or more; raises TiffError if it cannot be read."""
    with _opened(path) as planes:
        return len(planes)


def plane_size_hw(path: Path, plane: int) -> tuple[int, int]:
    """The size of a plane, which its head tells; raises TiffError if it cannot be read."""
    with _opened(path) as planes:
        page = planes[plane].page.aspage()
        return int(page.imagelength), int(page.imagewidth)


def read_plane(path: Path, plane: int) -> NDArray[Any]:
    """The grey values of a plane, (height, width) in the file's number type; raises TiffError if it cannot be read."""
    with _opened(path) as planes:
        return _grey(path, planes[plane])


def stack_levels(path: Path) -> Levels | None:
    """The black and the white that all planes of a stack share; None for 8 bit and single planes.

    A range of its own for each plane would make a stack flicker. Every plane is read once, one at a time.
    Raises TiffError if a plane cannot be read, ValueError if a pixel is not a number.
    """
    status = path.stat()
    return _stack_levels(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _stack_levels(path: Path, _changed_ns: int, _bytes: int) -> Levels | None:
    """The file's time and size are here so that a changed file is read again."""
    with _opened(path) as planes:
        dtype = np.dtype(planes[0].page.dtype)
        if len(planes) == 1 or dtype == np.uint8:
            return None
        lows, highs = zip(*(extremes(_grey(path, plane)) for plane in planes), strict=True)
        return levels_of(min(lows), max(highs), dtype)


@contextmanager
def _opened(path: Path) -> Iterator[list[_Plane]]:
    """The planes of a file in order; thumbnails and the smaller levels of a pyramid are left out."""
    with _silent("tifffile"):
        try:
            with tifffile.TiffFile(path) as tiff:
                planes = _planes(tiff)
                if not planes:
                    raise TiffError(f"is cut short or damaged: no picture in its {path.stat().st_size} bytes")
                yield planes
        except TiffError:
            raise
        except _DAMAGE as error:
            raise TiffError(f"is cut short or damaged: {error}") from None


def _planes(tiff: Any) -> list[_Plane]:
    planes: list[_Plane] = []
    for series in tiff.series:
        if series.keyframe.is_reduced and planes:
            continue
        count = math.prod(series.shape) // math.prod(series.keyframe.shape)
        if len(series.pages) == count:
            planes += [_Plane(page, 0) for page in series.pages if page is not None]
        else:  # a large ImageJ stack: one page, all pixels behind each other
            planes += [_Plane(series.keyframe, behind) for behind in range(count)]
    return planes


def _grey(path: Path, plane: _Plane) -> NDArray[Any]:
    page = plane.page.aspage()
    fault = _fault(page, plane.behind, path.stat().st_size)
    if fault:
        raise TiffError(fault)
    if plane.behind:
        stored = np.dtype(page.parent.byteorder + page.dtype.char)
        start = page.dataoffsets[0] + plane.behind * page.nbytes
        return np.fromfile(path, stored, math.prod(page.shape), offset=start).reshape(page.shape)
    try:
        pixels = page.asarray()
    except (ValueError, KeyError) as error:
        if "imagecodecs" not in str(error):
            raise
        return _decoded_by_opencv(path, page.index)
    return _as_grey(pixels, page)


def _fault(page: Any, behind: int, file_bytes: int) -> str | None:
    ends = [start + length for start, length in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if not ends or max(ends) + behind * page.nbytes > file_bytes:
        return f"is cut short after {file_bytes} bytes: pixels are missing"
    if page.dtype is None or np.dtype(page.dtype).kind not in "buif":
        return f"has pixels of type {page.dtype}"
    return None


def _as_grey(pixels: NDArray[Any], page: Any) -> NDArray[Any]:
    """Decoded pixels as brightness: colours looked up, planes of colours mixed, negatives turned."""
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        return grey_plane(np.moveaxis(page.colormap[:, pixels], 0, -1))
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    grey = grey_plane(pixels)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and grey.dtype.kind in "bu":
        return ~grey
    return grey


def _decoded_by_opencv(path: Path, page: int) -> NDArray[Any]:
    """A page whose compression tifffile does not know by itself, for example LZW."""
    data = np.fromfile(path, np.uint8)
    found, planes = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    if not found or len(planes) != 1:
        raise TiffError("has pixels that cannot be decoded")
    pixels = planes[0]
    return grey_plane(pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, 2::-1]))


@contextmanager
def _silent(logger_name: str) -> Iterator[None]:
    """A library's log messages left out: what is wrong with a file is told once, by our own error."""
    logger = logging.getLogger(logger_name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
