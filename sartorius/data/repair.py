"""The known faults of the competition's labels found and mended, and a corrected copy of `train.csv` written.

`hollow`: branches of which only the outline is labelled; `cut`: webs of bare ground between two legs that end in a
straight lower edge; both come from how the labels were filled, see `polygon_fill`. `duplicate`: a cell labelled twice.
`overlap`: pixels labelled for two cells. Images with cells that nobody labelled are listed, not changed.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.data.repair_ground import standing_out, unlabelled_share
from sartorius.data.repair_masks import Ground, ground_of, without_hollows, without_webs
from sartorius.errors import UserError
from sartorius.overlap import iou, overlapping_within
from sartorius.postprocess import remove_overlap
from sartorius.rle import Crop, cocos_from_crops, crops_from_cocos

Fault = Literal["hollow", "cut", "duplicate", "overlap"]
FAULTS: tuple[Fault, ...] = ("hollow", "cut", "duplicate", "overlap")
#: Two labels with at least this IoU are the same cell.
DUPLICATE_IOU = 0.8

Pixels = NDArray[np.bool_]


class ImageRepair(NamedTuple):
    """What was changed in one image, and how much of it looks like cells without a label.

    hollow, cut, overlap: masks that were mended, with the pixels that they gained or lost.
    duplicate: masks that were dropped because they repeat another; covered: those of which other cells left nothing.
    unlabelled_share: see `unlabelled_share`; unlabelled: whether that is far above what is usual for the type.
    """

    image_id: str
    cell_type: str
    cells: int
    hollow: int = 0
    hollow_px: int = 0
    cut: int = 0
    cut_px: int = 0
    duplicate: int = 0
    overlap: int = 0
    overlap_px: int = 0
    covered: int = 0
    unlabelled_share: float = 0.0
    unlabelled: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything was mended."""
        return self.hollow + self.cut + self.duplicate + self.overlap + self.covered > 0


class Repaired(NamedTuple):
    """The mended cells of one image, the row in the original that each comes from (N,), and what was changed."""

    cells: Cells
    rows: NDArray[np.int64]
    repair: ImageRepair


def repaired(
    cells: Cells, image: NDArray[np.uint8], cell_type: str, faults: Collection[Fault] = FAULTS
) -> Repaired:
    """The labels of one image without the faults.

    image: (height, width) its pixels. Masks are mended in the order of `FAULTS`; rows keep their order.
    Raises UserError if the image has another size than its labels.
    """
    if image.shape != cells.size_hw:
        raise UserError(
            f"{cells.image_id}: the image has height and width {image.shape}, its labels {cells.size_hw}; "
            "run `sartorius data check`"
        )
    repair = ImageRepair(
        cells.image_id, cell_type, len(cells), unlabelled_share=unlabelled_share(image, cells)
    )
    ground = ground_of(image)
    rows = np.arange(len(cells))
    mended = cells
    if "hollow" in faults:
        mended, count, change_px = _mended(mended, lambda crop: without_hollows(crop.pixels))
        repair = repair._replace(hollow=count, hollow_px=change_px)
    if "cut" in faults:
        mended, count, change_px = _mended(mended, lambda crop: _without_webs(crop, ground))
        repair = repair._replace(cut=count, cut_px=change_px)
    if "duplicate" in faults:
        rows = _first_of_each(mended)
        mended = mended[rows]
        repair = repair._replace(duplicate=len(cells) - len(rows))
    if "overlap" in faults:
        disjoint, kept = smaller_first(mended)
        lost_px = mended.areas_px[kept] - disjoint.areas_px
        repair = repair._replace(
            overlap=int((lost_px > 0).sum()), overlap_px=int(lost_px.sum()), covered=len(mended) - len(kept)
        )
        mended, rows = disjoint, rows[kept]
    return Repaired(mended, rows, repair)


def smaller_first(cells: Cells) -> tuple[Cells, NDArray[np.int64]]:
    """Disjoint masks in input order, a pixel going to the smallest cell that claims it, and (M,) their rows.

    Cells of which nothing is left are gone. A small cell that lies on a large one thus stays whole.
    """
    order = np.argsort(cells.areas_px, kind="stable")
    ranks = np.empty(len(cells), dtype=np.float32)
    ranks[order] = 1 - np.arange(len(cells), dtype=np.float32) / max(len(cells), 1)
    numbered = replace(cells, scores=ranks, sources=np.arange(len(cells)).astype(np.str_))
    disjoint = remove_overlap(numbered, min_area_px=1)
    rows = disjoint.sources.astype(np.int64)
    back = np.argsort(rows)
    return replace(disjoint[back], scores=cells.scores[rows[back]], sources=cells.sources[rows[back]]), rows[
        back
    ]


def with_unlabelled(repairs: Sequence[ImageRepair]) -> list[ImageRepair]:
    """The same repairs with the images marked that show more unlabelled structure than is usual for their type."""
    shares = {repair.image_id: repair.unlabelled_share for repair in repairs}
    types: Mapping[str, str] = {repair.image_id: repair.cell_type for repair in repairs}
    marked = set(standing_out(shares, types))
    return [repair._replace(unlabelled=repair.image_id in marked) for repair in repairs]


def _mended(cells: Cells, mend: Callable[[Crop], Pixels]) -> tuple[Cells, int, int]:
    """The cells with mended masks, how many changed, and by how many pixels in all."""
    crops = crops_from_cocos(cells.masks)
    mended = [crop._replace(pixels=mend(crop)) if crop.pixels.size else crop for crop in crops]
    changes = [int((new.pixels != old.pixels).sum()) for new, old in zip(mended, crops, strict=True)]
    masks = tuple(cocos_from_crops(mended, cells.size_hw))
    return replace(cells, masks=masks), sum(change > 0 for change in changes), sum(changes)


def _without_webs(crop: Crop, ground: Ground) -> Pixels:
    rows, cols = crop.pixels.shape
    there = ground.deviation[crop.row : crop.row + rows, crop.col : crop.col + cols]
    at_bottom = crop.row + rows == len(ground.deviation)
    return without_webs(crop.pixels, ground._replace(deviation=there), at_bottom)


def _first_of_each(cells: Cells) -> NDArray[np.int64]:
    """(M,) ascending rows without those that repeat a row before them that is kept."""
    pairs = overlapping_within(cells)
    same = iou(pairs, cells, cells) >= DUPLICATE_IOU
    dropped = np.zeros(len(cells), dtype=np.bool_)
    for first, second in zip(pairs.rows_a[same].tolist(), pairs.rows_b[same].tolist(), strict=True):
        dropped[second] |= not dropped[first]
    return np.flatnonzero(~dropped)
