"""Settings of a trained model's inference: how many proposals and detections, which are kept, how it computes."""

from typing import Annotated, Literal

from pydantic import Field

from sartorius.config.architecture import Count
from sartorius.config.per_type import FractionPerType
from sartorius.config.reading import FrozenSettings


class InferenceSettings(FrozenSettings):
    """What is kept of what the network finds, and in which numbers it computes."""

    proposals_before_nms: Count = Field(default=2000, description="Proposals per pyramid level before NMS.")
    proposals_after_nms: Count = Field(default=2000, description="Proposals per image after NMS.")
    detections_per_image: Annotated[int, Field(ge=1)] = Field(
        default=1000, description="Most detections of one image; one shsy5y image has 790 cells."
    )
    min_score: FractionPerType = Field(
        default=0.05,
        description="Lowest score that is kept at all, one for all cell types or one for each. No mask is drawn below "
        "it, so the thresholds that a single model's detections are cut at anyway save the mask head's work.",
    )
    box_nms_iou: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="NMS between a model's own detections."
    )
    box_voting_sigma: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Above 0 a detection's box is the mean of all boxes that the box head gave for it before NMS, each "
        "weighted by exp(-(1 - IoU)² / box_voting_sigma) and its score's square; at 0 it is the best one. 0.06 is good.",
    )
    cpu_convolutions: Literal["float32", "int8"] = Field(
        default="float32",
        description="Numbers that the convolutions of backbone, pyramid and proposal network, or of a network of flows, compute with on a CPU. int8 "
        "saves a quarter of the time, two fifths (of flows half) where the processor has 8-bit dot products, changes results by rounding, and needs weights of "
        "`sartorius export --calibrate`. GPUs take `gpu_precision`.",
    )
    gpu_precision: Literal["float32", "float16", "bfloat16"] = Field(
        default="float16",
        description="Number format of convolutions and matrix products in inference on a GPU; everything after them, and "
        "all of it on a CPU, is in float32. float16 keeps 11 bits of a number, as the TF32 that torch convolves float32 "
        "with on such GPUs does; bfloat16 keeps 8 and is for networks whose numbers pass 65504.",
    )
