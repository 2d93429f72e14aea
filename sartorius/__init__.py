"""Segment every single cell in microscopy images with ensembles of Detectron2 models.

from sartorius import load_ensemble, measure_cells, read_grey, read_image

ensemble = load_ensemble("configs/ensembles/starter.yaml")
cells = ensemble(read_image("picture.tif"))
table = measure_cells(cells, read_grey("picture.tif"), um_per_px=1.24)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartorius.api import Ensemble, load_ensemble
    from sartorius.cells import Cells
    from sartorius.data.images import read_grey, read_image
    from sartorius.errors import UserError
    from sartorius.formats import read_any, write_any
    from sartorius.fusion import fuse
    from sartorius.morphometrics import measure_cells, measure_image, measure_types
    from sartorius.plots import overlay, write_picture
    from sartorius.postprocess import clean

__version__ = "0.1.0"

#: Where each name that the package offers is; it is imported when it is first used, so that `import sartorius` is quick.
_MODULES = {
    "Cells": "cells",
    "Ensemble": "api",
    "UserError": "errors",
    "clean": "postprocess",
    "fuse": "fusion",
    "load_ensemble": "api",
    "measure_cells": "morphometrics",
    "measure_image": "morphometrics",
    "measure_types": "morphometrics",
    "overlay": "plots",
    "read_any": "formats",
    "read_grey": "data.images",
    "read_image": "data.images",
    "write_any": "formats",
    "write_picture": "plots",
}

__all__ = [
    "Cells",
    "Ensemble",
    "UserError",
    "__version__",
    "clean",
    "fuse",
    "load_ensemble",
    "measure_cells",
    "measure_image",
    "measure_types",
    "overlay",
    "read_any",
    "read_grey",
    "read_image",
    "write_any",
    "write_picture",
]


if not TYPE_CHECKING:  # which would take every misspelt name for one of them

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'sartorius' has no attribute {name!r}")
        return getattr(import_module(f"sartorius.{_MODULES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
