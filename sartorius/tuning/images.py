"""The images that settings are searched on: cached predictions, true cells, and the parts that are held out in turn."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.tuned import TunedRecord, TunedSource
from sartorius.data.competition import read_truth
from sartorius.data.folds import make_folds, read_folds, read_groups
from sartorius.data.predictions import prediction_path, read_picture
from sartorius.errors import UserError
from sartorius.line_runs import Ints
from sartorius.metrics.images import refuse_mismatches
from sartorius.pipeline.fusing import predicted_images, read_sources
from sartorius.pipeline.staleness import SourceModel, models_in_cache
from sartorius.tuning.stages import ImageStages
from sartorius.tuning.training_images import TrainedOn, trained_on

#: Hexadecimal digits that cached files are told apart by.
_DIGITS = 12
#: The digest of a source that every image's type leaves out.
_OF_NONE = hashlib.sha256().hexdigest()[:_DIGITS]


class Data(NamedTuple):
    """Where predictions and truth are.

    caches: prediction caches of the same ensemble, no image in two of them.
    truth, folds: the competition's train.csv and the file of folds that the models were trained by.
    """

    caches: tuple[Path, ...]
    truth: Path
    folds: Path


class Parts(NamedTuple):
    """The part of each of I images, from 0 (I,), and in words what the parts are."""

    of_image: Ints
    origin: str

    def __len__(self) -> int:
        return int(self.of_image.max(initial=-1)) + 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """Images in each part."""
        return tuple(np.bincount(self.of_image).tolist())


class CachedImages(NamedTuple):
    """I images in ascending order of their ids, none of which a model of the ensemble was trained on, where known.

    image_ids, images: the images. parts: which part each is in.
    sources: what the predictions are of.
    trained: what is known about training images. left_out: ids of those that were left out.
    """

    image_ids: tuple[str, ...]
    images: tuple[ImageStages, ...]
    parts: Parts
    sources: tuple[TunedSource, ...]
    trained: TrainedOn
    left_out: tuple[str, ...]


def read_cached_images(
    ensemble: Path, settings: EnsembleSettings, data: Data, n_parts: int, seed: int
) -> CachedImages:
    """The cached images with their truth, split into parts.

    n_parts, seed: used when all images are of one fold, which is then split, images of one well together; those of
    several folds have these as their parts.
    Raises UserError if a prediction is missing or of another size than the truth, an image is in two caches or in no
    fold, or nothing is left.
    """
    cache_of = _cache_of_image(settings, data.caches)
    models = [models_in_cache(settings, cache) for cache in data.caches]
    folds = read_folds(data.folds, read_groups(data.truth))
    pictures = [
        {name: _picture(settings, cache, name) for name, of in cache_of.items() if of == cache}
        for cache in data.caches
    ]
    trained = trained_on(ensemble, settings, models, pictures, data.folds, folds)
    trained_in = dict(zip(data.caches, trained.of_caches, strict=True))
    left_out = tuple(sorted(name for name, cache in cache_of.items() if name in trained_in[cache]))
    chosen = tuple(sorted(set(cache_of) - set(left_out)))
    if not chosen:
        raise UserError(
            f"{', '.join(map(str, data.caches))}: a model of the ensemble was trained on each of the {len(left_out)} images; "
            "predict images of the fold that was left out of training"
        )
    truth = read_truth(data.truth, chosen)
    parts = _parts(chosen, folds, data, n_parts, seed)
    found = {image_id: read_sources(settings, cache_of[image_id], image_id) for image_id in chosen}
    refuse_mismatches({name: next(iter(cells.values())) for name, cells in found.items()}, truth)
    images = tuple(ImageStages(found[image_id], truth[image_id], settings) for image_id in chosen)
    sources = tuple(_tuned_source(name, models, cache_of, chosen) for name in settings.sources)
    return CachedImages(chosen, images, parts, sources, trained, left_out)


def refuse_searched_on(ensemble: Path, settings: EnsembleSettings, cached: CachedImages) -> None:
    """Raise UserError if a tuned ensemble's settings, or those it was tuned from, were searched on any of these predictions.

    No part would be held out of such a search.
    """
    tuned = settings.tuned
    before = searched_on(tuned)
    again = [source.source for source in cached.sources if _digests(source) & before]
    if tuned and again:
        raise UserError(
            f"{ensemble}: its settings were searched on these predictions of {', '.join(again)} already, or on some of them "
            f"(last by `{tuned.command}`), so no score of a search from there is out of fold; search from {tuned.ensemble}, "
            "which it was tuned from, instead"
        )


def searched_on(tuned: TunedRecord | None) -> set[str]:
    """Digests of the predictions that settings, and those they were tuned from, were searched on; none if not tuned."""
    return set(tuned.searched_before.split()).union(*map(_digests, tuned.sources)) if tuned else set()


def _digests(source: TunedSource) -> set[str]:
    """Of each image's predictions, and of all together, as files that name no images have it."""
    return {source.predictions_sha256[:_DIGITS], *source.images_sha256.split()} - {_OF_NONE}


