"""The Mask R-CNN of our models: detectron2's, trained whole, or its heads alone while everything before them predicts."""

from collections.abc import Sequence
from functools import partial

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import ImageList, Instances
from torch import Tensor

from sartorius.detectron.mask_iou import predicting
from sartorius.detectron.quick import quicken
from sartorius.detectron.transfer import Answer, Output, fetched


class CellRCNN(GeneralizedRCNN):
    """detectron2's Mask R-CNN of quicker layers, which hands each training picture's `seed` to where it draws at random."""

    @configurable
    def __init__(self, *, train_only: Sequence[str], **parts: object) -> None:
        super().__init__(**parts)
        quicken(self)
        self._train_only = train_only
        if train_only:
            self.requires_grad_(False)
            for head in train_only:
                self.roi_heads.get_submodule(head).requires_grad_(True)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        """The arguments that a configuration stands for."""
        return super().from_config(cfg) | {"train_only": cfg.MODEL.ROI_HEADS.TRAIN_ONLY}

    def forward(self, batched_inputs: list[dict[str, object]]) -> object:
        """Losses in training, detections otherwise."""
        if self.training and self._train_only:
            return self._head_losses(batched_inputs)
        if self.training and "seed" in batched_inputs[0]:
            seeds = [int(picture["seed"]) for picture in batched_inputs]
            self.proposal_generator.seeds.expect(seeds)
            # once for proposals, once for detections
            self.roi_heads.seeds.expect([seed + 1 for seed in seeds] * 2)
        return super().forward(batched_inputs)

    def answers(
        self, batched_inputs: list[dict[str, object]], given: list[Instances] | None = None
    ) -> list[Answer]:
        """What is found in each picture, or thought of boxes with classes that are given for each, on the CPU."""
        found = self.inference(batched_inputs, given, do_postprocess=False)
        return [partial(_known, output) for output in fetched(found, as_bytes=given is None)]

    def remember(self, batched_inputs: list[dict[str, object]]) -> None:
        """Let a network of which heads alone are trained know these training pictures as if it had learnt from them."""
        self.roi_heads.remember(*self._before_heads(batched_inputs))

    def _head_losses(self, batched_inputs: list[dict[str, object]]) -> dict[str, Tensor]:
        """The losses of the only heads that are trained: everything before them predicts."""
        return self.roi_heads.detection_losses(*self._before_heads(batched_inputs), self._train_only)

    def _before_heads(
        self, batched_inputs: list[dict[str, object]]
    ) -> tuple[dict[str, Tensor], list[Instances], list[Instances]]:
        """The features, the proposals and the cells of training pictures."""
        self.roi_heads.seeds.expect(int(picture["seed"]) for picture in batched_inputs if "seed" in picture)
        with predicting(self):
            images = self.preprocess_image(batched_inputs)
            features = self.backbone(images.tensor)
            proposals, _ = self.proposal_generator(images, features)
        return features, proposals, [picture["instances"].to(self.device) for picture in batched_inputs]

    def preprocess_image(self, batched_inputs: list[dict[str, object]]) -> ImageList:
        """The normalised, padded pictures, of `image` (3, H, W), or (1, H, W) of grey ones, uint8 or float32.

        The channels of a pixel lie side by side on a GPU, whose bfloat16 convolutions compute so, and on a CPU where no
        gradient is needed: there direct convolutions, as the first layer's, are up to a third faster that way, and
        their gradients half as slow again.
        """
        images = self._together(batched_inputs) or super().preprocess_image(batched_inputs)
        stem = self.backbone.bottom_up.stem
        frozen = not any(parameter.requires_grad for parameter in stem.parameters())
        if images.tensor.is_cuda or frozen or not self.training:
            images.tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        return images

    def _together(self, batched_inputs: list[dict[str, object]]) -> ImageList | None:
        """Pictures of one size that needs no padding, normalised in one go; None if they are not such."""
        planes = [picture["image"] for picture in batched_inputs]
        height, width = planes[0].shape[1:]
        padded = height % self.backbone.size_divisibility or width % self.backbone.size_divisibility
        if padded or len({plane.shape for plane in planes}) > 1:
            return None
        pixels = torch.stack(planes).to(self.device)
        return ImageList((pixels - self.pixel_mean) / self.pixel_std, [(height, width)] * len(planes))


def _known(output: Output) -> Output:
    return output


if CellRCNN.__name__ not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(CellRCNN)
