"""An ensemble with fewer views or models, for runs that are short of time and for what each of them is worth."""

from collections.abc import Collection

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.fusion import ClusterSettings, FusionSettings
from sartorius.config.per_type import DEFAULT


def smaller_ensemble(
    settings: EnsembleSettings, without_views: Collection[str] = (), without_members: Collection[str] = ()
) -> EnsembleSettings:
    """The ensemble without some views and models, by name.

    In proportion fewer votes are asked for, of the sources that are fused in images of a type: each type that weights
    name has a fusion of its own then.
    """
    members = tuple(member for member in settings.members if member.name not in without_members)
    views = tuple(view for view in settings.views if view.name not in without_views)
    left = settings.model_copy(update={"members": members, "views": views})
    if settings.stage_wise is not None:
        boxes = _fewer_votes(settings.stage_wise.boxes, len(left.parts) / len(settings.parts))
        return left.model_copy(update={"stage_wise": settings.stage_wise.model_copy(update={"boxes": boxes})})

    def fewer(fusion: FusionSettings, cell_type: str) -> FusionSettings:
        share = len(left.sources_for(cell_type)) / len(settings.sources_for(cell_type))
        return _fewer_votes(fusion, share)

    types = {*settings.fusion_per_type, *settings.weighted_types} - {DEFAULT}
    per_type = {name: fewer(settings.fusion_of_type(name), name) for name in sorted(types)}
    return left.model_copy(update={"fusion": fewer(settings.fusion, DEFAULT), "fusion_per_type": per_type})


def tells_types(
    settings: EnsembleSettings, without_views: Collection[str] = (), without_members: Collection[str] = ()
) -> bool:
    """Whether the ensemble without these still has a source that no type leaves out."""
    return bool(smaller_ensemble(settings, without_views, without_members).typing_sources)


def _fewer_votes(fusion: FusionSettings, share: float) -> FusionSettings:
    """The same share of the sources must agree as before, at least one."""
    if not isinstance(fusion, ClusterSettings):
        return fusion
    return fusion.model_copy(update={"min_votes": max(1, int(fusion.min_votes * share + 0.5))})
