"""Settings of one model: architecture, data, training and inference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sartorius.config.reading import FrozenSettings, read_settings

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class ModelSettings(FrozenSettings):
    """Everything that makes one training run and its inference, folds, seeds and devices left to the command line."""

    hypothesis: str = Field("", description="Why this file exists: what an ablation should show.")

    # Architecture
    backbone: Literal["r50", "r50_thin", "x101_32x8d"] = Field(
        "r50", description="Residual network under the feature pyramid; r50_thin has half of r50's channels."
    )
    backbone_stages: Literal[4, 5] = Field(
        5,
        description="Residual stages that are used, the stem being 1. 4 leaves out the widest one, with stride 32, "
        "and half of the weights: cells of 15 to 60 px do not need it.",
    )
    pyramid_channels: Count = Field(256, description="Channels of every pyramid level.")
    box_head_channels: Count = Field(1024, description="Width of the box head's two fully connected layers.")
    mask_head_channels: Count = Field(256, description="Channels of the mask head's four convolutions.")
    cell_types: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("shsy5y", "astro", "cort"), description="Classes, in the order of the class indices."
    )
    anchor_sizes_px: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        (8.0, 16.0, 32.0, 64.0, 128.0),
        description="Anchor side of each pyramid level in network input pixels: strides 4 to 64, with "
        "`backbone_stages: 4` 4 to 32. detectron2's 32–512 would miss cells of 15 px.",
    )
    anchor_ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        (0.5, 1.0, 2.0), description="Height over width of the anchors of every size."
    )

    # Pixels
    normalisation: Literal["imagenet", "dataset"] = Field(
        "imagenet",
        description="Mean and std of the backbone's training (imagenet) or of the grey images, 127/15.",
    )
    input_scale: Annotated[float, Field(ge=0.25, le=8)] = Field(
        1.5,
        description="Network input pixels per image pixel; a resize factor, so that cells keep their size.",
    )

    # Training data
    crop_px: Annotated[int, Field(ge=32)] | None = Field(
        None,
        description="Side of the random training crop in network input pixels; null trains on whole images.",
    )
    scale_jitter: tuple[Positive, Positive] = Field(
        (0.8, 1.25), description="Lowest and highest random factor on `input_scale` in training."
    )
    flips: bool = Field(True, description="Random horizontal and vertical flips in training.")
    turns: bool = Field(
        False,
        description="Random quarter turns in training; with `flips` all eight orientations of a picture.",
    )
    colour_jitter: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Random brightness and contrast change in training; 0 is off: it cost .005 on the original.",
    )
    min_box_px: Annotated[float, Field(ge=0)] = Field(
        2.0, description="Cells cut by the crop to a narrower box (image pixels) are no training targets."
    )

    sampling: Literal["images", "types"] = Field(
        "images",
        description="How training images are drawn: each equally often, or images of rarer cell types more often, "
        "so that every type is seen equally often.",
    )

    # Solver
    iterations: Count = Field(10_000, description="Optimiser steps.")
    batch_size: Count = Field(2, description="Images per step over all GPUs.")
    base_lr: Positive = Field(5.0e-4, description="Learning rate after warm-up.")
    warmup_iterations: Annotated[int, Field(ge=0)] = Field(500, description="Steps of linear warm-up.")
    average_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Weight of the past in the running average of the weights (EMA), which is what is validated and "
        "exported; .998 averages over about 500 steps, 0 is off.",
    )
    schedule: Literal["cosine", "steps"] = Field("cosine", description="How the rate falls after warm-up.")
    step_fractions: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.7, 0.9),
        description="With `schedule: steps`: fractions of `iterations` at which the rate falls by 10.",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(1.0e-4, description="L2 penalty.")
    clip_gradient_norm: Positive | None = Field(
        None, description="Largest gradient norm per parameter; null is off."
    )
    freeze_stages: Annotated[int, Field(ge=0, le=5)] = Field(
        2, description="Residual stages kept frozen, 1 is the stem."
    )
    rpn_batch: Count = Field(256, description="Anchors per image that train the proposal network.")
    roi_batch: Count = Field(128, description="Proposals per image that train the heads.")
    checkpoint_period: Count = Field(500, description="Steps between checkpoints.")
    evaluation_period: Annotated[int, Field(ge=0)] = Field(
        1000, description="Steps between evaluations on the validation fold; 0 evaluates only at the end."
    )
    data_workers: Annotated[int, Field(ge=0)] = Field(2, description="Processes that load training images.")

    validation_score: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="Score threshold of the validation metric, fixed so that it is not tuned on what it judges.",
    )

    # Inference
    proposals_before_nms: Count = Field(2000, description="Proposals per pyramid level before NMS.")
    proposals_after_nms: Count = Field(2000, description="Proposals per image after NMS.")
    detections_per_image: Annotated[int, Field(ge=1)] = Field(
        1000, description="Most detections of one image; one shsy5y image has 790 cells."
    )
    min_score: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="Lowest score that is kept at all."
    )
    box_nms_iou: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="NMS between a model's own detections."
    )

    detectron: dict[str, Any] = Field(
        default_factory=dict,
        description="Any other detectron2 key by its dotted name, for example MODEL.RPN.NMS_THRESH: 0.6.",
    )

    @model_validator(mode="after")
    def _levels_have_anchors(self) -> Self:
        if len(self.anchor_sizes_px) != self.backbone_stages:
            raise ValueError(
                f"anchor_sizes_px needs one size for each of the {self.backbone_stages} pyramid levels, "
                f"got {len(self.anchor_sizes_px)}"
            )
        if self.scale_jitter[0] > self.scale_jitter[1]:
            raise ValueError(f"scale_jitter must be [lowest, highest], got {list(self.scale_jitter)}")
        return self


def load_model_settings(path: Path, overrides: Sequence[str] = ()) -> ModelSettings:
    """The model settings of a YAML file with `key=value` overrides on top; raises UserError naming file and key."""
    return read_settings(path, ModelSettings, overrides)
