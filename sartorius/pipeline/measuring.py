"""The cells of a file or folder measured, whatever its format."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.data.images import read_grey
from sartorius.errors import UserError
from sartorius.formats import Images, read_any
from sartorius.morphometrics import Measurements, measure
from sartorius.morphometrics.cell_table import LEAST_UM_PER_PX, MOST_UM_PER_PX, is_pixel_size
from sartorius.pipeline.predicting import Report


def measure_file(path: Path, images: Images, um_per_px: float | None, report: Report) -> Measurements:
    """The measurements of every cell of a file or folder of cells; see `sartorius.morphometrics`.

    images: image files by id, for intensities and for formats that do not tell the images' sizes; None leaves the
        intensities out. Images without cells in the file are left out.
    um_per_px: micrometres per pixel; None measures in pixels only.
    Raises UserError if the file cannot be read, holds no image, or an image of it is missing or of another size.
    """
    if um_per_px is not None and not is_pixel_size(um_per_px):
        raise UserError(
            f"expected more than 0 micrometres per pixel, got {um_per_px:g}; a pixel is "
            f"{LEAST_UM_PER_PX:g} to {MOST_UM_PER_PX:g} µm wide"
        )
    found = read_any(path, images)
    if not found:
        raise UserError(f"{path}: expected cells to measure, but there is not one image in it")
    missing = [] if images is None else sorted(set(found) - set(images))
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of its {len(found)} images are not among the {len(images or {})} given, for "
            f"example {', '.join(missing[:5])}; name the folder with these images (of the competition's, `--split train` takes the "
            "training images), or none to leave out intensities"
        )
    return measure(_with_grey_values(found, images, report), um_per_px)


def _with_grey_values(
    found: Mapping[str, Cells], images: Images, report: Report
) -> Iterator[tuple[Cells, NDArray[Any] | None]]:
    for done, (image_id, cells) in enumerate(found.items(), start=1):
        grey = None if images is None else read_grey(images[image_id])
        if grey is not None and grey.shape != cells.size_hw:
            raise UserError(
                f"image {image_id}: its cells are of an image of height and width {cells.size_hw}, but the file has "
                f"{grey.shape}; name the folder with the images that the cells were found in"
            )
        yield cells, grey
        report("measure", done, len(found))
