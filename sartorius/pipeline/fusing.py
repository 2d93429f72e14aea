"""Cached predictions fused and cleaned, image by image, without torch."""

import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sartorius import __version__
from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings
from sartorius.data.predictions import (
    MANIFEST,
    CachedPrediction,
    PredictionManifest,
    list_predictions,
    prediction_path,
    read_manifest,
    read_prediction,
    write_cells,
    write_manifest,
)
from sartorius.errors import UserError, did_you_mean
from sartorius.files import refuse_foreign, replaced_folder
from sartorius.fusion import Explanation, explain, fuse
from sartorius.pipeline.by_type import fused_sources, image_fusion
from sartorius.pipeline.predicting import Report, no_report
from sartorius.pipeline.workers import worker_pool
from sartorius.postprocess import clean

#: The source that the manifest of a fused folder names.
FUSED = "fused"
#: Starting a process costs about as much as fusing this many images.
IMAGES_PER_PROCESS = 100


class Fused(NamedTuple):
    """Where the fused cells are, and how many they are by image id."""

    folder: Path
    cells: Mapping[str, int]


def fused_and_cleaned(sources: Mapping[str, Cells], settings: EnsembleSettings) -> Cells:
    """The cells of one image that all sources agree on, cleaned: disjoint, thresholded, large enough.

    sources: as for `image_fusion`, those that found nothing included.
    """
    return clean(fuse(*image_fusion(sources, settings)), settings.postprocess)


def explain_image(settings: EnsembleSettings, cache_root: Path, image_id: str) -> Explanation:
    """What became of every cached detection of one image, and which made which cell.

    Raises UserError if there is no such image, or it lacks the prediction of any source.
    """
    known = sorted(set().union(*_predicted(settings, cache_root).values()))
    if image_id not in known:
        hint = did_you_mean(image_id, known) or f", which are {', '.join(known[:3])} …"
        raise UserError(
            f"{cache_root}: there is no image {image_id!r} among the {len(known)} predicted{hint}"
        )
    predicted_images(settings, cache_root, [image_id])
    sources = read_sources(settings, cache_root, image_id)
    fusion = image_fusion(sources, settings)
    return explain(fusion.sources, fusion.settings, settings.postprocess, fusion.weights)


def read_sources(settings: EnsembleSettings, cache_root: Path, image_id: str) -> dict[str, Cells]:
    """The cached cells of one image by source; of those that are fused there, whatever else is cached.

    Raises UserError if one is missing, damaged or another image's, also if that has the same name.
    """
    found = {name: read_prediction(cache_root / name, image_id) for name in settings.typing_sources}
    fused = fused_sources({name: one.cells for name, one in found.items()}, settings)
    _refuse_gaps(
        cache_root,
        [(name, image_id) for name in fused if not prediction_path(cache_root / name, image_id).exists()],
    )
    found |= {name: read_prediction(cache_root / name, image_id) for name in fused if name not in found}
    _refuse_other_pictures(cache_root, image_id, found)
    return {name: found[name].cells for name in settings.sources if name in found}


def _refuse_other_pictures(cache_root: Path, image_id: str, found: Mapping[str, CachedPrediction]) -> None:
    """Raise UserError unless all sources looked at the same image of that name, as far as their files tell."""
    known = next((name for name, one in found.items() if one.picture), next(iter(found)))
    for name, one in found.items():
        same_size = one.cells.size_hw == found[known].cells.size_hw
        if not same_size or one.picture not in ("", found[known].picture):
            here, there = (prediction_path(cache_root / source, image_id) for source in (name, known))
            raise UserError(
                f"{here}: holds predictions of another image called {image_id} than {there}; sources can be fused that "
                "looked at the same image, so delete the file that is of the wrong one and predict again"
            )


def predicted_images(
    settings: EnsembleSettings, cache_root: Path, image_ids: Collection[str] | None = None
) -> list[str]:
    """The cached images in ascending order, each predicted by every source that no type leaves out.

    image_ids: exactly these.

    Raises UserError listing what is missing, if there is no image, and if a source's folder holds another's predictions.
    """
    predicted = _predicted(settings, cache_root)
    chosen = sorted(set().union(*predicted.values()) if image_ids is None else set(image_ids))
    if not chosen:
        raise UserError(
            f"{cache_root}: holds no predicted image; run `sartorius predict` with this ensemble first"
        )
    telling = settings.typing_sources
    _refuse_gaps(
        cache_root, [(name, image) for image in chosen for name in telling if image not in predicted[name]]
    )
    return chosen


