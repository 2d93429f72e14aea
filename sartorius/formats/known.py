"""What is known beside a file of cells: the images, and a COCO file that explains numbers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sartorius.data.images import image_size_hw
from sartorius.errors import UserError

#: Image files by image id; None where none are known.
Images = Mapping[str, Path] | None


class Known(NamedTuple):
    """What a reader or writer may need beside the file.

    images: image files by id.
    reference: a COCO JSON file with the images and categories that a file of COCO results has the numbers of.
    sizes_hw: (height, width) of images by id, where they are known without files.
    """

    images: Images = None
    reference: Path | None = None
    sizes_hw: Mapping[str, tuple[int, int]] | None = None


NOTHING_KNOWN = Known()


class ImageSizes(Mapping[str, tuple[int, int]]):
    """The (height, width) of images by id, each read from the head of its file when it is asked for."""

    def __init__(self, images: Mapping[str, Path]) -> None:
        self._images = images
        self._sizes: dict[str, tuple[int, int]] = {}

    def __getitem__(self, image_id: str) -> tuple[int, int]:
        if image_id not in self._sizes:
            self._sizes[image_id] = image_size_hw(self._images[image_id])
        return self._sizes[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


def sizes_of(known: Known, path: Path, what: str) -> Mapping[str, tuple[int, int]]:
    """The sizes of the known images.

    path, what: the file of cells that does not tell them and its format, for the message.
    Raises UserError if no images are known.
    """
    if known.sizes_hw is not None:
        return known.sizes_hw
    if known.images is None:
        raise UserError(
            f"{path}: {what} does not say how large its images are; name their folder as well: --images DIR"
        )
    return ImageSizes(known.images)


def size_of(image_id: str, known: Known, path: Path, what: str) -> tuple[int, int]:
    """The size of one image; raises UserError if it is not among the known images."""
    sizes = sizes_of(known, path, what)
    if image_id not in sizes:
        some = ", ".join(list(sizes)[:3])
        raise UserError(
            f"{path}: image {image_id!r} is none of the {len(sizes)} images given ({some} …); {what} does not say "
            "how large it is: name the folder with this image"
        )
    return sizes[image_id]


def file_name_of(image_id: str, known: Known) -> str:
    """What to call an image's file in a format that names files: its id with its file's ending, or .png."""
    path = (known.images or {}).get(image_id)
    if path is None:
        return f"{image_id}.png"
    return f"{image_id}{path.suffix or path.parent.suffix}"
