"""Models that do not exist: detections with soft masks, made by jittering true cells."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.rle import Crop, crops_from_cocos
from sartorius.soft_masks import binarised

#: Side of the simulated soft masks, detectron2's.
SIDE = 28
#: Share of a source's detections that are where no cell is.
FALSE_SHARE = 0.06
#: How far edges of boxes stray: part of the box's size, and pixels.
BOX_NOISE, BOX_NOISE_PX = 0.05, 0.5


def simulated_sources(truth: Cells, n_sources: int, rng: np.random.Generator) -> dict[str, Cells]:
    """What `n_sources` models would find in an image: about 9 in 10 cells each, hard ones less often by all.

    truth: the true cells. Detections come in random order, with soft masks; masks are these from probability .5 on.
    """
    found_share = np.clip(rng.beta(6, 0.9, size=len(truth)), 0.05, 1)
    crops = crops_from_cocos(truth.masks)
    return {
        f"model{n:02}/none": _source(truth, crops, found_share, f"model{n:02}/none", rng)
        for n in range(n_sources)
    }


def _source(
    truth: Cells, crops: list[Crop], found_share: NDArray[np.float64], name: str, rng: np.random.Generator
) -> Cells:
    true_rows = np.flatnonzero((rng.random(len(truth)) < found_share) & (truth.areas_px > 0))
    false_rows = (
        rng.choice(true_rows, size=int(FALSE_SHARE * len(true_rows))) if len(true_rows) else true_rows
    )
    rows = np.concatenate([true_rows, false_rows])
    is_true = np.arange(len(rows)) < len(true_rows)
    faults = rng.gamma(2, 0.5, size=len(rows))
    boxes, grids = _detections([crops[row] for row in rows], faults, rng)
    false = ~is_true
    boxes[false] = _elsewhere(boxes[false], truth.size_hw, rng)
    scores = np.clip(
        np.where(is_true, 0.9, 0.5) - 0.12 * faults + rng.normal(0, 0.12, len(rows)), 0.02, 0.999
    )
    order = rng.permutation(len(rows))
    boxes = boxes[order].astype(np.float32)
    return Cells(
        image_id=truth.image_id,
        size_hw=truth.size_hw,
        masks=binarised(grids[order], boxes, truth.size_hw, 0.5),
        scores=scores[order].astype(np.float32),
        cell_types=truth.cell_types[rows[order]],
        sources=np.full(len(rows), name),
        soft_masks=grids[order],
        soft_boxes_xyxy=boxes,
    )


def _elsewhere(
    boxes: NDArray[np.float64], size_hw: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Boxes (N, 4) of the same sizes, anywhere in the image."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    corners = rng.random((len(boxes), 2)) * np.maximum(np.array([size_hw[1], size_hw[0]]) - sizes, 1)
    return np.concatenate([corners, corners + sizes], axis=1)


def _detections(
    crops: list[Crop], faults: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Boxes (N, 4) and soft masks of cells, the worse the higher `faults` (N,), around 1."""
    boxes, grids = np.zeros((len(crops), 4)), np.zeros((len(crops), SIDE, SIDE), dtype=np.uint8)
    for row, (crop, fault) in enumerate(zip(crops, faults, strict=True)):
        rows, cols = crop.pixels.shape
        tight = np.array([0, 0, cols, rows], dtype=np.float64)
        sizes = np.array([cols, rows, cols, rows])
        edges = tight + fault * (BOX_NOISE * sizes + BOX_NOISE_PX) * rng.normal(size=4)
        edges[2:] = np.maximum(edges[2:], edges[:2] + 2)
        boxes[row] = edges + np.array([crop.col, crop.row, crop.col, crop.row])
        grids[row] = _soft(crop.pixels, edges, fault, rng)
    return boxes, grids


def _soft(
    pixels: NDArray[np.bool_], edges: NDArray[np.float64], fault: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A soft mask over `edges`, a box in pixels of the crop: blurred, and wrong in patches along the outline."""
    step = (edges[2:] - edges[:2]) / SIDE
    sigmas = np.maximum(0.7, 0.9 * step)
    margin = int(np.ceil(4 * sigmas.max())) + 2
    blurred = cv2.GaussianBlur(
        np.pad(pixels, margin).astype(np.float32), (0, 0), sigmaX=float(sigmas[0]), sigmaY=float(sigmas[1])
    )
    offset = edges[:2] + 0.5 * step - 0.5 + margin
    matrix = np.array([[step[0], 0, offset[0]], [0, step[1], offset[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    grid = cv2.warpAffine(blurred, matrix, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    patches = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), sigmaX=2.5)
    odds = 8 * (grid - 0.5) + 14 * fault * patches
    return np.rint(255 / (1 + np.exp(-odds))).astype(np.uint8)
