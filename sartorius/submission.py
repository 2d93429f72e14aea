"""The competition's CSV of found cells, `id,predicted`: written, read and checked.

One row per cell, its mask as row-major 1-based `start length` text; an image without cells has one row with an empty
`predicted`. Masks of one image may not overlap.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sartorius.cells import UNKNOWN_CELL_TYPE, Cells
from sartorius.csv_rows import Problem as Problem  # part of this module's interface
from sartorius.csv_rows import Row, read_rows, shortened
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.line_runs import LineRuns
from sartorius.rle import KaggleRle, cocos_from_runs, kaggle_runs, kaggles_from_runs, runs_from_cocos
from sartorius.shared_pixels import claims, images_with_shared_pixels

COLUMNS = ("id", "predicted")
SOURCE = "submission"

SizesHw = Mapping[str, tuple[int, int]]


class SubmissionReport(NamedTuple):
    """What is in a submission file and everything that is wrong with it.

    problems: by line, those without a line last; none if the file is valid.
    cells_per_image: rows with a mask of each known image that the file names, in the file's order.
    """

    problems: list[Problem]
    cells_per_image: dict[str, int]


class _Contents(NamedTuple):
    """The rows of known images, those with a mask and those without; runs are of the rows with a mask.

    readable: whether the file is a table of the two columns at all.
    """

    readable: bool
    cell_rows: list[Row]
    blank_rows: list[Row]
    runs: LineRuns


def write_submission(path: Path, cells: Iterable[Cells], image_ids: Sequence[str]) -> None:
    """Write the cells of all images in the order of `image_ids`, an image without cells as an empty row.

    cells: at most one record per image, in any order; scores and types are not written, nor masks without pixels.
    Raises UserError, and leaves what was at `path`, if cells belong to no image of `image_ids` or share a pixel with
    another cell; ValueError if an image comes twice.
    """
    texts: dict[str, list[str]] = {image_id: [] for image_id in image_ids}
    if len(texts) != len(image_ids):
        raise ValueError("image_ids names an image twice")
    done: set[str] = set()
    for found in cells:
        if found.image_id not in texts:
            raise UserError(
                f"{path}: there are cells of image {found.image_id}, which is none of the {len(texts)} images "
                "to submit; predict and submit the same folder of images"
            )
        if found.image_id in done:
            raise ValueError(f"{found.image_id}: two records of one image")
        done.add(found.image_id)
        texts[found.image_id] = mask_texts(found)
    write_texts(path, texts)


def write_texts(path: Path, texts: Mapping[str, Sequence[str]]) -> None:
    """Write the mask texts of every image by id, an image without any as an empty row; whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((image_id, text) for image_id, masks in texts.items() for text in masks or [""])


def mask_texts(found: Cells) -> list[str]:
    """The text of each mask of an image that has pixels; raises UserError if two masks share a pixel."""
    runs = runs_from_cocos(found.masks)
    size_px = found.size_hw[0] * found.size_hw[1]
    for claim in claims(runs, len(found), size_px):
        raise UserError(
            f"{found.image_id}: cell {claim.mask} shares {claim.pixels} px with cell {claim.others[0]}, which a "
            "submission may not; give each pixel to one cell first (`sartorius fuse` does, see its postprocess settings)"
        )
    return [text for _, text in kaggles_from_runs(runs, [found.size_hw] * len(found)) if text]


def read_submission(path: Path, sizes_hw: SizesHw) -> dict[str, Cells]:
    """The cells of each image that the file names, by image id in ascending order.

    sizes_hw: (height, width) of each image by id; ids that the file does not name are left out.
    Every cell has score 1, type "unknown" and source "submission". Overlaps and repeated masks are read as they are.
    Raises UserError with the first line that names an unknown image, has a malformed or out-of-bounds mask, or
    contradicts another.
    """
    contents, problems = _read(path, sizes_hw)
    if problems:
        more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise UserError(f"{path}, {min(problems, key=_line_order)}{more}")
    ids = [row.fields[0] for row in contents.cell_rows]
    rows_of: dict[str, list[int]] = {row.fields[0]: [] for row in contents.blank_rows + contents.cell_rows}
    for row, image_id in enumerate(ids):
        rows_of[image_id].append(row)
    masks = cocos_from_runs(contents.runs, [sizes_hw[image_id] for image_id in ids])
    return {
        image_id: Cells(
            image_id=image_id,
            size_hw=sizes_hw[image_id],
            masks=tuple(masks[row] for row in rows),
            scores=np.ones(len(rows), dtype=np.float32),
            cell_types=np.full(len(rows), UNKNOWN_CELL_TYPE),
            sources=np.full(len(rows), SOURCE),
        )
        for image_id, rows in sorted(rows_of.items())
    }


