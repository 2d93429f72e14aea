"""What other programs found in the images, as members of an ensemble."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.members import ViewSettings
from sartorius.data.images import list_images
from sartorius.errors import UserError
from sartorius.files import OF_FILE_MANAGERS
from sartorius.formats import detect_format, read_any


class ForeignPredictions:
    """Cells of a file or folder in any known format, given out as a predictor gives what it finds.

    path: the file or folder. images: image files by id, those that are asked for and others that it may name.
    reference: the COCO file that explains numbers of COCO results, or None.
    Raises UserError if the file cannot be read.
    """

    def __init__(self, path: Path, images: Mapping[str, Path], reference: Path | None = None) -> None:
        self._path, self._reference = path, reference
        self._format = detect_format(path)
        self._found = read_any(path, images, self._format, reference)

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 over the files of predictions, and of the reference, which tells them from others.

        Hidden files of a folder and what file managers leave there do not count.
        """
        digest = hashlib.sha256()
        for path in filter(None, (self._path, self._reference)):
            for file in sorted(path.rglob("[!.]*")) if path.is_dir() else [path]:
                if file.is_file() and file.name not in OF_FILE_MANAGERS:
                    digest.update(file.relative_to(path.parent).as_posix().encode() + file.read_bytes())
        return digest.hexdigest()

    @property
    def config(self) -> Mapping[str, object]:
        """The format that the predictions are in."""
        return {"predictions": self._format}

    def require(self, image_ids: Mapping[str, Path]) -> None:
        """Raise UserError unless there are predictions, even if of no cell, of all these images."""
        missing = [image_id for image_id in image_ids if image_id not in self._found]
        if missing:
            raise UserError(
                f"{self._path}: expected predictions of all {len(image_ids)} images, {len(missing)} are not in it, for "
                f"example {', '.join(missing[:5])}; choose images that are (--ids), or predict the others as well"
            )

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        """The cells of one image; raises UserError if they are of an image of another size."""
        cells = self._found[image_id]
        if cells.size_hw != image.shape:
            raise UserError(
                f"{self._path}: its cells of image {image_id} are of height and width {cells.size_hw}, but the image has "
                f"{image.shape}; they were found in a resized or another image"
            )
        return cells


def foreign_predictors(
    ensemble: Path, settings: EnsembleSettings, images: Mapping[str, Path]
) -> dict[str, ForeignPredictions]:
    """What other programs found, by name of each member that is `predictions`; paths are relative to the ensemble file.

    images: the image files by id that are about to be worked on.
    Raises UserError if a file is missing, malformed, or lacks one of the images.
    """
    members = [member for member in settings.members if member.predictions]
    beside = _images_beside(images) if members else {}
    found = {}
    for member in members:
        reference = ensemble.parent / member.reference if member.reference else None
        found[member.name] = ForeignPredictions(ensemble.parent / member.predictions, beside, reference)
        found[member.name].require(images)
    return found


def refuse_foreign(ensemble: Path, settings: EnsembleSettings, why: str) -> None:
    """Raise UserError if a member of the ensemble is predictions; why: what needs models."""
    foreign = [member.name for member in settings.members if member.predictions]
    if foreign:
        raise UserError(
            f"{ensemble}: member {', '.join(foreign)} has predictions of certain images and no model; {why}, so take "
            "the member out"
        )


def _images_beside(images: Mapping[str, Path]) -> dict[str, Path]:
    """The images and all others in their folders, which a file of predictions may be of as well."""
    folders = {path.parent if path.parent.is_dir() else path.parent.parent for path in images.values()}
    beside = {image_id: path for folder in sorted(folders) for image_id, path in list_images(folder).items()}
    return {**beside, **images}
