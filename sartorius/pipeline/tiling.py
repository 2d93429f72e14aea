"""Large images seen in overlapping tiles, one at a time, by a predictor that knows nothing of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.config.tiling import TilingSettings
from sartorius.pipeline.seams import TileCells, without_seams
from sartorius.pipeline.tiles import Tile, tiles_of
from sartorius.rle import cocos_from_crops, crops_from_cocos

#: The cells of one piece of an image in the piece's own frame, for each of the views that are looked through.
Look = Callable[[NDArray[np.uint8]], Sequence[Cells]]


def seen_in_tiles(look: Look, image: NDArray[np.uint8], settings: TilingSettings) -> list[Cells]:
    """What is found in an image of any size through each view, every cell once.

    look: called with each tile in turn, or with the image itself if it is small enough.
    Memory is that of the image, of one tile inside the network, and of the cells found.
    """
    size_hw = (image.shape[0], image.shape[1])
    tiles = tiles_of(size_hw, settings)
    if len(tiles) == 1:
        return list(look(image))
    found: list[list[TileCells]] = []
    for tile in tiles:
        seen = look(np.ascontiguousarray(image[tile.pixels]))
        found.append([TileCells(tile, _placed(cells, tile, size_hw)) for cells in seen])
    return [without_seams(of_view) for of_view in zip(*found, strict=True)]


def _placed(cells: Cells, tile: Tile, size_hw: tuple[int, int]) -> Cells:
    """The cells of a tile that have a pixel, in the frame of the image."""
    filled = cells[cells.areas_px > 0]
    top, left = tile.rows.start, tile.cols.start
    crops = [
        crop._replace(row=crop.row + top, col=crop.col + left) for crop in crops_from_cocos(filled.masks)
    ]
    boxes = filled.soft_boxes_xyxy
    return replace(
        filled,
        size_hw=size_hw,
        masks=tuple(cocos_from_crops(crops, size_hw)),
        soft_boxes_xyxy=None if boxes is None else boxes + np.array([left, top, left, top], dtype=np.float32),
    )
