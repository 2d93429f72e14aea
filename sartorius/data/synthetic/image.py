"""One synthetic image with its truth."""

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells, annotated
from sartorius.data.synthetic.looks import LOOKS
from sartorius.data.synthetic.optics import photograph
from sartorius.data.synthetic.scene import Scene
from sartorius.errors import UserError
from sartorius.rle import coco_from_crop


def synthetic_image(
    cell_type: str,
    rng: np.random.Generator,
    size_hw: tuple[int, int] = (520, 704),
    image_id: str = "synthetic",
    density: float = 1.0,
) -> tuple[NDArray[np.uint8], Cells]:
    """A phase-contrast-like grey image of one cell type, and the true cells in it.

    cell_type: "shsy5y", "astro" or "cort".
    size_hw: height and width in pixels; the number of cells goes with the area.
    density: cells are this many times as many as usual for the type; 0 gives an image without cells.
    Returns the (H, W) uint8 image, mean grey about 128, and disjoint masks of at least 30 px; neurites thinner than
    3 px and debris belong to no cell.
    Raises UserError if the cell type is unknown, ValueError if the density is negative.
    """
    if cell_type not in LOOKS:
        raise UserError(f"no synthetic cells of type {cell_type!r}; known: {', '.join(LOOKS)}")
    if density < 0:
        raise ValueError(f"density is {density}, expected 0 or more")
    scene = Scene(cell_type, size_hw, rng)
    scene.add_cells(density)
    scene.add_loose_threads()
    scene.add_debris()
    image = photograph(scene.whole_phase(), rng)
    masks = [coco_from_crop(crop, size_hw) for crop in scene.crops]
    return image, annotated(image_id, size_hw, masks, [cell_type] * len(masks))
