"""The README's picture of found and true cells: `python tools/demo_picture.py sartorius-demo docs/images/overlay.png`.

Cut out of what `sartorius demo` leaves in its folder: the most crowded part of each image, found cells above true ones.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from sartorius.cells import Cells
from sartorius.data.competition import image_folder, read_truth
from sartorius.data.images import list_images, read_image
from sartorius.data.predictions import read_prediction_folder
from sartorius.plots import GAP_PX, HEADER_PX, Picture, overlay

#: Height and width of a part in image pixels; overlays are twice as large.
PART_HW = (150, 156)
STEP_PX = 8


def main(demo: Path, out: Path) -> None:
    """Write the picture of a demo's folder."""
    found, truth = read_prediction_folder(demo / "fused"), read_truth(demo / "data" / "test_truth.csv")
    columns = []
    for image_id, path in list_images(image_folder(demo / "data", "test")).items():
        image, corner = read_image(path), crowded(truth[image_id])
        parts = [part(overlay(image, cells), corner) for cells in (found[image_id], truth[image_id])]
        columns.append(np.pad(np.vstack([parts[0], gap(parts[0]), parts[1]]), ((0, 0), (0, GAP_PX), (0, 0))))
    picture = np.hstack(columns)[:, :-GAP_PX]
    Image.fromarray(picture).save(out, optimize=True)
    sys.stdout.write(f"{out}: {picture.shape[1]} x {picture.shape[0]} px, {out.stat().st_size // 1000} kB\n")


def crowded(cells: Cells) -> tuple[int, int]:
    """Row and column of the part's corner that holds the most whole cells; the first of several."""
    height, width = cells.size_hw
    left, top, right, bottom = cells.boxes_xyxy.T
    corners = [
        (row, col)
        for row in range(0, height - PART_HW[0] + 1, STEP_PX)
        for col in range(0, width - PART_HW[1] + 1, STEP_PX)
    ]
    whole = [
        ((top >= row) & (left >= col) & (bottom <= row + PART_HW[0]) & (right <= col + PART_HW[1])).sum()
        for row, col in corners
    ]
    return corners[int(np.argmax(whole))]


def part(picture: Picture, corner: tuple[int, int]) -> Picture:
    """The part of an overlay, without its line of text."""
    row, col = HEADER_PX + 2 * corner[0], 2 * corner[1]
    return picture[row : row + 2 * PART_HW[0], col : col + 2 * PART_HW[1]]


def gap(above: Picture) -> Picture:
    """Black between found and true cells."""
    return np.zeros((GAP_PX, *above.shape[1:]), dtype=np.uint8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path, help="folder that `sartorius demo` left")
    parser.add_argument("out", type=Path, help="the picture to write, .png")
    arguments = parser.parse_args()
    main(arguments.demo, arguments.out)
