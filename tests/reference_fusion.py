"""Slow, obvious, dense versions of overlap, pasting, averaging and fusion, and random cells to hold them against."""

from collections.abc import Mapping, Sequence

import numpy as np

from sartorius.cells import CELL_TYPES, Cells
from sartorius.config.fusion import MasksSettings
from sartorius.config.per_type import value_for
from sartorius.rle import CocoRle, coco_from_dense, dense_from_coco

SIZE_HW = (24, 30)


def dense(cells: Cells) -> np.ndarray:
    """(N, H, W) booleans."""
    return np.array([dense_from_coco(mask) for mask in cells.masks], dtype=bool).reshape(-1, *cells.size_hw)


def dense_pairs(a: Cells, b: Cells) -> list[tuple[int, int, int]]:
    shared = np.einsum("aij,bij->ab", dense(a).astype(int), dense(b).astype(int))
    return [(row, col, shared[row, col]) for row, col in np.argwhere(shared).tolist()]


def dense_remove_overlap(cells: Cells, min_area_px: int) -> tuple[list[int], list[CocoRle]]:
    """Rows kept and their masks, best score first."""
    free = np.ones(cells.size_hw, dtype=bool)
    rows, masks = [], []
    for row in sorted(range(len(cells)), key=lambda row: -cells.scores[row]):
        mask = dense_from_coco(cells.masks[row]) & free
        if mask.sum() >= min_area_px:
            rows.append(row)
            masks.append(coco_from_dense(mask))
            free &= ~mask
    return rows, masks


def dense_paste(soft: np.ndarray, box: Sequence[float], size_hw: tuple[int, int]) -> np.ndarray:
    """(H, W) probabilities of one soft mask, each pixel from its four nearest grid cells, zero outside the grid."""
    left, top, right, bottom = (float(edge) for edge in box)
    pasted = np.zeros(size_hw)
    side = len(soft)
    padded = np.pad(soft / 255, 1)
    if right <= left or bottom <= top:
        return pasted
    for row in range(size_hw[0]):
        for col in range(size_hw[1]):
            y = (row + 0.5 - top) / (bottom - top) * side + 0.5
            x = (col + 0.5 - left) / (right - left) * side + 0.5
            if 0 <= y < side + 1 and 0 <= x < side + 1:
                i, j = int(y), int(x)
                square = padded[i : i + 2, j : j + 2]
                pasted[row, col] = np.array([1 - y + i, y - i]) @ square @ np.array([1 - x + j, x - j])
    return pasted


def dense_masks_fusion(
    sources: Mapping[str, Cells], settings: MasksSettings, weights: Mapping[str, float]
) -> list[tuple[CocoRle, float, str]]:
    """(mask, score, type) of every fused cell: the strategy `masks` in plain loops over N x H x W arrays.

    Rows must not tie in weight times score.
    """
    rows = [(name, cells, row) for name, cells in sources.items() for row in range(len(cells))]
    rows = [(name, cells, row) for name, cells, row in rows if cells.areas_px[row]]
    rows.sort(key=lambda item: -weights[item[0]] * float(item[1].scores[item[2]]))
    masks = [dense_from_coco(cells.masks[row]) for _, cells, row in rows]
    left = list(range(len(rows)))
    fused = []
    while left:
        seed = left[0]
        votes = {rows[seed][0]: seed}
        near = [row for row in left[1:] if _iou(masks[seed], masks[row]) >= settings.min_iou]
        for name in sources:
            same = [row for row in near if rows[row][0] == name]
            if name != rows[seed][0] and same:
                votes[name] = max(same, key=lambda row: _iou(masks[seed], masks[row]))
        gone = set(votes.values()) | (set(near) if settings.second_of_source == "drop" else set())
        left = [row for row in left if row not in gone]
        if len(votes) >= settings.min_votes:
            voters = sorted(votes.values())
            alike = [_iou(masks[seed], masks[row]) for row in voters]
            fused.append(_dense_cell([rows[row] for row in voters], alike, settings, weights))
    return sorted(fused, key=lambda cell: -cell[1])


