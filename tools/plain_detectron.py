"""The same model run by plain detectron2: its own classes, `DefaultPredictor` and `DefaultTrainer`'s step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, build_detection_train_loader, transforms
from detectron2.engine import DefaultPredictor, DefaultTrainer

from sartorius.config import ModelSettings
from sartorius.data.competition import read_truth
from sartorius.data.dataset_dicts import dataset_dicts
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.weights import load_trained


def plain_config(settings: ModelSettings, height_px: int, device: str) -> CfgNode:
    """The model's configuration with detectron2's own network classes, and an image's height in network pixels."""
    cfg = detectron_config(settings, device).clone()
    cfg.defrost()
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "RPN"
    cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads" if settings.cascade else "StandardROIHeads"
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.MODEL.WEIGHTS = ""
    cfg.DATASETS.TEST = ()
    if settings.clip_gradient_norm is not None:
        clip = cfg.SOLVER.CLIP_GRADIENTS
        clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE = True, "norm", settings.clip_gradient_norm
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = round(height_px * settings.input_scale), 100_000
    cfg.freeze()
    return cfg


def plain_predictor(settings: ModelSettings, weights: Path, height_px: int, device: str) -> DefaultPredictor:
    """detectron2's `DefaultPredictor` with these weights."""
    predictor = DefaultPredictor(plain_config(settings, height_px, device))
    load_trained(predictor.model, weights)
    return predictor


class PlainTrainer(DefaultTrainer):
    """detectron2's `DefaultTrainer` on the same pictures: crops of the same size, resized and flipped the same way."""

    def __init__(
        self, settings: ModelSettings, csv: Path, images: Mapping[str, Path], ids: list[str], device: str
    ) -> None:
        self._settings = settings
        self._dicts = dataset_dicts(read_truth(csv, set(ids)), images, settings.cell_types)
        super().__init__(plain_config(settings, 520, device))

    def build_train_loader(self, cfg: CfgNode) -> Any:
        """Batches through detectron2's `DatasetMapper`, masks as run lengths."""
        settings = self._settings
        assert settings.crop_px is not None, "the benchmark trains on crops"
        window = round(settings.crop_px / settings.input_scale)
        steps = [
            transforms.RandomCrop("absolute", (window, window)),
            transforms.Resize((settings.crop_px, settings.crop_px)),
            transforms.RandomFlip(horizontal=True, vertical=False),
            transforms.RandomFlip(horizontal=False, vertical=True),
        ]
        mapper = DatasetMapper(
            is_train=True,
            augmentations=steps,
            image_format="BGR",
            use_instance_mask=True,
            instance_mask_format="bitmask",
            recompute_boxes=True,
        )
        return build_detection_train_loader(
            self._dicts,
            mapper=mapper,
            total_batch_size=settings.batch_size,
            num_workers=settings.data_workers,
            aspect_ratio_grouping=False,
        )

    def build_hooks(self) -> list[Any]:
        """None: only the step is timed."""
        return []
