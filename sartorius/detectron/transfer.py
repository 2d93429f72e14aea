"""What goes into a network and comes out of it, between numpy arrays here and a device there: as few bytes as there are."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from detectron2.structures import Instances
from numpy.typing import NDArray
from torch import Tensor


class Output(NamedTuple):
    """What the network says about one view of (height, width) `network_hw`, on the CPU.

    boxes_xyxy: (N, 4) float32 in pixels of the view. scores: (N,) float32, 1 for boxes that were given. classes: (N,).
    masks: (N, S, S) probabilities on the boxes' grids: uint8, times 255, of what was found; float32 on given boxes.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    masks: NDArray[np.uint8] | NDArray[np.float32]
    network_hw: tuple[int, int]


#: Called for what a network says about a view, on any thread and without torch.
Answer = Callable[[], Output]


def one_plane(pixels: NDArray[np.uint8]) -> Tensor:
    """(1, H, W) uint8, which the network spreads over its three planes where it computes.

    pixels: (H, W), shared where its bytes lie in order. To numpy a flipped axis of length 1 does, though its stride is
        negative, which torch refuses; raveled it has none.
    """
    return torch.from_numpy(pixels.ravel()).view(1, *pixels.shape)


def fetched(found: Sequence[Instances], as_bytes: bool) -> list[Output]:
    """The network's answers on the CPU: everything is sent off before any of it is waited for."""
    sent = [_sent(one, as_bytes) for one in found]
    if any(one.pred_masks.is_cuda for one in found):
        torch.cuda.synchronize(found[0].pred_masks.device)
    return [
        Output(*(column.numpy() for column in columns), one.image_size)
        for one, columns in zip(found, sent, strict=True)
    ]


def _sent(found: Instances, as_bytes: bool) -> list[Tensor]:
    """Boxes, scores, classes and masks on their way to the CPU, see `Output`; they may only be read after the device is done."""
    boxes, masks = found.pred_boxes.tensor, found.pred_masks[:, 0].float()
    scores = found.scores if found.has("scores") else boxes.new_ones(len(boxes))
    if as_bytes:
        masks = (masks * 255).round_().to(torch.uint8)
    columns = boxes.float(), scores.float(), found.pred_classes, masks
    return [column.to("cpu", non_blocking=True) for column in columns]
