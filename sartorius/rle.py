"""The two run-length dialects of instance masks, as two types that cannot be confused.

`CocoRle` runs down the columns and is packed into bytes (pycocotools). `KaggleRle` runs along the rows and is
text of 1-based `start length` pairs (the competition's CSV). Masks travel as `CocoRle`; whatever needs pixels asks
for the crop inside the tight box, never for the whole image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sartorius.errors import UserError


class CocoRle(NamedTuple):
    """One mask of a (height, width) image in pycocotools' compressed column-major form."""

    size_hw: tuple[int, int]
    counts: bytes


class KaggleRle(NamedTuple):
    """One mask of a (height, width) image as the competition writes it: row-major, 1-based `start length` pairs."""

    size_hw: tuple[int, int]
    text: str


class Crop(NamedTuple):
    """The pixels of one mask inside a box of its image: `pixels[0, 0]` is image pixel (row, col)."""

    row: int
    col: int
    pixels: NDArray[np.bool_]


def coco_from_dense(mask: NDArray[np.bool_]) -> CocoRle:
    """Pack a (height, width) boolean mask."""
    if mask.ndim != 2:
        raise ValueError(f"mask has shape {mask.shape}, expected (height, width)")
    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return CocoRle((mask.shape[0], mask.shape[1]), packed["counts"])


def dense_from_coco(rle: CocoRle) -> NDArray[np.bool_]:
    """Unpack a mask to its full (height, width) image; for pictures and tests, not for loops over many cells."""
    dense: NDArray[np.bool_] = coco_mask.decode(_as_dict(rle)).astype(bool)
    return dense