def _refuse_gaps(cache_root: Path, gaps: Sequence[tuple[str, str]]) -> None:
    """Raise UserError if there is a source and an image that it has not predicted."""
    if gaps:
        shown = ", ".join(f"{name} of {image}" for name, image in gaps[:8])
        raise UserError(
            f"{cache_root}: {len(gaps)} predictions are missing: {shown}{' …' if len(gaps) > 8 else ''}; fusing fewer sources "
            "would change the scores, so run `sartorius predict` again, it goes on where it stopped"
        )


def _predicted(settings: EnsembleSettings, cache_root: Path) -> dict[str, set[str]]:
    """The images that each source predicted; raises UserError listing the sources that are not there, or are others'."""
    absent = [name for name in settings.sources if not (cache_root / name / MANIFEST).is_file()]
    if absent:
        there = sorted(
            path.parent.relative_to(cache_root).as_posix() for path in cache_root.glob(f"*/*/{MANIFEST}")
        )
        raise UserError(
            f"{cache_root}: expected predictions of {', '.join(settings.sources)}; missing {', '.join(absent)}, "
            f"found {', '.join(there) or 'none'}; run `sartorius predict` with this ensemble first"
        )
    _refuse_other_sources(settings, cache_root)
    return {name: set(list_predictions(cache_root / name)) for name in settings.sources}


def _refuse_other_sources(settings: EnsembleSettings, cache_root: Path) -> None:
    """Raise UserError if a folder says it is another source's, or a member's views are not of the same weights."""
    first: dict[str, tuple[Path, str]] = {}
    for member, view in settings.runs:
        folder, name = cache_root / member.name / view.name, f"{member.name}/{view.name}"
        manifest = read_manifest(folder)
        if manifest.source != name:
            raise UserError(
                f"{folder}: expected predictions of {name}, but its {MANIFEST} says that they are of {manifest.source}; "
                "delete the folder and predict again"
            )
        other, weights = first.setdefault(member.name, (folder, manifest.weights_sha256))
        if manifest.weights_sha256 != weights:
            raise UserError(
                f"{folder}: holds predictions of other weights ({manifest.weights_sha256[:12]}…) than {other} "
                f"({weights[:12]}…), but both are of {member.name}; delete the folder of the wrong ones and predict again"
            )


def fuse_predictions(
    settings: EnsembleSettings,
    cache_root: Path,
    out_dir: Path,
    n_workers: int | None = None,
    report: Report = no_report,
) -> Fused:
    """`out_dir` holds the fused and cleaned cells of every image, as one more folder of predictions.

    cache_root: the folder that `predict_images` filled.
    out_dir: new, empty, or an earlier fused result, which is replaced once everything is done.
    n_workers: processes that share the images, 0 or 1 works in this one; None takes as many of the cores as pay off.
        The result does not depend on it.
    Raises UserError listing what is missing if an image lacks the prediction of any source, or if `out_dir` holds
    something else.
    """
    image_ids = predicted_images(settings, cache_root)
    refuse_foreign(out_dir, _is_fused, "fused result", (MANIFEST, "*.npz"))
    with replaced_folder(out_dir) as folder:
        write_manifest(folder, _manifest(settings))
        work = partial(_fuse_one, settings=settings, cache_root=cache_root, folder=folder)
        with worker_pool(_workers(n_workers, len(image_ids)), __name__) as pool:
            counts = {}
            for image_id, count in zip(image_ids, pool.map(work, image_ids), strict=True):
                counts[image_id] = count
                report("fuse", len(counts), len(image_ids))
    return Fused(out_dir, counts)


def _fuse_one(image_id: str, settings: EnsembleSettings, cache_root: Path, folder: Path) -> int:
    cells = fused_and_cleaned(read_sources(settings, cache_root, image_id), settings)
    write_cells(prediction_path(folder, image_id), cells)
    return len(cells)


def _workers(n_workers: int | None, images: int) -> int:
    """How many processes to start; 0 works in this one."""
    asked = min(os.cpu_count() or 1, images // IMAGES_PER_PROCESS) if n_workers is None else n_workers
    return min(asked, images) if asked > 1 else 0


def _manifest(settings: EnsembleSettings) -> PredictionManifest:
    return PredictionManifest(
        source=FUSED,
        config=settings.model_dump(mode="json"),
        package_version=__version__,
        fused_from=tuple(sorted(settings.sources)),
    )


def _is_fused(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() and read_manifest(folder).source == FUSED
