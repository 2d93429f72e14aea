"""Settings of one model: architecture, data, training and inference."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from sartorius.config.architecture import DETECTION_HEADS, ONLY_OF_BOXES, ArchitectureSettings
from sartorius.config.inference import InferenceSettings
from sartorius.config.per_type import DEFAULT
from sartorius.config.pictures import PictureSettings
from sartorius.config.reading import read_settings
from sartorius.config.solver import SolverSettings


class ModelSettings(InferenceSettings, SolverSettings, PictureSettings, ArchitectureSettings):
    """Everything that makes one training run and its inference, folds, seeds and devices left to the command line.

    All keys stand on one level of the YAML file; the parents group them for reading only.
    """

    hypothesis: str = Field(default="", description="Why this file exists: what an ablation should show.")
    detectron: dict[str, Any] = Field(
        default_factory=dict,
        description="Any other key of detectron2's network and solver, for example MODEL.RPN.NMS_THRESH: 0.6.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.network == "flows":
            _require_defaults(self, ONLY_OF_BOXES)
        elif len(self.anchor_sizes_px) != self.backbone_stages:
            raise ValueError(
                f"anchor_sizes_px needs one size for each of the {self.backbone_stages} pyramid levels, "
                f"got {len(self.anchor_sizes_px)}"
            )
        if len(set(self.cell_types)) < len(self.cell_types):
            raise ValueError(f"cell_types names a type twice: {list(self.cell_types)}")
        if self.scale_jitter[0] > self.scale_jitter[1]:
            raise ValueError(f"scale_jitter must be [lowest, highest], got {list(self.scale_jitter)}")
        if len(set(self.step_fractions)) < len(self.step_fractions):
            raise ValueError(f"step_fractions names a fraction twice: {list(self.step_fractions)}")
        if self.patience and not self.evaluation_period:
            raise ValueError("patience counts evaluations during training; set evaluation_period above 0")
        for head in DETECTION_HEADS:
            if head in self.train_only and not getattr(self, head):
                raise ValueError(f"train_only names {head}, which the network lacks; set `{head}: true`")
        if self.backbone_lr_factor != 1 and (self.train_only or self.freeze_stages >= self.backbone_stages):
            why = "train_only" if self.train_only else f"freeze_stages {self.freeze_stages}"
            raise ValueError(
                f"{why} leaves the backbone as it is; backbone_lr_factor has no effect beside it"
            )
        if self.train_only and (self.class_weights or self.box_loss != "smooth_l1"):
            raise ValueError(
                "train_only leaves the box head as it is; class_weights and box_loss have no effect beside it"
            )
        if self.train_only and self.cuda_graphs:
            raise ValueError(
                "cuda_graphs records training of the backbone, which train_only leaves as it is; set one of the two"
            )
        _require_types("class_weights", self.class_weights, self.cell_types)
        if isinstance(self.min_score, dict):
            _require_types("min_score", self.min_score.keys() - {DEFAULT}, self.cell_types)
            lacking = sorted(set(self.cell_types) - self.min_score.keys())
            if lacking and DEFAULT not in self.min_score:
                raise ValueError(f"min_score has no value for {lacking[0]!r}; add it or {DEFAULT!r}")
        return self


def _require_defaults(settings: ModelSettings, keys: Iterable[str]) -> None:
    """Raises ValueError naming every key that has another value than its default."""
    defaults = {key: ModelSettings.model_fields[key].get_default(call_default_factory=True) for key in keys}
    set_ones = [key for key, default in defaults.items() if getattr(settings, key) != default]
    if set_ones:
        usual = ", ".join(f"{key}={_written(defaults[key])}" for key in set_ones)
        raise ValueError(
            f"{', '.join(set_ones)}: no effect with `network: flows`; leave out, or where a base sets them say {usual}"
        )


def _written(value: object) -> str:
    """A default as it is written in YAML."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _require_types(key: str, named: Iterable[str], known: Sequence[str]) -> None:
    unknown = sorted(set(named) - set(known))
    if unknown:
        raise ValueError(f"{key} names {unknown[0]!r}, cell_types are {list(known)}")


def load_model_settings(path: Path, overrides: Sequence[str] = ()) -> ModelSettings:
    """The model settings of a YAML file with `key=value` overrides on top; raises UserError naming file and key."""
    return read_settings(path, ModelSettings, overrides)