def coco_from_crop(crop: Crop, size_hw: tuple[int, int]) -> CocoRle:
    """Pack the pixels of a crop as a mask of the whole image.

    Raises ValueError if the crop does not lie inside the image.
    """
    height, width = size_hw
    rows, cols = crop.pixels.shape
    if crop.row < 0 or crop.col < 0 or crop.row + rows > height or crop.col + cols > width:
        raise ValueError(
            f"crop of {rows} x {cols} px at row {crop.row}, column {crop.col} leaves the {size_hw} image"
        )
    starts, lengths = _runs(np.ascontiguousarray(crop.pixels.T))
    starts = (crop.col + starts // rows) * height + crop.row + starts % rows if rows else starts
    starts, lengths = _joined(starts, lengths)
    return CocoRle(size_hw, _pack(_counts(starts, lengths, height * width)))


def crop_from_coco(rle: CocoRle) -> Crop:
    """The pixels of a mask inside its tight box; an empty mask gives a 0 x 0 crop at row 0, column 0."""
    height = rle.size_hw[0]
    counts = _unpack(rle.counts)
    edges = np.cumsum(counts)
    starts, lengths = edges[0::2][: len(counts) // 2], counts[1::2]
    starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    if not len(starts):
        return Crop(0, 0, np.zeros((0, 0), dtype=bool))
    ends = starts + lengths - 1
    first_col, last_col = int(starts[0] // height), int(ends[-1] // height)
    if np.any(starts // height != ends // height):  # a run over a column's end covers all rows between
        first_row, last_row = 0, height - 1
    else:
        first_row, last_row = int((starts % height).min()), int((ends % height).max())
    columns = np.zeros((last_col - first_col + 1) * height + 1, dtype=np.int8)
    np.add.at(columns, starts - first_col * height, 1)
    np.add.at(columns, ends + 1 - first_col * height, -1)
    pixels = (
        np.cumsum(columns[:-1], dtype=np.int8).reshape(-1, height).T.astype(bool)[first_row : last_row + 1]
    )
    return _tight(Crop(first_row, first_col, pixels))


def coco_from_kaggle(rle: KaggleRle) -> CocoRle:
    """Turn competition text into a packed mask.

    Raises UserError if the text is malformed, see `runs_from_kaggle`.
    """
    height, width = rle.size_hw
    starts, lengths = runs_from_kaggle(rle)
    if not len(starts):
        return CocoRle(rle.size_hw, _pack(np.array([height * width], dtype=np.int64)))
    first_row, last_row = int(starts[0] // width), int((starts[-1] + lengths[-1] - 1) // width)
    rows = np.zeros((last_row - first_row + 1) * width + 1, dtype=np.int8)
    np.add.at(rows, starts - first_row * width, 1)
    np.add.at(rows, starts + lengths - first_row * width, -1)
    pixels = np.cumsum(rows[:-1], dtype=np.int8).reshape(-1, width).astype(bool)
    return coco_from_crop(_tight(Crop(first_row, 0, pixels)), rle.size_hw)


def kaggle_from_coco(rle: CocoRle) -> KaggleRle:
    """Turn a packed mask into competition text with the fewest runs; an empty mask gives empty text."""
    crop = crop_from_coco(rle)
    width, cols = rle.size_hw[1], crop.pixels.shape[1]
    starts, lengths = _runs(crop.pixels)
    if cols:
        starts = (crop.row + starts // cols) * width + crop.col + starts % cols
    starts, lengths = _joined(starts, lengths)
    return KaggleRle(
        rle.size_hw, " ".join(map(str, np.stack([starts + 1, lengths], axis=1).ravel().tolist()))
    )


def runs_from_kaggle(rle: KaggleRle) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The (starts, lengths) of competition text, starts 0-based in row-major order; empty text gives no runs.

    Raises UserError if a number is not a positive whole number, a start has no length, runs do not ascend or
    overlap, or a run leaves the image.
    """
    tokens = rle.text.split()
    try:
        numbers = np.array(tokens, dtype=np.int64) if tokens else np.zeros(0, dtype=np.int64)
    except (ValueError, OverflowError):
        bad = next(token for token in tokens if not _is_whole(token))
        raise UserError(f"expected whole numbers `start length …`, got {bad[:40]!r}") from None
    if len(numbers) % 2:
        raise UserError(
            f"expected pairs `start length …`, got {len(numbers)} numbers: the last start has no length"
        )
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    pixels = rle.size_hw[0] * rle.size_hw[1]
    problems = [
        (starts < 0, "a start below 1"),
        (lengths < 1, "a length below 1"),
        ((starts >= pixels) | (lengths > pixels - starts), f"a run past the last of {pixels} pixels"),
    ]
    for wrong, what in problems:
        if np.any(wrong):
            pair = int(np.argmax(wrong))
            raise UserError(f"{what} in pair {pair + 1}: `{starts[pair] + 1} {lengths[pair]}`")
    backwards = starts[1:] < (starts + lengths)[:-1]
    if np.any(backwards):
        pair = int(np.argmax(backwards)) + 1
        raise UserError(
            f"runs must ascend without overlap, but pair {pair + 1} (`{starts[pair] + 1} {lengths[pair]}`) "
            f"starts before the end of the one before it (`{starts[pair - 1] + 1} {lengths[pair - 1]}`)"
        )
    return starts, lengths


def areas_px(rles: Sequence[CocoRle]) -> NDArray[np.int64]:
    """The number of pixels of each mask, shape (N,)."""
    if not rles:
        return np.zeros(0, dtype=np.int64)
    return np.asarray(coco_mask.area([_as_dict(rle) for rle in rles]), dtype=np.int64)


def boxes_xyxy(rles: Sequence[CocoRle]) -> NDArray[np.float32]:
    """The tight boxes of masks, shape (N, 4): left, top, right, bottom in pixels, right and bottom exclusive.

    An empty mask has the box 0, 0, 0, 0.
    """
    if not rles:
        return np.zeros((0, 4), dtype=np.float32)
    boxes = np.asarray(coco_mask.toBbox([_as_dict(rle) for rle in rles]), dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _as_dict(rle: CocoRle) -> dict[str, object]:
    return {"size": list(rle.size_hw), "counts": rle.counts}


def _is_whole(token: str) -> bool:
    try:
        return -(2**63) <= int(token) < 2**63
    except ValueError:
        return False


def _runs(pixels: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and lengths of the runs of True along each row, starts counted through the C-ordered array."""
    if not pixels.size:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    rows, cols = pixels.shape
    edged = np.zeros((rows, cols + 1), dtype=np.int8)
    edged[:, :cols] = pixels
    change = np.diff(edged.ravel(), prepend=np.int8(0))
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    return starts - starts // (cols + 1), ends - starts


def _joined(
    starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same pixels with runs that touch (over the end of a line) made one."""
    ends = starts + lengths
    first = np.ones(len(starts), dtype=bool)
    first[1:] = starts[1:] > ends[:-1]
    last = np.append(first[1:], True)[: len(starts)]
    return starts[first], ends[last] - starts[first]


def _tight(crop: Crop) -> Crop:
    rows, cols = np.flatnonzero(crop.pixels.any(axis=1)), np.flatnonzero(crop.pixels.any(axis=0))
    pixels = crop.pixels[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return Crop(crop.row + int(rows[0]), crop.col + int(cols[0]), pixels)


def _counts(starts: NDArray[np.int64], lengths: NDArray[np.int64], pixels: int) -> NDArray[np.int64]:
    """COCO's alternating run lengths, background first."""
    edges = np.empty(2 * len(starts) + 2, dtype=np.int64)
    edges[0], edges[-1] = 0, pixels
    edges[1:-1:2], edges[2:-1:2] = starts, starts + lengths
    counts = np.diff(edges)
    return counts[:-1] if counts[-1] == 0 and len(counts) > 1 else counts


# COCO packs each count as a difference to the count two before it (from the fourth on), in groups of five bits,
# lowest first, with 0x20 for "more follows", offset by 48. Source: pycocotools, maskApi.c, rleToString.
_GROUPS = np.arange(13)


def _pack(counts: NDArray[np.int64]) -> bytes:
    values = counts.copy()
    values[3:] -= counts[1:-2]
    groups = (values[:, None] >> (5 * _GROUPS)) & 0x1F
    rest = values[:, None] >> (5 * (_GROUPS + 1))
    done = np.where(groups & 0x10, rest == -1, rest == 0)
    last = done.argmax(axis=1)
    groups += np.where(last[:, None] > _GROUPS, 0x20, 0)
    kept = last[:, None] >= _GROUPS
    return bytes((groups[kept] + 48).astype(np.uint8))


def _unpack(packed: bytes) -> NDArray[np.int64]:
    groups = np.frombuffer(packed, dtype=np.uint8).astype(np.int64) - 48
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    ends = np.flatnonzero((groups & 0x20) == 0)
    begins = np.append(0, ends[:-1] + 1)
    place = np.arange(len(groups)) - np.repeat(begins, ends - begins + 1)
    values = np.add.reduceat((groups & 0x1F) << (5 * place), begins)
    negative = (groups[ends] & 0x10) != 0
    values -= np.where(negative, np.int64(1) << (5 * (ends - begins + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
