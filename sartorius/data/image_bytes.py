"""Whether the bytes of a PNG or JPEG file are whole, and the size of the image in them."""

import struct
import zlib
from collections.abc import Iterator

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
#: Marks of segments that tell a JPEG's size: all "start of frame" but the three marks among them that are not.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def png_fault(data: bytes) -> str | None:
    """What is wrong with the chunks of a PNG file; OpenCV fills what is missing with black and says nothing."""
    at = len(PNG_START)
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


def jpeg_fault(data: bytes) -> str | None:
    """Whether a JPEG file lacks the mark that ends its pixels; thumbnails in its head have end marks of their own."""
    for mark, at in _jpeg_segments(data):
        if mark == _JPEG_SCAN:
            whole = data.find(_JPEG_END, at) != -1
            return None if whole else f"is cut short after {len(data)} bytes: a JPEG's end mark is missing"
    return f"is cut short or damaged: no pixels in its {len(data)} bytes"


def png_size_hw(data: bytes) -> tuple[int, int] | None:
    """The size that a PNG file's head tells; None if it is cut off."""
    if len(data) < 24:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def jpeg_size_hw(data: bytes) -> tuple[int, int] | None:
    """The size that a JPEG file's head tells; None if there is none."""
    for mark, at in _jpeg_segments(data):
        if mark in _JPEG_FRAMES and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The mark of each segment of a JPEG file's head and the byte it begins at."""
    at = len(JPEG_START)
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:
            at += 1
            continue
        yield data[at + 1], at
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
