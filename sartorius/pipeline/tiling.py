"""Large images seen in overlapping tiles, one at a time, by a predictor that knows nothing of it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.config.tiling import TilingSettings
from sartorius.pipeline.seams import TileCells, without_seams
from sartorius.pipeline.tiles import Tile, tiles_of
from sartorius.rle import cocos_from_crops, crops_from_cocos


def pieces_of(image: NDArray[np.uint8], settings: TilingSettings) -> Iterator[NDArray[np.uint8]]:
    """The image's tiles in turn, or the image itself if it is small enough."""
    tiles = tiles_of((image.shape[0], image.shape[1]), settings)
    if len(tiles) == 1:
        yield image
        return
    for tile in tiles:
        yield np.ascontiguousarray(image[tile.pixels])


def put_together(
    seen: Sequence[Sequence[Cells]], size_hw: tuple[int, int], settings: TilingSettings
) -> list[Cells]:
    """The cells of an image through each view, every cell once.

    seen: for each of the image's `pieces_of` the cells in it through each view, in the piece's own frame.
    """
    tiles = tiles_of(size_hw, settings)
    if len(tiles) == 1:
        return list(seen[0])
    found = [
        [TileCells(tile, _placed(cells, tile, size_hw)) for cells in of_tile]
        for tile, of_tile in zip(tiles, seen, strict=True)
    ]
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
