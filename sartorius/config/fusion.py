"""Settings of the fusion strategies and of the clean-up after them.

Each strategy has its own model and takes only the options that it uses.
"""

from typing import Annotated, Literal

from pydantic import Field

from sartorius.config.per_type import Fraction, FractionPerType, PixelsPerType
from sartorius.config.reading import FrozenSettings

Power = Annotated[float, Field(ge=0, le=8)]
_BOX_IOU = "Boxes that overlap by more than this are one cell."


class JoiningSettings(FrozenSettings):
    """What every strategy shares."""

    across_types: bool = Field(
        default=True,
        description="Detections of different types may be one cell: an image holds one type, a model may err on it.",
    )
    mask_score_power: Power = Field(
        default=0.0,
        description="Scores are multiplied by the mean probability inside the mask to this power: 1 gained .01 COCO "
        "AP on astro, 0 leaves them alone.",
    )


class ClusterSettings(JoiningSettings):
    """What every strategy shares that puts detections of the same cell together."""

    score: Literal["best", "mean"] = Field(
        default="best",
        description="Score of the best detection of a cell, or the weighted mean of one per source.",
    )
    agreement_power: Power = Field(
        default=0.0,
        description="Scores are multiplied by the found share of the sources' weights to this power: 1 is what "
        "weighted box fusion does, 0 ignores how many sources agree.",
    )
    vote_iou_power: Power = Field(
        default=0.0,
        description="Scores are multiplied by the mean IoU of the votes' masks with that of the surest vote, to this power: "
        "where views draw a cell differently, its outline is a guess. A cell with one vote keeps its score.",
    )
    min_votes: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Cells found by fewer sources are dropped."
    )


class NmsSettings(ClusterSettings):
    """Box NMS over all sources; the surviving row keeps its own mask."""

    method: Literal["nms"] = "nms"
    min_iou: Fraction = Field(default=0.4, description=_BOX_IOU)


class LinearDecay(FrozenSettings):
    """Scores fall by the share 1 - IoU for each better box over `min_iou`."""

    kind: Literal["linear"] = "linear"
    min_iou: Fraction = Field(
        default=0.4, description="Boxes that overlap by more than this lower the worse one's score."
    )


class GaussianDecay(FrozenSettings):
    """Scores fall by exp(-IoU² / sigma) for each better box."""

    kind: Literal["gaussian"] = "gaussian"
    sigma: Annotated[float, Field(gt=0, le=10)] = Field(
        default=0.5, description="Smaller values lower scores more."
    )


class SoftNmsSettings(JoiningSettings):
    """Soft box NMS: overlapping rows lose score instead of being dropped; each row keeps its own mask."""

    method: Literal["soft_nms"] = "soft_nms"
    decay: Annotated[LinearDecay | GaussianDecay, Field(discriminator="kind")] = GaussianDecay()
    min_score: Fraction = Field(
        default=0.001, description="Rows whose lowered score is not above this are dropped."
    )


class NmwSettings(ClusterSettings):
    """Non-maximum weighted: each row joins the best box that it overlaps most, which keeps its own mask."""

    method: Literal["nmw"] = "nmw"
    min_iou: Fraction = Field(default=0.4, description=_BOX_IOU)


class WbfSettings(ClusterSettings):
    """Weighted box fusion: rows join running mean boxes; the cell has its highest-weighted row's own mask."""

    method: Literal["wbf"] = "wbf"
    min_iou: Fraction = Field(
        default=0.55, description="Boxes that overlap a mean box by more than this are its cell."
    )
    score: Literal["best", "mean"] = Field(
        default="mean", description="As in every strategy; WBF takes the mean."
    )
    agreement_power: Power = Field(default=1.0, description="As in every strategy; WBF takes 1.")


class MaskNmsSettings(ClusterSettings):
    """NMS on the masks themselves; the surviving row keeps its own mask."""

    method: Literal["mask_nms"] = "mask_nms"
    min_iou: Fraction = Field(default=0.4, description="Masks with at least this IoU are one cell.")
    min_containment: Fraction | None = Field(
        default=0.8,
        description="So are masks that share at least this part of the smaller one; null looks at IoU alone.",
    )


class MasksSettings(ClusterSettings):
    """Clusters on mask IoU, one vote per source, weighted mean of the soft masks."""

    method: Literal["masks"] = "masks"
    min_iou: Fraction = Field(
        default=0.5, description="A mask joins the seed that it overlaps by at least this IoU."
    )
    second_of_source: Literal["keep", "drop"] = Field(
        default="keep",
        description="What becomes of a source's other detections of a cell that it has voted for: they stay and may "
        "be cells of their own, or they are dropped.",
    )
    mask_threshold: FractionPerType = Field(
        default=0.5, description="Mean probability from which a pixel is cell."
    )
    weigh_masks_by_score: bool = Field(
        default=True,
        description="A mask counts by its source's weight times its score; false: by its source's alone.",
    )
    score: Literal["best", "mean"] = Field(default="mean", description="As in every strategy.")
    agreement_power: Power = Field(
        default=1.0,
        description="As in every strategy; 1, for a cell that few sources see is likely to be none.",
    )


FusionSettings = Annotated[
    NmsSettings | SoftNmsSettings | NmwSettings | WbfSettings | MaskNmsSettings | MasksSettings,
    Field(discriminator="method"),
]


class PostprocessSettings(FrozenSettings):
    """The clean-up after fusion, in this order; minimum areas hold before and after overlap removal."""

    type_rule: Literal["vote", "none"] = Field(
        default="vote",
        description="vote: an image holds one type, all its cells take the one with the highest sum of scores; "
        "none: each cell keeps its own.",
    )
    score_threshold: FractionPerType = Field(default=0.5, description="Cells with a lower score are dropped.")
    max_hole_px: PixelsPerType = Field(default=0, description="Holes of at most this size are filled.")
    min_island_px: PixelsPerType = Field(
        default=0, description="Detached parts smaller than this are cut off; the largest part always stays."
    )
    min_area_px: PixelsPerType = Field(
        default=0, description="Smaller cells are dropped, before and after overlap removal."
    )
    nms_iou: FractionPerType = Field(
        default=1.0,
        description="Cells whose mask overlaps a surer cell's by at least this IoU are dropped, where overlap removal "
        "would keep what the surer one leaves of them; 1 drops none.",
    )
    label_fill_types: tuple[str, ...] = Field(
        default=(),
        description="Cell types whose outlines are filled as the competition's labels were, by a rule for convex "
        "polygons: upward branches hollow, webs between legs filled.",
    )
