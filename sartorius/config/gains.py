"""What each view and each model of an ensemble is worth: what a run that is short of time drops first."""

from pydantic import Field

from sartorius.config.reading import FrozenSettings


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
    measured_on: str = Field("", description="Which images and command the gains are from.")
