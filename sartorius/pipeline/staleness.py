"""Whether tuned settings still are those of the models, views and options that they are used with."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.tuned import TunedSource
from sartorius.data.predictions import read_manifest
from sartorius.pipeline.predictor import Predictor

#: Model settings that say what trained weights find in an image.
INFERENCE_KEYS = (
    "anchor_ratios", "anchor_sizes_px", "box_nms_iou", "box_voting_sigma", "cell_types", "detections_per_image", "detectron",
    "first_stride", "input_scale", "mask_grid_px", "min_score", "normalisation", "proposals_after_nms", "proposals_before_nms",
)  # fmt: skip
#: Those that say how exactly it is computed: predictions of two kinds do not lie in one folder, but tuned settings suit both.
PRECISION_KEYS = ("cpu_convolutions", "gpu_precision")
#: What else a stage-wise ensemble says of itself, beside its `members`' own settings.
STAGE_WISE_KEYS = ("stage_wise", "views", "weights")
#: SHA-256 of the weights of each member by name, which a stage-wise ensemble's own is made of.
MEMBERS_SHA256 = "members_sha256"


class SourceModel(NamedTuple):
    """The model behind one source: its weights, and the settings that say what they find.

    members_sha256: of every trained model in it; one but for stage-wise ensembles, none where a cache does not tell.
    """

    weights_sha256: str
    inference: Mapping[str, Any]
    members_sha256: tuple[str, ...]


def models_in_cache(settings: EnsembleSettings, cache_root: Path) -> dict[str, SourceModel]:
    """The model of every source of the ensemble, as the manifests of its cached predictions name it."""
    manifests = {name: read_manifest(cache_root / name) for name in settings.sources}
    return {name: _source_model(one.weights_sha256, one.config) for name, one in manifests.items()}


def models_loaded(settings: EnsembleSettings, predictors: Mapping[str, Predictor]) -> dict[str, SourceModel]:
    """The model of every source of the ensemble; predictors: those of its `runs`, by member name."""
    return {
        f"{member.name}/{view.name}": _source_model(
            predictors[member.name].weights_sha256, predictors[member.name].config
        )
        for member, view in settings.runs
    }


def stale_reasons(settings: EnsembleSettings, models: Mapping[str, SourceModel]) -> list[str]:
    """What differs from what the settings were tuned on, a line each; nothing for settings that were not tuned.

    models: the model of every source that the settings are about to be used with.
    """
    if settings.tuned is None:
        return []
    known = {source.source: source for source in settings.tuned.sources}
    added, gone = sorted(set(models) - set(known)), sorted(set(known) - set(models))
    reasons = [f"{name} was not there when they were searched" for name in added]
    reasons += [f"{name} was there when they were searched and is not now" for name in gone]
    for name in sorted(set(models) & set(known)):
        model, tuned = models[name], known[name]
        if model.weights_sha256 not in tuned.weights_sha256:
            shas = ", ".join(f"{sha[:12]}…" for sha in tuned.weights_sha256)
            reasons.append(
                f"{name} has other weights now: {model.weights_sha256[:12]}…, searched with {shas}"
            )
        reasons += [
            f"{name} has {key} {model.inference.get(key)!r} now, searched with {tuned.inference[0].get(key)!r}"
            for key in _compared(model, tuned)
            if all(key in then and model.inference.get(key) != then[key] for then in tuned.inference)
        ]
    if settings.tuned.settings_sha256 != fusing_sha256(settings):
        reasons.append("fusion, clean-up or weights of votes were changed by hand since")
    return reasons


def fusing_sha256(settings: EnsembleSettings) -> str:
    """SHA-256 of all settings that turn predictions into cells; options at their defaults do not count."""
    fusions = {"": settings.fusion, **settings.fusion_per_type}
    values = {
        "fusion": {
            name: [one.method, one.model_dump(mode="json", exclude_defaults=True)]
            for name, one in fusions.items()
        },
        "postprocess": settings.postprocess.model_dump(mode="json", exclude_defaults=True),
        "weights": {
            f"{member.name}/{view.name}": _weight(member.weight, view.weight)
            for member, view in settings.runs
        },
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _weight(*weights: float | dict[str, float]) -> float | list[float | dict[str, float]]:
    """The product of plain weights; a list where one is by type."""
    plain = [weight for weight in weights if not isinstance(weight, dict)]
    return math.prod(plain) if len(plain) == len(weights) else list(weights)


def _compared(model: SourceModel, tuned: TunedSource) -> list[str]:
    """The settings that either tells and this version knows, in ascending order."""
    told = {*model.inference, *(key for then in tuned.inference for key in then)}
    return sorted(key for key in told if key in STAGE_WISE_KEYS or key.rpartition(".")[2] in INFERENCE_KEYS)


def _source_model(weights_sha256: str, config: Mapping[str, Any]) -> SourceModel:
    """The model that a predictor's or manifest's config is of; members' settings are named `members.<name>.<key>`."""
    plain = json.loads(json.dumps(dict(config)))
    if "members" not in plain:
        return SourceModel(weights_sha256, _kept(plain, INFERENCE_KEYS), (weights_sha256,))
    inference = _kept(plain, STAGE_WISE_KEYS)
    for name, member in plain["members"].items():
        kept = _kept(member, INFERENCE_KEYS)
        inference |= {f"members.{name}.{key}": value for key, value in kept.items()}
    return SourceModel(weights_sha256, inference, tuple(plain.get(MEMBERS_SHA256, {}).values()))


def _kept(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: config[key] for key in keys if key in config}
