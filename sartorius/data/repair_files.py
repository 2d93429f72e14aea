"""A data set's labels repaired on disk: a new `train.csv` and a table of what was changed per image."""

import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sartorius.cells import Cells
from sartorius.data.competition import (
    BEYOND_COLUMN,
    annotations_of,
    cells_by_image,
    image_folder,
    read_annotation_table,
    read_whole_table,
    truth_csv,
)
from sartorius.data.images import list_images, read_image
from sartorius.data.repair import FAULTS, Fault, ImageRepair, repaired, with_unlabelled
from sartorius.errors import UserError
from sartorius.files import atomic_path, refuse_foreign, refuse_input
from sartorius.rle import kaggles_from_cocos

REPAIR_TABLE = "repair.csv"
Report = Callable[[str, int, int], None]


class RepairedData(NamedTuple):
    """Where the repaired labels and the table are, and what was changed, by rising image id."""

    csv: Path
    table: Path
    repairs: list[ImageRepair]


def repair_data(
    data_dir: Path, out: Path, report: Report, faults: Collection[Fault] = FAULTS
) -> RepairedData:
    """Write the labels of a data set without the faults; the data set itself is left alone.

    out: a CSV file to write, or a folder that becomes a data set: `train.csv`, and links to the images of `data_dir`.
        The table `repair.csv`, one row per image, lies beside the labels.
    Rows keep their order and all their columns; an image of which no label is left keeps one empty row.
    Raises UserError if `out` is the data set itself, a folder in it, another data set or another file, or takes no links, a
    label is malformed, or an image is missing or of another size.
    """
    csv = truth_csv(data_dir)
    as_folder = out.suffix.lower() != ".csv"
    target = out / csv.name if as_folder else out
    refuse_input(target, [csv])
    if data_dir.resolve() in target.parent.resolve().parents:
        raise UserError(f"{out}: expected a place outside the data set {data_dir}, which stays as it is")
    repair_csv = target.parent / (REPAIR_TABLE if as_folder else f"{out.stem}_{REPAIR_TABLE}")
    if as_folder:
        refuse_foreign(out, lambda folder: _is_repair(folder, data_dir), f"earlier repair of {data_dir}")
    elif out.exists() and not repair_csv.is_file():
        raise UserError(
            f"{out}: is there already and no earlier repair; choose another name, or move it away"
        )
    labels = _read_labels(data_dir, csv)
    if as_folder:
        _require_links(data_dir, out)
    texts: dict[int, str] = {}
    repairs = []
    for done, (image_id, cells) in enumerate(labels.truth.items(), start=1):
        cell_type = str(cells.cell_types[0]) if len(cells) else ""
        mended = repaired(cells, read_image(labels.images[image_id]), cell_type, faults)
        for place, mask in zip(mended.rows.tolist(), kaggles_from_cocos(mended.cells.masks), strict=True):
            texts[labels.lines[image_id][place]] = mask.text
        repairs.append(mended.repair)
        report("repair", done, len(labels.truth))
    repairs = with_unlabelled(repairs)
    _write_repairs(repair_csv, repairs)  # first, as it is what another run knows a repair by
    if as_folder:
        _link_images(data_dir, out)
    _write_labels(csv, target, texts)
    return RepairedData(target, repair_csv, repairs)


class _Labels(NamedTuple):
    """What is labelled, by image id: the cells, the line of `train.csv` that each of them stands on, the image file."""

    truth: dict[str, Cells]
    lines: dict[str, list[int]]
    images: dict[str, Path]


def _read_labels(data_dir: Path, csv: Path) -> _Labels:
    """The labels of a data set; raises UserError for malformed ones and for labelled images without a file."""
    annotations, malformed = annotations_of(read_annotation_table(csv))
    for line, fault in malformed.items():
        raise UserError(f"{csv}, line {line}: {fault}; run `sartorius data check {data_dir}`")
    lines: dict[str, list[int]] = {}
    for row in annotations:
        if row.mask is not None:
            lines.setdefault(row.image_id, []).append(row.line)
    truth, images = cells_by_image(annotations), list_images(image_folder(data_dir, "train"))
    absent = sorted(set(truth) - set(images))
    if absent:
        raise UserError(
            f"{data_dir}: {len(absent)} labelled images have no file in train/, for example {', '.join(absent[:3])}"
        )
    return _Labels(truth, lines, images)


def _write_repairs(path: Path, repairs: list[ImageRepair]) -> None:
    """The table of what was changed, one row per image."""
    with atomic_path(path) as temporary:
        pd.DataFrame(repairs, columns=ImageRepair._fields).to_csv(temporary, index=False, lineterminator="\n")


def _write_labels(csv: Path, target: Path, texts: dict[int, str]) -> None:
    """The rows of a truth file with these annotations by line; other rows with a label go, unless none of the image's
    would stay: then the first stays with an empty annotation.
    """
    table = read_whole_table(csv).drop(columns=BEYOND_COLUMN)
    table = table[(table != "").any(axis=1)]
    labelled = table["annotation"].str.strip() != ""
    kept = ~labelled | table.index.isin(texts)
    first = ~table["id"].duplicated()
    emptied = first & ~table["id"].isin(table["id"][kept])
    annotation = pd.Series(table.index, index=table.index).map(texts).fillna("")
    with atomic_path(target) as temporary:
        table.assign(annotation=annotation)[kept | emptied].to_csv(
            temporary, index=False, lineterminator="\n"
        )


def _is_repair(folder: Path, data_dir: Path) -> bool:
    """Whether a folder holds repaired labels of these images, or the beginning of them."""
    images = folder / "train"
    is_begun = not images.exists() and not (folder / truth_csv(data_dir).name).exists()
    is_whole = images.resolve() == (data_dir / "train").resolve()
    return (folder / REPAIR_TABLE).is_file() and (is_begun or is_whole)


def _link_images(data_dir: Path, out: Path) -> None:
    """Links in `out` to the folders of images, where there is nothing of that name yet."""
    for name in ("train", "test"):
        if (data_dir / name).is_dir() and not (out / name).exists():
            os.symlink((data_dir / name).resolve(), out / name, target_is_directory=True)


def _require_links(data_dir: Path, out: Path) -> None:
    """Raise UserError unless links to the images can be made in `out`: asked before long work."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as name:
        try:
            os.symlink(data_dir.resolve(), Path(name) / "link", target_is_directory=True)
        except OSError as error:
            raise UserError(
                f"{out}: expected a folder where links to the images can be made ({error.strerror}); give the name of a "
                ".csv file for the labels alone, or another folder"
            ) from error
