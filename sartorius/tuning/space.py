"""What is searched for one cell type, and how a point of the search becomes settings."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple, get_args

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.fusion import (
    ClusterSettings,
    FusionSettings,
    GaussianDecay,
    MasksSettings,
    SoftNmsSettings,
)
from sartorius.config.per_type import DEFAULT, value_for
from sartorius.errors import UserError

Searched = Literal[
    "score_threshold",
    "mask_threshold",
    "fusion_iou",
    "second_of_source",
    "min_votes",
    "vote_iou_power",
    "nms",
    "min_area",
    "type_rule",
]
#: Everything that can be searched, all for each cell type but `type_rule`, which holds for all.
SEARCHED: tuple[Searched, ...] = get_args(Searched)

#: Steps are coarse on purpose: what one trial computed, another can use again.
FUSION_IOU = FloatDistribution(0.1, 0.7, step=0.05)
DECAY_SIGMA = FloatDistribution(0.1, 1.0, step=0.1)
NMS_IOU = FloatDistribution(0.1, 1.0, step=0.1)
VOTE_IOU_POWER = FloatDistribution(0.0, 4.0, step=1.0)
MIN_AREA_PX = IntDistribution(0, 240, step=15)
OF_MASKS: Mapping[str, BaseDistribution] = {
    "mask_threshold": FloatDistribution(0.3, 0.6, step=0.05),
    "second_of_source": CategoricalDistribution(["keep", "drop"]),
}

Point = dict[str, Any]


class TypeSettings(NamedTuple):
    """The settings of one cell type."""

    fusion: FusionSettings
    score_threshold: float
    min_area_px: int
    nms_iou: float


def searched_unless_told(settings: EnsembleSettings) -> tuple[Searched, ...]:
    """What is searched by default: the rule for types only where it is "vote", as the score takes no notice of types."""
    own_rule = settings.postprocess.type_rule
    return tuple(name for name in SEARCHED if name != "type_rule" or own_rule == "vote")


def checked_names(names: Collection[str]) -> tuple[Searched, ...]:
    """The settings to search, in the order of SEARCHED; raises UserError for any that cannot be, or for none."""
    unknown = sorted(set(names) - set(SEARCHED))
    if unknown or not names:
        came = ", ".join(unknown) or "none"
        raise UserError(f"expected settings to search from {', '.join(SEARCHED)}; got {came}")
    return tuple(name for name in SEARCHED if name in names)


def of_type(settings: EnsembleSettings, cell_type: str) -> TypeSettings:
    """The settings of one cell type; raises UserError naming one that has no value for it."""
    return TypeSettings(
        settings.fusion_of_type(cell_type),
        _cleaning(settings, "score_threshold", cell_type),
        int(_cleaning(settings, "min_area_px", cell_type)),
        _cleaning(settings, "nms_iou", cell_type),
    )


def with_type(settings: EnsembleSettings, cell_type: str, chosen: TypeSettings) -> EnsembleSettings:
    """The same settings with those of one cell type replaced."""
    clean = settings.postprocess
    postprocess = clean.model_copy(
        update={
            name: _with_value(getattr(clean, name), cell_type, getattr(chosen, name))
            for name in ("score_threshold", "min_area_px", "nms_iou")
        }
    )
    fusions = dict(settings.fusion_per_type)
    if chosen.fusion != settings.fusion_of_type(cell_type):
        fusions[cell_type] = chosen.fusion
    return settings.model_copy(update={"fusion_per_type": fusions, "postprocess": postprocess})


def with_type_rule(settings: EnsembleSettings, rule: Literal["vote", "none"]) -> EnsembleSettings:
    """The same settings with another rule for the cell type of an image."""
    return settings.model_copy(
        update={"postprocess": settings.postprocess.model_copy(update={"type_rule": rule})}
    )


def distributions(start: TypeSettings, names: Collection[str], sources: int) -> dict[str, BaseDistribution]:
    """What a trial draws, by name: what is searched and the settings have. Score thresholds are no part of a trial."""
    fusion, drawn = start.fusion, dict[str, BaseDistribution]()
    if "fusion_iou" in names:
        gaussian = isinstance(fusion, SoftNmsSettings) and isinstance(fusion.decay, GaussianDecay)
        drawn |= {"decay_sigma": DECAY_SIGMA} if gaussian else {"fusion_iou": FUSION_IOU}
    if isinstance(fusion, MasksSettings):
        drawn |= {name: drawn_for for name, drawn_for in OF_MASKS.items() if name in names}
    if isinstance(fusion, ClusterSettings) and sources > 1:
        of_votes = {"min_votes": IntDistribution(1, sources), "vote_iou_power": VOTE_IOU_POWER}
        drawn |= {name: drawn_for for name, drawn_for in of_votes.items() if name in names}
    if "nms" in names:
        drawn["nms_iou"] = NMS_IOU
    if "min_area" in names:
        drawn["min_area_px"] = MIN_AREA_PX
    return drawn


def nearest_point(start: TypeSettings, drawn: Mapping[str, BaseDistribution], cell_type: str) -> Point:
    """The values that a trial can draw which are nearest to the settings that the search for a cell type starts from."""
    now = start.fusion.model_dump() | start._asdict()
    now |= {"fusion_iou": now.get("min_iou")}
    if isinstance(start.fusion, SoftNmsSettings):
        decay = start.fusion.decay.model_dump()
        now |= {"fusion_iou": decay.get("min_iou"), "decay_sigma": decay.get("sigma")}
    if isinstance(now.get("mask_threshold"), Mapping):
        now["mask_threshold"] = value_for(now["mask_threshold"], cell_type)
    return {name: _nearest(now[name], choices) for name, choices in drawn.items()}


def at_point(start: TypeSettings, point: Point) -> TypeSettings:
    """The settings of a point; what it does not name is as in `start`."""
    point = {name: round(value, 6) if isinstance(value, float) else value for name, value in point.items()}
    cleaning = {name: point[name] for name in ("nms_iou", "min_area_px") if name in point}
    fusing: Point = {
        name: point[name]
        for name in ("mask_threshold", "second_of_source", "min_votes", "vote_iou_power")
        if name in point
    }
    decaying: Point = {own: point[name] for name, own in (("decay_sigma", "sigma"),) if name in point}
    if "fusion_iou" in point:
        (decaying if isinstance(start.fusion, SoftNmsSettings) else fusing)["min_iou"] = point["fusion_iou"]
    if isinstance(start.fusion, SoftNmsSettings) and decaying:
        fusing["decay"] = start.fusion.decay.model_copy(update=decaying)
    return start._replace(fusion=start.fusion.model_copy(update=fusing), **cleaning)


def _cleaning(settings: EnsembleSettings, key: str, cell_type: str) -> float:
    try:
        return value_for(getattr(settings.postprocess, key), cell_type)
    except UserError as error:
        raise UserError(f"postprocess.{key}: {error}") from None


def _nearest(value: Any, choices: BaseDistribution) -> Any:
    if isinstance(choices, CategoricalDistribution):
        return value
    assert isinstance(choices, IntDistribution | FloatDistribution)
    steps = round((min(max(value, choices.low), choices.high) - choices.low) / (choices.step or 1))
    nearest = choices.low + steps * (choices.step or 1)
    return nearest if isinstance(choices, IntDistribution) else round(nearest, 6)


def _with_value(setting: float | dict[str, Any], cell_type: str, value: float) -> float | dict[str, Any]:
    """A per-type setting with the value of one type replaced; a plain number becomes the default of all others."""
    if value_for(setting, cell_type) == value:
        return setting
    return {**(setting if isinstance(setting, dict) else {DEFAULT: setting}), cell_type: value}