def _picture(settings: EnsembleSettings, cache: Path, image_id: str) -> str:
    """The `pixel_hash` of the image that predictions were made from; its id again where no file tells."""
    told = (read_picture(prediction_path(cache / name, image_id)) for name in settings.typing_sources)
    return next(filter(None, told), image_id)


def _cache_of_image(settings: EnsembleSettings, caches: Iterable[Path]) -> dict[str, Path]:
    cache_of: dict[str, Path] = {}
    for cache in caches:
        for image_id in predicted_images(settings, cache):
            if image_id in cache_of:
                raise UserError(
                    f"image {image_id} is in both {cache_of[image_id]} and {cache}; expected every image in one cache"
                )
            cache_of[image_id] = cache
    return cache_of


def _parts(image_ids: Sequence[str], folds: Mapping[str, int], data: Data, n_parts: int, seed: int) -> Parts:
    absent = [image_id for image_id in image_ids if image_id not in folds]
    if absent:
        raise UserError(
            f"{data.folds}: {len(absent)} of the predicted images are in no fold, for example {absent[0]}; "
            "give the folds that the models were trained by"
        )
    numbers = sorted({folds[image_id] for image_id in image_ids})
    if len(numbers) > 1:
        places = {number: place for place, number in enumerate(numbers)}
        of_image = [places[folds[image_id]] for image_id in image_ids]
        return Parts(np.array(of_image), f"folds {', '.join(map(str, numbers))}")
    truth = read_truth(data.truth, image_ids)
    groups = read_groups(data.truth)
    wells = len({groups[image_id] for image_id in image_ids})
    if wells < n_parts:
        raise UserError(
            f"--parts {n_parts}: expected at least as many images, or wells where these are known, of fold {numbers[0]}, "
            f"got {wells}; predict more images of it, or give fewer parts, at least 2"
        )
    inner = make_folds(truth, groups, n_parts, np.random.default_rng(seed))
    how = "wells kept together" if wells < len(image_ids) else "image by image"
    return Parts(
        np.array([inner[image_id] for image_id in image_ids]),
        f"fold {numbers[0]} split into {n_parts}, {how}, seed {seed}",
    )


def _tuned_source(
    name: str,
    models: Sequence[Mapping[str, SourceModel]],
    cache_of: Mapping[str, Path],
    image_ids: Sequence[str],
) -> TunedSource:
    of_cache = {model[name].weights_sha256: model[name] for model in models}
    whole, of_images = hashlib.sha256(), []
    for image_id in image_ids:
        path = prediction_path(cache_of[image_id] / name, image_id)
        if path.exists():  # not where the image's type leaves the source out
            content = path.read_bytes()
            whole.update(content)
            of_images.append(hashlib.sha256(content).hexdigest()[:_DIGITS])
    return TunedSource(
        source=name,
        weights_sha256=tuple(of_cache),
        inference=tuple(dict(model.inference) for model in of_cache.values()),
        predictions_sha256=whole.hexdigest(),
        images_sha256=" ".join(of_images),
    )
