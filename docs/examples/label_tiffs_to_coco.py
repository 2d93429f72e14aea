"""Turn a folder of label TIFFs into COCO JSON: python docs/examples/label_tiffs_to_coco.py labels/ cells.json."""

import sys
from pathlib import Path

from sartorius.formats import convert


def main(labels: str, coco_json: str) -> None:
    """Write the COCO file and say what it could not keep."""
    done = convert(Path(labels), Path(coco_json), "coco")
    print(f"{done.cells} cells in {done.images} images; lost: {', '.join(done.lost) or 'nothing'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
