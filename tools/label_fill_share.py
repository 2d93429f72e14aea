"""How many labels of a truth file are what the rule for convex polygons makes of their outlines.

    python tools/label_fill_share.py DIR/train.csv

Prints, for each cell type, the share of the labels that come back to the pixel when their holes are filled and their
outlines then filled as `sartorius.polygon_fill` does.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from sartorius.data.competition import read_truth
from sartorius.parts import without_holes
from sartorius.polygon_fill import filled_as_labels


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("truth", type=Path, help="a train.csv of the competition")
    labels: Counter[str] = Counter()
    same: Counter[str] = Counter()
    for cells in read_truth(parser.parse_args().truth).values():
        outlines = without_holes(cells, np.full(len(cells), cells.size_hw[0] * cells.size_hw[1]))
        again = filled_as_labels(outlines, np.ones(len(cells), dtype=np.bool_))
        for cell_type, mask, label in zip(cells.cell_types.tolist(), again.masks, cells.masks, strict=True):
            labels[cell_type] += 1
            same[cell_type] += mask == label
    for cell_type in sorted(labels):
        print(
            f"{cell_type:8} {same[cell_type]:6} of {labels[cell_type]:6}, {same[cell_type] / labels[cell_type]:.2%}"
        )


if __name__ == "__main__":
    main()
