"""The two run-length dialects of instance masks, as two types that cannot be confused.

`CocoRle` runs down the columns and is packed into bytes (pycocotools). `KaggleRle` runs along the rows and is
text of 1-based `start length` pairs (the competition's CSV). Masks travel as `CocoRle`; whatever needs pixels asks
for the crop inside the tight box, never for the whole image.

Functions named in the plural take many masks at once, of one image or of many, and are an order of magnitude faster
than a loop over those named in the singular.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sartorius import coco_counts
from sartorius.line_runs import Ints, LineRuns, places, runs_of_pixels, turned


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
    """Pack a (height, width) boolean mask; of whole numbers all but 0 are cell.

    Raises ValueError for other shapes, and for fractions, whose threshold is not known here.
    """
    if mask.ndim != 2:
        raise ValueError(f"mask has shape {mask.shape}, expected (height, width)")
    if mask.dtype.kind == "f" and not np.array_equal(mask, np.rint(mask)):
        raise ValueError(
            f"mask has fractions of type {mask.dtype}, expected booleans: mask >= 0.5 for example"
        )
    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.bool_).view(np.uint8))
    return CocoRle((mask.shape[0], mask.shape[1]), packed["counts"])


def dense_from_coco(rle: CocoRle) -> NDArray[np.bool_]:
    """Unpack a mask to its full (height, width) image; for pictures and tests, not for loops over many cells."""
    height, width = rle.size_hw
    runs = _column_runs([rle])
    pixels = np.zeros(height * width, dtype=bool)
    pixels[np.repeat(runs.starts, runs.lengths) + places(runs.lengths)] = True
    return np.ascontiguousarray(pixels.reshape(width, height).T)


def coco_from_crop(crop: Crop, size_hw: tuple[int, int]) -> CocoRle:
    """Pack the pixels of a crop as a mask of the whole image.

    Raises ValueError if the crop does not lie inside the image.
    """
    return cocos_from_crops([crop], size_hw)[0]


def cocos_from_crops(crops: Sequence[Crop], size_hw: tuple[int, int]) -> list[CocoRle]:
    """Pack the pixels of crops as masks of one whole image.

    Raises ValueError if a crop does not lie inside the image.
    """
    height, width = size_hw
    first_pixels = np.arange(len(crops)) * (height * width + 1)
    pixels = [np.zeros(0, dtype=np.int64)]
    for crop, first_pixel in zip(crops, first_pixels.tolist(), strict=True):
        rows, cols = crop.pixels.shape
        if crop.row < 0 or crop.col < 0 or crop.row + rows > height or crop.col + cols > width:
            raise ValueError(
                f"crop of {rows} x {cols} px at row {crop.row}, column {crop.col} leaves the {size_hw} image"
            )
        col, row = np.nonzero(crop.pixels.T)
        pixels.append(col * height + (row + first_pixel + crop.col * height + crop.row))
    runs = runs_of_pixels(np.concatenate(pixels), first_pixels)
    counts = coco_counts.packed(runs, np.full(len(crops), height * width))
    return [CocoRle(size_hw, text) for text in counts]


def crop_from_coco(rle: CocoRle) -> Crop:
    """The pixels of a mask inside its tight box; an empty mask gives a 0 x 0 crop at row 0, column 0."""
    return crops_from_cocos([rle])[0]


def crops_from_cocos(rles: Sequence[CocoRle]) -> list[Crop]:
    """The pixels of masks inside their tight boxes; an empty mask gives a 0 x 0 crop at row 0, column 0."""
    runs = _column_runs(rles)
    crops = [Crop(0, 0, np.zeros((0, 0), dtype=bool))] * len(rles)
    ends = np.cumsum(runs.counts(len(rles))).tolist()
    for mask, (begin, end) in enumerate(pairwise([0, *ends])):
        if begin < end:
            crops[mask] = _crop(runs.starts[begin:end], runs.lengths[begin:end], rles[mask].size_hw[0])
    return crops


def cocos_from_runs(runs: LineRuns, sizes_hw: Sequence[tuple[int, int]]) -> list[CocoRle]:
    """Pack N masks given as runs along their rows; sizes_hw: (height, width) of each mask's image."""
    heights, widths = _columns(sizes_hw)
    counts = coco_counts.packed(turned(runs, heights, widths), heights * widths)
    return [CocoRle(size_hw, text) for size_hw, text in zip(sizes_hw, counts, strict=True)]


