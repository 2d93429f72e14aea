"""Which images the models of an ensemble were trained on, as far as their runs say."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sartorius.config.ensemble import EnsembleSettings
from sartorius.data.leakage import TRAINED_ON, leaks, read_trained_on
from sartorius.errors import UserError
from sartorius.experiment import PROVENANCE, file_sha256, weights_of_folds
from sartorius.pipeline.staleness import SourceModel


class TrainedOn(NamedTuple):
    """The images that the models behind each cache were trained on, and in words how that is known or for which not."""

    of_caches: tuple[frozenset[str], ...]
    origin: str


def trained_on(
    ensemble: Path,
    settings: EnsembleSettings,
    models: Sequence[Mapping[str, SourceModel]],
    pictures: Sequence[Mapping[str, str]],
    folds_csv: Path,
    folds: Mapping[str, int],
) -> TrainedOn:
    """The images that any of the models behind each cache was trained on.

    models: for each cache, the model of each source. A run folder says in its `provenance.json` which fold was left
    out of its training, and weights without a run have a `trained_on.csv` beside them; a model is recognised by the
    SHA-256 of the weights in the ensemble's folders, or in those of the other folds beside them.
    pictures: for each cache, the `pixel_hash` of every image by id, or the id again where it is not known; an image
    of a `trained_on.csv` is recognised by it under any name.
    Raises UserError if a model was trained by another split than `folds_csv`: then no image is known to be new to it.
    """
    runs = {
        sha256: run
        for member in settings.trained_members
        for sha256, run in _runs(ensemble.parent / member.weights)
    }
    shas_of_caches = [{sha for model in cache.values() for sha in model.members_sha256} for cache in models]
    of_caches = tuple(
        frozenset().union(
            *(_training_images(runs[sha], of_cache, folds_csv, folds) for sha in sorted(shas & runs.keys()))
        )
        for shas, of_cache in zip(shas_of_caches, pictures, strict=True)
    )
    return TrainedOn(of_caches, _origin(models, set().union(*shas_of_caches), runs))


def _origin(models: Sequence[Mapping[str, SourceModel]], shas: set[str], runs: Mapping[str, Path]) -> str:
    """In words what tells of the weights with these hashes, and of which nothing does."""
    known = ", ".join(str(runs[sha256]) for sha256 in sorted(shas & runs.keys()))
    unknown = sorted(sha256[:12] for sha256 in shas - runs.keys())
    silent = sorted({name for cache in models for name, model in cache.items() if not model.members_sha256})
    said = [f"from {known}"] if known else []
    if unknown:
        said.append(
            f"for no image of the weights {', '.join(unknown)}, which have no {PROVENANCE} or {TRAINED_ON} beside them"
        )
    if silent:
        said.append(
            f"for no image of {', '.join(silent)}, predicted by a version that did not name its members' weights; "
            "predict again into another folder to know"
        )
    return "; ".join(said)


def _runs(weights: Path) -> Iterator[tuple[str, Path]]:
    """SHA-256 of the weights of a run, and of those of the same run's other folds, with what tells of their training."""
    for file in weights_of_folds(weights):
        told = [file.parent / name for name in (PROVENANCE, TRAINED_ON) if (file.parent / name).is_file()]
        if told:
            yield file_sha256(file), told[0]


def _training_images(
    told: Path, pictures: Mapping[str, str], folds_csv: Path, folds: Mapping[str, int]
) -> set[str]:
    if told.name == TRAINED_ON:
        return {leak.validation_id for leak in leaks(pictures, read_trained_on(told.parent))}
    return _by_provenance(told, folds_csv, folds)


def _by_provenance(provenance: Path, folds_csv: Path, folds: Mapping[str, int]) -> set[str]:
    try:
        run: dict[str, Any] = json.loads(provenance.read_text(encoding="utf-8"))
        fold, split = run["fold"], run["folds_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{provenance}: expected what `sartorius train` writes about a run: {error}"
        ) from None
    if fold is None:
        return set(folds)
    if split != file_sha256(folds_csv):
        raise UserError(
            f"{folds_csv}: the model of {provenance.parent} was trained by another file of folds (SHA-256 "
            f"{str(split)[:12]}…), so no image is known to be new to it; give the folds it was trained by"
        )
    return {image_id for image_id, number in folds.items() if number != fold}
