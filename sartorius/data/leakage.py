"""Images to validate on that a model has seen, under their own name or under another one."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sartorius.data.images import read_image
from sartorius.errors import UserError
from sartorius.files import atomic_path

#: An image: its pixels (height, width), its file, or its `pixel_hash`.
Picture = NDArray[np.uint8] | Path | str

#: Lies in a run folder beside the weights and names every image that they have seen.
TRAINED_ON = "trained_on.csv"
TRAINED_ON_COLUMNS = ("id", "pixels_sha256")


class Leak(NamedTuple):
    """An image to validate on that is trained on too; the two ids differ where only the pixels give it away.

    same_pixels: whether both have the same; an image of the same name that was saved anew may have others.
    """

    validation_id: str
    training_id: str
    same_pixels: bool

    def __str__(self) -> str:
        if self.validation_id != self.training_id:
            return f"{self.validation_id} (the same pixels as {self.training_id})"
        return self.validation_id if self.same_pixels else f"{self.validation_id} (the name, not the pixels)"


def pixel_hash(picture: Picture) -> str:
    """The same text for every image of the same size and grey values, whatever its name and file format.

    Raises UserError if a file cannot be read.
    """
    if isinstance(picture, str):
        return picture
    pixels = read_image(picture) if isinstance(picture, Path) else picture
    return sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def leaks(validation: Mapping[str, Picture], training: Mapping[str, Picture]) -> Iterator[Leak]:
    """The images of `validation`, by rising id, that are in `training` by id or by pixels; each once, by id first."""
    id_of = {pixel_hash(picture): image_id for image_id, picture in sorted(training.items(), reverse=True)}
    for image_id, picture in sorted(validation.items()):
        own = pixel_hash(picture)
        if image_id in training:
            yield Leak(image_id, image_id, own == pixel_hash(training[image_id]))
        elif own in id_of:
            yield Leak(image_id, id_of[own], True)


def refuse_leaks(
    validation: Mapping[str, Picture], training: Mapping[str, Picture], training_name: str
) -> None:
    """Raise UserError, which names examples, if an image of `validation` is in `training` by id or by pixels.

    validation, training: images by id; pseudo-labelled and pretraining images count as trained on.
    training_name: where the training images come from, for the message.
    """
    found = list(leaks(validation, training))
    if found:
        raise UserError(
            f"{training_name}: {len(found)} of the {len(validation)} images to validate on are trained on: "
            f"{', '.join(map(str, found[:3]))}{' …' if len(found) > 3 else ''}; a score on them would say nothing: "
            "leave them out of the training images, validate on another fold, or rename images that are others"
        )


def write_trained_on(folder: Path, images: Mapping[str, Picture]) -> None:
    """Write into a run folder which images its weights have seen, those of earlier trainings included."""
    rows = [(image_id, pixel_hash(picture)) for image_id, picture in sorted(images.items())]
    with atomic_path(folder / TRAINED_ON) as temporary:
        pd.DataFrame(rows, columns=list(TRAINED_ON_COLUMNS)).to_csv(
            temporary, index=False, lineterminator="\n"
        )


def read_trained_on(weights: Path) -> dict[str, str]:
    """The `pixel_hash` of every image that weights have seen, by id, from the file beside them; without one, none.

    weights: a weights file or the run folder itself.
    Raises UserError if the file is no such table.
    """
    path = (weights if weights.is_dir() else weights.parent) / TRAINED_ON
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected the list of images that a run was trained on: {error}") from None
    if tuple(table.columns) != TRAINED_ON_COLUMNS:
        raise UserError(
            f"{path}: expected the columns {','.join(TRAINED_ON_COLUMNS)}, got {','.join(table.columns)}"
        )
    return dict(zip(table["id"], table["pixels_sha256"], strict=True))
