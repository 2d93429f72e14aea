"""Pictures of a report: a grey image with outlines on top of it that stay sharp and can be switched off."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from sartorius.plots import stretched
from sartorius.report.outcomes import Outcome
from sartorius.rle import CocoRle
from sartorius.svg import outline_path

#: Images are embedded with sides of at most this; outlines are drawn in the image's own pixels.
LONGEST_SIDE_PX = 1100
WEBP_QUALITY = 62
#: A crop around a lost cell shows this much beyond it, and is never smaller.
MARGIN_PX, LEAST_CROP_PX = 14, 72

Window = tuple[int, int, int, int]


class Example(NamedTuple):
    """A true cell that was lost, on the part of its image around it."""

    outcome: Outcome
    row: int


def picture(image: NDArray[np.uint8], outcome: Outcome) -> Markup:
    """The image with four layers of outlines: true cells that were found, those that were missed, and found cells that
    hit or do not.

    image: (H, W) grey. Returns an SVG that is described where it cannot be seen.
    Raises ValueError if the image has another size than its cells.
    """
    height, width = outcome.truth.size_hw
    if image.shape != (height, width):
        raise ValueError(f"{outcome.image_id}: image of shape {image.shape}, cells of {(height, width)}")
    found = outcome.fates.fates == "found"
    hit = outcome.is_hit
    label = f"{outcome.image_id}: {found.sum()} of {len(found)} cells found, {(~hit).sum()} found wrongly"
    layers = (
        ("truth", _chosen(outcome.truth.masks, found)),
        ("hit", _chosen(outcome.result.masks, hit)),
        ("false", _chosen(outcome.result.masks, ~hit)),
        ("missed", _chosen(outcome.truth.masks, ~found)),
    )
    return _svg(image, (0, 0, width, height), layers, label)


def crop(image: NDArray[np.uint8], example: Example) -> Markup:
    """The surroundings of a lost cell: its true outline, the mask that came nearest, and what was found around it.

    image: (H, W) grey, the whole image.
    """
    outcome, row = example
    box = outcome.truth.boxes_xyxy[row].tolist()
    window = _window(box, outcome.truth.size_hw)
    near = outcome.fates.nearest[row]
    layers = (
        ("hit", _in_window(outcome, window)),
        ("near", [] if near is None else [near]),
        ("missed", [outcome.truth.masks[row]]),
    )
    label = f"{outcome.image_id}: a {outcome.truth.cell_types[row]} cell, {outcome.fates.fates[row]}"
    return _svg(image, window, layers, label)


def examples_of(fate: str, outcomes: Sequence[Outcome], count: int) -> list[Example]:
    """At most `count` true cells with this fate, evenly spread over the images in their order."""
    every = [
        Example(outcome, row)
        for outcome in outcomes
        for row in np.flatnonzero(outcome.fates.fates == fate).tolist()
    ]
    chosen = np.unique(np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int))
    return [every[place] for place in chosen.tolist()]


def _svg(
    image: NDArray[np.uint8],
    window: Window,
    layers: Iterable[tuple[str, Iterable[CocoRle]]],
    label: str,
) -> Markup:
    left, top, right, bottom = window
    paths = Markup("").join(
        Markup('<path class="{}" d="{}"/>').format(name, "".join(map(outline_path, masks)))
        for name, masks in layers
    )
    return Markup(
        '<svg class="picture" viewBox="{} {} {} {}" role="img" aria-label="{}">'
        '<image x="{}" y="{}" width="{}" height="{}" href="{}"/>{}</svg>'
    ).format(
        left, top, right - left, bottom - top, label,
        left, top, right - left, bottom - top, _webp(stretched(image)[top:bottom, left:right]), paths,
    )  # fmt: skip


def _webp(grey: NDArray[np.uint8]) -> str:
    """The pixels as a data address, made smaller if they are many."""
    pixels = Image.fromarray(grey)
    pixels.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    pixels.save(stream, format="WEBP", quality=WEBP_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _chosen(masks: Sequence[CocoRle], rows: NDArray[np.bool_]) -> list[CocoRle]:
    return [masks[row] for row in np.flatnonzero(rows).tolist()]


def _window(box_xyxy: Sequence[float], size_hw: tuple[int, int]) -> Window:
    """A square around a box that lies in the image, as far as the image is large enough."""
    left, top, right, bottom = box_xyxy
    side = int(max(LEAST_CROP_PX, max(right - left, bottom - top) + 2 * MARGIN_PX))
    edges = []
    for low, high, length in ((left, right, size_hw[1]), (top, bottom, size_hw[0])):
        first = int(np.clip(round((low + high - side) / 2), 0, max(length - side, 0)))
        edges.append((first, min(first + side, length)))
    (first_col, last_col), (first_row, last_row) = edges
    return first_col, first_row, last_col, last_row


def _in_window(outcome: Outcome, window: Window) -> list[CocoRle]:
    left, top, right, bottom = window
    boxes = outcome.result.boxes_xyxy
    inside = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
    return _chosen(outcome.result.masks, inside)
