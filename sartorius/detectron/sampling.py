"""Random draws inside the network that depend on the picture alone.

Anchors and proposals are sampled from torch's global generator. Seeding it for each picture makes the losses of a
picture the same whichever batch, process or resumed run it is seen in.
"""

from collections import deque
from collections.abc import Iterable

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import ImageList
from torch import Tensor, nn

from sartorius.detectron.quick import quicken


class PictureSeeds:
    """The seeds of the pictures of one forward pass, taken one after the other."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()

    def expect(self, seeds: Iterable[int]) -> None:
        """Take these seeds for the next pass; what an earlier pass left is forgotten."""
        self._waiting = deque(seeds)

    def apply_next(self) -> None:
        """Seed torch for the next picture; without seeds its generator goes on as it was."""
        if self._waiting:
            torch.manual_seed(self._waiting.popleft())


class CellHeads:
    """Laid over detectron2's heads: proposals are sampled by the picture's own seed, and each type has a least score."""

    def __init__(self, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> None:
        super().__init__(cfg, input_shape)
        self.seeds = PictureSeeds()
        self.register_buffer("min_scores", torch.tensor(cfg.MODEL.ROI_HEADS.MIN_SCORES), persistent=False)
        self.most_detections = cfg.TEST.DETECTIONS_PER_IMAGE
        stages = self.box_predictor if isinstance(self.box_predictor, nn.ModuleList) else [self.box_predictor]
        for stage in stages:
            stage.test_topk_per_image = -1  # capped here, when those below their type's least score are gone

    def _forward_box(self, *arguments: object) -> object:
        """Losses in training; otherwise detections, before a mask is drawn of any."""
        found = super()._forward_box(*arguments)
        if self.training:
            return found
        return [
            image[image.scores >= self.min_scores[image.pred_classes]][: self.most_detections]
            for image in found
        ]

    def _sample_proposals(self, *matches: Tensor) -> tuple[Tensor, Tensor]:
        self.seeds.apply_next()
        return super()._sample_proposals(*matches)


class CellRCNN(GeneralizedRCNN):
    """detectron2's Mask R-CNN of quicker layers, which hands each training picture's `seed` to where it draws at random."""

    @configurable
    def __init__(self, **parts: object) -> None:
        super().__init__(**parts)
        quicken(self)

    def forward(self, batched_inputs: list[dict[str, object]]) -> object:
        """Losses in training, detections otherwise."""
        if self.training and "seed" in batched_inputs[0]:
            seeds = [int(picture["seed"]) for picture in batched_inputs]
            self.proposal_generator.seeds.expect(seeds)
            self.roi_heads.seeds.expect(seed + 1 for seed in seeds)
        return super().forward(batched_inputs)

    def preprocess_image(self, batched_inputs: list[dict[str, object]]) -> ImageList:
        """The normalised, padded pictures, of `image` (3, H, W), or (1, H, W) of grey ones, uint8 or float32.

        The channels of a pixel lie side by side on a GPU, whose bfloat16 convolutions compute so, and on a CPU where no
        gradient is needed: there direct convolutions, as the first layer's, are up to a third faster that way, and
        their gradients half as slow again.
        """
        images = super().preprocess_image(batched_inputs)
        stem = self.backbone.bottom_up.stem
        frozen = not any(parameter.requires_grad for parameter in stem.parameters())
        if images.tensor.is_cuda or frozen or not self.training:
            images.tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        return images


if CellRCNN.__name__ not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(CellRCNN)