def runs_from_cocos(rles: Sequence[CocoRle]) -> LineRuns:
    """The fewest runs along the rows of N packed masks."""
    heights, widths = _columns(rle.size_hw for rle in rles)
    return turned(_column_runs(rles), widths, heights)


def kaggle_from_coco(rle: CocoRle) -> KaggleRle:
    """Turn a packed mask into competition text with the fewest runs; an empty mask gives empty text."""
    return kaggles_from_cocos([rle])[0]


def kaggles_from_cocos(rles: Sequence[CocoRle]) -> list[KaggleRle]:
    """Turn packed masks into competition texts with the fewest runs; an empty mask gives empty text."""
    return kaggles_from_runs(runs_from_cocos(rles), [rle.size_hw for rle in rles])


def kaggles_from_runs(runs: LineRuns, sizes_hw: Sequence[tuple[int, int]]) -> list[KaggleRle]:
    """Write N masks given as runs along their rows; sizes_hw: (height, width) of each mask's image."""
    numbers = np.stack([runs.starts + 1, runs.lengths], axis=1).ravel().tolist()
    ends = (2 * np.cumsum(runs.counts(len(sizes_hw)))).tolist()
    return [
        KaggleRle(size_hw, " ".join(map(str, numbers[begin:end])))
        for size_hw, (begin, end) in zip(sizes_hw, pairwise([0, *ends]), strict=True)
    ]


