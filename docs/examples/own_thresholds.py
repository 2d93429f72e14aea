"""Try thresholds without running the models again: python docs/examples/own_thresholds.py picture.png overlay.png."""

import sys
from pathlib import Path

from sartorius import load_ensemble, overlay, read_image, write_picture


def main(picture: str, overlay_png: str) -> None:
    """Print how many cells each threshold leaves and draw those of the strictest."""
    image = read_image(Path(picture))
    ensemble = load_ensemble("configs/ensembles/starter.yaml")
    predicted = ensemble.predict(image, Path(picture).stem)  # the slow half
    usual = ensemble.settings.postprocess
    for threshold in (0.2, 0.4, 0.6):
        own = usual.model_copy(update={"score_threshold": threshold, "min_area_px": 60})
        cells = ensemble.fuse(predicted, own)  # the quick half
        print(f"score of at least {threshold}: {len(cells)} cells")
    write_picture(Path(overlay_png), overlay(image, cells, um_per_px=1.24))


if __name__ == "__main__":
    main(*sys.argv[1:])
