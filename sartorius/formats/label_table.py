"""The table beside label images: what a number in a pixel cannot say about its cell."""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from sartorius.cells import Cells
from sartorius.csv_rows import read_rows
from sartorius.errors import UserError
from sartorius.files import atomic_path

TABLE = "labels.csv"
TABLE_COLUMNS = ("image_id", "label", "cell_type", "score", "source")


class LabelRow(NamedTuple):
    """What is known of one labelled cell."""

    cell_type: str
    score: float
    source: str


def read_table(path: Path) -> dict[tuple[str, int], LabelRow]:
    """What is known of each cell, by image id and label; raises UserError naming the line that is malformed."""
    _, rows, problems = read_rows(path, TABLE_COLUMNS)
    if problems:
        raise UserError(f"{path}, {problems[0]}")
    found = {}
    for line, (image_id, label, cell_type, score, source) in rows:
        try:
            number, sure = int(label), float(score)
        except ValueError:
            raise UserError(
                f"{path}, line {line}: expected a label and a score, got {label!r}, {score!r}"
            ) from None
        if not 0 <= sure <= 1:
            raise UserError(f"{path}, line {line}: expected a score from 0 to 1, got {score}")
        found[image_id, number] = LabelRow(cell_type, sure, source)
    return found


def require_rows(
    path: Path, table: Mapping[tuple[str, int], LabelRow], labels: Collection[tuple[str, int]]
) -> None:
    """Raise UserError unless a table has a row for each label of the label images; it may have rows of others.

    path: the table's, for the message. labels: image ids and labels that the images hold.
    """
    lacking = sorted(set(labels) - set(table))
    if lacking:
        image_id, label = lacking[0]
        raise UserError(
            f"{path}: expected a row for each label of the label images, there is none for image {image_id!r}, label {label} "
            f"(the first of {len(lacking)}); mend the table, or remove it if it is of other label images"
        )


def write_table(path: Path, found: Mapping[str, Cells]) -> None:
    """Write a row for each cell; labels count from 1 in the order of the cells of an image."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(TABLE_COLUMNS)
        for image_id, cells in found.items():
            columns = (cells.cell_types.tolist(), cells.scores.tolist(), cells.sources.tolist())
            for label, (cell_type, score, source) in enumerate(zip(*columns, strict=True), start=1):
                writer.writerow((image_id, label, cell_type, repr(score), source))