def _dense_cell(
    votes, alike: list[float], settings: MasksSettings, weights: Mapping[str, float]
) -> tuple[CocoRle, float, str]:
    scores = np.array([float(cells.scores[row]) for _, cells, row in votes])
    shares = np.array([weights[name] for name, _, _ in votes])
    sums: dict[str, float] = {}
    for (_, cells, row), vote in zip(votes, shares * scores, strict=True):
        sums[str(cells.cell_types[row])] = sums.get(str(cells.cell_types[row]), 0) + vote
    cell_type = max(sums, key=lambda name: sums[name])
    mask_weights = shares * scores if settings.weigh_masks_by_score else shares
    planes = [_probability(cells, row) for _, cells, row in votes]
    mean = np.einsum("n,nij->ij", mask_weights, np.array(planes)) / mask_weights.sum()
    mask = mean >= value_for(settings.mask_threshold, cell_type) - 1e-6
    score = scores[0] if settings.score == "best" else (shares * scores).sum() / shares.sum()
    score *= (shares.sum() / sum(weights.values())) ** settings.agreement_power
    score *= np.average(alike, weights=shares) ** settings.vote_iou_power
    score *= (mean[mask].mean() if mask.any() else 0) ** settings.mask_score_power
    return coco_from_dense(mask), float(score), cell_type


def _probability(cells: Cells, row: int) -> np.ndarray:
    if cells.soft_masks is None or cells.soft_boxes_xyxy is None:
        return dense_from_coco(cells.masks[row]).astype(float)
    return dense_paste(cells.soft_masks[row], cells.soft_boxes_xyxy[row], cells.size_hw)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def random_cells(
    rng: np.random.Generator,
    n_cells: int,
    source: str = "a/none",
    soft_side: int | None = None,
    size_hw: tuple[int, int] = SIZE_HW,
) -> Cells:
    """Cells of all kinds: one pixel, over the border, empty, many alike; tied scores and 0 and 1 among them.

    soft_side: side of their soft masks' grids, whose masks they then are; None for none.
    """
    height, width = size_hw
    centres = rng.integers(-2, max(size_hw) + 2, size=(n_cells, 2)).astype(float)
    sizes = rng.choice([0.4, 2, 4, 6, 9], size=(n_cells, 2))
    boxes = np.concatenate([centres - sizes, centres + sizes], axis=1) + rng.random((n_cells, 1)).round(1)
    scores = rng.choice([0.0, 0.25, 0.5, 0.7, 0.9, 1.0], size=n_cells)
    soft = None
    if soft_side is not None:
        soft = rng.integers(60, 256, size=(n_cells, soft_side, soft_side)).astype(np.uint8)
        planes = [
            dense_paste(grid, box, size_hw) >= 0.5 - 1e-6
            for grid, box in zip(soft, boxes.astype(np.float32), strict=True)
        ]
    else:
        rows, cols = np.mgrid[:height, :width] + 0.5
        planes = [
            (rows > top) & (rows < bottom) & (cols > left) & (cols < right)
            for left, top, right, bottom in boxes
        ]
    return Cells(
        image_id="random",
        size_hw=size_hw,
        masks=tuple(coco_from_dense(plane) for plane in planes),
        scores=scores.astype(np.float32),
        cell_types=rng.choice(CELL_TYPES, size=n_cells),
        sources=np.full(n_cells, source),
        soft_masks=soft,
        soft_boxes_xyxy=None if soft is None else boxes.astype(np.float32),
    )


def random_sources(seed: int, n_sources: int = 3, n_cells: int = 8) -> dict[str, Cells]:
    """Sources that see the same cells a little differently, with soft masks of different sides and with none."""
    rng = np.random.default_rng(seed)
    sides = [None, 5, 7]
    names = [f"model{number}/none" for number in range(n_sources)]
    return {
        name: random_cells(rng, int(rng.integers(0, n_cells)), name, sides[number % 3])
        for number, name in enumerate(names)
    }


def content(found: Cells) -> list[tuple]:
    """Everything that a row says, in order."""
    soft = [b""] * len(found) if found.soft_masks is None else [grid.tobytes() for grid in found.soft_masks]
    columns = found.masks, found.scores.tolist(), found.cell_types.tolist(), found.sources.tolist(), soft
    return list(zip(*columns, strict=True))
