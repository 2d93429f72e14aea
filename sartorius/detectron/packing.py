"""Training pictures on their way from the process that makes them to the device that learns from them.

A step of 16 pictures with 30 cells each is 80 small arrays. One by one they take longer to hand over between processes
and to copy to a GPU than the network takes to compute; packed, a step is six arrays.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from sartorius.detectron.cell_masks import CellMasks


class PackedPictures(NamedTuple):
    """Pictures as `TrainingMapper` makes them, their arrays put together.

    planes: the uint8 pixels of all pictures in a row. sizes_hw: (height, width) of each picture.
    boxes_xyxy, classes, corners_xy: (M, 4), (M,) and (M, 2), the cells of all pictures in a row, of which `counts` has
        the number in each. mask_pixels: their masks' pixels in a row, `mask_sides` squared for each cell of a picture.
    scales_xy: (pictures, 2). facts: everything else about each picture.
    """

    planes: Tensor
    sizes_hw: list[tuple[int, int]]
    boxes_xyxy: Tensor
    classes: Tensor
    corners_xy: Tensor
    counts: list[int]
    mask_pixels: Tensor
    mask_sides: list[int]
    scales_xy: Tensor
    facts: list[dict[str, Any]]


def packed(pictures: Sequence[dict[str, Any]]) -> PackedPictures:
    """The pictures, at least one, as one record."""
    cells = [picture["instances"] for picture in pictures]
    masks = [own.gt_masks for own in cells]
    return PackedPictures(
        planes=torch.cat([picture["image"].flatten() for picture in pictures]),
        sizes_hw=[own.image_size for own in cells],
        boxes_xyxy=torch.cat([own.gt_boxes.tensor for own in cells]),
        classes=torch.cat([own.gt_classes for own in cells]),
        corners_xy=torch.cat([own.corners_xy for own in masks]),
        counts=[len(own) for own in cells],
        mask_pixels=torch.cat([own.pixels.flatten() for own in masks]),
        mask_sides=[own.pixels.shape[2] for own in masks],
        scales_xy=torch.stack([own.scale_xy for own in masks]),
        facts=[
            {key: value for key, value in picture.items() if key not in ("image", "instances")}
            for picture in pictures
        ],
    )


def unpacked(pack: PackedPictures, device: torch.device) -> list[dict[str, Any]]:
    """The pictures that were packed, every array on the device."""
    arrays = {
        name: array.to(device, non_blocking=True)
        for name, array in pack._asdict().items()
        if isinstance(array, Tensor)
    }
    planes = arrays["planes"].split([rows * cols for rows, cols in pack.sizes_hw])
    of_picture = [arrays[name].split(pack.counts) for name in ("boxes_xyxy", "classes", "corners_xy")]
    squares = [side**2 for side in pack.mask_sides]
    pixels = arrays["mask_pixels"].split(
        [count * square for count, square in zip(pack.counts, squares, strict=True)]
    )
    pictures = []
    for number, (boxes, classes, corners) in enumerate(zip(*of_picture, strict=True)):
        side = pack.mask_sides[number]
        cells = Instances(pack.sizes_hw[number])
        cells.gt_boxes = Boxes(boxes)
        cells.gt_classes = classes
        own_pixels = pixels[number].view(len(boxes), side, side)
        cells.gt_masks = CellMasks(own_pixels, corners, arrays["scales_xy"][number])
        plane = planes[number].view(1, *pack.sizes_hw[number])
        facts = {key: _moved(value, device) for key, value in pack.facts[number].items()}
        pictures.append(facts | {"image": plane, "instances": cells})
    return pictures


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
