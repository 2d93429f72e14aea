"""The competition's folder as downloaded: `train.csv`, `train/*.png`, `test/*.png`."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from sartorius.cells import Cells, annotated
from sartorius.csv_rows import read_table, shortened
from sartorius.errors import UserError
from sartorius.rle import CocoRle, KaggleRle, cocos_from_runs, kaggle_runs

Split = Literal["train", "test"]

TRUTH_COLUMNS = ("id", "annotation", "width", "height", "cell_type")
#: Names the well an image was taken in; empty for most images of some copies of the data.
GROUP_COLUMN = "sample_id"
#: Column of our own: what a row has after the header's last column.
BEYOND_COLUMN = "beyond the last column"
#: Images of a million pixels along a side are a mistake in the file.
MAX_SIZE_DIGITS = 6


class Annotation(NamedTuple):
    """One well-formed row of a truth file; without a mask it only says that its image is there."""

    line: int
    image_id: str
    cell_type: str
    mask: CocoRle | None
    size_hw: tuple[int, int]


def image_folder(data_dir: Path, split: Split) -> Path:
    """The folder of the training or test images; raises UserError if it is not there."""
    folder = data_dir / split
    if not folder.is_dir():
        raise UserError(
            f"{data_dir}: expected the competition's folder with {split}/, got {_inside(data_dir)}"
        )
    return folder


def truth_csv(data_dir: Path) -> Path:
    """The file of training annotations; raises UserError if it is not there."""
    path = data_dir / "train.csv"
    if not path.is_file():
        raise UserError(
            f"{data_dir}: expected the competition's folder with train.csv, got {_inside(data_dir)}"
        )
    return path


def read_truth(csv: Path, image_ids: Collection[str] | None = None) -> dict[str, Cells]:
    """The annotated cells of every image of a truth file, by image id in ascending order.

    csv: comma-separated, with the columns of `TRUTH_COLUMNS`, one row per cell; a row with an empty annotation says
        that the image is there and adds no cell.
    image_ids: only these images are read; None reads all.
    Raises UserError naming file and line for a malformed row or two sizes of one image, and naming the ids that
    were asked for and are not there.
    """
    table = read_annotation_table(csv)
    if image_ids is not None:
        table = table[table["id"].isin(set(image_ids))]
        absent = sorted(set(image_ids) - set(table["id"]))
        if absent:
            raise UserError(
                f"{csv}: {len(absent)} images have no row, for example {', '.join(absent[:5])}; "
                "expected at least one row per image that is asked for"
            )
    annotations, faults = annotations_of(table)
    for line, fault in faults.items():
        raise UserError(f"{csv}, line {line}: image {table['id'][line]}: {fault}")
    return cells_by_image(annotations)


def read_annotation_table(csv: Path) -> pd.DataFrame:
    """The rows of a truth file as text, its index the line of each row in the file; blank lines are left out.

    Columns are `TRUTH_COLUMNS`, where the file has it `GROUP_COLUMN`, and `BEYOND_COLUMN`; a missing value is empty text.
    Raises UserError if the file is missing, no text table, or lacks a column.
    """
    table = read_whole_table(csv)
    table = table[[*TRUTH_COLUMNS, *({GROUP_COLUMN} & {*table}), BEYOND_COLUMN]]
    return table[(table != "").any(axis=1)]


def read_whole_table(csv: Path) -> pd.DataFrame:
    """As `read_annotation_table`, with all columns that the file has, and all rows that are not blank lines."""
    header, rows = read_table(csv, TRUTH_COLUMNS)
    missing = [name for name in TRUTH_COLUMNS if name not in header]
    if missing:
        raise UserError(
            f"{csv}: expected the columns {', '.join(TRUTH_COLUMNS)}; there is no {' and no '.join(missing)} "
            "in the first line"
        )
    twice = [name for name in (*TRUTH_COLUMNS, GROUP_COLUMN) if header.count(name) > 1]
    if twice:
        raise UserError(
            f"{csv}: expected each column once, but {twice[0]} is there {header.count(twice[0])} times"
        )
    width = len(header)
    return pd.DataFrame(
        [
            (*fields[:width], *[""] * (width - len(fields)), ",".join(fields[width:]).strip(","))
            for _, fields in rows
        ],
        columns=[*header, BEYOND_COLUMN],
        index=pd.Index([row.line for row in rows], dtype=int, name="line"),
        dtype=str,
    )


def annotations_of(table: pd.DataFrame) -> tuple[list[Annotation], dict[int, str]]:
    """The well-formed rows of a truth file's table in order, and what is wrong with the others by line."""
    sizes_hw, faults = _sizes_hw(table)
    sound = table.loc[list(sizes_hw)]
    texts = [KaggleRle(*row) for row in zip(sizes_hw.values(), sound["annotation"].tolist(), strict=True)]
    runs, malformed = kaggle_runs(texts)
    masks = cocos_from_runs(runs, list(sizes_hw.values()))
    faults |= {int(sound.index[row]): message for row, message in malformed.items()}
    columns = (sound.index.tolist(), sound["id"].tolist(), sound["cell_type"].tolist(), masks, texts)
    annotations = [
        Annotation(line, image_id, cell_type, mask if text.text.strip() else None, mask.size_hw)
        for line, image_id, cell_type, mask, text in zip(*columns, strict=True)
        if line not in faults
    ]
    return annotations, dict(sorted(faults.items()))


def cells_by_image(annotations: Iterable[Annotation]) -> dict[str, Cells]:
    """The annotated cells of every image, by image id in ascending order; all rows of an image have one size."""
    images: dict[str, list[Annotation]] = {}
    for annotation in annotations:
        images.setdefault(annotation.image_id, []).append(annotation)
    truth = {}
    for image_id, rows in sorted(images.items()):
        masks = [(row.mask, row.cell_type) for row in rows if row.mask is not None]
        truth[image_id] = annotated(
            image_id, rows[0].size_hw, [mask for mask, _ in masks], [cell_type for _, cell_type in masks]
        )
    return truth


def _sizes_hw(table: pd.DataFrame) -> tuple[dict[int, tuple[int, int]], dict[int, str]]:
    """The (height, width) of each row by line, and what is wrong with rows of too many values, without an id, without
    a size or with another size than the first of their image.
    """
    sizes_hw: dict[int, tuple[int, int]] = {}
    faults: dict[int, str] = {}
    first: dict[str, tuple[int, int]] = {}
    columns = (table[name].tolist() for name in ("id", "width", "height", BEYOND_COLUMN))
    for line, image_id, width, height, beyond in zip(table.index.tolist(), *columns, strict=True):
        if beyond:
            faults[line] = f"expected one value for each column, got {shortened(beyond)} after the last"
            continue
        if not image_id:
            faults[line] = "the id is empty"
            continue
        if not (_is_size(width) and _is_size(height)):
            faults[line] = f"expected width and height in whole pixels, got {width!r} and {height!r}"
            continue
        size_hw = (int(height), int(width))
        if size_hw == first.setdefault(image_id, size_hw):
            sizes_hw[line] = size_hw
        else:
            faults[line] = f"height and width are {size_hw}, but {first[image_id]} in the image's first row"
    return sizes_hw, faults


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < len(text) <= MAX_SIZE_DIGITS and int(text) > 0


def _inside(folder: Path) -> str:
    if not folder.is_dir():
        return "a file" if folder.exists() else "nothing there"
    names = sorted(path.name for path in folder.iterdir())
    return f"a folder with {', '.join(names[:5])}{' …' * (len(names) > 5)}" if names else "an empty folder"
