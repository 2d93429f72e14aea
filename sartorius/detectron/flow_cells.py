"""Between cells and what a network of flows draws: the targets of a training picture, and the cells of a drawing."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray
from torch import Tensor

from sartorius.detectron.flow_fields import Floats, Ints, Labels, disagreements, flows_of, labels_of
from sartorius.polygon_fill import outline_filled
from sartorius.rle import Crop


def flow_targets(
    crops: Sequence[Crop], classes: NDArray[np.int64], window_hw: tuple[int, int], drawn_hw: tuple[int, int]
) -> dict[str, Tensor]:
    """What a network is to draw of a picture: `flows` (2, H, W) of length 1, and `cell_classes` (H, W), -1 outside.

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
    labels[~flows.any(axis=0)] = 0  # pieces that the centre cannot be reached from
    kinds = np.concatenate([[-1], classes])[labels]
    return {"flows": torch.from_numpy(flows), "cell_classes": torch.from_numpy(kinds)}


@dataclass(frozen=True)
class DrawnCells:
    """N cells of a drawing, in its pixels.

    boxes_xyxy: (N, 4) int64. scores: (N,) in [0, 1]. classes: (N,) int64. masks: (N, S, S) float32, on the boxes.
    """

    boxes_xyxy: Ints
    scores: NDArray[np.float64]
    classes: Ints
    masks: Floats

    def instances(self, rows: Ints, size_hw: tuple[int, int], stride_yx: tuple[float, float]) -> Instances:
        """Some of them in pixels of a picture of `size_hw`, of which one of the drawing has `stride_yx`."""
        found = Instances(size_hw)
        strides = torch.tensor([*stride_yx[::-1], *stride_yx[::-1]], dtype=torch.float32)
        found.pred_boxes = Boxes(torch.from_numpy(self.boxes_xyxy[rows]).float() * strides)
        found.scores = torch.from_numpy(self.scores[rows]).float()
        found.pred_classes = torch.from_numpy(self.classes[rows])
        found.pred_masks = torch.from_numpy(self.masks[rows])[:, None]
        return found


def cells_of(flows: Floats, inside: Floats, types: Floats, mask_side: int) -> DrawnCells:
    """The cells of one drawing.

    flows: (2, H, W) of length about 1. inside: (H, W) probabilities of being in a cell. types: (K, H, W) of its type.
    A score is the mean probability of the cell's pixels times one minus the flows' disagreement with the cell.
    """
    labels = labels_of(flows, inside > 0.5)
    counts = np.bincount(labels.ravel())[1:]
    surest = _means(labels, inside, counts)
    agreement = 1 - np.clip(disagreements(labels, flows), 0, 1)
    kinds = np.stack([_means(labels, plane, counts) for plane in types])
    boxes = _boxes(labels, len(counts))
    masks = _soft_masks(labels, inside, boxes, mask_side)
    return DrawnCells(boxes, np.clip(surest * agreement, 0, 1), kinds.argmax(axis=0), masks)


def _means(labels: Labels, values: Floats, counts: Ints) -> NDArray[np.float64]:
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


def _soft_masks(labels: Labels, inside: Floats, boxes: Ints, side: int) -> Floats:
    """(N, side, side) probabilities of being in the cell, on its box: in pixels of other cells 0, of no cell below .5."""
    masks = np.zeros((len(boxes), side, side), dtype=np.float32)
    outside = np.minimum(inside, np.float32(0.49))
    for number, (left, top, right, bottom) in enumerate(boxes.tolist()):
        window = np.s_[top:bottom, left:right]
        own, none = labels[window] == number + 1, labels[window] == 0
        mask = np.where(own, inside[window], np.where(none, outside[window], np.float32(0)))
        shrinks = max(mask.shape) > side
        masks[number] = cv2.resize(
            mask, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
    return masks
