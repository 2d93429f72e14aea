"""Drawings for pages as SVG: outlines of cells, and charts that take the colour of the text around them."""

import io
from collections.abc import Callable
from functools import lru_cache
from html import escape
from threading import Lock
from typing import Any

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sartorius.plots import contours_xy
from sartorius.rle import CocoRle

#: Stands for the colour of the page's text, which the browser knows.
TEXT_COLOUR = "#010203"
#: Outlines are traced at this many times the image's resolution, which rounds the corners of pixels off.
_TRACED_AT = 2
#: A point of an outline is left out if that moves the line by less, in px.
_TOLERANCE_PX = 0.3
#: Outlines that are kept; moving a threshold leaves most of them as they are.
_OUTLINES_KEPT = 20_000
#: matplotlib's settings belong to the process; two visitors' charts are drawn one after the other.
_ONE_AT_A_TIME = Lock()
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "sartorius", "font.family": "sans-serif", "font.size": 11,
    "text.color": TEXT_COLOUR, "axes.labelcolor": TEXT_COLOUR, "axes.edgecolor": TEXT_COLOUR,
    "xtick.color": TEXT_COLOUR, "ytick.color": TEXT_COLOUR,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
}  # fmt: skip


@lru_cache(maxsize=_OUTLINES_KEPT)
def outline_path(mask: CocoRle) -> str:
    """The outlines of a mask, of its holes too, as the `d` of an SVG path in image pixels; "" without a pixel."""
    return "".join(_ring(contour) for contour in contours_xy(mask, _TRACED_AT))


def chart(draw: Callable[[Axes], None], label: str, size_inches: tuple[float, float]) -> str:
    """HTML of one chart as a drawing that is called by its label where it cannot be seen.

    draw: draws into the axes; what it draws in TEXT_COLOUR gets the colour of the page's text.
    size_inches: width and height; text is 11 points high.
    """
    with _ONE_AT_A_TIME, rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=size_inches, layout="constrained")
        draw(figure.subplots())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue().replace(TEXT_COLOUR, "currentColor")
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    return f"<figure>{svg}</figure>"


def _ring(contour: np.ndarray[Any, np.dtype[np.int32]]) -> str:
    """One closed line; its points are the middles of the pixels of the enlarged mask."""
    fewer = cv2.approxPolyDP(contour[:, None], _TOLERANCE_PX * _TRACED_AT, closed=True)[:, 0]
    points = (fewer + 0.5) / _TRACED_AT
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points.tolist()) + "Z"
