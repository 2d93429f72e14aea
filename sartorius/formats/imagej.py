"""ImageJ's regions of interest: one ZIP file per image, in it one region per cell, as its ROI manager saves them."""

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from sartorius.cells import UNKNOWN_CELL_TYPE, Cells
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.formats.known import Known, size_of
from sartorius.formats.rings import Part, Ring, masks_of_outlines, parts_of_masks
from sartorius.formats.scores import as_score

SOURCE = "imagej"
#: Regions hold coordinates as 16-bit numbers.
MAX_SIDE_PX = 32_767
_AREAS = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED, ROI_TYPE.RECT, ROI_TYPE.OVAL)
#: Properties of a region, which ImageJ shows and keeps.
_TYPE, _SCORE, _SOURCE = "cell_type", "score", "source"
#: Signs that take two of the 16-bit numbers that text is stored in; roifile counts them as one, so that the end of a
#: region's properties, as many line feeds as there are, is cut off, and a name would be read back damaged.
_BEYOND_16_BITS = re.compile("[^\0-\uffff]")
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
_DAMAGE = (zipfile.BadZipFile, ValueError, TypeError, KeyError, IndexError, RuntimeError, OSError, EOFError)


def read_imagej(path: Path, known: Known) -> dict[str, Cells]:
    """The cells of ROI files by image id, the file's name without ending.

    path: a ZIP file of ImageJ's ROI manager, or a folder of them; hidden files are left out.
    Regions that are areas become cells: polygons, freehand and traced outlines, rectangles, ovals, composites with
    holes. Points, lines and angles are no cells and refused. A pixel is cell if its centre is inside.
    known: the images, for files that are not ours and so do not tell the image's size.
    Raises UserError naming the file and the region.
    """
    files = sorted(path.glob("[!.]*.zip")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: expected ZIP files of ImageJ's ROI manager, found none")
    return {file.stem: _read_file(file, known) for file in files}


def write_imagej(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """Write `<path>/<image id>.zip` for each image, one region per cell named `0001-<type>`, signs above U+FFFF as `_`.

    Cells of one part without holes are traced outlines along the edges of their pixels, others composites. Type, score
    and source are properties of the region. Cells without pixels are left out.
    Raises UserError if an image is larger than regions can tell.
    """
    for image_id, cells in found.items():
        if max(cells.size_hw) > MAX_SIDE_PX:
            raise UserError(
                f"image {image_id} has height and width {cells.size_hw}, ImageJ's regions end at "
                f"{MAX_SIDE_PX} px; write GeoJSON"
            )
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = f"{cells.size_hw[0]} {cells.size_hw[1]}".encode()
            for row, parts in enumerate(parts_of_masks(cells.masks)):
                if parts:
                    region = _region(parts, cells, row)
                    archive.writestr(f"{region.name}.roi", region.tobytes())
        with atomic_path(path / f"{image_id}.zip") as temporary:
            temporary.write_bytes(stream.getvalue())


def _region(parts: list[Part], cells: Cells, row: int) -> ImagejRoi:
    points = np.concatenate([part.outer for part in parts])
    region = ImagejRoi()
    region.name = _BEYOND_16_BITS.sub("_", f"{row + 1:04}-{cells.cell_types[row]}")
    region.left, region.top = (int(side) for side in points.min(axis=0))
    region.right, region.bottom = (int(side) for side in points.max(axis=0))
    region.options = ROI_OPTIONS.OVERLAY_BACKGROUNDS | ROI_OPTIONS.OVERLAY_LABELS
    region.properties = {
        _TYPE: str(cells.cell_types[row]),
        _SCORE: float(cells.scores[row]),
        _SOURCE: str(cells.sources[row]),
    }
    region.props += "\n" * len(_BEYOND_16_BITS.findall(region.props))
    if len(parts) == 1 and not parts[0].holes:
        region.roitype = ROI_TYPE.TRACED
        region.integer_coordinates = (parts[0].outer - (region.left, region.top)).astype(np.int32)
        region.n_coordinates = len(points)
    else:
        region.roitype = ROI_TYPE.RECT
        region.multi_coordinates = _path(parts)
        region.shape_roi_size = len(region.multi_coordinates)
    return region


def _path(parts: list[Part]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A composite's outline: move to each ring's first point, lines through the others, close."""
    numbers: list[float] = []
    for ring in (ring for part in parts for ring in (part.outer, *part.holes)):
        for place, (x, y) in enumerate(ring.tolist()):
            numbers += [_LINE if place else _MOVE, x, y]
        numbers.append(_CLOSE)
    return np.array(numbers, dtype=np.float32)


def _read_file(path: Path, known: Known) -> Cells:
    try:
        with zipfile.ZipFile(path) as archive:
            comment = archive.comment.decode("ascii", "replace").split()
            inside = archive.namelist()
            names = [name for name in inside if name.lower().endswith(".roi")]
            regions = [ImagejRoi.frombytes(archive.read(name)) for name in names]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except _DAMAGE as error:
        raise UserError(f"{path}: expected a ZIP file of ImageJ's ROI manager: {error}") from None
    if inside and not names:
        raise UserError(
            f"{path}: expected regions of ImageJ's ROI manager (.roi), got {', '.join(inside[:3])}"
        )
    if len(comment) == 2 and all(side.isdigit() for side in comment):
        size_hw = (int(comment[0]), int(comment[1]))
    else:
        size_hw = size_of(path.stem, known, path, "a file of ImageJ's regions")
    places = [f"{path}, {name}" for name in names]
    rings = [_rings(where, region) for where, region in zip(places, regions, strict=True)]
    scores = [
        as_score(where, region.properties.get(_SCORE, 1.0))
        for where, region in zip(places, regions, strict=True)
    ]
    return Cells(
        image_id=path.stem,
        size_hw=size_hw,
        masks=tuple(masks_of_outlines(places, rings, size_hw)),
        scores=np.array(scores, dtype=np.float32),
        cell_types=np.array([_text(region, _TYPE, UNKNOWN_CELL_TYPE) for region in regions], dtype=np.str_),
        sources=np.array([_text(region, _SOURCE, SOURCE) for region in regions], dtype=np.str_),
    )


def _text(region: ImagejRoi, key: str, otherwise: str) -> str:
    """A property as it is written, where roifile turns text that reads as a number or truth into one."""
    for line in region.props.split("\n"):
        name, colon, text = line.partition(":")
        if colon and name.strip() == key:
            return str(text.removeprefix(" "))
    return otherwise


def _rings(where: str, region: ImagejRoi) -> list[Ring]:
    if region.roitype not in _AREAS:
        raise UserError(
            f"{where}: expected the outline of a cell, got a region of type {region.roitype.name.lower()}"
        )
    try:
        return [np.asarray(ring, dtype=np.float64) for ring in region.coordinates(multi=True)]
    except (NotImplementedError, *_DAMAGE) as error:
        raise UserError(f"{where}: its outline cannot be read: {error}") from None
