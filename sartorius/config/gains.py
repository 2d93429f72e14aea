"""What each view and each model of an ensemble is worth: what a run that is short of time drops first."""

from typing import Annotated

from pydantic import Field

from sartorius.config.per_type import FractionPerType
from sartorius.config.reading import FrozenSettings


class FewerSources(FrozenSettings):
    """What holds once parts were dropped and so many sources are left."""

    sources: Annotated[int, Field(ge=1)] = Field(description="How many `member/view` are left.")
    score_threshold: FractionPerType = Field(
        description="In place of that of `postprocess`: scores are other ones where fewer sources vote."
    )
    total: float = Field(description="Competition mAP with it, on the images that it was searched on.")


class Gains(FrozenSettings):
    """How much the score falls without a part of the ensemble, everything else being as it is."""

    views: dict[str, float] = Field(
        default_factory=dict,
        description="By name of the view: competition mAP of all views less that without this one, for all models.",
    )
    members: dict[str, float] = Field(
        default_factory=dict,
        description="By name of the model: competition mAP of all models less that without this one.",
    )
    per_type: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="The same by `view <name>` or `model <name>` and then by the images' cell type: what costs one type is "
        "left out of its images by a `weight` of 0.",
    )
    fewer_sources: tuple[FewerSources, ...] = Field(
        default=(), description="Score thresholds of what is left when parts are dropped one after the other."
    )
    measured_on: str = Field(default="", description="Which images and command the gains are from.")
