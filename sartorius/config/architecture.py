"""Settings of a model's network: backbone, anchors, heads and what they are trained to minimise."""

from typing import Annotated, Literal

from pydantic import Field

from sartorius.config.reading import FrozenSettings

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

#: Keys that `network: flows` has no use for; they hold for boxes and for masks drawn in them.
ONLY_OF_BOXES = (
    "pyramid_channels", "cascade", "box_head_channels", "box_loss", "class_weights", "mask_head_channels", "mask_loss",
    "box_refinement_head", "mask_iou_head", "anchor_sizes_px", "anchor_ratios", "train_only", "rpn_batch", "roi_batch",
    "cuda_graphs", "proposals_before_nms", "proposals_after_nms", "box_nms_iou", "box_voting_sigma",
)  # fmt: skip
#: Keys of the heads that look at finished detections; a network has them or not, and they are trained on what it finds.
DETECTION_HEADS = ("box_refinement_head", "mask_iou_head")


class ArchitectureSettings(FrozenSettings):
    """The network and its losses."""

    network: Literal["mask_rcnn", "flows"] = Field(
        default="mask_rcnn",
        description="mask_rcnn finds boxes and draws a mask in each; flows draws, in every pixel of a cell, the way to its centre, "
        "and pixels that flow together are a cell (Cellpose), so that its errors are of another kind.",
    )
    backbone: Literal["r50", "r50_thin", "r101", "r152", "x101_32x8d"] = Field(
        default="r50",
        description="Residual network under the feature pyramid, or a U-Net's way down; r50_thin has half of r50's channels.",
    )
    backbone_stages: Literal[4, 5] = Field(
        default=5,
        description="Residual stages that are used, the stem being 1. 4 leaves out the widest one, with stride 32, "
        "and half of the weights: cells of 15 to 60 px do not need it.",
    )
    first_stride: Literal[1, 2] = Field(
        default=2,
        description="Stride of the stem's convolution. 1 keeps twice the resolution in every level (strides 2 to 32) "
        "without resizing the image, at four times the work: the 11th place's native resolution.",
    )
    pyramid_channels: Count = Field(default=256, description="Channels of every pyramid level.")
    cascade: bool = Field(
        default=False,
        description="Three box heads in a row, each trained on the boxes of the one before at IoU .5, .6 and .7 "
        "(Cascade Mask R-CNN), instead of one.",
    )
    box_head_channels: Count = Field(
        default=1024, description="Width of the box head's two fully connected layers."
    )
    box_loss: Literal["smooth_l1", "giou", "diou", "ciou"] = Field(
        default="smooth_l1",
        description="What the box heads minimise: the distance of the box's four numbers, or one minus a generalised "
        "IoU (weighted by 10, as is usual, to be of the same size).",
    )
    class_weights: dict[str, Positive] = Field(
        default_factory=dict,
        description="Factor on the classification loss of proposals on cells of a type, for example {astro: 2.0}; "
        "types that are left out, and the background, have 1.",
    )
    mask_head_channels: Count = Field(
        default=256, description="Channels of the mask head's four convolutions."
    )
    mask_grid_px: Literal[28, 56] = Field(
        default=28,
        description="Side of the grid that a cell's mask is drawn on; 56 keeps thin processes of astrocytes and costs "
        "four times the mask head's work.",
    )
    mask_loss: Literal["bce", "dice", "bce_dice"] = Field(
        default="bce",
        description="What the mask head minimises: cross entropy of each pixel, one minus the mask's Dice overlap "
        "(which does not drown small cells in background), or the sum of both.",
    )
    box_refinement_head: bool = Field(
        default=False,
        description="A small head that takes a second look at each detection's box, at the features of the mask head, and "
        "moves its edges before the mask is drawn. Trained on what the network finds, it can be added to a trained network.",
    )
    mask_iou_head: bool = Field(
        default=False,
        description="A small head that foresees how well a detection's mask fits (Mask Scoring R-CNN). Scores become "
        "geometric means of both: thresholds and overlaps are decided by a better order. `min_score` is still the box head's.",
    )
    cell_types: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=("shsy5y", "astro", "cort"), description="Classes, in the order of the class indices."
    )
    anchor_sizes_px: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        default=(8.0, 16.0, 32.0, 64.0, 128.0),
        description="Anchor side of each pyramid level in network input pixels: strides 4 to 64, with "
        "`backbone_stages: 4` 4 to 32. detectron2's 32–512 would miss cells of 15 px.",
    )
    anchor_ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        default=(0.5, 1.0, 2.0), description="Height over width of the anchors of every size."
    )
