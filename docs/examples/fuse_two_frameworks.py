"""Fuse what two programs found, from their COCO results: python docs/examples/fuse_two_frameworks.py
images.json first.json second.json fused.json, where images.json is the COCO file that they were run on.
"""

import sys
from pathlib import Path

from sartorius import clean, fuse, read_any, write_any
from sartorius.config.fusion import MasksSettings, PostprocessSettings


def main(images_json: str, first_json: str, second_json: str, fused_json: str) -> None:
    """Write the cells that the programs agree on, each pixel to one cell, as COCO results again."""
    reference = Path(images_json)
    first, second = (read_any(Path(file), reference=reference) for file in (first_json, second_json))
    fusion = MasksSettings(min_iou=0.4, min_votes=2)  # min_votes=1 keeps what only one of them found
    cleaning = PostprocessSettings(score_threshold=0.3, min_area_px=50)
    fused = {
        image_id: clean(
            fuse({"first": first[image_id], "second": second[image_id]}, fusion, {"first": 2, "second": 1}),
            cleaning,
        )
        for image_id in first
    }
    write_any(Path(fused_json), fused, "coco-results", reference=reference)
    for image_id, cells in fused.items():
        print(f"{image_id}: {len(first[image_id])} and {len(second[image_id])} became {len(cells)} cells")


if __name__ == "__main__":
    main(*sys.argv[1:])
