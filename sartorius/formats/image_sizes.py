"""The sizes of images, for files that hold cells but do not say how large their images are."""

from collections.abc import Mapping
from pathlib import Path

from sartorius.data.images import image_size_hw
from sartorius.errors import UserError

#: Image files by image id; None where none are known.
Images = Mapping[str, Path] | None


def sizes_of(images: Images, path: Path, what: str) -> dict[str, tuple[int, int]]:
    """The (height, width) of every image by id, from the heads of the files.

    path, what: the file of cells that needs them and its format, for the message.
    Raises UserError if no images are known or one has no readable head.
    """
    if images is None:
        raise UserError(
            f"{path}: {what} does not say how large its images are; name their folder as well: --images DIR"
        )
    return {image_id: image_size_hw(image_path) for image_id, image_path in images.items()}
