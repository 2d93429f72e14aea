"""Images of bright discs, and a predictor that finds them by their brightness: no model, and no two images alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tifffile
from fake_predictors import disc
from numpy.typing import NDArray

from sartorius.app.offers import Offer, find_offers
from sartorius.cells import Cells, no_cells
from sartorius.config.members import ViewSettings
from sartorius.rle import coco_from_dense, dense_from_coco

SIZE_HW = (120, 160)
DARK = 60
#: Discs are at least this bright; brighter ones are surer.
FAINTEST = 150
ENSEMBLE_YAML = """\
members:
  - {name: bright, model: model.yaml, weights: weights.safetensors}
fusion: {method: nms}
postprocess:
  score_threshold: {shsy5y: 0.5, astro: 0.5, cort: 0.5}
"""


class Disc(NamedTuple):
    """A cell to be: its middle, radius, and the score that it will be found with."""

    row: int
    col: int
    radius: int
    score: float


#: Two sure cells and one that a threshold of .7 loses.
DISCS = (Disc(30, 40, 12, 0.9), Disc(80, 100, 16, 0.8), Disc(90, 30, 8, 0.6))


def drawn_image(discs: Sequence[Disc] = DISCS, size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.uint8]:
    """A dark image with a bright disc for each cell; one white pixel keeps the range of grey."""
    image = np.full(size_hw, DARK, dtype=np.uint8)
    for row, col, radius, score in discs:
        image[dense_from_coco(disc(size_hw, row, col, radius))] = FAINTEST + round(score * 100)
    image[0, 0] = 255
    return image


def written_png(path: Path, discs: Sequence[Disc] = DISCS) -> Path:
    cv2.imwrite(str(path), drawn_image(discs))
    return path


def written_tiff_16_bit(path: Path) -> Path:
    tifffile.imwrite(path, drawn_image().astype(np.uint16) * 257)
    return path


class BrightCells:
    """Finds every bright disc of more than one pixel; its score is told by its brightness."""

    weights_sha256 = "0" * 64

    def __init__(self, cell_type: str = "astro") -> None:
        self.config: dict[str, object] = {"finds": cell_type}
        self.cell_type = cell_type
        self.looks = 0

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        self.looks += 1
        size_hw = (image.shape[0], image.shape[1])
        count, labels, stats, _ = cv2.connectedComponentsWithStats((image >= FAINTEST).astype(np.uint8))
        found = [number for number in range(1, count) if stats[number, cv2.CC_STAT_AREA] > 1]
        if not found:
            return no_cells(image_id, size_hw)
        scores = [(float(image[labels == number].max()) - FAINTEST) / 100 for number in found]
        return Cells(
            image_id=image_id,
            size_hw=size_hw,
            masks=tuple(coco_from_dense(labels == number) for number in found),
            scores=np.array(scores, dtype=np.float32),
            cell_types=np.full(len(found), self.cell_type),
            sources=np.full(len(found), view.name),
        )


def written_ensemble(folder: Path) -> Path:
    """An ensemble file of one model, with the files that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text("backbone: r50\n")
    (folder / "weights.safetensors").write_bytes(b"")
    path = folder / "bright_discs.yaml"
    path.write_text(ENSEMBLE_YAML)
    return path


def bright_offer(folder: Path) -> Offer:
    """The ensemble as the page offers it."""
    return find_offers(None, [written_ensemble(folder)])[0]
