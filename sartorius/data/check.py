"""What is wrong, and what is worth knowing, in a data set laid out as the competition's."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sartorius.cells import CELL_TYPES, Cells
from sartorius.data.competition import (
    Annotation,
    annotations_of,
    cells_by_image,
    image_folder,
    read_annotation_table,
    truth_csv,
)
from sartorius.data.folds import wells_of
from sartorius.data.images import IMAGE_SUFFIXES, list_images, read_image
from sartorius.data.leakage import pixel_hash
from sartorius.errors import UserError, did_you_mean
from sartorius.overlap import overlapping

Severity = Literal["problem", "note"]
Kind = Literal[
    "malformed_row",
    "no_type",
    "mixed_types",
    "mixed_wells",
    "empty_row_beside_cells",
    "row_without_image",
    "image_without_row",
    "unreadable_image",
    "wrong_size",
    "same_image_twice",
    "duplicate_masks",
    "image_without_cells",
    "other_type",
    "no_test_images",
]


class Finding(NamedTuple):
    """One thing found in a data set; a problem must be mended, a note is a fact to know.

    line: line in train.csv, the header being 1; None for what is not about one line.
    """

    severity: Severity
    kind: Kind
    image_id: str
    line: int | None
    message: str


class TypeCount(NamedTuple):
    """Well-formed annotations of one cell type.

    overlapping_pairs: pairs of masks of one image that share a pixel; duplicate_masks: masks that say the same as
    an earlier one of their image. Both count for the type of the earlier mask.
    """

    cell_type: str
    images: int
    cells: int
    overlapping_pairs: int
    duplicate_masks: int


class DataCheck(NamedTuple):
    """All findings, problems first, and the counts per cell type, sorted by type."""

    findings: tuple[Finding, ...]
    types: tuple[TypeCount, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What must be mended."""
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth knowing."""
        return tuple(finding for finding in self.findings if finding.severity == "note")


def check_data(data_dir: Path) -> DataCheck:
    """Everything found in `train.csv`, `train/` and `test/` of a data set.

    Overlapping and duplicate masks are facts of the competition's own data and so no problems; a missing or empty
    `test/` and cell types of one's own, together in one image or not, are notes.
    Raises UserError if there is no train.csv with the expected columns or no folder of training images.
    """
    table = read_annotation_table(truth_csv(data_dir))
    annotations, faults = annotations_of(table)
    truth = cells_by_image(annotations)
    first_lines = {image_id: int(line) for line, image_id in reversed(list(table["id"].items()))}
    train = list_images(image_folder(data_dir, "train"))
    test = _test_images(data_dir / "test")
    findings = [
        *(
            Finding("problem", "malformed_row", table["id"][line], line, text)
            for line, text in faults.items()
        ),
        *_row_findings(annotations),
        *_other_types(annotations),
        *(
            Finding("problem", "mixed_wells", table["id"][line], line, text)
            for line, text in wells_of(table)[1].items()
        ),
        *_missing(first_lines, train),
        *_image_findings(train, test, truth),
        *_cell_findings(truth, annotations),
    ]
    if not test:
        what = "image in" if (data_dir / "test").is_dir() else "folder"
        findings.append(
            Finding("note", "no_test_images", "", None, f"there is no {what} {data_dir / 'test'}")
        )
    findings.sort(
        key=lambda found: (found.severity != "problem", found.line or 0, found.image_id, found.kind)
    )
    return DataCheck(tuple(findings), _type_counts(truth))


def _test_images(folder: Path) -> dict[str, Path]:
    """The test images as `list_images` gives them; none if the folder is missing or holds none."""
    has_images = any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.glob("[!.]*"))
    return list_images(folder) if has_images else {}


def _row_findings(annotations: Sequence[Annotation]) -> Iterator[Finding]:
    """Cell types that are missing or differ within an image, and rows without mask beside rows with one."""
    first: dict[str, Annotation] = {}
    told: set[tuple[str, str]] = set()
    with_cells = {row.image_id for row in annotations if row.mask is not None}
    for row in annotations:
        if row.mask is None:
            if row.image_id in with_cells:
                text = "the row has no annotation, but other rows of the image have"
                yield Finding("problem", "empty_row_beside_cells", row.image_id, row.line, text)
            continue
        seen = first.setdefault(row.image_id, row)
        if (row.image_id, row.cell_type) in told:
            continue
        told.add((row.image_id, row.cell_type))
        if not row.cell_type:
            text = "the row has no cell type"
            yield Finding("problem", "no_type", row.image_id, row.line, text)
        if row.cell_type != seen.cell_type:
            yield _mixed_types(row, seen)


def _mixed_types(row: Annotation, seen: Annotation) -> Finding:
    """A second type in an image: a problem among the competition's, whose images hold one, a note for one's own."""
    text = f"cell type {row.cell_type!r}, but {seen.cell_type!r} in line {seen.line}: "
    if {row.cell_type, seen.cell_type} <= {"", *CELL_TYPES}:
        return Finding("problem", "mixed_types", row.image_id, row.line, text + "one image holds one")
    text += "an ensemble tells them apart in one image with `type_rule: none`"
    return Finding("note", "mixed_types", row.image_id, row.line, text)


def _other_types(annotations: Sequence[Annotation]) -> Iterator[Finding]:
    """Cell types that are none of the competition's, each once: one's own, or slips of the pen."""
    first: dict[str, Annotation] = {}
    images: dict[str, set[str]] = {}
    for row in annotations:
        if row.mask is not None and row.cell_type not in ("", *CELL_TYPES):
            first.setdefault(row.cell_type, row)
            images.setdefault(row.cell_type, set()).add(row.image_id)
    for name, row in first.items():
        text = (
            f"cell type {name!r} of {len(images[name])} images is none of the competition's {', '.join(CELL_TYPES)}; a model "
            f"learns it if its cell_types name it{did_you_mean(name, CELL_TYPES)}"
        )
        yield Finding("note", "other_type", row.image_id, row.line, text)


def _missing(first_lines: Mapping[str, int], train: Mapping[str, Path]) -> Iterator[Finding]:
    for image_id in sorted(set(first_lines) - set(train) - {""}):
        line = first_lines[image_id]
        yield Finding("problem", "row_without_image", image_id, line, "no image in train/ has this id")
    for image_id in sorted(set(train) - set(first_lines)):
        text = f"{train[image_id].name} has no row; a row with an empty annotation says that it has no cells"
        yield Finding("problem", "image_without_row", image_id, None, text)


def _image_findings(
    train: Mapping[str, Path], test: Mapping[str, Path], truth: Mapping[str, Cells]
) -> Iterator[Finding]:
    """Images that cannot be read, have another size than their rows say, or the same pixels as another."""
    names: dict[str, str] = {}
    for split, paths in (("train", train), ("test", test)):
        for image_id, path in paths.items():
            try:
                image = read_image(path)
            except UserError as error:
                yield Finding("problem", "unreadable_image", image_id, None, str(error))
                continue
            expected_hw = truth[image_id].size_hw if split == "train" and image_id in truth else image.shape
            if image.shape != expected_hw:
                text = f"{path.name} has height and width {image.shape}, but {expected_hw} in train.csv"
                yield Finding("problem", "wrong_size", image_id, None, text)
            name = f"{split}/{path.name}"
            twin = names.setdefault(pixel_hash(image), name)
            if twin != name:
                text = f"{name} has the same pixels as {twin}"
                yield Finding("note", "same_image_twice", image_id, None, text)


def _cell_findings(truth: Mapping[str, Cells], annotations: Sequence[Annotation]) -> Iterator[Finding]:
    """Images without cells and images with masks that say the same twice."""
    lines: dict[str, list[int]] = {}
    for row in annotations:
        if row.mask is not None:
            lines.setdefault(row.image_id, []).append(row.line)
    for image_id, cells in truth.items():
        if not len(cells):
            yield Finding("note", "image_without_cells", image_id, None, "the image has no cells")
        copies = np.flatnonzero(_repeats(cells)).tolist()
        if copies:
            where = [str(lines[image_id][row]) for row in copies]
            text = f"masks that repeat an earlier one of the image: {len(copies)}, in line {', '.join(where[:8])}"
            line = lines[image_id][copies[0]]
            yield Finding("note", "duplicate_masks", image_id, line, text + ", …" * (len(where) > 8))


def _repeats(cells: Cells) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(N,) whether a mask is the same as one in a row before it."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(mask.counts, row) != row for row, mask in enumerate(cells.masks)], bool)


def _type_counts(truth: Mapping[str, Cells]) -> tuple[TypeCount, ...]:
    images: Counter[str] = Counter()
    cells: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    repeats: Counter[str] = Counter()
    for found in truth.values():
        images.update(set(found.cell_types.tolist()))
        cells.update(found.cell_types.tolist())
        rows_a, rows_b, _ = overlapping(found, found)
        pairs.update(found.cell_types[rows_a[rows_a < rows_b]].tolist())
        repeats.update(found.cell_types[_repeats(found)].tolist())
    return tuple(
        TypeCount(name, images[name], cells[name], pairs[name], repeats[name]) for name in sorted(cells)
    )
