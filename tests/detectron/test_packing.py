from typing import Any

import numpy as np
import torch

from sartorius.config import ModelSettings
from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.detectron.packing import packed, unpacked
from sartorius.rle import Crop

MAPPER = TrainingMapper(ModelSettings(input_scale=1.0, flips=False))


def picture(size_hw: tuple[int, int], cells: list[Crop], seed: int) -> dict[str, Any]:
    pixels = np.random.default_rng(seed).integers(0, 255, size_hw, dtype=np.uint8)
    return MAPPER(TrainingImage(f"image{seed}", pixels, tuple(cells), np.arange(len(cells)) % 3), seed)


PICTURES = [
    picture((40, 60), [Crop(5, 8, np.ones((6, 9), bool)), Crop(20, 30, np.eye(8, dtype=bool))], 1),
    picture((32, 32), [], 2),
    picture((50, 20), [Crop(0, 0, np.ones((20, 18), bool))], 3),
]


def test_pictures_come_out_as_they_were_packed() -> None:
    came = unpacked(packed(PICTURES), torch.device("cpu"))
    assert len(came) == len(PICTURES)
    for own, other in zip(PICTURES, came, strict=True):
        assert own.keys() == other.keys()
        assert {key: own[key] for key in own.keys() - {"image", "instances"}} == {
            key: other[key] for key in other.keys() - {"image", "instances"}
        }
        assert torch.equal(own["image"], other["image"])
        cells, found = own["instances"], other["instances"]
        assert cells.image_size == found.image_size
        assert torch.equal(cells.gt_boxes.tensor, found.gt_boxes.tensor)
        assert torch.equal(cells.gt_classes, found.gt_classes)
        for name in ("pixels", "corners_xy", "scale_xy"):
            assert torch.equal(getattr(cells.gt_masks, name), getattr(found.gt_masks, name))


def test_a_step_travels_as_a_few_arrays_of_grey_values() -> None:
    pack = packed(PICTURES)
    tensors = [value for value in pack if isinstance(value, torch.Tensor)]
    assert len(tensors) == 6
    assert pack.planes.dtype == torch.uint8
    assert pack.planes.numel() == sum(one["image"].numel() for one in PICTURES)


def test_targets_of_flows_travel_with_their_picture() -> None:
    mapper = TrainingMapper(ModelSettings(network="flows", flips=False))
    pixels = np.zeros((40, 60), dtype=np.uint8)
    own = mapper(TrainingImage("p", pixels, (Crop(5, 8, np.ones((16, 19), bool)),), np.zeros(1, np.int64)), 1)
    (came,) = unpacked(packed([own]), torch.device("cpu"))
    assert own.keys() == came.keys()
    for name in ("flows", "cell_classes"):
        assert own[name].any()
        assert torch.equal(own[name], came[name])
    assert len(own["instances"]) == 0  # nobody asks for boxes and masks
