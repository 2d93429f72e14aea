import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks

from sartorius.detectron.cell_masks import CellMasks
from sartorius.rle import Crop


def crops_and_stack() -> tuple[list[Crop], torch.Tensor]:
    rng = np.random.default_rng(0)
    crops = [
        Crop(3, 5, rng.random((9, 7)) < 0.7),
        Crop(0, 0, np.ones((4, 11), dtype=bool)),
        Crop(20, 22, rng.random((12, 10)) < 0.5),  # touches the lower right corner of 32 × 32
    ]
    stack = torch.zeros((3, 32, 32), dtype=torch.bool)
    for row, crop in enumerate(crops):
        height, width = crop.pixels.shape
        stack[row, crop.row : crop.row + height, crop.col : crop.col + width] = torch.from_numpy(crop.pixels)
    return crops, stack


@pytest.mark.parametrize("mask_size", [7, 28])
def test_targets_are_those_of_detectron2s_full_size_masks(mask_size: int) -> None:
    crops, stack = crops_and_stack()
    boxes = torch.tensor([[4.3, 2.1, 13.7, 12.2], [0.0, 0.0, 12.5, 5.0], [18.2, 17.9, 31.8, 31.1]])
    expected = BitMasks(stack).crop_and_resize(boxes, mask_size)
    assert torch.equal(
        CellMasks.from_crops(crops, (32, 32), (1.0, 1.0)).crop_and_resize(boxes, mask_size), expected
    )
    assert expected.any()


def test_boxes_in_network_pixels_sample_the_mask_in_image_pixels() -> None:
    crops, _ = crops_and_stack()
    boxes = torch.tensor([[4.0, 2.0, 13.0, 12.0], [0.0, 0.0, 12.0, 5.0], [18.0, 17.0, 31.0, 31.0]])
    plain = CellMasks.from_crops(crops, (32, 32), (1.0, 1.0)).crop_and_resize(boxes, 14)
    scaled = CellMasks.from_crops(crops, (32, 32), (2.0, 1.5)).crop_and_resize(
        boxes * torch.tensor([2.0, 1.5, 2.0, 1.5]), 14
    )
    assert torch.equal(plain, scaled)


def test_chosen_rows_keep_their_places() -> None:
    crops, stack = crops_and_stack()
    box = torch.tensor([[18.2, 17.9, 31.8, 31.1]])
    chosen = CellMasks.from_crops(crops, (32, 32), (1.0, 1.0))[torch.tensor([2])]
    assert torch.equal(chosen.crop_and_resize(box, 28), BitMasks(stack[2:]).crop_and_resize(box, 28))


def test_a_mask_chosen_for_many_boxes_is_kept_once() -> None:
    crops, stack = crops_and_stack()
    masks = CellMasks.from_crops(crops, (32, 32), (1.0, 1.0))
    rows = torch.tensor([2, 0, 2, 2, 1, 2, 0])
    boxes = torch.tensor([[18.2, 17.9, 31.8, 31.1], [1.0, 2.0, 9.0, 12.0]]).repeat(4, 1)[: len(rows)]
    many = masks[rows].to("cpu")
    assert len(many) == len(rows) > len(many.pixels) == len(crops)
    assert torch.equal(many.crop_and_resize(boxes, 28), BitMasks(stack[rows]).crop_and_resize(boxes, 28))
    assert torch.equal(
        many[rows >= 2].crop_and_resize(boxes[:4], 14), masks[rows[rows >= 2]].crop_and_resize(boxes[:4], 14)
    )


def test_no_masks_give_no_targets() -> None:
    none = CellMasks.from_crops([], (32, 32), (1.5, 1.5))
    assert len(none) == 0
    assert none.crop_and_resize(torch.zeros((0, 4)), 28).shape == (0, 28, 28)
