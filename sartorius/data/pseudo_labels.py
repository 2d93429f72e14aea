"""Pseudo labels: what an ensemble is sure of in images that nobody has annotated, as a data set to train on."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from pydantic import Field

from sartorius.cells import UNKNOWN_CELL_TYPE, Cells
from sartorius.config.per_type import FractionPerType, PixelsPerType, value_for
from sartorius.config.reading import FrozenSettings
from sartorius.data.competition import TRUTH_COLUMNS
from sartorius.data.images import IMAGE_SUFFIXES, image_size_hw, read_image
from sartorius.data.leakage import leaks
from sartorius.errors import UserError
from sartorius.files import atomic_path, refuse_foreign, replaced_folder
from sartorius.postprocess import sure_enough, voted_type
from sartorius.rle import kaggles_from_cocos

#: Lies beside the `train.csv` of pseudo labels and says how they were made.
PSEUDO_JSON = "pseudo.json"
#: Patterns of everything in a folder of pseudo labels.
PARTS = (PSEUDO_JSON, "train.csv", "train", *(f"train/*{suffix}" for suffix in IMAGE_SUFFIXES))


class PseudoSettings(FrozenSettings):
    """What is sure enough to be a label, each one for all cell types or one for each."""

    min_score: FractionPerType = Field(description="Cells with a lower score are left out.")
    min_confidence: FractionPerType = Field(
        description="Images whose other cells have a lower mean score are left out."
    )
    most_images: PixelsPerType = Field(description="Images kept of each type, the surest first.")


class PseudoLabel(NamedTuple):
    """The cells of one image that are believed, their voted type, and their mean score."""

    cells: Cells
    cell_type: str
    confidence: float


def choose_pseudo_labels(
    found: Mapping[str, Cells], min_score: FractionPerType, min_confidence: FractionPerType
) -> dict[str, PseudoLabel]:
    """The images that are labelled surely enough, by id.

    found: fused and cleaned cells of each image. An image's type is the voted one of its cells, of which each keeps its
        own; those whose type nobody told get the image's.
    min_score: cells below it are left out. min_confidence: images whose other cells have a lower mean score are left
    out, and images without any. Both are compared as float32, which scores are: 0.7 reaches 0.7.
    """
    labels: dict[str, PseudoLabel] = {}
    for image_id, cells in found.items():
        believed = sure_enough(cells, min_score)
        cell_type = voted_type(believed)
        if cell_type is None:
            continue
        confidence = float(believed.scores.mean(dtype=np.float64))
        if np.float32(confidence) >= np.float32(value_for(min_confidence, cell_type)):
            told = np.where(believed.cell_types == UNKNOWN_CELL_TYPE, cell_type, believed.cell_types)
            labels[image_id] = PseudoLabel(replace(believed, cell_types=told), cell_type, confidence)
    return dict(sorted(labels.items()))


def surest_of_each_type(
    labels: Mapping[str, PseudoLabel], most_images: PixelsPerType
) -> dict[str, PseudoLabel]:
    """At most so many images of each type, by id: the surest ones. Ties go to the lower id."""
    kept: dict[str, PseudoLabel] = {}
    for cell_type in sorted({label.cell_type for label in labels.values()}):
        own = [(-label.confidence, name) for name, label in labels.items() if label.cell_type == cell_type]
        kept |= {name: labels[name] for _, name in sorted(own)[: int(value_for(most_images, cell_type))]}
    return dict(sorted(kept.items()))


def annotated_twins(images: Mapping[str, Path], annotated: Mapping[str, Path]) -> set[str]:
    """The ids of `images` that are among `annotated`, under their own id or by their pixels under another one."""
    return {leak.validation_id for leak in leaks(images, annotated)}


def write_pseudo_data(
    labels: Mapping[str, PseudoLabel], images: Mapping[str, Path], out: Path, facts: Mapping[str, object]
) -> None:
    """Write a data set in the competition's layout, which `sartorius train --also` takes, whole or not at all.

    images: as `list_images` gives them; a plane of a TIFF stack is written as PNG, any other image's file is copied.
    facts: what `pseudo.json` says besides counts and confidences.
    out: new, empty, or earlier pseudo labels, which are replaced once everything is done.
    Raises UserError if no image is left, a labelled image has no file or one of another size, or `out` holds something
    else.
    """
    refuse_foreign(out, lambda folder: (folder / PSEUDO_JSON).is_file(), "data set of pseudo labels", PARTS)
    if not labels:
        raise UserError(f"{out}: expected at least one labelled image, got none")
    absent = sorted(labels.keys() - images.keys())
    if absent:
        raise UserError(
            f"{absent[0]} and {len(absent) - 1} more predicted images have no file among the images"
        )
    for image_id, label in labels.items():
        size_hw = image_size_hw(images[image_id])
        if size_hw != label.cells.size_hw:
            raise UserError(
                f"image {image_id}: its cells are of an image of height and width {label.cells.size_hw}, but "
                f"{images[image_id]} has {size_hw}; name the folder with the images that the cells were found in"
            )
    with replaced_folder(out) as folder:
        (folder / "train").mkdir()
        for image_id in labels:
            _write_image(images[image_id], folder / "train", image_id)
        rows = [row for image_id, label in labels.items() for row in _rows(image_id, label)]
        pd.DataFrame(rows, columns=list(TRUTH_COLUMNS)).to_csv(folder / "train.csv", index=False)
        with atomic_path(folder / PSEUDO_JSON) as path:
            told = {**facts, "images": {name: round(label.confidence, 4) for name, label in labels.items()}}
            path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def counts_by_type(labels: Mapping[str, PseudoLabel]) -> dict[str, tuple[int, int]]:
    """For each cell type its number of images, each counted once by its voted type, and of cells, in whatever image."""
    images = Counter(label.cell_type for label in labels.values())
    cells = Counter(name for label in labels.values() for name in label.cells.cell_types.tolist())
    return {cell_type: (images[cell_type], cells[cell_type]) for cell_type in sorted(cells)}


def _write_image(path: Path, folder: Path, image_id: str) -> None:
    """Copy an image's file; what is part of a file, as the planes of a stack are, becomes a PNG."""
    if path.is_file():
        shutil.copyfile(path, folder / f"{image_id}{path.suffix.lower()}")
    else:
        (folder / f"{image_id}.png").write_bytes(cv2.imencode(".png", read_image(path))[1].tobytes())


def _rows(image_id: str, label: PseudoLabel) -> list[dict[str, object]]:
    height, width = label.cells.size_hw
    return [
        {
            "id": image_id,
            "annotation": text.text,
            "width": width,
            "height": height,
            "cell_type": cell_type,
        }
        for text, cell_type in zip(
            kaggles_from_cocos(label.cells.masks), label.cells.cell_types.tolist(), strict=True
        )
    ]
