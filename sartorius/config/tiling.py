"""Settings of tiling: how an image that is too large for a network's memory is cut into overlapping pieces."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from sartorius.config.reading import FrozenSettings


class TilingSettings(FrozenSettings):
    """Square tiles that overlap; each cell is decided by the tile that sees it deepest inside."""

    untiled_up_to_px: Annotated[int, Field(ge=64)] = Field(
        default=1024,
        description="Images with both sides up to this many pixels are seen whole. A network has one allowance of "
        "proposals for each look: of four dense images side by side it found 684 cells at once, 1,026 in tiles of 768, "
        "1,183 one by one.",
    )
    tile_px: Annotated[int, Field(ge=64)] = Field(
        default=768,
        description="Side of a tile in image pixels, overlap included; memory grows with its square.",
    )
    overlap_px: Annotated[int, Field(ge=16)] = Field(
        default=256,
        description="Pixels that neighbouring tiles share: one of them sees every cell whole that is no wider. Wider "
        "ones, 11 of the competition's 66,083, are put together from their pieces.",
    )

    @model_validator(mode="after")
    def _tiles_advance(self) -> Self:
        if 2 * self.overlap_px > self.tile_px:
            raise ValueError(
                f"overlap_px may be at most half of tile_px ({self.tile_px // 2}), got {self.overlap_px}"
            )
        return self
