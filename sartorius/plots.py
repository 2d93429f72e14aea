"""Pictures of cells on their image: thin contours coloured by cell type, readable at 790 cells."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sartorius.cells import CELL_TYPES, Cells
from sartorius.files import atomic_path
from sartorius.rle import CocoRle, crop_from_coco

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

#: Colours that colour-blind people can tell apart (Okabe and Ito 2008), red, green and blue. The first three are the
#: light ones, for the competition's types; others follow for other types, in the order of their names.
OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (240, 228, 66), (204, 121, 167), (0, 158, 115), (213, 94, 0), (0, 114, 178),
)  # fmt: skip
WHITE: Colour = (255, 255, 255)
#: The image is shown with this range of grey: dark enough for light contours to stand out, wide enough to see in.
SHOWN_BLACK, SHOWN_WHITE = 15, 190
#: Parts of the pixels, in percent, that may become the range's ends: single bright specks do not flatten the rest.
CLIPPED_PERCENT = 0.3
#: Images whose longer side is at most this are enlarged twice.
ENLARGED_UP_TO_PX = 1500
HEADER_PX, GAP_PX, TEXT_PX = 34, 12, 17
DASH_PX = 6


def overlay(
    image: NDArray[np.uint8],
    cells: Cells,
    truth: Cells | None = None,
    um_per_px: float | None = None,
    cell_types: Sequence[str] = (),
) -> Picture:
    """The image with the outline of every cell, and beside it, if given, with the outlines of the true cells.

    image: (H, W) uint8 grey.
    cells, truth: cells of that image; found cells are drawn with solid lines, true ones with dashed lines.
    um_per_px: micrometres per pixel, for a scale bar; None for no bar, nor has an image too small for one.
    cell_types: types that other images may have cells of; each type has the same colour in all pictures that name them.
    Returns an RGB picture, each panel the image at twice its size (or its own when a side is over 1500 px) under a
    line that counts the cells by type. No cells gives the image alone.
    Raises ValueError if the image is not of bytes, or the cells are not of an image of this size.
    """
    shown = [cells] if truth is None else [cells, truth]
    colours = colours_of(np.concatenate([np.array(cell_types, np.str_), *(one.cell_types for one in shown)]))
    panels = [_panel(image, cells, "found", colours, dashed=False)]
    if truth is not None:
        panels.append(_panel(image, truth, "truth", colours, dashed=True))
    if um_per_px is not None:
        panels = [_with_scale_bar(panel, um_per_px / _enlargement(image), "µm") for panel in panels]
    gap = np.zeros((panels[0].shape[0], GAP_PX, 3), dtype=np.uint8)
    return np.hstack([part for panel in panels for part in (gap, panel)][1:])


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Pictures one below the other, left aligned on black; at least one.

    Raises ValueError if there is none.
    """
    if not pictures:
        raise ValueError("stacked() needs at least one picture")
    width = max(picture.shape[1] for picture in pictures)
    rows = [np.pad(picture, ((0, GAP_PX), (0, width - picture.shape[1]), (0, 0))) for picture in pictures]
    return np.vstack(rows)[:-GAP_PX]


def colours_of(cell_types: NDArray[np.str_]) -> dict[str, Colour]:
    """A colour for each type that occurs; the competition's three types always have the same."""
    others = sorted(set(cell_types.tolist()) - set(CELL_TYPES))
    names = [*CELL_TYPES, *others]
    colours = {name: OKABE_ITO[number % len(OKABE_ITO)] for number, name in enumerate(names)}
    return {name: colours[name] for name in names if name in cell_types}


def write_picture(path: str | Path, picture: Picture) -> Path:
    """Write an RGB picture as PNG, whole or not at all; returns its path."""
    path = Path(path)
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
    return path


def contours_xy(mask: CocoRle, scale: int) -> list[NDArray[np.int32]]:
    """The outlines of a mask enlarged `scale` times, of its holes too, each (K, 2) pixels on the mask's inner rim.

    Made from the mask's crop, never from the whole image; an empty mask has none.
    """
    crop = crop_from_coco(mask)
    if not crop.pixels.size:
        return []
    pixels = np.pad(crop.pixels, 1).astype(np.float32)
    enlarged = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    inside = (enlarged >= 0.5).astype(np.uint8)  # a pixel's corners are rounded off
    found, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    offset = np.array([crop.col - 1, crop.row - 1], dtype=np.int32) * scale
    return [contour.reshape(-1, 2).astype(np.int32) + offset for contour in found]


