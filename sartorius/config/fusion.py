"""Settings of the fusion strategies and of the clean-up after them."""

from typing import Annotated, Literal

from pydantic import Field

from sartorius.config.per_type import Fraction, FractionPerType, PixelsPerType
from sartorius.config.reading import FrozenSettings


class NmsSettings(FrozenSettings):
    """Box NMS over all sources; the surviving row keeps its own mask."""

    method: Literal["nms"] = "nms"
    min_iou: Fraction = Field(0.4, description="Boxes that overlap by more than this are one cell.")


class MasksSettings(FrozenSettings):
    """Clusters on mask IoU, one vote per source, weighted mean of the soft masks."""

    method: Literal["masks"] = "masks"
    min_iou: Fraction = Field(0.5, description="A mask joins the seed that it overlaps by at least this IoU.")
    min_votes: Annotated[int, Field(ge=1)] = Field(1, description="Cells found by fewer sources are dropped.")
    mask_threshold: FractionPerType = Field(0.5, description="Mean probability from which a pixel is cell.")


FusionSettings = Annotated[NmsSettings | MasksSettings, Field(discriminator="method")]


class PostprocessSettings(FrozenSettings):
    """Thresholds, overlap removal and minimum areas, in this order."""

    score_threshold: FractionPerType = Field(0.5, description="Cells with a lower score are dropped.")
    min_area_px: PixelsPerType = Field(
        0, description="Smaller cells are dropped, before and after overlap removal."
    )
