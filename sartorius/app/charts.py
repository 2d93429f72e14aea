"""Histograms and box plots of a measurement by cell type, as SVG that takes the colour of the text around it."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from html import escape

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sartorius.app.names import counted, type_name
from sartorius.svg import TEXT_COLOUR, chart

Groups = dict[str, NDArray[np.float64]]
Draw = Callable[[Axes, Groups, Mapping[str, str]], None]

_WIDTH_INCHES = 5.2
_BARS = 24
#: The share of a value that is taken for rounding, not for a difference.
_ROUNDING = 1e-9
#: Drawings that are kept; a search shows those of one image after every other image.
_PICTURES_KEPT = 32


def charts(values: pd.Series, cell_types: pd.Series, title: str, colours: Mapping[str, str]) -> str:
    """HTML with a histogram, a box plot and a line of numbers for each cell type; without values "".

    values, cell_types: (N,) of each cell; values that are not defined are left out.
    title: what was measured, with its unit.
    colours: `#rrggbb` of every cell type.
    """
    groups = {
        name: group.to_numpy(dtype=np.float64)
        for name, group in values.dropna().groupby(cell_types.astype(str), sort=True)
    }
    if not groups:
        return ""
    known = tuple((name, colours[name], tuple(group.tolist())) for name, group in groups.items())
    return f'<div class="charts">{_pictures(known, title)}</div>{_summary(groups, title)}'


@lru_cache(maxsize=_PICTURES_KEPT)
def _pictures(known: tuple[tuple[str, str, tuple[float, ...]], ...], title: str) -> str:
    """The drawings of each cell type's name, colour and values."""
    groups = {name: np.array(values) for name, _, values in known}
    colours = {name: colour for name, colour, _ in known}
    shapes = (
        (_histogram, f"Histogram of {title} by cell type", _WIDTH_INCHES * 0.56),
        (_box_plot, f"Box plot of {title} by cell type", 1.1 + 0.6 * len(groups)),
    )
    pictures = []
    for draw, label, height_inches in shapes:

        def draw_titled(axes: Axes, draw: Draw = draw) -> None:
            draw(axes, groups, colours)
            axes.set_xlabel(title)

        pictures.append(chart(draw_titled, label, (_WIDTH_INCHES, height_inches)))
    return "".join(pictures)


def _histogram(axes: Axes, groups: Groups, colours: Mapping[str, str]) -> None:
    edges = _edges(np.concatenate(list(groups.values())))
    for name, values in groups.items():
        axes.hist(values, bins=edges, color=colours[name], alpha=0.75, edgecolor=TEXT_COLOUR, linewidth=0.5)
    axes.set_ylabel("Cells")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _edges(values: NDArray[np.float64]) -> list[float]:
    """Where bars begin and end; values that differ by rounding alone, which numpy cannot divide, share the middle one."""
    low, high = float(values.min()), float(values.max())
    if high - low <= _ROUNDING * max(abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    edges: list[float] = np.linspace(low, high, _BARS + 1).tolist()
    return edges


def _box_plot(axes: Axes, groups: Groups, colours: Mapping[str, str]) -> None:
    names = list(groups)
    drawn = axes.boxplot(
        [groups[name] for name in names],
        orientation="horizontal",
        tick_labels=[type_name(name) for name in names],
        widths=0.55,
        patch_artist=True,
        boxprops={"color": TEXT_COLOUR, "linewidth": 0.9},
        whiskerprops={"color": TEXT_COLOUR, "linewidth": 0.9},
        capprops={"color": TEXT_COLOUR, "linewidth": 0.9},
        medianprops={"color": TEXT_COLOUR, "linewidth": 1.8},
        flierprops={
            "marker": "o",
            "markersize": 2.5,
            "markerfacecolor": TEXT_COLOUR,
            "markeredgecolor": "none",
        },
    )
    for box, name in zip(drawn["boxes"], names, strict=True):
        box.set_facecolor(colours[name])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


def _summary(groups: Groups, title: str) -> str:
    rows = []
    for name, values in groups.items():
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
        numbers = "".join(f"<td>{_digits(number)}</td>" for number in (values.mean(), median, low, high))
        rows.append(
            f"<tr><th scope=row>{escape(type_name(name))}</th><td>{counted(len(values), 'cell')}</td>{numbers}</tr>"
        )
    heads = "".join(
        f"<th scope=col>{head}</th>" for head in ("Mean", "Median", "Lower quarter", "Upper quarter")
    )
    return (
        f'<div class="scroll"><table class="summary"><caption>{escape(title)}</caption><thead><tr><td></td><td></td>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _digits(number: float) -> str:
    """A number with about three digits, large ones whole."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
