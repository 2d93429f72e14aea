"""An ensemble with fewer views or models, for runs that are short of time and for what each of them is worth."""

from collections.abc import Collection

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.fusion import ClusterSettings, FusionSettings


def smaller_ensemble(
    settings: EnsembleSettings, without_views: Collection[str] = (), without_members: Collection[str] = ()
) -> EnsembleSettings:
    """The ensemble without some views and models, by name; in proportion fewer votes are asked for."""
    members = tuple(member for member in settings.members if member.name not in without_members)
    views = tuple(view for view in settings.views if view.name not in without_views)
    changes: dict[str, object] = {"members": members, "views": views}
    share = len(settings.model_copy(update=changes).parts) / len(settings.parts)
    if settings.stage_wise is not None:
        boxes = _fewer_votes(settings.stage_wise.boxes, share)
        changes["stage_wise"] = settings.stage_wise.model_copy(update={"boxes": boxes})
    else:
        changes["fusion"] = _fewer_votes(settings.fusion, share)
        changes["fusion_per_type"] = {
            name: _fewer_votes(fusion, share) for name, fusion in settings.fusion_per_type.items()
        }
    return settings.model_copy(update=changes)


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
