"""`Cells`: the cells of one image as parallel columns, the one record of the whole package.

It is what a predictor finds, what a person annotated (score 1) and what fusion returns. It is frozen, checks itself
on construction, and indexing returns a new record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sartorius import rle
from sartorius.rle import CocoRle

#: The competition's cell types, in the order of its class indices.
CELL_TYPES = ("shsy5y", "astro", "cort")
#: The type of cells of which nobody told one.
UNKNOWN_CELL_TYPE = "unknown"

Strings = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Cells:
    """N cells of one image.

    image_id: the image's name without folder and extension.
    size_hw: (height, width) of the image in pixels.
    masks: N masks of that size; they may overlap.
    scores: (N,) float32 in [0, 1]; 1 for annotations.
    cell_types: (N,) strings, for example "astro".
    sources: (N,) strings, the model and view a row comes from, for example "r50/flip_horizontal".
    soft_masks: (N, S, S) uint8 or None: the mask head's probability x 255 on a grid over `soft_boxes_xyxy`.
    soft_boxes_xyxy: (N, 4) float32 or None: the detector's boxes in pixels, not rounded; None exactly when
        `soft_masks` is.

    Raises ValueError if lengths, dtypes, sizes or bounds do not agree.
    """

    image_id: str
    size_hw: tuple[int, int]
    masks: tuple[CocoRle, ...]
    scores: NDArray[np.float32]
    cell_types: Strings
    sources: Strings
    soft_masks: NDArray[np.uint8] | None = None
    soft_boxes_xyxy: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        self._check_arrays()
        self._check_column("scores", self.scores, np.dtype(np.float32), (len(self),))
        for name in ("cell_types", "sources"):
            column = getattr(self, name)
            if column.dtype.kind != "U" or column.shape != (len(self),):
                raise ValueError(
                    f"{self.image_id}: {name} has dtype {column.dtype} and shape {column.shape}, "
                    f"expected strings of shape ({len(self)},)"
                )
        if not all(0 <= score <= 1 for score in self.scores.tolist()):
            raise ValueError(
                f"{self.image_id}: scores lie in [{self.scores.min()}, {self.scores.max()}], not in [0, 1]"
            )
        for mask in self.masks:
            if mask.size_hw != self.size_hw:
                raise ValueError(f"{self.image_id}: a mask has size {mask.size_hw}, expected {self.size_hw}")
        if (self.soft_masks is None) != (self.soft_boxes_xyxy is None):
            raise ValueError(f"{self.image_id}: soft_masks and soft_boxes_xyxy come together or not at all")
        if self.soft_masks is not None and self.soft_boxes_xyxy is not None:
            side = self.soft_masks.shape[-1] if self.soft_masks.ndim == 3 else 0
            self._check_column("soft_masks", self.soft_masks, np.dtype(np.uint8), (len(self), side, side))
            self._check_column("soft_boxes_xyxy", self.soft_boxes_xyxy, np.dtype(np.float32), (len(self), 4))
            if not np.isfinite(self.soft_boxes_xyxy).all():
                raise ValueError(f"{self.image_id}: soft_boxes_xyxy holds numbers that are not finite")

    def _check_arrays(self) -> None:
        """A pandas column would be indexed by its labels, not by rows."""
        for name in ("scores", "cell_types", "sources", "soft_masks", "soft_boxes_xyxy"):
            column = getattr(self, name)
            if not isinstance(column, np.ndarray) and not (column is None and name.startswith("soft_")):
                raise ValueError(
                    f"{self.image_id}: {name} is a {type(column).__name__}, expected a numpy array; "
                    "np.asarray(…) makes one"
                )

    def _check_column(
        self, name: str, column: NDArray[np.generic], dtype: np.dtype, shape: tuple[int, ...]
    ) -> None:
        if column.dtype != dtype or column.shape != shape:
            raise ValueError(
                f"{self.image_id}: {name} has dtype {column.dtype} and shape {column.shape}, "
                f"expected {dtype} and {shape}"
            )

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.intp] | NDArray[np.bool_]) -> "Cells":
        """The chosen rows as a new record: a slice, row numbers, or one boolean per row."""
        if not isinstance(rows, slice):
            if np.ndim(rows) != 1:
                raise TypeError(
                    f"{self.image_id}: expected a slice, row numbers or booleans, got {rows!r}; cells[[0]] has one row"
                )
            rows = np.asarray(rows, dtype=_index_dtype(rows))
        chosen = np.arange(len(self))[rows]
        return Cells(
            image_id=self.image_id,
            size_hw=self.size_hw,
            masks=tuple(self.masks[row] for row in chosen.tolist()),
            scores=self.scores[chosen],
            cell_types=self.cell_types[chosen],
            sources=self.sources[chosen],
            soft_masks=None if self.soft_masks is None else self.soft_masks[chosen],
            soft_boxes_xyxy=None if self.soft_boxes_xyxy is None else self.soft_boxes_xyxy[chosen],
        )

    @cached_property
    def areas_px(self) -> NDArray[np.int64]:
        """(N,) pixels of each mask; kept, and so read-only."""
        areas = rle.areas_px(self.masks)
        areas.flags.writeable = False
        return areas

    @cached_property
    def boxes_xyxy(self) -> NDArray[np.float32]:
        """(N, 4) tight boxes of the masks: left, top, right, bottom in pixels, right and bottom exclusive.

        They are kept, and so read-only.
        """
        boxes = rle.boxes_xyxy(self.masks)
        boxes.flags.writeable = False
        return boxes


def annotated(
    image_id: str, size_hw: tuple[int, int], masks: Sequence[CocoRle], cell_types: Sequence[str] | Strings
) -> Cells:
    """Annotations of one image as `Cells`: score 1, source "truth", no soft masks."""
    return Cells(
        image_id=image_id,
        size_hw=size_hw,
        masks=tuple(masks),
        scores=np.ones(len(masks), dtype=np.float32),
        cell_types=np.asarray(cell_types, dtype=np.str_),
        sources=np.full(len(masks), "truth"),
    )


def no_cells(image_id: str, size_hw: tuple[int, int]) -> Cells:
    """An image in which nothing was found."""
    return annotated(image_id, size_hw, [], [])


def together(parts: Sequence[Cells]) -> Cells:
    """The rows of several records of one image as one record, in order.

    Soft masks are kept when every non-empty part has them on grids of the same side, and left out otherwise.
    Raises ValueError if there is no part or the parts are of different images.
    """
    if not parts:
        raise ValueError("together() needs at least one part")
    first = parts[0]
    for part in parts:
        if (part.image_id, part.size_hw) != (first.image_id, first.size_hw):
            raise ValueError(
                f"cells of {part.image_id} {part.size_hw} cannot join cells of {first.image_id} {first.size_hw}"
            )
    filled = [part for part in parts if len(part)] or [first]
    soft_masks = [part.soft_masks for part in filled if part.soft_masks is not None]
    soft_boxes = [part.soft_boxes_xyxy for part in filled if part.soft_boxes_xyxy is not None]
    softly = len(soft_masks) == len(filled) and len({soft.shape[1] for soft in soft_masks}) == 1
    return Cells(
        image_id=first.image_id,
        size_hw=first.size_hw,
        masks=tuple(mask for part in filled for mask in part.masks),
        scores=np.concatenate([part.scores for part in filled]),
        cell_types=np.concatenate([part.cell_types for part in filled]),
        sources=np.concatenate([part.sources for part in filled]),
        soft_masks=np.concatenate(soft_masks) if softly else None,
        soft_boxes_xyxy=np.concatenate(soft_boxes) if softly else None,
    )


def _index_dtype(rows: object) -> type | None:
    """Empty lists would become floats, which numpy refuses as an index."""
    return np.intp if isinstance(rows, Sequence) and not len(rows) else None