def stretched(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with its own range of grey spread over the range that is shown; a flat image is shown half bright."""
    low, high = np.percentile(image, [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT])
    steps = np.clip((np.arange(256) - low) / max(high - low, 1), 0, 1) if high > low else np.full(256, 0.5)
    table = np.rint(SHOWN_BLACK + steps * (SHOWN_WHITE - SHOWN_BLACK)).astype(np.uint8)
    return np.asarray(table[image])


def _enlargement(image: NDArray[np.uint8]) -> int:
    return 2 if max(image.shape) <= ENLARGED_UP_TO_PX else 1


def _panel(
    image: NDArray[np.uint8], cells: Cells, title: str, colours: Mapping[str, Colour], dashed: bool
) -> Picture:
    if image.dtype != np.uint8:
        raise ValueError(
            f"{cells.image_id}: the image is of {image.dtype}, expected uint8, as `read_image` returns any image"
        )
    if image.shape != cells.size_hw:
        raise ValueError(
            f"{cells.image_id}: the image has shape {image.shape}, its cells {cells.size_hw}; expected the same"
        )
    scale = _enlargement(image)
    grey = cv2.resize(stretched(image), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    canvas = np.repeat(grey[:, :, None], 3, axis=2)
    for mask, cell_type in zip(cells.masks, cells.cell_types.tolist(), strict=True):
        for contour in contours_xy(mask, scale):
            pieces = _dashes(contour) if dashed else [contour]
            cv2.polylines(canvas, pieces, not dashed, colours[cell_type], 1, cv2.LINE_AA)
    header = _header(canvas.shape[1], title, cells, colours)
    return np.vstack([header, canvas])


def _dashes(contour: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Every second stretch of a closed line of pixels."""
    return [contour[first : first + DASH_PX] for first in range(0, len(contour), 2 * DASH_PX)]


def _header(width_px: int, title: str, cells: Cells, colours: Mapping[str, Colour]) -> Picture:
    """A line of text: what is shown, then a swatch, name and count for each type that occurs."""
    strip = Image.new("RGB", (width_px, HEADER_PX))
    draw, font = ImageDraw.Draw(strip), _font()
    middle, left = HEADER_PX / 2, 8.0
    heading = f"{cells.image_id}   {title}" if len(cells) else f"{cells.image_id}   {title}: no cells"
    draw.text((left, middle), heading, WHITE, font, anchor="lm")
    left += draw.textlength(heading, font) + 24
    for name, colour in colours.items():
        count = int((cells.cell_types == name).sum())
        if not count:
            continue
        draw.rectangle((left, middle - 6, left + 12, middle + 6), fill=colour)
        label = f"{name} {count}"
        draw.text((left + 19, middle), label, WHITE, font, anchor="lm")
        left += 19 + draw.textlength(label, font) + 20
    return np.asarray(strip)


def _with_scale_bar(panel: Picture, unit_per_px: float, unit: str) -> Picture:
    """The panel with a bar of a round length, about a sixth of its width, in the lower right corner.

    Without a bar if that would leave the image.
    """
    if unit_per_px <= 0:
        raise ValueError(f"the size of a pixel is {unit_per_px} {unit}, expected more than 0")
    length = round_length(panel.shape[1] * unit_per_px / 6)
    bar_px, (height, width, _) = round(length / unit_per_px), panel.shape
    left, bottom = width - bar_px - 20, height - 16
    if bar_px < 1 or left < 8 or bottom - 36 < HEADER_PX:
        return panel
    canvas = Image.fromarray(panel)
    draw, font = ImageDraw.Draw(canvas), _font()
    draw.rectangle((left - 8, bottom - 36, width - 12, bottom + 8), fill=(0, 0, 0))
    draw.rectangle((left, bottom - 5, left + bar_px - 1, bottom), fill=WHITE)
    draw.text((left + bar_px / 2, bottom - 11), f"{length:g} {unit}", WHITE, font, anchor="ms")
    return np.asarray(canvas)


def round_length(about: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above `about`."""
    power = 10.0 ** np.floor(np.log10(about))  # of the next power just below one, by rounding
    return float(max(step * power for step in (0.5, 1, 2, 5) if step * power <= about))


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), TEXT_PX
    )
