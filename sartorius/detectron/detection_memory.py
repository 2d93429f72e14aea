"""Detections of the last training pictures, for a head whose every step should see those of many pictures.

Detections of one picture are much alike: a head that gets those of two pictures a step learns these two pictures. Where all
before the head stays as it is, what was pooled from earlier pictures is still what it would be now.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.structures import Instances
from torch import Tensor

#: Pictures remembered where the network before a head does not change, and detections kept of each.
PICTURES, OF_EACH = 64, 128
#: Detections of a step, evenly over the remembered pictures.
_DRAWN = 256


class Learnt(NamedTuple):
    """Detections of one picture and what a head is to say of them.

    pixels: (n, C, S, S) features. found: n detections with `pred_boxes` and `pred_classes`. wanted: (n, …).
    """

    pixels: Tensor
    found: Instances
    wanted: Tensor

    def some(self, count: int) -> "Learnt":
        """At most so many of them, drawn at random by torch's global generator."""
        chosen = torch.randperm(len(self.found))[:count].to(self.wanted.device)
        return Learnt(self.pixels[chosen], self.found[chosen], self.wanted[chosen])


class DetectionMemory:
    """The detections of a step's own pictures and of some before.

    pictures: how many are remembered; with fewer than a step has, its own alone. With some of before, what is drawn depends on
        how a step is divided: each process remembers its own pictures, each accumulated part those up to its own.
    """

    def __init__(self, pictures: int) -> None:
        self._most = pictures
        self._pictures: deque[Learnt] = deque()

    def add(self, own: Sequence[Learnt]) -> None:
        """Remember the pictures of a step, their features in half the bytes, and forget the oldest."""
        self._pictures.extend(each._replace(pixels=each.pixels.half()) for each in own)
        while len(self._pictures) > max(self._most, len(own)):
            self._pictures.popleft()

    def drawn(self) -> list[Learnt]:
        """Some of each remembered picture, as many as it has, from the oldest to the newest.

        Without memory all that was given of the pictures: then a step's loss does not depend on how it is divided.
        """
        chosen = list(self._pictures)
        if self._most:
            count = max(_DRAWN // len(chosen), 1)
            chosen = [picture.some(count) for picture in chosen]
        return [each._replace(pixels=each.pixels.float()) for each in chosen]
