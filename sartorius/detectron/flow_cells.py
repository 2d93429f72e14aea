"""Between cells and what a network of flows draws: the targets of a training picture, and the cells of a drawing."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sartorius.detectron.flow_fields import Floats, Labels, disagreements, flows_of, labels_of
from sartorius.detectron.transfer import Output
from sartorius.line_runs import Ints
from sartorius.polygon_fill import outline_filled
from sartorius.rle import Crop
from sartorius.soft_masks import on_grid

Scores = NDArray[np.float64]


def flow_targets(
    crops: Sequence[Crop], classes: Ints, window_hw: tuple[int, int], drawn_hw: tuple[int, int]
) -> dict[str, Tensor]:
    """What a network is to draw of a picture: `flows` (2, H, W) of length 1, and `cell_classes` (H, W) int16, -1 outside.

    crops: the N masks in a window of the image, whose holes are closed; where they overlap the smaller one is drawn.
    classes: (N,).
    window_hw, drawn_hw: (height, width) of the window and of the drawing.
    """
    labels = np.zeros(window_hw, dtype=np.int32)
    for number in np.argsort([-crop.pixels.sum() for crop in crops], kind="stable").tolist():
        crop = crops[number]
        place = labels[crop.row :, crop.col :][: crop.pixels.shape[0], : crop.pixels.shape[1]]
        place[outline_filled(crop.pixels)] = number + 1
    labels = cv2.resize(labels, drawn_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    flows = flows_of(labels)
    labels = _reached(labels, flows.any(axis=0))
    kinds = np.concatenate([[-1], classes]).astype(np.int16)[labels]
    return {"flows": torch.from_numpy(flows), "cell_classes": torch.from_numpy(kinds)}


def _reached(labels: Labels, flowing: NDArray[np.bool_]) -> Labels:
    """The labels without pieces that the centre cannot be reached from; the centre itself, which has no flow either, stays."""
    with_flow = np.where(flowing, labels, 0).astype(np.float32)
    centres = cv2.dilate(with_flow, np.ones((3, 3))) == labels
    return np.where(flowing | centres, labels, 0)


class DrawnPicture(NamedTuple):
    """What a network drew of a picture of (height, width) `network_hw`, in pixels `stride` times as large.

    flows: (2, H, W) of length about 1. inside: (H, W) probabilities of being in a cell. types: (K, H, W) of its type.
    """

    flows: Floats
    inside: Floats
    types: Floats
    stride: int
    network_hw: tuple[int, int]


def cells_of(drawn: DrawnPicture, min_scores: Scores, most_cells: int, mask_side: int) -> Output:
    """The cells of a drawing by falling score.

    min_scores: (K,) of each type. most_cells: of the best ones. mask_side: of the grid of a mask.
    A score is the mean probability of the cell's pixels times one minus the flows' disagreement with the cell.
    """
    labels = labels_of(drawn.flows, drawn.inside > 0.5)
    counts = np.bincount(labels.ravel())[1:]
    agreement = 1 - np.clip(disagreements(labels, drawn.flows), 0, 1)
    scores = np.clip(_means(labels, drawn.inside, counts) * agreement, 0, 1)
    classes = np.stack([_means(labels, plane, counts) for plane in drawn.types]).argmax(axis=0)
    kept = np.flatnonzero(scores >= min_scores[classes])
    best = kept[np.argsort(-scores[kept], kind="stable")][:most_cells]
    boxes = _boxes(labels, len(counts))[best]
    return Output(
        boxes_xyxy=(boxes * drawn.stride).astype(np.float32),
        scores=scores[best].astype(np.float32),
        classes=classes[best],
        masks=_soft_masks(labels, drawn.inside, best + 1, boxes, mask_side),
        network_hw=drawn.network_hw,
    )


def _means(labels: Labels, values: Floats, counts: Ints) -> Scores:
    """(N,) means of the values (H, W) over the pixels of each cell."""
    return np.bincount(labels.ravel(), weights=values.ravel(), minlength=len(counts) + 1)[1:] / counts


def _boxes(labels: Labels, cells: int) -> Ints:
    """(N, 4) the boxes of the cells."""
    boxes = np.zeros((cells, 4), dtype=np.int64)
    boxes[:, :2] = max(labels.shape)
    rows, cols = np.nonzero(labels)
    numbers = labels[rows, cols] - 1
    np.minimum.at(boxes, (numbers, 0), cols)
    np.minimum.at(boxes, (numbers, 1), rows)
    np.maximum.at(boxes, (numbers, 2), cols + 1)
    np.maximum.at(boxes, (numbers, 3), rows + 1)
    return boxes


def _soft_masks(labels: Labels, inside: Floats, names: Ints, boxes: Ints, side: int) -> NDArray[np.uint8]:
    """(N, side, side) probabilities times 255 of being in each named cell, on its box.

    In pixels of other cells they are 0, in those of no cell below .5.
    """
    masks = np.zeros((len(names), side, side), dtype=np.uint8)
    outside = np.minimum(inside, np.float32(0.49))
    for number, (name, (left, top, right, bottom)) in enumerate(zip(names, boxes.tolist(), strict=True)):
        window = np.s_[top:bottom, left:right]
        own, none = labels[window] == name, labels[window] == 0
        mask = np.where(own, inside[window], np.where(none, outside[window], np.float32(0)))
        masks[number] = np.rint(255 * np.clip(on_grid(mask, side), 0, 1))
    return masks
