"""Settings of what a network is shown: normalisation, scale, and how training pictures are drawn from images."""

from typing import Annotated, Literal

from pydantic import Field

from sartorius.config.architecture import Positive
from sartorius.config.reading import FrozenSettings


class PictureSettings(FrozenSettings):
    """Pixels, and the random changes of training."""

    normalisation: Literal["imagenet", "dataset"] = Field(
        default="imagenet",
        description="Mean and std of the backbone's training (imagenet) or of the grey images, 127/15.",
    )
    input_scale: Annotated[float, Field(ge=0.25, le=8)] = Field(
        default=1.5,
        description="Network input pixels per image pixel; a resize factor, so that cells keep their size.",
    )
    crop_px: Annotated[int, Field(ge=32)] | None = Field(
        default=None,
        description="Side of the random training crop in network input pixels; null trains on whole images.",
    )
    scale_jitter: tuple[Positive, Positive] = Field(
        default=(0.8, 1.25), description="Lowest and highest random factor on `input_scale` in training."
    )
    flips: bool = Field(default=True, description="Random horizontal and vertical flips in training.")
    turns: bool = Field(
        default=False,
        description="Rows and columns swapped at random in training: with `flips` quarter turns, all eight orientations.",
    )
    colour_jitter: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Random brightness and contrast change in training; 0 is off: it cost .005 on the original.",
    )
    elastic_px: Annotated[float, Field(ge=0, le=16)] = Field(
        default=0.0,
        description="Standard deviation, in image pixels, of random displacements 32 px apart, between which the picture "
        "is deformed smoothly in training; 0 is off. 2 bends a cell of 30 px visibly.",
    )
    paste_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Share of training pictures that are put together: cells of one image on the emptied background "
        "of another one of the same type; 0 is off.",
    )
    min_box_px: Annotated[float, Field(ge=0)] = Field(
        default=2.0,
        description="Cells cut by the crop to a narrower box (image pixels) are no training targets.",
    )
    sampling: Literal["images", "types"] = Field(
        default="images",
        description="How training images are drawn: each equally often, or images of rarer cell types more often, "
        "so that every type is seen equally often.",
    )
