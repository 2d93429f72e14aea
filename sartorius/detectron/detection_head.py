"""Small heads that look at finished detections, each at one's own pooled features, class and size."""

from collections.abc import Sequence

import torch
from detectron2.structures import Instances
from torch import Tensor, nn
from torch.nn import functional

from sartorius.config.architecture import DETECTION_HEADS

#: Channels of the three convolutions and of the two layers after them, and groups of the norms in between.
_CONVOLVED, _LAST_CONVOLVED, _HIDDEN, _GROUPS = 128, 64, 256, 32
#: Side in network pixels of a box whose size counts as 0.
_USUAL_SIDE_PX = 120.0
#: Detections that a CPU takes at once, whose features then stay near the processor.
_AT_ONCE = 64


def new_head_weights(trained: Sequence[str]) -> tuple[str, ...]:
    """How the names of weights begin that the heads to be trained need not have before: detectron2's own networks lack them."""
    return tuple(f"roi_heads.{head}." for head in DETECTION_HEADS if head in trained)


class DetectionHead(nn.Module):
    """Three convolutions over a detection's features, then layers that know its class and its box's sides as well.

    channels, side: of a detection's (channels, side, side) features. classes: cell types. results: numbers for each detection.
    """

    def __init__(self, channels: int, side: int, classes: int, results: int) -> None:
        super().__init__()
        self._classes = classes
        sizes = [(channels, _CONVOLVED, 2), (_CONVOLVED, _CONVOLVED, 1), (_CONVOLVED, _LAST_CONVOLVED, 1)]
        self.convolutions = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.GroupNorm(_GROUPS, o), nn.ReLU())
                for i, o, stride in sizes
            )
        )
        seen = _LAST_CONVOLVED * (-(-side // 2)) ** 2 + classes + 2
        self.layers = nn.Sequential(
            nn.Linear(seen, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, results),
        )

    def forward(self, features: Tensor, found: Sequence[Instances]) -> Tensor:
        """(N, results) of all images' detections in a row.

        features: (N, C, S, S). found: with `pred_boxes` and `pred_classes`.
        """
        classes = torch.cat([image.pred_classes for image in found])
        boxes = torch.cat([image.pred_boxes.tensor for image in found])
        sides = ((boxes[:, 2:] - boxes[:, :2]).clamp(min=1) / _USUAL_SIDE_PX).log()
        known = torch.cat([functional.one_hot(classes, self._classes), sides], dim=1)
        at_once = max(len(boxes), 1) if features.is_cuda else _AT_ONCE
        pixels = torch.cat([self.convolutions(part).flatten(1) for part in features.split(at_once)])
        return self.layers(torch.cat([pixels, known.to(pixels.dtype)], dim=1)).float()
