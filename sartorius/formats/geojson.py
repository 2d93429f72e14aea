"""GeoJSON as QuPath imports and exports it: one file per image, one feature per cell, coordinates in pixels."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sartorius.cells import UNKNOWN_CELL_TYPE, Cells
from sartorius.errors import UserError
from sartorius.formats.json_files import read_json, write_json
from sartorius.formats.known import Known, size_of
from sartorius.formats.rings import Part, Ring, masks_of_outlines, parts_of_masks
from sartorius.formats.scores import as_score
from sartorius.line_runs import Ints

SOURCE = "geojson"
#: QuPath shows and exports an object's measurements; ours is under this name.
SCORE = "score"
#: A member of the collection that other programs pass over: the image's size.
_IMAGE = "image"
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


def read_geojson(path: Path, known: Known) -> dict[str, Cells]:
    """The cells of GeoJSON files by image id, the file's name without ending.

    path: a file, or a folder of `.geojson` files, hidden ones left out. A feature collection, a list of features or one
        feature, of polygons or multipolygons; the cell type is the classification's name, or its names as QuPath joins
        them ("Tumor: Positive"), the score the measurement "score", else 1.
    known: the images, for files that are not ours and so do not tell the image's size.
    A pixel is cell if its centre is inside. Raises UserError naming the file and the feature that is no outline with
    pixels or whose score is no fraction.
    """
    files = sorted(path.glob("[!.]*.geojson")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: expected .geojson files, found none")
    return {file.stem: _read_file(file, known) for file in files}


def write_geojson(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """Write `<path>/<image id>.geojson` for each image: detections with classification and score, exact to the pixel.

    Rings run along the edges of pixels. Cells without pixels are left out.
    """
    for image_id, cells in found.items():
        features = [
            _feature(parts, cells, row) for row, parts in enumerate(parts_of_masks(cells.masks)) if parts
        ]
        height, width = cells.size_hw
        image = {"id": image_id, "height": height, "width": width}
        write_json(
            path / f"{image_id}.geojson", {"type": "FeatureCollection", _IMAGE: image, "features": features}
        )


def _feature(parts: list[Part], cells: Cells, row: int) -> dict[str, Any]:
    polygons = [[_closed(ring) for ring in (part.outer, *part.holes)] for part in parts]
    single = len(polygons) == 1
    name = f"{cells.image_id}/{row}"
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),  # the same for the same cells
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": polygons[0] if single else polygons,
        },
        "properties": {
            "objectType": "detection",
            "classification": {"name": str(cells.cell_types[row])},
            "measurements": {SCORE: float(cells.scores[row])},
            "source": str(cells.sources[row]),
        },
    }


def _closed(ring: Ints) -> list[list[int]]:
    points: list[list[int]] = ring.tolist()
    return [*points, points[0]]


def _read_file(path: Path, known: Known) -> Cells:
    data = read_json(path)
    if isinstance(data, Mapping) and data.get("type") == "Feature":
        data = [data]
    features = data.get("features") if isinstance(data, Mapping) else data
    if not isinstance(features, list):
        raise UserError(f"{path}: expected GeoJSON with a list of features, found none")
    size_hw = _size_hw(data, path, known)
    places, rings, facts, scores = [], [], [], []
    for number, feature in enumerate(features, start=1):
        where = f"{path}: feature {number}"
        places.append(where)
        rings.append(_rings(where, feature))
        properties = feature.get("properties") or {}
        if not isinstance(properties, Mapping):
            raise UserError(f"{where}: expected `properties` by name, got {properties!r}")
        facts.append(properties)
        scores.append(_score(where, properties))
    return Cells(
        image_id=path.stem,
        size_hw=size_hw,
        masks=tuple(masks_of_outlines(places, rings, size_hw)),
        scores=np.array(scores, dtype=np.float32),
        cell_types=np.array([_cell_type(of_cell) for of_cell in facts], dtype=np.str_),
        sources=np.array([str(of_cell.get("source", SOURCE)) for of_cell in facts], dtype=np.str_),
    )


def _size_hw(data: Any, path: Path, known: Known) -> tuple[int, int]:
    try:
        height, width = int(data[_IMAGE]["height"]), int(data[_IMAGE]["width"])
    except _DAMAGE:
        return size_of(path.stem, known, path, "a GeoJSON file")
    if height <= 0 or width <= 0:
        raise UserError(f"{path}: expected height and width in whole pixels, got {height} and {width}")
    return height, width


def _rings(where: str, feature: Any) -> list[Ring]:
    """All rings of a feature's polygons; holes are told from outer rings by how often a pixel is inside."""
    try:
        kind, coordinates = feature["geometry"]["type"], feature["geometry"]["coordinates"]
        if kind not in ("Polygon", "MultiPolygon"):
            raise UserError(f"{where}: expected a Polygon or MultiPolygon, got a {kind}")
        polygons = [coordinates] if kind == "Polygon" else coordinates
        return [np.array(ring, dtype=np.float64)[:, :2] for polygon in polygons for ring in polygon]
    except UserError:
        raise
    except _DAMAGE as error:
        raise UserError(f"{where}: expected a polygon of x, y in pixels: {error}") from None


def _cell_type(properties: Mapping[str, Any]) -> str:
    classification = properties.get("classification")
    if isinstance(classification, Mapping):
        names = classification.get("names")
        name = ": ".join(map(str, names)) if isinstance(names, list) else classification.get("name")
    else:
        name = classification
    return str(name) if name else UNKNOWN_CELL_TYPE


def _score(where: str, properties: Mapping[str, Any]) -> float:
    """The measurement, 1 if there is none; before QuPath 0.4 measurements were a list of names and values."""
    measurements = properties.get("measurements") or {}
    if isinstance(measurements, list):
        named = [one for one in measurements if isinstance(one, Mapping) and one.get("name") == SCORE]
        measurements = {SCORE: named[-1].get("value")} if named else {}
    return as_score(where, measurements.get(SCORE, 1.0) if isinstance(measurements, Mapping) else 1.0)
