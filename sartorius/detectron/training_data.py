"""Training images decoded once and kept in memory."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.data.competition import image_folder, read_truth, truth_csv
from sartorius.data.folds import read_folds, read_groups
from sartorius.data.images import list_images, read_image
from sartorius.data.leakage import refuse_leaks
from sartorius.detectron.mapper import TrainingImage
from sartorius.detectron.pasting import main_type
from sartorius.errors import UserError
from sartorius.formats import read_any
from sartorius.rle import crops_from_cocos


@dataclass(frozen=True)
class TrainingData:
    """Images to train on, and images that are only looked at for validation, with their truth.

    training_truth: what was read of the images that are trained on, for looking at a model's memory of them.
    """

    training: Sequence[TrainingImage]
    validation: Sequence[TrainingImage]
    validation_truth: Mapping[str, Cells]
    training_truth: Mapping[str, Cells] = field(default_factory=dict)


def read_training_data(
    data_dirs: Sequence[Path],
    cell_types: Sequence[str],
    folds: Path | None,
    fold: int | None,
    labels: Path | None = None,
) -> TrainingData:
    """The images of one run, split by fold.

    data_dirs: the first folder is split by `folds`; all of the others are trained on.
    folds, fold: a folds file and the fold that is validated on; None trains on everything.
    labels: annotations to train on in place of the first folder's train.csv, in any format that is known: a repaired
        train.csv, COCO or LIVECell JSON. Images that it leaves out are not trained on; validation keeps train.csv.
    Raises UserError when the fold has no image, a well's images lie in two folds, no image is left to train on or none of
    them has a cell, or an image to validate on is trained on too, under its own or another id.
    """
    held_out = set() if folds is None or fold is None else _ids_of_fold(folds, fold, data_dirs[0])
    images, truth = read_training_images(data_dirs[0], cell_types, labels=None if held_out else labels)
    absent = sorted(held_out - truth.keys())
    if absent:
        raise UserError(
            f"{folds}: {len(absent)} images of fold {fold} are not in {data_dirs[0]}, for example {absent[0]}"
        )
    validation = [image for image in images if image.image_id in held_out]
    validation_truth = {name: truth[name] for name in sorted(held_out)}
    if labels and held_out:
        images, truth = read_training_images(data_dirs[0], cell_types, labels=labels)
    training = [image for image in images if image.image_id not in held_out]
    training_truth = {name: cells for name, cells in truth.items() if name not in held_out}
    refuse_leaks(pixels_by_id(validation), pixels_by_id(training), str(data_dirs[0]))
    for folder in data_dirs[1:]:
        more, truth_of_more = read_training_images(folder, cell_types)
        refuse_leaks(pixels_by_id(validation), pixels_by_id(more), str(folder))
        training += more
        training_truth |= truth_of_more
    _require_some(training, labels or truth_csv(data_dirs[0]), len(images), fold)
    return TrainingData(training, validation, validation_truth, training_truth)


def _require_some(
    training: Sequence[TrainingImage], annotations: Path, images: int, fold: int | None
) -> None:
    """Raises UserError if no image is left to train on, or no cell; images: how many the annotations have."""
    if any(len(image.crops) for image in training):
        return
    why = f"none of the {len(training)} images has a cell"
    if not training:
        why = f"all of its {images} images are in fold {fold}" if images else "it has none"
    raise UserError(f"{annotations}: expected annotated images to train on, but {why}")


def pixels_by_id(images: Iterable[TrainingImage]) -> dict[str, NDArray[np.uint8]]:
    """The grey values of images by id."""
    return {image.image_id: image.pixels for image in images}


def _ids_of_fold(folds: Path, fold: int, data_dir: Path) -> set[str]:
    numbers = read_folds(folds, read_groups(truth_csv(data_dir)))
    ids = {image_id for image_id, number in numbers.items() if number == fold}
    if not ids:
        raise UserError(f"{folds}: no image is in fold {fold}; it has folds {sorted(set(numbers.values()))}")
    return ids


def read_training_images(
    data_dir: Path, cell_types: Sequence[str], ids: Iterable[str] | None = None, labels: Path | None = None
) -> tuple[list[TrainingImage], dict[str, Cells]]:
    """The images of a data set in the competition's layout by rising id, and their truth.

    ids: the images wanted; None takes all that are annotated. labels: annotations in place of train.csv, read whole.
    Raises UserError when an image is missing or has another size than its annotation, or a cell type is unknown.
    """
    truth = truth_csv(data_dir) if labels is None else labels
    paths = list_images(image_folder(data_dir, "train"))
    if labels is None:
        chosen = read_truth(truth, None if ids is None else set(ids))
    else:
        chosen = read_any(labels, images=paths)
    missing = sorted(chosen.keys() - paths.keys())
    if missing:
        raise UserError(
            f"{truth}: {len(missing)} annotated images have no file in {data_dir / 'train'}, for example "
            f"{', '.join(missing[:5])}; run `sartorius data check {data_dir}`"
        )
    return [_training_image(name, paths[name], cells, cell_types) for name, cells in chosen.items()], chosen


def _training_image(name: str, path: Path, cells: Cells, cell_types: Sequence[str]) -> TrainingImage:
    pixels = read_image(path)
    if pixels.shape != cells.size_hw:
        raise UserError(
            f"{path}: image has (height, width) {pixels.shape}, its annotation says {cells.size_hw}"
        )
    number: Mapping[str, int] = {name: index for index, name in enumerate(cell_types)}
    unknown = sorted(set(cells.cell_types.tolist()) - set(number))
    if unknown:
        raise UserError(
            f"{name}: cell type {unknown[0]!r} is not in the model's cell_types {list(cell_types)}"
        )
    return TrainingImage(
        image_id=name,
        pixels=pixels,
        crops=tuple(crops_from_cocos(cells.masks)),
        classes=np.array([number[name] for name in cells.cell_types.tolist()], dtype=np.int64),
    )


def type_repeats(images: Sequence[TrainingImage]) -> NDArray[np.float32]:
    """How often each image is drawn, so that every cell type is drawn equally often and the commonest type once.

    An image's type is that of most of its cells; images without cells have none and are drawn once.
    Returns (images,) float32 of at least 1.
    """
    types = [main_type(image) if len(image.classes) else None for image in images]
    counts = Counter(kind for kind in types if kind is not None)
    most = max(counts.values(), default=1)
    return np.array([1 if kind is None else most / counts[kind] for kind in types], dtype=np.float32)
