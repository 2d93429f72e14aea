"""The planes of TIFF and OME-TIFF files: single images, Z and time stacks, channels, one plane at a time."""

import logging
import lzma
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from sartorius.data.grey_levels import Levels, extremes, grey_plane, levels_of

_KIND = tifffile.PHOTOMETRIC
#: The kinds of pixels that are grey or become grey here, and how many samples make one.
_SAMPLES = {_KIND.MINISBLACK: 1, _KIND.MINISWHITE: 1, _KIND.PALETTE: 1, _KIND.RGB: 3}
#: Those that OpenCV turns into RGB, as it does in JPEG files, if samples are bytes; and their names.
_OPENCV_SAMPLES = {_KIND.SEPARATED: 4, _KIND.YCBCR: 3}
_NAMES = {_KIND.SEPARATED: "CMYK", _KIND.YCBCR: "YCbCr"}
_TRANSPARENCY = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)

#: Kinds of series, as tifffile names them, whose pages all lie in the file itself.
_OF_ONE_FILE = ("imagej", "shaped", "uniform", "generic")

#: What tifffile and numpy raise for files that are cut short, changed or not TIFF.
_DAMAGE = (
    tifffile.TiffFileError, ValueError, IndexError, KeyError, TypeError, AttributeError, RuntimeError, OSError,
    ArithmeticError, MemoryError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip


#: Held while OpenCV says nothing, which holds for all threads.
_OPENCV_SILENT = Lock()


class TiffError(ValueError):
    """A TIFF file that cannot be read; the message goes on after "the file"."""


class TiffKindError(TiffError):
    """A TIFF file, whole perhaps, whose pixels are of a kind that has no one brightness; the message says what helps."""


class _Plane(NamedTuple):
    """Where one plane lies: its page among others, or, where a file has one page for many planes, its number behind the first."""

    pages: Sequence[Any]
    number: int = 0
    behind: int = 0

    @property
    def page(self) -> Any:
        """Read now: a stack may have thousands."""
        return self.pages[self.number]


def count_planes(path: Path) -> int:
    """The number of planes of a TIFF file, one or more; raises TiffError if it cannot be read."""
    status = path.stat()
    return _counted_planes(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _counted_planes(path: Path, _changed_ns: int, _bytes: int) -> int:
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
    """The planes of a file in order; thumbnails, the smaller levels of a pyramid and other files' planes are left out."""
    with _silent():
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
    """The planes that this file holds itself: tifffile adds those of other files of an OME or Micro-Manager set."""
    planes: list[_Plane] = []
    for series in tiff.series:
        if series.keyframe.is_reduced and planes:
            continue
        count = math.prod(series.shape) // math.prod(series.keyframe.shape)
        if len(series.pages) == count:
            if series.kind in _OF_ONE_FILE:
                planes += [_Plane(series.pages, number) for number in range(count)]
            else:
                planes += [
                    _Plane([page]) for page in series.pages if page is not None and page.parent is tiff
                ]
        else:  # a large ImageJ stack: one page, all pixels behind each other
            planes += [_Plane([series.keyframe], 0, behind) for behind in range(count)]
    # A copy under another name has none of its own where its metadata name the original.
    return planes or [_Plane([page]) for page in tiff.pages]


def _grey(path: Path, plane: _Plane) -> NDArray[Any]:
    page = plane.page.aspage()
    fault = _fault(page, plane.behind, path.stat().st_size)
    if fault:
        raise TiffError(fault)
    unfit = _unfit(page)
    if unfit:
        raise TiffKindError(unfit)
    if plane.behind:
        stored = np.dtype(page.parent.byteorder + page.dtype.char)
        start = page.dataoffsets[0] + plane.behind * page.nbytes
        pixels = np.fromfile(path, stored, math.prod(page.shape), offset=start).reshape(page.shape)
        return _as_grey(pixels, page)
    if page.photometric in _OPENCV_SAMPLES:
        return _decoded_by_opencv(path, page)
    try:
        pixels = page.asarray()
    except (ValueError, KeyError) as error:
        if "imagecodecs" not in str(error):
            raise
        return _decoded_by_opencv(path, page)
    return _as_grey(pixels, page)


def _fault(page: Any, behind: int, file_bytes: int) -> str | None:
    ends = [start + length for start, length in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if not ends or max(ends) + behind * page.nbytes > file_bytes:
        return f"is cut short after {file_bytes} bytes: pixels are missing"
    if page.dtype is None or np.dtype(page.dtype).kind not in "buif":
        return f"has pixels of type {page.dtype}"
    return None


def _unfit(page: Any) -> str | None:
    """Why pixels have no one brightness; None for grey and colours, with or without transparency."""
    kind, samples = page.photometric, page.samplesperpixel
    if kind in _OPENCV_SAMPLES and page.dtype == np.uint8 and samples == _OPENCV_SAMPLES[kind]:
        return None
    if kind not in _SAMPLES:
        return f"has {_NAMES.get(kind) or getattr(kind, 'name', kind)} pixels; save as RGB or grey"
    transparent = kind == _KIND.RGB or (page.extrasamples and page.extrasamples[0] in _TRANSPARENCY)
    if samples in (1, _SAMPLES[kind]) or (samples == _SAMPLES[kind] + 1 and transparent):
        return None
    return f"has {samples} channels in one page; save one channel"


def _as_grey(pixels: NDArray[Any], page: Any) -> NDArray[Any]:
    """Decoded pixels as brightness: colours looked up, planes of colours mixed, negatives turned."""
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == _KIND.RGB:
        return grey_plane(pixels)
    grey = pixels if pixels.ndim == 2 else pixels[:, :, 0]  # without transparency
    if page.photometric == _KIND.PALETTE:
        return grey_plane(np.moveaxis(page.colormap[:, grey], 0, -1))
    return _turned(grey) if page.photometric == _KIND.MINISWHITE else grey


def _turned(grey: NDArray[Any]) -> NDArray[Any]:
    """A negative as positive in its number type; fractions are taken to be from 0 to 1."""
    return 1 - grey if grey.dtype.kind == "f" else ~grey


def _decoded_by_opencv(path: Path, page: Any) -> NDArray[Any]:
    """A page whose compression, LZW for example, or colours tifffile does not know by itself."""
    planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
    data = np.fromfile(path, np.uint8)
    with _OPENCV_SILENT:
        level = cv2.utils.logging.setLogLevel(0)  # libtiff's warnings of tags that only a camera knows
        try:
            found, planes = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(page.index, page.index + 1))
        finally:
            cv2.utils.logging.setLogLevel(level)
    if not found or len(planes) != 1 or (planar and planes[0].dtype != np.uint8):  # which OpenCV gets wrong
        raise TiffError("has pixels that cannot be decoded")
    pixels = planes[0]
    grey = grey_plane(pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, 2::-1]))
    is_negative = page.photometric == _KIND.MINISWHITE and grey.dtype != np.uint8  # OpenCV turns bytes itself
    return _turned(grey) if is_negative else grey


@contextmanager
def _silent() -> Iterator[None]:
    """Log messages of tifffile left out: what is wrong with a file is told once, by our own error.

    By a filter of its own, so that blocks of several threads may end in any order.
    """
    logger, nothing = logging.getLogger("tifffile"), _Nothing()
    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


class _Nothing(logging.Filter):
    """Lets no message through."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False
