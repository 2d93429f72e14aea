"""`sartorius tune`: search, and a tuned ensemble file that says where its settings come from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from sartorius import __version__
from sartorius.config import load_ensemble_settings
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.tuned import TunedGain, TunedRecord, TunedScore
from sartorius.config.yaml_files import relative_to_folder, require_may_be_base
from sartorius.errors import UserError
from sartorius.experiment import file_sha256
from sartorius.files import atomic_path
from sartorius.metrics.bootstrap import mean_interval, paired_difference
from sartorius.pipeline.staleness import fusing_sha256
from sartorius.tuning.cross import CrossTuned, Report, cross_tuned, no_report
from sartorius.tuning.gains import measured_gains, thresholds_of_fewer
from sartorius.tuning.images import CachedImages, Data, read_cached_images, refuse_searched_on, searched_on
from sartorius.tuning.objective import Objective
from sartorius.tuning.search import Budget, searchable
from sartorius.tuning.space import Searched, searched_unless_told
from sartorius.tuning.stages import ImageStages

Floats = NDArray[np.float64]

#: Seed of the bootstrap over images.
BOOTSTRAP_SEED = 0
HEADER = "# Written by `sartorius tune`: what differs from the base was searched, `tuned` says on what and how well.\n"


@dataclass(frozen=True, eq=False)
class Tuned:
    """A tuned ensemble: where its file is, how it came about, and the objective it was searched with."""

    path: Path
    start: EnsembleSettings
    settings: EnsembleSettings
    record: TunedRecord
    result: CrossTuned
    objective: Objective


def tune(
    ensemble: Path,
    data: Data,
    out_yaml: Path,
    budget: Budget,
    n_parts: int,
    command: str,
    report: Report = no_report,
) -> Tuned:
    """`out_yaml` is the ensemble with the settings that score best on its cached predictions.

    n_parts: parts that the images are split into if they are all of one fold.
    command: what the file says it was written by.
    Raises UserError for predictions or truth that are missing or do not fit, if the ensemble was tuned on any of these
    predictions already, if no file may stand on it, and for settings to search that it has for none of the images.
    """
    require_may_be_base(ensemble)
    start = load_ensemble_settings(ensemble)
    # of what is read, whatever becomes of the files during the search
    sha256 = {
        "truth_sha256": file_sha256(data.truth),
        "folds_sha256": file_sha256(data.folds),
        "searched_before": " ".join(sorted(searched_on(start.tuned))),
    }
    cached = read_cached_images(ensemble, start, data, n_parts, budget.seed)
    refuse_searched_on(ensemble, start, cached)
    objective = Objective(cached.images)
    budget = budget._replace(names=_names_to_search(ensemble, start, objective, budget.names))
    result = cross_tuned(objective, start, cached.parts.of_image, budget, report)
    record = _record(ensemble, sha256, cached, budget, result, command)
    settings = _with_gains(
        cached.images,
        result,
        budget,
        f"{len(cached.images)} images the settings were searched on, by {command}",
    )
    write_tuned(out_yaml, ensemble, start, settings, record)
    return Tuned(out_yaml, start, settings, record, result, objective)


def write_tuned(
    path: Path, ensemble: Path, start: EnsembleSettings, settings: EnsembleSettings, record: TunedRecord
) -> None:
    """Write an ensemble file with `base: <ensemble>` that holds the settings and the record.

    Raises UserError if the ensemble already stands on as many bases as a file may.
    """
    values: dict[str, Any] = {"base": relative_to_folder(ensemble.resolve(), path.resolve().parent)}
    if settings.fusion_per_type != start.fusion_per_type:
        fusions = settings.fusion_per_type.items()
        values["fusion_per_type"] = {name: fusion.model_dump(mode="json") for name, fusion in fusions}
    before, after = (some.postprocess.model_dump(mode="json") for some in (start, settings))
    cleaning = {name: after[name] for name in after if after[name] != before[name]}
    if cleaning:
        values["postprocess"] = cleaning
    if settings.gains is not None and settings.gains != start.gains:
        values["gains"] = settings.gains.model_dump(mode="json")
    values["tuned"] = record.model_dump(mode="json")
    with atomic_path(path) as temporary:
        temporary.write_text(HEADER + yaml.safe_dump(values, sort_keys=False, width=120), encoding="utf-8")
        load_ensemble_settings(temporary)


def score_of(image_scores: Floats, types: Collection[str]) -> TunedScore:
    """The mean over images with its interval, and the mean of each type; types: of each image."""
    total = mean_interval(image_scores, np.random.default_rng(BOOTSTRAP_SEED))
    names = np.array(list(types))
    per_type = {str(name): float(image_scores[names == name].mean()) for name in np.unique(names)}
    return TunedScore(total=total.value, low=total.low, high=total.high, per_type=per_type)


def _names_to_search(
    ensemble: Path, start: EnsembleSettings, objective: Objective, names: tuple[Searched, ...]
) -> tuple[Searched, ...]:
    """Those of the names that the ensemble has; raises UserError if it lacks any, unless these are all by default."""
    try:
        had = searchable(objective, start)
    except UserError as error:
        raise UserError(f"{ensemble}: {error}") from None
    lacking = [name for name in names if name not in had]
    if lacking and names != searched_unless_told(start):
        raise UserError(
            f"{ensemble}: expected settings to search that it has for these images: {', '.join(had)}; got "
            f"{', '.join(lacking)}"
        )
    return tuple(name for name in names if name in had)


def _with_gains(
    images: Sequence[ImageStages], result: CrossTuned, budget: Budget, measured_on: str
) -> EnsembleSettings:
    """The settings found, with what parts are worth and, if thresholds were searched, those of fewer sources."""
    gains = measured_gains(images, result.settings, result.in_fold, measured_on)
    if gains is None:
        return result.settings
    settings = result.settings.model_copy(update={"gains": gains})
    if "score_threshold" not in budget.names:
        return settings
    fewer = {"fewer_sources": thresholds_of_fewer(images, settings)}
    return settings.model_copy(update={"gains": gains.model_copy(update=fewer)})


def _record(
    ensemble: Path,
    sha256: Mapping[str, str],
    cached: CachedImages,
    budget: Budget,
    result: CrossTuned,
    command: str,
) -> TunedRecord:
    types = [image.true_type for image in cached.images]
    gain = paired_difference(result.out_of_fold, result.untuned, np.random.default_rng(BOOTSTRAP_SEED))
    return TunedRecord(
        ensemble=ensemble.name,
        command=command,
        package_version=__version__,
        settings_sha256=fusing_sha256(result.settings),
        images=len(cached.images),
        left_out=len(cached.left_out),
        trained_on=cached.trained.origin,
        parts=cached.parts.sizes,
        parts_from=cached.parts.origin,
        searched=budget.names,
        trials=budget.trials,
        seed=budget.seed,
        untuned=score_of(result.untuned, types),
        in_fold=score_of(result.in_fold, types),
        out_of_fold=score_of(result.out_of_fold, types),
        gain=TunedGain(difference=gain.difference, low=gain.low, high=gain.high),
        sources=cached.sources,
        **sha256,
    )
