"""Image files as one grey plane each, whole or not at all; the planes of a stack are images of their own."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.data import tiff_planes
from sartorius.data.grey_levels import as_bytes, grey_plane
from sartorius.data.image_bytes import (
    JPEG_START,
    PNG_START,
    TIFF_STARTS,
    jpeg_fault,
    jpeg_size_hw,
    png_fault,
    png_size_hw,
)
from sartorius.data.tiff_planes import TiffError, TiffKindError
from sartorius.errors import UserError
from sartorius.files import require_utf8_name

#: File name endings of images, in small letters.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
TIFF_SUFFIXES = (".tif", ".tiff")

_PLANE_NAME = re.compile(r"p(\d+)")
#: Enough for what cameras write before the pixels.
_HEAD_BYTES = 1 << 20


def list_images(folder: Path) -> dict[str, Path]:
    """Every PNG, JPG and TIFF image of a folder by image id (its name without ending), sorted by id.

    The planes of a TIFF stack (Z, time, channels), counted from 1 in the file's order, are images of their own: the
    third of `well.tif` is image `well_p003`, its path `well.tif/p003` as if the file were a folder.
    Hidden files and subfolders are left out.
    Raises UserError if the folder is missing, holds no image, a name is not UTF-8, or two files have the same id.
    """
    if not folder.is_dir():
        came = "a file" if folder.exists() else "nothing there"
        raise UserError(f"{folder}: expected a folder of images ({', '.join(IMAGE_SUFFIXES)}), got {came}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        for image_id, plane_path in image_paths(path).items():
            if image_id in found:
                raise UserError(
                    f"{folder}: {found[image_id].name} and {path.name} would both be image {image_id!r}; "
                    "rename or remove one of them"
                )
            found[image_id] = plane_path
    if not found:
        inside = sorted(path.name for path in folder.iterdir() if path.is_dir())
        hint = f"; it has the folders {', '.join(inside[:5])}, was one of them meant?" if inside else ""
        raise UserError(f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}), found none{hint}")
    return dict(sorted(found.items()))


def image_paths(path: Path) -> dict[str, Path]:
    """The images of one file by id: one, or one for each plane of a TIFF stack; see `list_images`.

    Raises UserError if the file's name is not UTF-8.
    """
    require_utf8_name(path)
    planes = _count_planes(path)
    if planes == 1:
        return {path.stem: path}
    digits = max(3, len(str(planes)))
    names = [f"p{plane:0{digits}}" for plane in range(1, planes + 1)]
    return {f"{path.stem}_{name}": path / name for name in names}


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """The image of a PNG, JPG or TIFF file as bytes, shape (height, width).

    path: of a file, or as `list_images` gives it; grey, colour (weighted to grey as ITU-R BT.601 does) or with transparency, which
        is ignored. What the file holds decides its format, not its name.
    What becomes black and white is told by `grey_levels.levels_of`; the planes of a stack share them.
    Raises UserError naming the file if it is missing, empty, cut short, damaged, of another format, a stack whose
    plane is not named, if several channels lie in one plane, or if a pixel is not a number.
    """
    path = Path(path)
    grey = read_grey(path)
    file, plane = _file_and_plane(path)
    try:
        return as_bytes(grey, None if plane is None else tiff_planes.stack_levels(file))
    except TiffError as error:
        raise _tiff_refusal(path, error) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; export it again without them") from None


def read_grey(path: str | Path) -> NDArray[Any]:
    """The grey values of a PNG, JPG or TIFF file as they are, in the file's number type, shape (height, width).

    These can be compared between images, and `measure_cells` takes them; `read_image` scales each image or stack
    of more than 8 bits by its own maximum.
    path: as for `read_image`; colour is weighted in the same way.
    Raises UserError as `read_image`, but takes pixels that are no numbers.
    """
    path = Path(path)
    file, plane = _file_and_plane(path)
    head = _file_bytes(file, len(PNG_START))
    if head.startswith(TIFF_STARTS):
        return _tiff_grey(path, file, plane)
    _refuse_other_kinds(path, head)
    data = _file_bytes(file)
    fault = png_fault(data) if data.startswith(PNG_START) else jpeg_fault(data)
    if fault:
        raise UserError(_message(path, f"the file {fault}"))
    pixels = _decoded(path, data)
    return grey_plane(pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, 2::-1]))


def image_size_hw(path: Path) -> tuple[int, int]:
    """The (height, width) of an image from its file's head, without decoding a pixel.

    path: as `list_images` gives it. Raises UserError naming the file if it is missing, empty, of another
        format, or the head tells no size.
    """
    file, plane = _file_and_plane(path)
    head = _file_bytes(file, _HEAD_BYTES)
    if head.startswith(TIFF_STARTS):
        try:
            return tiff_planes.plane_size_hw(file, plane or 0)
        except TiffError as error:
            raise _tiff_refusal(path, error) from None
    _refuse_other_kinds(path, head)
    size_hw = png_size_hw(head) if head.startswith(PNG_START) else jpeg_size_hw(head)
    if size_hw is None:
        raise UserError(_message(path, "its head tells no size"))
    return size_hw


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    """Raises UserError if a file that is no TIFF begins as neither PNG nor JPEG does."""
    if not head.startswith((PNG_START, JPEG_START)):
        came = f"begins with {head[:8]!r}, as none of them does" if head else "is empty (0 bytes)"
        raise UserError(_message(path, f"the file {came}"))


def _file_and_plane(path: Path) -> tuple[Path, int | None]:
    """The file of an image, and the plane's number from 0 if the path names one."""
    name = _PLANE_NAME.fullmatch(path.name)
    if name and not path.exists() and path.parent.is_file():
        return path.parent, int(name[1]) - 1
    return path, None


def _count_planes(path: Path) -> int:
    """The planes of a file; a file that cannot be read has one, which `read_image` refuses by name."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return 1
    try:
        return tiff_planes.count_planes(path)
    except TiffError:
        return 1


def _tiff_grey(path: Path, file: Path, plane: int | None) -> NDArray[Any]:
    try:
        planes = tiff_planes.count_planes(file)
        if plane is None and planes > 1:
            raise UserError(
                f"{path}: expected one image, but the file has {planes} planes; name one of them: {path / 'p001'}"
            )
        if not 0 <= (plane or 0) < planes:
            raise UserError(
                f"{path}: the file has {planes} planes, counted from 1; there is none of this number"
            )
        return tiff_planes.read_plane(file, plane or 0)
    except TiffError as error:
        raise _tiff_refusal(path, error) from None


def _tiff_refusal(path: Path, error: TiffError) -> UserError:
    if isinstance(error, TiffKindError):
        return UserError(f"{path}: expected one grey or RGB picture, but the file {error}")
    return UserError(_message(path, f"the file {error}"))


def _file_bytes(path: Path, at_most: int = -1) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(at_most)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such image file") from None
    except IsADirectoryError:
        raise UserError(_message(path, "this is a folder")) from None
    except OSError as error:
        raise UserError(_message(path, f"it cannot be read: {error.strerror}")) from None


def _message(path: Path, came: str) -> str:
    return f"{path}: expected a whole PNG, JPEG or TIFF image, but {came}; export or copy it again"


def _decoded(path: Path, data: bytes) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UserError(_message(path, f"it cannot be decoded: {error.err}")) from None
    if pixels is None:
        raise UserError(_message(path, "it cannot be decoded"))
    return pixels
