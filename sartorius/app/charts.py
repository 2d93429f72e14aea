"""Histograms and box plots of a measurement by cell type, as SVG that takes the colour of the text around it."""

import io
from collections.abc import Mapping
from html import escape
from threading import Lock

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sartorius.app.names import counted, type_name

Groups = dict[str, NDArray[np.float64]]

_WIDTH_INCHES = 5.2
_BARS = 24
#: Stands for the colour of the page's text, which the browser knows.
_TEXT = "#010203"
#: matplotlib's settings belong to the process; two visitors' charts are drawn one after the other.
_ONE_AT_A_TIME = Lock()
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "sartorius", "font.family": "sans-serif", "font.size": 11,
    "text.color": _TEXT, "axes.labelcolor": _TEXT, "axes.edgecolor": _TEXT, "xtick.color": _TEXT, "ytick.color": _TEXT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
}  # fmt: skip


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
    shapes = (
        (_histogram, f"Histogram of {title} by cell type", _WIDTH_INCHES * 0.56),
        (_box_plot, f"Box plot of {title} by cell type", 1.1 + 0.6 * len(groups)),
    )
    with _ONE_AT_A_TIME, rc_context(_STYLE):  # type: ignore[arg-type]
        pictures = []
        for draw, label, height_inches in shapes:
            figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
            axes = figure.subplots()
            draw(axes, groups, colours)
            axes.set_xlabel(title)
            pictures.append(_svg(figure, label))
    return f'<div class="charts">{"".join(pictures)}</div>{_summary(groups, title)}'


def _svg(figure: Figure, label: str) -> str:
    """A figure for the page, its text in the page's colour, called by its label where it cannot be seen."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue().replace(_TEXT, "currentColor")
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    return f"<figure>{svg}</figure>"


def _histogram(axes: Axes, groups: Groups, colours: Mapping[str, str]) -> None:
    edges = np.histogram_bin_edges(np.concatenate(list(groups.values())), bins=_BARS)
    for name, values in groups.items():
        axes.hist(
            values, bins=edges.tolist(), color=colours[name], alpha=0.75, edgecolor=_TEXT, linewidth=0.5
        )
    axes.set_ylabel("Cells")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _box_plot(axes: Axes, groups: Groups, colours: Mapping[str, str]) -> None:
    names = list(groups)
    drawn = axes.boxplot(
        [groups[name] for name in names],
        orientation="horizontal",
        tick_labels=[type_name(name) for name in names],
        widths=0.55,
        patch_artist=True,
        boxprops={"color": _TEXT, "linewidth": 0.9},
        whiskerprops={"color": _TEXT, "linewidth": 0.9},
        capprops={"color": _TEXT, "linewidth": 0.9},
        medianprops={"color": _TEXT, "linewidth": 1.8},
        flierprops={"marker": "o", "markersize": 2.5, "markerfacecolor": _TEXT, "markeredgecolor": "none"},
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
