"""What the page takes in: how large, how many, for how long. Files are judged by their heads, before any pixel."""

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from sartorius.data.images import IMAGE_SUFFIXES, image_paths, image_size_hw
from sartorius.errors import UserError

BYTES_PER_MB = 1_000_000
_PX_PER_MEGAPIXEL = 1_000_000
#: What stays of a file's name; everything else could mean something to a shell, a browser or a file system.
_STRANGE = re.compile(r"[^\w.()+-]+")
_LONGEST_NAME = 80


class Limits(NamedTuple):
    """What one visitor may ask of the server.

    file_mb: size of one file, in millions of bytes.
    megapixels: size of one image; a small file can hold a very large one.
    images: images in one session, planes of stacks counted one by one.
    waiting: requests that may stand in the queue, over all visitors.
    idle_minutes: a session that is not used for this long is removed with its files.
    left_minutes: so is one whose page was closed for this long; a phone that sleeps comes back.
    """

    file_mb: float = 100
    megapixels: float = 36
    images: int = 100
    waiting: int = 20
    idle_minutes: float = 60
    left_minutes: float = 5


def safe_name(name: str) -> str:
    """A file name that is one plain word: letters, digits and `. ( ) + - _`, at most 80 characters.

    Letters with marks are one character each; Macs write them in two.
    """
    composed = unicodedata.normalize("NFC", Path(name).name)
    path = Path(_STRANGE.sub("_", composed).lstrip("."))
    return f"{path.stem[:_LONGEST_NAME] or 'image'}{path.suffix.lower()}"


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or the name with the first number behind it that is not taken.

    Names that differ in case alone are one: on some file systems they are one file.
    """
    path, number = Path(name), 1
    folded = {one.casefold() for one in taken}
    while name.casefold() in folded:
        number += 1
        name = f"{path.stem}_{number}{path.suffix}"
    return name


def accepted_images(path: Path, limits: Limits, room: int) -> dict[str, Path]:
    """The images of one file by id: one, or one for each plane of a stack.

    path: a PNG, JPG or TIFF file.
    room: images that the session may still take.
    Raises UserError if the file is of another format, too large, holds more images than there is room for, or one
    with more pixels than allowed; no pixel is decoded to know.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"expected a PNG, JPG or TIFF image, got {path.suffix or 'a file without an ending'}")
    size_mb = path.stat().st_size / BYTES_PER_MB
    if size_mb > limits.file_mb:
        raise UserError(f"the file has {size_mb:.0f} MB; at most {limits.file_mb:g} MB are taken here")
    found = image_paths(path)
    if len(found) > room:
        raise UserError(_no_room(len(found), limits, room))
    for image_path in found.values():
        _refuse_too_many_pixels(image_path, limits)
    return found


def _no_room(images: int, limits: Limits, room: int) -> str:
    """Why a file of so many images is not taken."""
    if images > limits.images:
        return (
            f"the file has {images} planes; at most {limits.images} images are taken here at a time: start the page with "
            f"--max-images {images}, or use the command line, sartorius predict"
        )
    what = f"its {images} planes" if images > 1 else "it"
    return (
        f"there is no room for {what}: {limits.images} images at a time, {room} more can be added; remove all images "
        "first"
    )


def _refuse_too_many_pixels(path: Path, limits: Limits) -> None:
    height, width = image_size_hw(path)
    megapixels = height * width / _PX_PER_MEGAPIXEL
    if megapixels > limits.megapixels:
        raise UserError(
            f"the image has {width} × {height} pixels ({megapixels:.0f} megapixels); at most {limits.megapixels:g} "
            "megapixels are taken here: cut it into parts, or use the command line, which tiles large images"
        )
    if not height or not width:
        raise UserError("the image has no pixels")
