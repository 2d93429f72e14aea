"""Settings of a training run: steps, rates, what is frozen, averaged and kept."""

from typing import Annotated, Literal

from pydantic import Field

from sartorius.config.architecture import Count, Positive
from sartorius.config.reading import FrozenSettings


class SolverSettings(FrozenSettings):
    """How the weights are found."""

    iterations: Count = Field(default=10_000, description="Optimiser steps.")
    batch_size: Count = Field(default=2, description="Images per step over all GPUs.")
    accumulation: Count = Field(
        default=1,
        description="Parts that the images of a step are divided into, computed one after the other: a big batch in "
        "the memory of a small one, with the same losses and gradients where pictures have one size, as with `crop_px`.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Number format of matrix products in training; bfloat16 needs a GPU of capability 8.0 or a CPU "
        "with AVX512 or AMX.",
    )
    cuda_graphs: bool = Field(
        default=False,
        description="On one GPU: record the backbone's kernels once and replay them, where launching each takes longer "
        "than computing it; needs `crop_px`, so that pictures have one size, and holds the backbone's memory all along.",
    )
    optimizer: Literal["sgd", "adamw"] = Field(
        default="sgd", description="What takes the steps: SGD with momentum .9, or AdamW."
    )
    base_lr: Positive = Field(default=5.0e-4, description="Learning rate after warm-up.")
    backbone_lr_factor: Positive = Field(
        default=1.0,
        description="Factor on the rate of the residual network, for one that knows more than what stands on it.",
    )
    warmup_iterations: Annotated[int, Field(ge=0)] = Field(
        default=500, description="Steps of linear warm-up; at most a quarter of `iterations` is, or one."
    )
    average_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Weight of the past in the running average of the weights (EMA), which is what is validated and "
        "exported; .998 averages over about 500 steps, 0 is off.",
    )
    schedule: Literal["cosine", "steps"] = Field(
        default="cosine", description="How the rate falls after warm-up."
    )
    step_fractions: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.7, 0.9),
        description="With `schedule: steps`: fractions of `iterations` at which the rate falls by 10.",
    )
    swa_checkpoints: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Last checkpoints whose mean of weights (SWA) is a candidate at the end: kept if it scores higher "
        "than the best one, or if nothing is validated; 0 is off.",
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Evaluations in a row without a better score after which training stops early; 0 never stops.",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=1.0e-4,
        description="L2 penalty; with AdamW the share, times the rate, that weights lose in a step.",
    )
    clip_gradient_norm: Positive | None = Field(
        default=None,
        description="Largest gradient norm per parameter; null is off. AdamW's steps hardly depend on it.",
    )
    freeze_stages: Annotated[int, Field(ge=0, le=5)] = Field(
        default=2, description="Residual stages kept frozen, 1 is the stem."
    )
    train_only: tuple[Literal["box_refinement_head", "mask_head", "mask_iou_head"], ...] = Field(
        default=(),
        description="Train these heads alone, on what the network finds: all other weights stay what `--weights` gives; "
        "with none, what `freeze_stages` leaves is trained.",
    )
    rpn_batch: Count = Field(default=256, description="Anchors per image that train the proposal network.")
    roi_batch: Count = Field(default=128, description="Proposals per image that train the heads.")
    checkpoint_period: Count = Field(default=500, description="Steps between checkpoints.")
    evaluation_period: Annotated[int, Field(ge=0)] = Field(
        default=1000,
        description="Steps between evaluations on the validation fold; 0 evaluates only at the end.",
    )
    data_workers: Annotated[int, Field(ge=0)] = Field(
        default=2, description="Processes that load training images."
    )
    validation_score: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="Score threshold of the validation metric, fixed so that it is not tuned on what it judges.",
    )
