"""Detections and cells in pictures of 64 × 64, and networks that find some, for the tests of heads that look at detections."""

from typing import Any

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from tiny_models import TINY

from sartorius.config import ModelSettings
from sartorius.detectron.cell_masks import CellMasks
from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.detectron.settings import detectron_config
from sartorius.rle import Crop


def built(settings: ModelSettings) -> torch.nn.Module:
    torch.manual_seed(8)
    return build_model(detectron_config(settings, "cpu"))


def cells_at(*boxes: tuple[int, int, int, int]) -> Instances:
    """Cells that fill their boxes, (left, top, width, height), in a picture of 64 × 64."""
    crops = [Crop(top, left, np.ones((height, width), dtype=bool)) for left, top, width, height in boxes]
    cells = Instances((64, 64))
    corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes], dtype=torch.float32)
    cells.gt_boxes = Boxes(corners.reshape(-1, 4))
    cells.gt_masks = CellMasks.from_crops(crops, (64, 64), (1.0, 1.0))
    return cells


def detections(*boxes: tuple[int, int, int, int]) -> Instances:
    """Detections whose masks fill their boxes but for the right half of the last one's."""
    found = Instances((64, 64))
    corners = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    found.pred_boxes = Boxes(torch.tensor(corners, dtype=torch.float32).reshape(-1, 4))
    found.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    found.pred_masks = torch.ones(len(boxes), 1, 28, 28)
    found.pred_masks[-1:, :, :, 14:] = 0.2
    return found


def picture(seed: int = 0) -> dict[str, Any]:
    pixels = np.random.default_rng(1).integers(90, 130, (64, 64), dtype=np.uint8)
    pixels[20:32, 20:36] = 220
    crop = Crop(20, 20, np.ones((12, 16), dtype=bool))
    return TrainingMapper(TINY)(TrainingImage("a", pixels, (crop,), np.zeros(1, dtype=np.int64)), seed)