def check_submission(path: Path, sizes_hw: SizesHw) -> list[Problem]:
    """Everything that is wrong with a submission file, ours or not, by line; nothing if it is valid.

    See `inspect_submission`.
    """
    return inspect_submission(path, sizes_hw).problems


def inspect_submission(path: Path, sizes_hw: SizesHw) -> SubmissionReport:
    """What a submission file holds and every problem it has.

    sizes_hw: (height, width) of each image of the test set by id.
    Problems are: bytes that are no text, another header, rows of another shape, ids that are unknown or missing, text
    that is malformed, out of bounds or not ascending, masks that repeat or overlap another of their image, empty
    rows of an image that has cells or another empty row.
    Raises UserError if there is no such file.
    """
    contents, problems = _read(path, sizes_hw)
    named = Counter({row.fields[0]: 0 for row in contents.blank_rows + contents.cell_rows})
    named.update(row.fields[0] for row in contents.cell_rows)
    problems += _claim_problems(contents, sizes_hw)
    if contents.readable:
        problems += [
            Problem(None, f"image {image_id} is missing; an image without cells needs a row `{image_id},`")
            for image_id in sizes_hw
            if image_id not in named
        ]
    return SubmissionReport(sorted(problems, key=_line_order), dict(named))


def _read(path: Path, sizes_hw: SizesHw) -> tuple[_Contents, list[Problem]]:
    """The rows of known images, and what is wrong with single rows."""
    readable, rows, problems = read_rows(path, COLUMNS)
    problems += [
        Problem(
            row.line,
            f"{shortened(row.fields[0])} is none of the {len(sizes_hw)} images; expected "
            "an image's name without folder and ending",
        )
        for row in rows
        if row.fields[0] not in sizes_hw
    ]
    known = [row for row in rows if row.fields[0] in sizes_hw]
    cell_rows = [row for row in known if row.fields[1].strip()]
    blank_rows = [row for row in known if not row.fields[1].strip()]
    runs, malformed = kaggle_runs([KaggleRle(sizes_hw[row.fields[0]], row.fields[1]) for row in cell_rows])
    problems += [Problem(cell_rows[row].line, message) for row, message in malformed.items()]
    contents = _Contents(readable, cell_rows, blank_rows, runs)
    return contents, problems + list(_blank_problems(contents))


def _blank_problems(contents: _Contents) -> Iterator[Problem]:
    """Empty rows of images that have another row."""
    first_lines: dict[str, int] = {}
    for row in contents.cell_rows:
        first_lines.setdefault(row.fields[0], row.line)
    for row in contents.blank_rows:
        first = first_lines.setdefault(row.fields[0], row.line)
        if first != row.line:
            yield Problem(
                row.line,
                f"an empty row says that {row.fields[0]} has no cells, but line {first} is of it too",
            )


def _claim_problems(contents: _Contents, sizes_hw: SizesHw) -> Iterator[Problem]:
    """Masks that repeat or overlap another of their image."""
    ids = {
        image_id: number
        for number, image_id in enumerate(dict.fromkeys(row.fields[0] for row in contents.cell_rows))
    }
    images = np.array([ids[row.fields[0]] for row in contents.cell_rows], dtype=np.int64)
    sizes_px = np.array([sizes_hw[image_id][0] * sizes_hw[image_id][1] for image_id in ids], dtype=np.int64)
    for image in images_with_shared_pixels(contents.runs, images, sizes_px).tolist():
        rows = np.flatnonzero(images == image)
        chosen = np.isin(contents.runs.masks, rows)
        runs = LineRuns(
            np.searchsorted(rows, contents.runs.masks[chosen]),
            contents.runs.starts[chosen],
            contents.runs.lengths[chosen],
        )
        lines = [contents.cell_rows[row].line for row in rows.tolist()]
        for claim in claims(runs, len(rows), int(sizes_px[image])):
            others = _listed([lines[other] for other in claim.others])
            what = "repeats the mask of" if claim.repeats else f"{claim.pixels} of its pixels are in"
            yield Problem(lines[claim.mask], f"{what} {others}; masks of one image may not overlap")


def _listed(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:5]))
    more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
    return f"line{'s' * (len(lines) > 1)} {shown}{more}"


def _line_order(problem: Problem) -> tuple[bool, int]:
    return problem.line is None, problem.line or 0
