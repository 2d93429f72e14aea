"""Masks that claim the same pixels, found along their sorted runs."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.line_runs import Ints, LineRuns, joined, places


class Claim(NamedTuple):
    """A mask with pixels that masks before it claimed already.

    others: the masks before it that own them, by their number; the first mask to claim a pixel owns it.
    pixels: how many of its pixels are claimed already.
    repeats: whether it has exactly the pixels of the one other.
    """

    mask: int
    others: list[int]
    pixels: int
    repeats: bool


def images_with_shared_pixels(runs: LineRuns, image_of_mask: Ints, image_px: Ints) -> Ints:
    """The numbers of the images in which a pixel belongs to two masks, ascending.

    image_of_mask: (N,) the number of each mask's image. image_px: (M,) pixels of each image.
    Takes as long as sorting the runs.
    """
    images = image_of_mask[runs.masks]
    starts = runs.starts + (np.cumsum(image_px) - image_px)[images]
    order = np.argsort(starts, kind="stable")
    starts, images = starts[order], images[order]
    reached = np.maximum.accumulate(starts + runs.lengths[order])
    return np.unique(images[1:][starts[1:] < reached[:-1]])


def claims(runs: LineRuns, masks: int, image_px: int) -> Iterator[Claim]:
    """Each mask of one image that has a pixel of a mask before it, in order.

    masks: the number of masks that `runs` holds. A mask that repeats another claims nothing for itself.
    """
    if not len(images_with_shared_pixels(runs, np.zeros(masks, dtype=np.int64), np.array([image_px]))):
        return
    owners = np.full(image_px, -1, dtype=np.int32)
    seen: dict[bytes, int] = {}
    least = joined(runs)
    ends = np.cumsum(least.counts(masks)).tolist()
    for mask, (begin, end) in enumerate(pairwise([0, *ends])):
        starts, lengths = least.starts[begin:end], least.lengths[begin:end]
        first = seen.setdefault(starts.tobytes() + lengths.tobytes(), mask)
        if first != mask and end > begin:
            yield Claim(mask, [first], int(lengths.sum()), repeats=True)
            continue
        pixels = np.repeat(starts, lengths) + places(lengths)
        taken: NDArray[np.int32] = owners[pixels]
        if np.any(taken >= 0):
            yield Claim(mask, np.unique(taken[taken >= 0]).tolist(), int(np.sum(taken >= 0)), repeats=False)
        owners[pixels[taken < 0]] = mask
