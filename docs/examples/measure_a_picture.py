"""Find the cells of a picture and measure each: python docs/examples/measure_a_picture.py picture.tif cells.csv."""

import sys
from pathlib import Path

from sartorius import load_ensemble, measure_cells, read_grey, read_image


def main(picture: str, table_csv: str) -> None:
    """Write one row of measurements for each cell."""
    cells = load_ensemble("configs/ensembles/starter.yaml")(read_image(picture), Path(picture).stem)
    table = measure_cells(cells, read_grey(picture), um_per_px=1.24)
    table.to_csv(table_csv, index=False)
    print(table[["cell_type", "score", "area_um2", "circularity"]].describe())


if __name__ == "__main__":
    main(*sys.argv[1:])
