"""Ablations of ensembles: from cached predictions, each with settings searched out of fold."""

import time
from pathlib import Path

import numpy as np

from sartorius.ablation.files import Ablation, AblationFolder, settings_on, shown
from sartorius.ablation.results import Result, Table, rows_of
from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.errors import UserError
from sartorius.tuning.cross import CrossTuned, Report, cross_tuned, no_report, with_settings_of
from sartorius.tuning.images import CachedImages, Data, read_cached_images, refuse_searched_on
from sartorius.tuning.objective import Objective
from sartorius.tuning.search import Budget
from sartorius.tuning.space import Searched

#: What a file sets by itself is what it is about, and not searched.
SEARCHED_AS: dict[str, Searched] = {
    "fusion.min_iou": "fusion_iou",
    "fusion.decay": "fusion_iou",
    "fusion.mask_threshold": "mask_threshold",
    "fusion.second_of_source": "second_of_source",
    "fusion.min_votes": "min_votes",
    "fusion.vote_iou_power": "vote_iou_power",
    "postprocess.nms_iou": "nms",
    "postprocess.min_area_px": "min_area",
    "postprocess.type_rule": "type_rule",
    "postprocess.score_threshold": "score_threshold",
}


def ablate_fusion(
    folder: AblationFolder,
    data: Data,
    budget: Budget,
    n_parts: int,
    report: Report = no_report,
) -> Table:
    """The result of every file of the folder on the cached images.

    budget: what is searched for each file; what a file sets by itself is left as it is there.
    n_parts: parts that the images are split into if they are all of one fold.
    Raises UserError for predictions that are missing, for a file that was tuned on them already, and if two files would
    be scored on different images or parts.
    """
    bench = _Bench(folder, data, budget, n_parts)
    results = []
    for place, file in enumerate((None, *folder.files)):
        results.append(bench.result(file))
        report("ablate", place + 1, len(folder.files) + 1)
    types = [image.true_type for image in bench.first.images]
    rows = rows_of(results[0], results[1:], types)
    return Table(rows, len(types), bench.first.parts.origin, bench.sources)


class _Bench:
    """The images that all files of a folder are scored on; what is read or searched twice is kept."""

    def __init__(self, folder: AblationFolder, data: Data, budget: Budget, n_parts: int) -> None:
        self._by_name = {file.name: file for file in folder.files}
        self._base, self._data, self._budget, self._n_parts = folder.base, data, budget, n_parts
        self._base_settings = load_ensemble_settings(folder.base)
        self._images: dict[str, CachedImages] = {}
        self._tuned: dict[str | None, CrossTuned] = {}
        self.first = self._cached(self._base_settings)
        files = {folder.base: self._base_settings} | {
            file.path: self._settings(file) for file in folder.files
        }
        for path, settings in files.items():
            if settings.tuned is not None:
                refuse_searched_on(path, settings, self._cached(settings))
        self.sources = tuple(dict.fromkeys(name for settings in files.values() for name in settings.sources))

    def result(self, file: Ablation | None) -> Result:
        """The scores of a file; None is the base."""
        began = time.process_time()
        settings = self._settings(file)
        objective = Objective(self._cached(settings).images)
        tuned = self._cross_tuned(file)
        scores = tuned.out_of_fold
        if settings.settings_of:
            scores = np.zeros(len(scores))
            for part, of_part in enumerate(tuned.of_parts):
                rows = np.flatnonzero(self.first.parts.of_image == part)
                scores[rows] = objective.image_scores(with_settings_of(settings, of_part), rows)
            as_written = with_settings_of(settings, self._settings(self._named(settings.settings_of)))
        else:
            as_written = settings
        return Result(
            self._base.stem if file is None else file.name,
            "" if file is None else shown(file.changes),
            objective.image_scores(as_written),
            scores,
            time.process_time() - began,
        )

    def _cross_tuned(self, file: Ablation | None) -> CrossTuned:
        """The search for a file, or for the one whose settings it takes."""
        settings = self._settings(file)
        if settings.settings_of:
            file = self._named(settings.settings_of)
            settings = self._settings(file)
        name = None if file is None else file.name
        if name not in self._tuned:
            own = set() if file is None else {SEARCHED_AS[key] for key in _set_keys(file)}
            names = tuple(one for one in self._budget.names if one not in own)
            objective = Objective(self._cached(settings).images)
            budget = self._budget._replace(names=names)
            self._tuned[name] = cross_tuned(objective, settings, self.first.parts.of_image, budget)
        return self._tuned[name]

    def _settings(self, file: Ablation | None) -> EnsembleSettings:
        if file is None:
            return self._base_settings
        return settings_on(file, self._base)

    def _named(self, settings_of: str) -> Ablation:
        name = Path(settings_of).stem
        if name not in self._by_name:
            raise UserError(
                f"settings_of: {settings_of}: expected another file of the same folder; it has "
                f"{', '.join(sorted(self._by_name))}"
            )
        return self._by_name[name]

    def _cached(self, settings: EnsembleSettings) -> CachedImages:
        key = repr([(member.name, view.name, member.weight, view.weight) for member, view in settings.runs])
        if key not in self._images:
            cached = read_cached_images(self._base, settings, self._data, self._n_parts, self._budget.seed)
            first = next(iter(self._images.values()), cached)
            same_parts = np.array_equal(cached.parts.of_image, first.parts.of_image)
            if cached.image_ids != first.image_ids or not same_parts:
                raise UserError(
                    f"{', '.join(settings.sources)}: predicted for other images than "
                    f"{', '.join(self._base_settings.sources)}; results can be compared on the same images only"
                )
            self._images[key] = cached
        return self._images[key]


def _set_keys(file: Ablation) -> list[str]:
    """The searchable settings that a file sets, but not those that come with another strategy of fusion."""
    with_method = "fusion.method" in file.changes
    changed = [one for one in file.changes if not (with_method and one.startswith("fusion."))]
    return [key for key in SEARCHED_AS if any(f"{one}.".startswith(f"{key}.") for one in changed)]
