"""`explain`: which detections made which cell, and at which step the others were dropped."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sartorius.cells import Cells
from sartorius.config.fusion import FusionSettings, PostprocessSettings, SoftNmsSettings
from sartorius.fusion.clusters import NONE
from sartorius.fusion.engine import Fusion, fused_by, prepared
from sartorius.fusion.scoring import vote_ious
from sartorius.postprocess import clean, dropped_at

EMPTY_MASK = "empty mask"
LOWERED_SCORE = "lowered score"
NO_BOX = "no cell's box"
MIN_VOTES = "minimum votes"
MASK_THRESHOLD = "mask threshold"


class DetectionFate(NamedTuple):
    """One detection of one source.

    source, row: where it is: row `row` of the source's cells.
    cell: number of the fused cell it belongs to, None if it was dropped before there was one.
    role: "seed", "vote", or "other" for a detection that belongs to the cell without a vote; "" without a cell.
    dropped: the step that dropped it or its cell; "" if its cell is in the result.
    """

    source: str
    row: int
    score: float
    cell_type: str
    area_px: int
    box_xyxy: tuple[int, int, int, int]
    cell: int | None
    role: str
    dropped: str


class CellFate(NamedTuple):
    """One fused cell: what fusion made it, and the clean-up step that dropped it, "" if it is in the result.

    vote_iou: mean IoU of its votes' masks with its seed's.
    """

    cell: int
    score: float
    cell_type: str
    area_px: int
    votes: int
    sources: int
    vote_iou: float
    dropped: str


class Explanation(NamedTuple):
    """Why the result of one image is what it is.

    image_id: the image.
    cells: the fused cells by falling score.
    detections: every detection of every source, by falling weight times score, those with empty masks last.
    result: the cells after fusion and clean-up.
    """

    image_id: str
    cells: tuple[CellFate, ...]
    detections: tuple[DetectionFate, ...]
    result: Cells


def explain(
    sources: Mapping[str, Cells],
    fusion: FusionSettings,
    postprocess: PostprocessSettings,
    weights: Mapping[str, float] | None = None,
) -> Explanation:
    """The fate of every detection of one image in `clean(fuse(sources, fusion, weights), postprocess)`.

    Arguments and errors are those of `fuse` and `clean`.
    """
    image = prepared(sources, weights)
    fused = fused_by(image, fusion)
    steps = dropped_at(fused.cells, postprocess).tolist()
    _, cell = fused.clusters.voters()
    seeds = fused.clusters.seeds.tolist()
    votes = dict(zip(seeds, np.bincount(cell).tolist(), strict=True))
    ious = dict(zip(seeds, vote_ious(fused.found, fused.clusters, image.pairs).tolist(), strict=True))
    fates = tuple(
        CellFate(number, score, cell_type, area, votes[seed], len(sources), ious[seed], step)
        for number, (seed, score, cell_type, area, step) in enumerate(
            zip(
                fused.cell_seeds.tolist(),
                fused.cells.scores.tolist(),
                fused.cells.cell_types.tolist(),
                fused.cells.areas_px.tolist(),
                steps,
                strict=True,
            )
        )
    )
    without_cell = LOWERED_SCORE if isinstance(fusion, SoftNmsSettings) else NO_BOX
    found = _detection_fates(fused, fates, without_cell) + _empty_fates(sources)
    return Explanation(fused.found.image_id, fates, found, clean(fused.cells, postprocess))


def explanation_text(explanation: Explanation) -> str:
    """One block of lines per fused cell with its detections, then the detections that belong to none."""
    kept = sum(not cell.dropped for cell in explanation.cells)
    lines = [
        f"{explanation.image_id}: {len(explanation.detections)} detections, {len(explanation.cells)} fused cells, "
        f"{kept} in the result"
    ]
    members: dict[int | None, list[DetectionFate]] = {}
    for detection in explanation.detections:
        members.setdefault(detection.cell, []).append(detection)
    for cell in explanation.cells:
        fate = f"dropped: {cell.dropped}" if cell.dropped else "in the result"
        lines += [
            "",
            f"cell {cell.cell}: score {cell.score:.3f}, {cell.cell_type}, {cell.area_px} px, "
            f"{cell.votes} of {cell.sources} sources with a mean IoU of {cell.vote_iou:.2f}; {fate}",
        ]
        lines += [f"  {detection.role:5} {_line(detection)}" for detection in members[cell.cell]]
    if None in members:
        lines += ["", "detections without a cell:"]
        lines += [f"  {_line(detection)}; dropped: {detection.dropped}" for detection in members[None]]
    return "\n".join(lines)


def _line(detection: DetectionFate) -> str:
    left, top, right, bottom = detection.box_xyxy
    return (
        f"{detection.source} row {detection.row}: score {detection.score:.3f}, {detection.cell_type}, "
        f"{detection.area_px} px, columns {left}-{right}, rows {top}-{bottom}"
    )


def _detection_fates(
    fused: Fusion, fates: tuple[CellFate, ...], without_cell: str
) -> tuple[DetectionFate, ...]:
    found = fused.found
    own_rows = _rows_in_source(fused)
    cell_of = {seed: number for number, seed in enumerate(fused.cell_seeds.tolist())}
    records = []
    for row in range(len(found.source)):
        seed = int(fused.clusters.seed[row])
        cell = cell_of.get(seed)
        role = (
            ""
            if cell is None
            else "seed"
            if seed == row
            else "vote"
            if fused.clusters.votes[row]
            else "other"
        )
        left, top, right, bottom = found.boxes_xyxy[row].tolist()
        records.append(
            DetectionFate(
                source=found.names[found.source[row]],
                row=own_rows[row],
                score=float(found.scores[row]),
                cell_type=str(found.cell_types[row]),
                area_px=int(found.areas_px[row]),
                box_xyxy=(left, top, right, bottom),
                cell=cell,
                role=role,
                dropped=_lost_in_fusion(fused, row, without_cell) if cell is None else fates[cell].dropped,
            )
        )
    return tuple(records)


def _lost_in_fusion(fused: Fusion, row: int, without_cell: str) -> str:
    if fused.grouped.seed[row] == NONE:
        return without_cell
    return MIN_VOTES if fused.clusters.seed[row] == NONE else MASK_THRESHOLD


def _rows_in_source(fused: Fusion) -> list[int]:
    """The number of each detection among the rows of its own source."""
    rows: list[int] = (fused.found.origin - fused.found.source_starts[fused.found.source]).tolist()
    return rows


def _empty_fates(sources: Mapping[str, Cells]) -> tuple[DetectionFate, ...]:
    return tuple(
        DetectionFate(
            name,
            row,
            float(cells.scores[row]),
            str(cells.cell_types[row]),
            0,
            (0, 0, 0, 0),
            None,
            "",
            EMPTY_MASK,
        )
        for name, cells in sorted(sources.items())
        for row in np.flatnonzero(cells.areas_px == 0).tolist()
    )
