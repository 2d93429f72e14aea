"""One row of measurements for each cell of an image, in pixels and, where a pixel's size is known, in micrometres."""

from math import degrees, nan, pi, sqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import KDTree
from skimage.measure import regionprops

from sartorius.cells import Cells
from sartorius.data.grey_levels import grey_plane
from sartorius.morphometrics.outlines import (
    count_parts,
    feret_diameter_px,
    filled,
    hull_area_px,
    outline_points_xy,
    perimeter_px,
)
from sartorius.rle import CocoRle, Crop, crops_from_cocos

#: Columns of numbers and the power of a pixel's side that their unit is: 1 for lengths, 2 for areas, 0 for the others.
#: A length or area is named with its unit, `perimeter_px`, and gets a second column if that unit is known in µm.
QUANTITIES = {
    "area": 2, "holes": 0, "hole_area": 2, "parts": 0, "perimeter": 1, "equivalent_diameter": 1, "major_axis": 1,
    "minor_axis": 1, "aspect_ratio": 0, "elongation": 0, "eccentricity": 0, "orientation_deg": 0, "circularity": 0,
    "solidity": 0, "feret_diameter": 1, "nearest_neighbour": 1,
}  # fmt: skip
INTENSITIES = ("mean_intensity", "intensity_std")
#: Axes that differ by less have no direction.
ROUND_PX = 1.0e-6
#: No image's pixels are smaller or larger, and beyond them areas in µm² stop being numbers above 0.
LEAST_UM_PER_PX, MOST_UM_PER_PX = 1.0e-9, 1.0e9


def measure_cells(
    cells: Cells,
    image: NDArray[Any] | None = None,
    um_per_px: float | None = None,
    known: dict[CocoRle, dict[str, float]] | None = None,
) -> pd.DataFrame:
    """One row of measurements for each cell, in the order of `cells`.

    image: (height, width) grey values or (height, width, 3 or 4) colours of any number type, for the two intensity
        columns, as `read_grey` returns them (`read_image` scales each by itself); None leaves them out.
    um_per_px: micrometres per pixel; every length and area then has a second column in µm or µm².
    known: what earlier calls have measured on masks in this image; those are not measured again, new ones are added.

    Columns, `(x)` as scikit-image's `regionprops` gives them for the cell's own pixels:

    - image_id, cell (its row in `cells`, from 0), cell_type, score
    - center_x_px, center_y_px: mean of the pixels (x); pixel (row, col) covers [row, row + 1) x [col, col + 1)
    - area_px: the cell's pixels, without its holes (x)
    - holes, hole_area_px: enclosed background, which touches the outside along no edge of a pixel; its pixels
    - parts: detached pieces; those that touch at a corner are one
    - perimeter_px: the length of the outer outlines, without the rims of holes; see `outlines.perimeter_px`
    - equivalent_diameter_px: of the disc of the same area, sqrt(4 area / pi) (x)
    - major_axis_px, minor_axis_px: axes of the ellipse with the same second moments (x)
    - aspect_ratio: major / minor axis, 1 or more; elongation: 1 - minor / major axis, 0 to 1
    - eccentricity: of that ellipse, sqrt(1 - (minor / major)²), 0 for a disc, 1 for a line (x)
    - orientation_deg: of the major axis, 0 along the rows, counter-clockwise in the picture, in [0, 180)
    - circularity: 4 pi (area + hole area) / perimeter², 1 for a disc, never more
    - solidity: area / area of the convex hull of the outline, 1 for convex cells, never more
    - feret_diameter_px: the largest caliper opening; see `outlines.feret_diameter_px`
    - mean_intensity, intensity_std: of the image under the cell, population standard deviation (x), in the
        image's own values: those of `read_grey` are the file's and can be compared between images, those of
        `read_image` cannot
    - nearest_neighbour_px: from the cell's centre to the nearest other centre in the image
    - touches_border: whether a pixel of it lies at the edge of the image, so that part of the cell may be cut off

    What is not defined is NaN: everything of an empty mask but its area, aspect ratio of a line one pixel wide,
    orientation of a disc, nearest neighbour of a single cell. No cells give a table without rows.
    Raises ValueError if the image has another size than the cells, or no pixel has the size `um_per_px`.
    Sources: van der Walt et al., scikit-image (2014); circularity: Cox (1927).
    """
    image = None if image is None else grey_plane(image)
    if image is not None and image.shape != cells.size_hw:
        raise ValueError(
            f"{cells.image_id}: the image has height and width {image.shape}, its cells {cells.size_hw}; "
            "expected the same"
        )
    if um_per_px is not None and not is_pixel_size(um_per_px):
        raise ValueError(
            f"um_per_px is {um_per_px}, expected more than 0, from {LEAST_UM_PER_PX:g} to {MOST_UM_PER_PX:g}"
        )
    measured = _measured(cells, image, {} if known is None else known)
    centers_xy = measured[["center_x_px", "center_y_px"]].to_numpy()
    table = pd.concat([_identity(cells), measured], axis=1).assign(
        nearest_neighbour_px=_nearest(centers_xy), touches_border=_touching(cells)
    )
    return table if um_per_px is None else _with_um(table, um_per_px)


