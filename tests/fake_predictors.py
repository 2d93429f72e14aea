"""Predictors that need no model: they know the truth and find it a little wrong."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius import rle
from sartorius.cells import Cells, annotated, no_cells
from sartorius.config.members import ViewSettings
from sartorius.rle import CocoRle, coco_from_crop, crop_from_coco

SOFT_SIDE = 28


class JitteredTruth:
    """Finds every true cell, moved by up to a pixel, with a soft mask; every model and view errs in its own way."""

    def __init__(self, truth: Mapping[str, Cells], name: str = "fake", **config: object) -> None:
        self.truth = truth
        self.weights_sha256 = hashlib.sha256(name.encode()).hexdigest()
        self.config: dict[str, object] = {"backbone": name, **config}
        self.seen: list[tuple[str, str]] = []

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        self.seen.append((image_id, view.name))
        true = self.truth[image_id]
        assert image.shape == true.size_hw
        key = hashlib.sha256(f"{self.weights_sha256}{image_id}{view.name}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(key[:8], "big"))
        masks = tuple(_moved(mask, rng) for mask in true.masks)
        return Cells(
            image_id=image_id,
            size_hw=true.size_hw,
            masks=masks,
            scores=rng.uniform(0.7, 0.99, len(true)).astype(np.float32),
            cell_types=true.cell_types,
            sources=np.full(len(true), "whatever"),
            soft_masks=np.array([_soft(mask) for mask in masks], np.uint8).reshape(-1, SOFT_SIDE, SOFT_SIDE),
            soft_boxes_xyxy=rle.boxes_xyxy(masks),
        )


class Blind(JitteredTruth):
    """Finds nothing."""

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        self.seen.append((image_id, view.name))
        return no_cells(image_id, (image.shape[0], image.shape[1]))


def _moved(mask: CocoRle, rng: np.random.Generator) -> CocoRle:
    crop = crop_from_coco(mask)
    rows, cols = crop.pixels.shape
    row = int(np.clip(crop.row + rng.integers(-1, 2), 0, mask.size_hw[0] - rows))
    col = int(np.clip(crop.col + rng.integers(-1, 2), 0, mask.size_hw[1] - cols))
    return coco_from_crop(crop._replace(row=row, col=col), mask.size_hw)


def _soft(mask: CocoRle) -> NDArray[np.uint8]:
    pixels = crop_from_coco(mask).pixels.astype(np.uint8) * 255
    return np.asarray(cv2.resize(pixels, (SOFT_SIDE, SOFT_SIDE), interpolation=cv2.INTER_LINEAR))


def disc(size_hw: tuple[int, int], row: int, col: int, radius: float) -> CocoRle:
    """A round mask."""
    rows, cols = np.ogrid[: size_hw[0], : size_hw[1]]
    return rle.coco_from_dense((rows - row) ** 2 + (cols - col) ** 2 <= radius**2)


def small_truth() -> dict[str, Cells]:
    """Three images: two with a few cells of one type, one with none."""
    size_hw = (40, 56)
    cort = [disc(size_hw, 10, 10, 6), disc(size_hw, 10, 30, 5), disc(size_hw, 30, 44, 7)]
    astro = [disc(size_hw, 20, 16, 9), disc(size_hw, 20, 40, 8)]
    return {
        "astro_image": annotated("astro_image", size_hw, astro, ["astro"] * 2),
        "cort_image": annotated("cort_image", size_hw, cort, ["cort"] * 3),
        "empty_image": no_cells("empty_image", size_hw),
    }


def written_images(folder: Path, truth: Mapping[str, Cells]) -> dict[str, Path]:
    """One grey PNG for each image."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {image_id: folder / f"{image_id}.png" for image_id in truth}
    for image_id, path in paths.items():
        cv2.imwrite(str(path), np.full(truth[image_id].size_hw, 127, np.uint8))
    return paths


ENSEMBLE_YAML = """\
members:
  - {name: r50, model: r50.yaml, weights: r50.safetensors}
  - {name: x101, model: x101.yaml, weights: x101.safetensors}
views:
  - flip: none
  - flip: horizontal
postprocess:
  score_threshold: 0.5
  min_area_px: 5
"""
SOURCES = ("r50/none", "r50/horizontal", "x101/none", "x101/horizontal")


def small_ensemble(folder: Path) -> Path:
    """An ensemble file of two models and two views."""
    path = folder / "ensemble.yaml"
    path.write_text(ENSEMBLE_YAML)
    return path


def two_predictors(truth: Mapping[str, Cells]) -> dict[str, JitteredTruth]:
    """A predictor for each member of `small_ensemble`."""
    return {"r50": JitteredTruth(truth, "r50"), "x101": JitteredTruth(truth, "x101")}
