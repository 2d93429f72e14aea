"""What the pipeline asks of a trained model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.members import ViewSettings


class Predictor(Protocol):
    """One trained model, whatever framework it comes from.

    Called with an image (height, width) uint8, its id and a view it returns the cells it finds, in the frame and at
    the resolution of the image it was given; soft masks make probability-level fusion possible. The `sources` column
    is the pipeline's. Nothing found is `no_cells`, never an error. Large images come in tiles, one call for each.
    """

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, which tells two trained models apart."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The merged model settings as plain values."""

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        """The cells of one image seen through one view."""


@runtime_checkable
class ManyViewsPredictor(Protocol):
    """A predictor that can look through several views at once, which keeps a GPU busier."""

    def of_views(self, image: NDArray[np.uint8], image_id: str, views: Sequence[ViewSettings]) -> list[Cells]:
        """What the predictor finds in each view by itself, in the order of the views."""


@runtime_checkable
class OverlappingPredictor(ManyViewsPredictor, Protocol):
    """A predictor whose cells can be made while its network looks at the next image already."""

    def look(
        self, image: NDArray[np.uint8], image_id: str, views: Sequence[ViewSettings]
    ) -> Callable[[], list[Cells]]:
        """The network's part of `of_views`; what is returned does the rest when it is called, once, by any thread."""


@runtime_checkable
class ManyPartsPredictor(Predictor, Protocol):
    """A predictor that runs all members and views of an ensemble inside and can do with fewer."""

    @property
    def part_seconds(self) -> Mapping[str, float]:
        """Seconds of each `member/view` in the last call."""

    def narrowed(self, settings: EnsembleSettings) -> Predictor:
        """The same for an ensemble with fewer members or views."""
