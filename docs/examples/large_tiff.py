"""Find the cells of a TIFF of any size, tile by tile: python docs/examples/large_tiff.py slide.tif labels/.

Images over 1024 pixels are seen in tiles as they are; this asks for smaller tiles, for a machine with little memory.
"""

import sys
from pathlib import Path

from sartorius import Ensemble, load_ensemble, read_image, write_any
from sartorius.config.tiling import TilingSettings


def main(slide: str, label_folder: str) -> None:
    """Write a label TIFF: 0 is background, every other number one cell."""
    usual = load_ensemble("configs/ensembles/starter.yaml")
    tiling = TilingSettings(untiled_up_to_px=512, tile_px=512, overlap_px=128)
    ensemble = Ensemble(usual.settings.model_copy(update={"tiling": tiling}), usual.predictors)
    image_id = Path(slide).stem
    cells = ensemble(read_image(Path(slide)), image_id)
    write_any(Path(label_folder), {image_id: cells}, "labels")
    print(f"{len(cells)} cells in {cells.size_hw[1]} x {cells.size_hw[0]} pixels")


if __name__ == "__main__":
    main(*sys.argv[1:])