def is_pixel_size(um_per_px: float) -> bool:
    """Whether a pixel may be so many micrometres wide."""
    return LEAST_UM_PER_PX <= um_per_px <= MOST_UM_PER_PX


def _identity(cells: Cells) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": pd.Series([cells.image_id] * len(cells), dtype=str),
            "cell": np.arange(len(cells)),
            "cell_type": pd.Series(cells.cell_types.tolist(), dtype=str),
            "score": cells.scores,
        }
    )


def _measured(
    cells: Cells, image: NDArray[Any] | None, known: dict[CocoRle, dict[str, float]]
) -> pd.DataFrame:
    """What can be measured on each cell alone; an empty mask has areas and counts of 0 and no other number."""
    new = [mask for mask in dict.fromkeys(cells.masks) if mask not in known]
    for mask, crop in zip(new, crops_from_cocos(new), strict=True):
        known[mask] = _shape(crop) | _intensity(crop, image) if crop.pixels.size else {}
    rows = [known[mask] for mask in cells.masks]
    names = ["center_x_px", "center_y_px", *(in_px(name) for name in QUANTITIES)]
    table = pd.DataFrame(
        rows, columns=names + list(INTENSITIES if image is not None else ()), dtype=np.float64
    )
    counts = ["area_px", "holes", "hole_area_px", "parts"]
    return table.fillna(dict.fromkeys(counts, 0)).astype(dict.fromkeys(counts, np.int64))


def in_px(quantity: str) -> str:
    """The name of a quantity's column in pixels; areas are counted in pixels, so both are called px."""
    return f"{quantity}_px" if QUANTITIES[quantity] else quantity


def in_um(quantity: str) -> str:
    """The name of a length's or area's column in µm or µm²."""
    return f"{quantity}_um{'2' if QUANTITIES[quantity] == 2 else ''}"


def _shape(crop: Crop) -> dict[str, float]:
    """The measurements of a cell that has pixels, in pixels."""
    (region,) = regionprops(crop.pixels.astype(np.uint8))
    whole = filled(crop.pixels)
    area, filled_area = int(region.area), int(whole.pixels.sum())
    perimeter, points = perimeter_px(whole.pixels), outline_points_xy(crop.pixels)
    major, minor = float(region.axis_major_length), float(region.axis_minor_length)
    center_row, center_col = region.centroid
    return {
        "center_x_px": crop.col + float(center_col) + 0.5,
        "center_y_px": crop.row + float(center_row) + 0.5,
        "area_px": area,
        "holes": whole.holes,
        "hole_area_px": filled_area - area,
        "parts": count_parts(crop.pixels),
        "perimeter_px": perimeter,
        "equivalent_diameter_px": float(region.equivalent_diameter_area),
        "major_axis_px": major,
        "minor_axis_px": minor,
        "aspect_ratio": major / minor if minor > 0 else nan,
        "elongation": 1 - minor / major if major > 0 else nan,
        "eccentricity": sqrt(1 - (minor / major) ** 2) if major > 0 else nan,
        "orientation_deg": (90 + degrees(region.orientation)) % 180 if major - minor > ROUND_PX else nan,
        "circularity": min(1.0, 4 * pi * filled_area / perimeter**2),
        "solidity": min(1.0, area / hull_area_px(points)),
        "feret_diameter_px": feret_diameter_px(points),
    }


def _intensity(crop: Crop, image: NDArray[Any] | None) -> dict[str, float]:
    """Mean and spread of the image under a cell."""
    if image is None:
        return {}
    rows, cols = crop.pixels.shape
    under = image[crop.row : crop.row + rows, crop.col : crop.col + cols][crop.pixels].astype(np.float64)
    return dict(zip(INTENSITIES, (float(under.mean()), float(under.std())), strict=True))


def _nearest(centers_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) distance from each centre to the nearest other one; NaN where there is none."""
    distances = np.full(len(centers_xy), nan)
    there = np.flatnonzero(~np.isnan(centers_xy).any(axis=1))
    if len(there) > 1:
        distances[there] = np.asarray(KDTree(centers_xy[there]).query(centers_xy[there], k=2)[0])[:, 1]
    return distances


def _touching(cells: Cells) -> NDArray[np.bool_]:
    """(N,) whether a pixel lies in the first or last row or column."""
    left, top, right, bottom = cells.boxes_xyxy.T
    height, width = cells.size_hw
    touching: NDArray[np.bool_] = (left == 0) | (top == 0) | (right == width) | (bottom == height)
    return touching & (cells.areas_px > 0)


def _with_um(table: pd.DataFrame, um_per_px: float) -> pd.DataFrame:
    """The table with a column in µm or µm² after all others for each length and area."""
    added = {
        in_um(name): table[in_px(name)] * um_per_px**power for name, power in QUANTITIES.items() if power
    }
    return pd.concat([table, pd.DataFrame(added)], axis=1)