def kaggle_runs(rles: Sequence[KaggleRle]) -> tuple[LineRuns, dict[int, str]]:
    """The runs along the rows of N competition texts, and what is wrong with each malformed text.

    A text is malformed if a number is not a positive whole number, a start has no length, runs do not ascend or
    overlap, or a run leaves the image. A malformed text has no runs and an entry `its number: message`.
    """
    numbers, ends, malformed = _parsed([rle.text for rle in rles])
    heights, widths = _columns(rle.size_hw for rle in rles)
    masks = np.repeat(np.arange(len(rles)), np.diff(ends, prepend=0) // 2)
    pairs = LineRuns(masks, numbers[0::2], numbers[1::2])  # as written, with starts from 1
    wrong = np.zeros(len(rles), dtype=bool)
    for _, faulty in _faults(pairs, (heights * widths)[masks]):
        wrong[masks[faulty]] = True
    for mask in np.flatnonzero(wrong).tolist():
        malformed[mask] = _fault(pairs.of_masks(mask, mask + 1), int(heights[mask] * widths[mask]))
    sound = ~wrong[masks]
    runs = LineRuns(masks[sound], pairs.starts[sound] - 1, pairs.lengths[sound])
    return runs, dict(sorted(malformed.items()))


def areas_px(rles: Sequence[CocoRle]) -> NDArray[np.int64]:
    """The number of pixels of each mask, shape (N,)."""
    runs = _column_runs(rles)
    return np.bincount(runs.masks, weights=runs.lengths, minlength=len(rles)).astype(np.int64)


def boxes_xyxy(rles: Sequence[CocoRle]) -> NDArray[np.float32]:
    """The tight boxes of masks, shape (N, 4): left, top, right, bottom in pixels, right and bottom exclusive.

    An empty mask has the box 0, 0, 0, 0.
    """
    if not rles:
        return np.zeros((0, 4), dtype=np.float32)
    boxes = np.asarray(coco_mask.toBbox([_as_dict(rle) for rle in rles]), dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes[areas_px(rles) == 0] = 0  # a run of length 0 makes pycocotools' box endless
    return boxes


def united(rles: Sequence[CocoRle]) -> CocoRle:
    """The pixels that at least one of the masks has; there is at least one, and all are of one image."""
    merged = coco_mask.merge([_as_dict(rle) for rle in rles], intersect=False)
    return CocoRle(rles[0].size_hw, merged["counts"])


def _as_dict(rle: CocoRle) -> dict[str, object]:
    return {"size": list(rle.size_hw), "counts": rle.counts}


def _column_runs(rles: Sequence[CocoRle]) -> LineRuns:
    heights, widths = _columns(rle.size_hw for rle in rles)
    return coco_counts.unpacked([rle.counts for rle in rles], heights * widths)


def _crop(starts: Ints, lengths: Ints, height: int) -> Crop:
    """The tight crop of at least one run along the columns."""
    cols, rows = np.divmod(np.repeat(starts, lengths) + places(lengths), height)
    row, col = int(rows.min()), int(cols[0])
    pixels = np.zeros((int(rows.max()) - row + 1, int(cols[-1]) - col + 1), dtype=bool)
    pixels[rows - row, cols - col] = True
    return Crop(row, col, pixels)


def _columns(sizes_hw: Iterable[tuple[int, int]]) -> tuple[Ints, Ints]:
    """(N,) heights and (N,) widths."""
    sizes = np.array(list(sizes_hw), dtype=np.int64).reshape(-1, 2)
    return sizes[:, 0], sizes[:, 1]


def _parsed(texts: Sequence[str]) -> tuple[Ints, Ints, dict[int, str]]:
    """All texts' numbers, where each text's numbers end, and messages for texts that are not pairs of numbers."""
    numbers, ends, malformed = array("q"), [], {}
    for row, text in enumerate(texts):
        begin = len(numbers)
        try:
            if not text.isascii() or "_" in text or "+" in text:  # which int() would take
                raise ValueError
            numbers.extend(map(int, text.split()))
        except (ValueError, OverflowError):
            del numbers[begin:]
            # where every token is whole, the fault is a space of another script
            bad = next((token for token in text.split() if not _is_whole(token)), text)
            malformed[row] = f"expected whole numbers `start length …`, got {bad[:40]!r}"
        if (len(numbers) - begin) % 2:
            malformed[row] = (
                f"expected pairs `start length …`, got {len(numbers) - begin} numbers: the last start has no length"
            )
            del numbers[begin:]
        ends.append(len(numbers))
    return np.array(numbers, dtype=np.int64), np.array(ends, dtype=np.int64), malformed


def _is_whole(token: str) -> bool:
    digits = token.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 20 and -(2**63) <= int(token) < 2**63


def _faults(pairs: LineRuns, sizes_px: Ints) -> list[tuple[str, NDArray[np.bool_]]]:
    """What can be wrong with pairs, and which pairs are.

    pairs: runs with starts from 1. sizes_px: (R,) pixels of the image of each.
    """
    masks, starts, lengths = pairs
    backwards = np.zeros(len(masks), dtype=bool)
    backwards[1:] = (starts[1:] < (starts + lengths)[:-1]) & (masks[1:] == masks[:-1])
    return [
        ("a start below 1", starts < 1),
        ("a length below 1", lengths < 1),
        ("a run past the last of {} pixels", lengths > sizes_px + 1 - starts),
        ("backwards", backwards),
    ]


def _fault(pairs: LineRuns, size_px: int) -> str:
    """What is wrong with the pairs of one mask."""
    what, faulty = next((what, faulty) for what, faulty in _faults(pairs, np.array(size_px)) if faulty.any())
    pair = int(np.argmax(faulty))
    texts = [f"`{pairs.starts[at]} {pairs.lengths[at]}`" for at in (pair - 1, pair)]
    if what != "backwards":
        return f"{what.format(size_px)} in pair {pair + 1}: {texts[1]}"
    return (
        f"runs must ascend without overlap, but pair {pair + 1} ({texts[1]}) "
        f"starts before the end of the one before it ({texts[0]})"
    )
