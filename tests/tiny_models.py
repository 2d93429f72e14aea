"""A model small enough to train and predict in a test, and images to do it on."""

from pathlib import Path

import numpy as np
import pandas as pd

from sartorius.config import ModelSettings
from sartorius.config.architecture import ONLY_OF_BOXES

TINY = ModelSettings(
    backbone="r50_thin",
    pyramid_channels=16,
    box_head_channels=16,
    mask_head_channels=16,
    freeze_stages=0,
    crop_px=64,
    iterations=4,
    warmup_iterations=1,
    base_lr=1.0e-3,
    checkpoint_period=2,
    evaluation_period=0,
    data_workers=0,
    roi_batch=16,
    rpn_batch=32,
    proposals_before_nms=50,
    proposals_after_nms=50,
    detections_per_image=20,
    min_score=0.0,
    input_scale=1.0,
    detectron={"MODEL.RESNETS.NORM": "GN"},
)

TINY_FLOWS = ModelSettings(
    network="flows",
    **{key: getattr(TINY, key) for key in TINY.model_fields_set - {*ONLY_OF_BOXES, "network"}},
)


def write_tiny_data(folder: Path, images: int = 4) -> Path:
    """A data set in the competition's layout: bright squares on noise, one cell type after the other."""
    import cv2

    rng = np.random.default_rng(5)
    height, width = 72, 96
    rows = []
    (folder / "train").mkdir(parents=True)
    for number in range(images):
        image = rng.integers(90, 130, (height, width), dtype=np.uint8)
        for row, col in ((8, 10), (40, 60)):
            image[row : row + 12, col : col + 16] = 220
            text = " ".join(f"{(row + line) * width + col + 1} 16" for line in range(12))
            rows.append((f"image{number}", text, width, height, ("shsy5y", "astro", "cort")[number % 3]))
        cv2.imwrite(str(folder / "train" / f"image{number}.png"), image)
    table = pd.DataFrame(rows, columns=["id", "annotation", "width", "height", "cell_type"])
    table.to_csv(folder / "train.csv", index=False)
    return folder
