"""Settings of an ensemble's members, the models or other programs, and of its test-time views."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sartorius.config.per_type import WeightPerType, value_for
from sartorius.config.reading import FrozenSettings, RelativePath
from sartorius.errors import UserError

#: A member's name is part of folder names.
MEMBER_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"

Flip = Literal["none", "horizontal", "vertical", "rotate180"]


class ViewSettings(FrozenSettings):
    """One test-time view: the image flipped, then resized by `scale`."""

    flip: Flip = Field(default="none", description="Which way the image is turned before the model sees it.")
    scale: Annotated[float, Field(ge=0.25, le=4)] = Field(
        default=1.0, description="Resize factor on top of the model's own `input_scale`."
    )
    weight: WeightPerType = Field(
        default=1.0,
        description="Weight of this view's votes in fusion, for all images or by their cell type; 0 leaves it out of the "
        "images of a type, which are not looked at through it once the others have told their type.",
    )

    @property
    def name(self) -> str:
        """Short text that is unique in an ensemble, used in `Cells.sources` and folder names: `horizontal_x1.25`."""
        return self.flip if self.scale == 1 else f"{self.flip}_x{self.scale:g}"


class MemberSettings(FrozenSettings):
    """One model of an ensemble, or what another program found in the images."""

    name: Annotated[str, Field(pattern=MEMBER_NAME)] = Field(
        description="Short name, unique in the ensemble; part of `Cells.sources` and of folder names."
    )
    model: RelativePath = Field(default="", description="Model settings file, relative to the ensemble file.")
    weights: RelativePath = Field(
        default="",
        description="Trained weights (.safetensors or a run's .pth), relative to the ensemble file.",
    )
    predictions: RelativePath = Field(
        default="",
        description="In place of `model` and `weights`: a file or folder of cells in any format of `sartorius data "
        "convert`, found by any other program, relative to the ensemble file. It is one source, without views.",
    )
    reference: RelativePath = Field(
        default="",
        description="COCO JSON whose numbers of images and categories `predictions` has, where those are COCO results.",
    )
    weight: WeightPerType = Field(
        default=1.0,
        description="Weight of this model's votes in fusion, for all images or by their cell type, as of a view, whose "
        "weight it is multiplied by.",
    )

    @model_validator(mode="after")
    def _is_a_model_or_predictions(self) -> Self:
        whole_model, no_model = self.model and self.weights, not (self.model or self.weights)
        if not (no_model if self.predictions else whole_model):
            raise ValueError("expected either `model` and `weights`, or `predictions`")
        if self.reference and not self.predictions:
            raise ValueError("`reference` explains `predictions`, but there are none")
        return self


def weight_of(one: MemberSettings | ViewSettings, cell_type: str) -> float:
    """Its weight in images of this type; raises UserError naming it if there is no value for the type."""
    try:
        return value_for(one.weight, cell_type)
    except UserError as error:
        kind = "view" if isinstance(one, ViewSettings) else "member"
        raise UserError(f"weight of {kind} {one.name}: {error}") from None
