"""Settings of an ensemble: its models, their test-time views, fusion and clean-up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from sartorius.config.fusion import (
    ClusterSettings,
    FusionSettings,
    MasksSettings,
    NmsSettings,
    NmwSettings,
    PostprocessSettings,
    WbfSettings,
)
from sartorius.config.gains import Gains
from sartorius.config.members import MemberSettings, ViewSettings, weight_of
from sartorius.config.model import ModelSettings
from sartorius.config.per_type import DEFAULT, value_if_any
from sartorius.config.reading import FrozenSettings, RelativePath, read_settings
from sartorius.config.tiling import TilingSettings
from sartorius.config.tuned import TunedRecord
from sartorius.errors import UserError, did_you_mean


class StageWiseSettings(FrozenSettings):
    """Boxes of all members and views are fused first; then every mask head is run on the fused boxes."""

    boxes: Annotated[NmsSettings | NmwSettings | WbfSettings, Field(discriminator="method")] = Field(
        default_factory=WbfSettings,
        description="Which boxes are one cell; its box is the mean of theirs by score.",
    )


class EnsembleSettings(FrozenSettings):
    """Models, views, fusion and clean-up of one ensemble file."""

    members: Annotated[tuple[MemberSettings, ...], Field(min_length=1)]
    views: Annotated[tuple[ViewSettings, ...], Field(min_length=1)] = (ViewSettings(),)
    stage_wise: StageWiseSettings | None = Field(
        default=None,
        description="Fuse inside the networks; `fusion` then works on that one result. null fuses masks only.",
    )
    fusion: FusionSettings = Field(default_factory=MasksSettings)
    fusion_per_type: dict[str, FusionSettings] = Field(
        default_factory=dict,
        description="Fusion of the images of one cell type, in place of `fusion`: an image holds one type, here the one "
        "with the highest sum of score times weight over the detections of the sources that no type leaves out.",
    )
    postprocess: PostprocessSettings = Field(default_factory=PostprocessSettings)
    tiling: TilingSettings = Field(
        default_factory=TilingSettings, description="How images that are too large for a network are cut up."
    )
    note: str = Field(default="", description="Where these settings come from.")
    settings_of: RelativePath = Field(
        default="",
        description="For ablations: fusion and clean-up are those that tuning finds for this ensemble file, not searched "
        "for this one.",
    )
    gains: Gains | None = Field(
        default=None,
        description="What each view and model is worth; a run short of time drops the least per minute first.",
    )
    tuned: TunedRecord | None = Field(
        default=None, description="What `sartorius tune` searched on, if the settings come from there."
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in (
            ("members", [member.name for member in self.members]),
            ("views", [view.name for view in self.views]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} must have different names, got {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _stages_are_of_networks(self) -> Self:
        foreign = [member.name for member in self.members if member.predictions]
        if self.stage_wise is not None and foreign:
            raise ValueError(
                f"stage_wise runs every member's network, but {', '.join(foreign)} has only predictions; leave out "
                "stage_wise or the member"
            )
        return self

    @model_validator(mode="after")
    def _weights_can_be_had(self) -> Self:
        if idle := [name for name, weight in self._weights_by_type if not any(weight.values())]:
            raise ValueError(
                f"{idle[0]} has a weight of 0 for every type that it names; add {DEFAULT!r} for the others, above 0, or "
                "leave it out"
            )
        if not self.typing_sources:
            raise ValueError(
                "every source has a weight of 0 for a type; an image's type is told by sources that look at all types, so "
                "one must have weights above 0 alone"
            )
        if self.stage_wise is not None:
            by_type = [f"member {member.name}" for member in self.members if isinstance(member.weight, dict)]
            unlike = [f"view {view.name}" for view in self.views if view.weight != 1]
            if by_type or unlike:
                raise ValueError(
                    "stage_wise fuses inside the networks, before a type is known and all views alike; got another weight for "
                    f"{', '.join([*by_type, *unlike])}"
                )
        return self

    @model_validator(mode="after")
    def _votes_can_be_had(self) -> Self:
        joined = {key: (fusion, self._fewest_sources(key)) for key, fusion in self.fusions.items()}
        if self.stage_wise is not None:
            parts = tuple(f"{member.name}/{view.name}" for member, view in self.parts)
            joined["stage_wise.boxes"] = (self.stage_wise.boxes, parts)
        for key, (fusion, names) in joined.items():
            if isinstance(fusion, ClusterSettings) and fusion.min_votes > len(names):
                raise ValueError(
                    f"{key}.min_votes is {fusion.min_votes}, but a cell can have at most {len(names)}, one of each source "
                    f"({', '.join(names)})"
                )
        return self

    @property
    def fusions(self) -> dict[str, FusionSettings]:
        """The fusion of images of any type and of those that have their own, by key in the file."""
        own = {f"fusion_per_type.{name}": fusion for name, fusion in self.fusion_per_type.items()}
        return {"fusion": self.fusion, **own}

    @property
    def trained_members(self) -> tuple[MemberSettings, ...]:
        """The members that are models, not predictions."""
        return tuple(member for member in self.members if not member.predictions)

    @property
    def parts(self) -> tuple[tuple[MemberSettings, ViewSettings], ...]:
        """Member and view of everything that is run on an image, also where it is fused inside the networks."""
        unseen = (ViewSettings(),)
        return tuple(
            (member, view)
            for member in self.members
            for view in (unseen if member.predictions else self.views)
        )

    @property
    def runs(self) -> tuple[tuple[MemberSettings, ViewSettings], ...]:
        """Member and view of every prediction that is cached, in the order of the file."""
        if self.stage_wise is not None:
            return ((STAGE_WISE_MEMBER, ViewSettings()),)
        return self.parts

    def fusion_of_type(self, cell_type: str | None) -> FusionSettings:
        """The fusion of images whose detections are of this type; None for an image without detections."""
        return self.fusion_per_type.get(cell_type or "", self.fusion)

    @property
    def sources(self) -> tuple[str, ...]:
        """`member/view` of every one of `runs`."""
        return tuple(f"{member.name}/{view.name}" for member, view in self.runs)

    @property
    def typing_sources(self) -> tuple[str, ...]:
        """The sources that are fused in images of every type: their detections tell an image's type."""
        of_types = [self.sources_for(cell_type) for cell_type in self.weighted_types]
        return tuple(name for name in self.sources if all(name in own for own in of_types))

    def weights_for(self, cell_type: str) -> dict[str, float]:
        """The weight of every source that is fused in images of this type.

        Raises UserError if a weight has no value for the type.
        """
        weights = [weight_of(member, cell_type) * weight_of(view, cell_type) for member, view in self.runs]
        return {name: weight for name, weight in zip(self.sources, weights, strict=True) if weight > 0}

    def sources_for(self, cell_type: str) -> tuple[str, ...]:
        """The sources that are fused in images of this type; of DEFAULT: in those of types that no weight names."""
        return tuple(
            name
            for name, run in zip(self.sources, self.runs, strict=True)
            if all(value_if_any(one.weight, cell_type) != 0 for one in run)
        )

    @property
    def weighted_types(self) -> tuple[str, ...]:
        """The types that weights name, DEFAULT among them where one has it, in ascending order."""
        return tuple(sorted({cell_type for _, weight in self._weights_by_type for cell_type in weight}))

    @property
    def _weights_by_type(self) -> list[tuple[str, dict[str, float]]]:
        """What it is of and the weight, for every member and view that has one for each type."""
        weights = [(f"member {one.name}", one.weight) for one in self.members]
        weights += [(f"view {one.name}", one.weight) for one in self.views]
        return [(name, weight) for name, weight in weights if isinstance(weight, dict)]

    def _fewest_sources(self, key: str) -> tuple[str, ...]:
        """Those fused in images that this one of `fusions` applies to, of the type that has the fewest."""
        _, _, own = key.partition(".")
        types = [own] if own else [name for name in self.weighted_types if name not in self.fusion_per_type]
        return min(map(self.sources_for, types), key=len, default=self.sources)


