"""Ground-truth masks of small cells as padded crops, in place of detectron2's full-size `BitMasks`.

detectron2 crops mask targets out of an N×H×W stack: 790 cells on a 780 × 1056 input are 650 MB of booleans, and 2.6 GB
once RoIAlign has turned them into floats. Each cell here keeps a square that holds the largest cell of its image, in
image resolution.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from sartorius.rle import Crop

#: Pixels around each crop, empty but at the image's border: RoIAlign interpolates with them.
MARGIN_PX = 2


class CellMasks:
    """N masks as one (N, P, P) stack of crops with the place of each.

    Has what `Instances` and detectron2's mask loss ask of a mask structure: `len`, indexing, `to`, `crop_and_resize`.
    """

    def __init__(
        self, pixels: Tensor, corners_xy: Tensor, scale_xy: Tensor, numbers: Tensor | None = None
    ) -> None:
        """Keep the columns.

        pixels: (M, P, P) uint8, each mask in the top left of its crop, after a margin of `MARGIN_PX`.
        corners_xy: (N, 2) float, image position of each crop's top left pixel.
        scale_xy: (2,) float, network input pixels per image pixel, horizontally and vertically.
        numbers: (N,) the crop of each mask: a cell that is chosen for many detections is not copied. None: M masks.
        """
        self.numbers = torch.arange(len(pixels), device=pixels.device) if numbers is None else numbers
        self.pixels = pixels
        self.corners_xy = corners_xy
        self.scale_xy = scale_xy

    @classmethod
    def from_crops(
        cls, crops: Sequence[Crop], size_hw: tuple[int, int], scale_xy: tuple[float, float]
    ) -> "CellMasks":
        """The masks of crops of an image of `size_hw`; no crop gives an empty structure."""
        side = max((max(crop.pixels.shape) for crop in crops), default=0) + 2 * MARGIN_PX
        pixels = torch.zeros((len(crops), side, side), dtype=torch.uint8)
        for row, crop in enumerate(crops):
            padded = np.pad(crop.pixels, _repeated_edges(crop, size_hw), mode="edge").astype(np.uint8)
            top, left = MARGIN_PX - (crop.row == 0), MARGIN_PX - (crop.col == 0)
            pixels[row, top : top + padded.shape[0], left : left + padded.shape[1]] = torch.from_numpy(padded)
        corners = [[crop.col - MARGIN_PX, crop.row - MARGIN_PX] for crop in crops]
        return cls(
            pixels,
            torch.tensor(corners, dtype=torch.float32).reshape(-1, 2),
            torch.tensor(scale_xy, dtype=torch.float32),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice | Tensor) -> "CellMasks":
        return CellMasks(self.pixels, self.corners_xy[rows], self.scale_xy, self.numbers[rows])

    def to(self, *args: object, **kwargs: object) -> "CellMasks":
        """The same masks on another device."""
        return CellMasks(
            self.pixels.to(*args, **kwargs),
            self.corners_xy.to(*args, **kwargs),
            self.scale_xy.to(*args, **kwargs),
            self.numbers.to(*args, **kwargs),
        )

    def crop_and_resize(self, boxes_xyxy: Tensor, mask_size: int) -> Tensor:
        """Mask targets: each mask inside its box on a `mask_size` grid, (N, mask_size, mask_size) bool.

        boxes_xyxy: (N, 4) float boxes in network input pixels, one for each mask.
        Source: `detectron2.structures.BitMasks.crop_and_resize`, the same sampling on smaller arrays.
        """
        if not len(self):
            return torch.zeros((0, mask_size, mask_size), dtype=torch.bool, device=boxes_xyxy.device)
        image_boxes = boxes_xyxy / self.scale_xy.repeat(2) - self.corners_xy.repeat(1, 2)
        pixels, numbers = self.pixels, self.numbers
        if len(numbers) < len(pixels):  # fewer to turn into floats
            pixels, numbers = pixels[numbers], torch.arange(len(numbers), device=numbers.device)
        sampled = roi_align(
            pixels[:, None].to(image_boxes.dtype),
            torch.cat([numbers[:, None].to(image_boxes.dtype), image_boxes], dim=1),
            (mask_size, mask_size),
            sampling_ratio=0,
            aligned=True,
        )
        return sampled[:, 0] >= 0.5


def _repeated_edges(crop: Crop, size_hw: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """One pixel on each side where the crop touches the image's border: there RoIAlign repeats the last pixel."""
    rows, cols = crop.pixels.shape
    return (
        (int(crop.row == 0), int(crop.row + rows == size_hw[0])),
        (int(crop.col == 0), int(crop.col + cols == size_hw[1])),
    )