#: Stands for all members and views where they are fused stage by stage.
STAGE_WISE_MEMBER = MemberSettings.model_construct(name="stage_wise")


def load_ensemble_settings(path: Path) -> EnsembleSettings:
    """The ensemble of a YAML file; raises UserError naming file and key.

    Cell types that settings name must be those of its models, and all of these need a value, as far as the models'
    files are there and no member is another program's.
    """
    settings = read_settings(path, EnsembleSettings)
    models = [path.parent / member.model for member in settings.trained_members]
    if len(models) == len(settings.members) and all(model.is_file() for model in models):
        types = {name for model in models for name in read_settings(model, ModelSettings).cell_types}
        _require_types_of_models(path, settings, sorted(types))
    return settings


def _require_types_of_models(path: Path, settings: EnsembleSettings, known: Sequence[str]) -> None:
    fewer = settings.gains.fewer_sources if settings.gains else ()
    groups: dict[str, BaseModel] = {**settings.fusions, "postprocess": settings.postprocess}
    groups |= {f"members.{member.name}": member for member in settings.members}
    groups |= {f"views.{view.name}": view for view in settings.views}
    groups |= {f"gains.fewer_sources[{place}]": left for place, left in enumerate(fewer)}
    per_type = {
        f"{group}.{key}": value
        for group, own in groups.items()
        for key, value in own
        if isinstance(value, dict)
    }
    named = {key: value.keys() - {DEFAULT} for key, value in per_type.items()}
    named["fusion_per_type"] = set(settings.fusion_per_type)
    named["postprocess.label_fill_types"] = set(settings.postprocess.label_fill_types)
    for key, names in named.items():
        for name in sorted(names - set(known)):
            hint = did_you_mean(name, known)
            raise UserError(f"{path}: {key} names {name!r}, the models know {', '.join(known)}{hint}")
    for key, value in per_type.items():
        lacking = sorted(set(known) - value.keys())
        if lacking and DEFAULT not in value:
            raise UserError(f"{path}: {key} has no value for {lacking[0]!r}; add it or {DEFAULT!r}")
