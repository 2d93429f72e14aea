"""Seeded folds for cross-validation: stratified by cell type and cell count, groups kept together."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.csv_rows import read_rows, shortened
from sartorius.data.competition import GROUP_COLUMN, read_annotation_table, read_truth, truth_csv
from sartorius.errors import UserError
from sartorius.files import atomic_path, refuse_input

FOLDS_COLUMNS = ("id", "fold")
#: Folds are numbered from 0 to at most this.
MAX_FOLD = 999_999


class FoldCount(NamedTuple):
    """How many images of one cell type a fold holds, and how many cells they have."""

    fold: int
    cell_type: str
    images: int
    cells: int


class _Group(NamedTuple):
    """Images that must stay in one fold; its type is that of most of its cells."""

    name: str
    image_ids: tuple[str, ...]
    cell_type: str
    cells: int

    @property
    def load(self) -> tuple[int, int]:
        """Its images and cells."""
        return len(self.image_ids), self.cells


def split_data(data_dir: Path, folds_csv: Path, folds: int, seed: int) -> list[FoldCount]:
    """Write the folds of a data set's training images and return what each holds, see `make_folds`.

    Raises UserError if there is no well-formed train.csv, it is `folds_csv` itself, or there are too few images.
    """
    csv = truth_csv(data_dir)
    refuse_input(folds_csv, [csv])
    truth, groups = read_truth(csv), read_groups(csv)
    chosen = make_folds(truth, groups, folds, np.random.default_rng(seed))
    check_folds(chosen, groups)
    write_folds(folds_csv, chosen)
    return count_folds(chosen, truth)


def read_groups(csv: Path) -> dict[str, str]:
    """The group of every image of a truth file, by image id in ascending order.

    A group is the well an image was taken in (`GROUP_COLUMN`); an image without one is a group of its own.
    Raises UserError if an image's rows name two wells, and like `read_annotation_table`.
    """
    table = read_annotation_table(csv)
    wells, faults = wells_of(table)
    for line, fault in faults.items():
        raise UserError(f"{csv}, line {line}: image {table['id'][line]}: {fault}")
    return {image_id: wells.get(image_id, f"image {image_id}") for image_id in sorted(set(table["id"]))}


def wells_of(table: pd.DataFrame) -> tuple[dict[str, str], dict[int, str]]:
    """The first well that a truth file's table names for an image, and by line what is wrong with each other one."""
    first: dict[str, str] = {}
    told: set[tuple[str, str]] = set()
    faults: dict[int, str] = {}
    if GROUP_COLUMN not in table:
        return first, faults
    columns = (table.index.tolist(), table["id"].tolist(), table[GROUP_COLUMN].tolist())
    for line, image_id, well in zip(*columns, strict=True):
        if not well or first.setdefault(image_id, well) == well or (image_id, well) in told:
            continue
        told.add((image_id, well))
        faults[line] = f"the {GROUP_COLUMN} is {well!r}, but {first[image_id]!r} in a line above"
    return first, faults


def make_folds(
    truth: Mapping[str, Cells], groups: Mapping[str, str], folds: int, rng: np.random.Generator
) -> dict[str, int]:
    """The fold (from 0) of every image of `truth`, by image id in ascending order; no group is in two folds.

    Each fold gets about as many images and cells of each type as any other. The groups of a type are taken by falling
    number of images, then of cells, as many at a time as there are folds, in random order. Single images are dealt one
    to each fold; if a group of the type has more, each group goes to the fold whose larger share of the type's images
    and of its cells is then the smallest. The order of images does not matter.
    groups: the group of each image, see `read_groups`.
    Raises UserError if there are fewer groups than folds or fewer than two folds.
    """
    members = _groups(truth, groups)
    if folds < 2:
        raise UserError(f"expected at least 2 folds, got {folds}")
    if len(members) < folds:
        raise UserError(
            f"expected at least {folds} images or groups of images for {folds} folds, got {len(members)}"
        )
    chosen: dict[str, int] = {}
    images = np.zeros(folds)
    loads = {group.cell_type: np.zeros((folds, 2)) for group in members}
    totals = {cell_type: _total_load(members, cell_type) for cell_type in loads}
    for group in _dealing_order(members, folds, rng):
        luck = rng.random(folds)
        shares = ((loads[group.cell_type] + group.load) / totals[group.cell_type]).max(axis=1)
        fold = np.lexsort((luck, images, shares))[0]
        loads[group.cell_type][fold] += group.load
        images[fold] += len(group.image_ids)
        chosen |= dict.fromkeys(group.image_ids, int(fold))
    return dict(sorted(chosen.items()))


def check_folds(folds: Mapping[str, int], groups: Mapping[str, str]) -> None:
    """Raise UserError if a group lies in two folds or an image has no fold.

    folds: the fold of each image; groups: the group of each image. Images that `groups` does not name are ignored.
    """
    missing = sorted(set(groups) - set(folds))
    if missing:
        raise UserError(
            f"{len(missing)} images have no fold, for example {', '.join(missing[:5])}; "
            "make the folds again from this data"
        )
    seen: dict[str, str] = {}
    for image_id, group in sorted(groups.items()):
        other = seen.setdefault(group, image_id)
        if folds[other] != folds[image_id]:
            raise UserError(
                f"group {group!r} leaks: its image {other} is in fold {folds[other]}, {image_id} in fold "
                f"{folds[image_id]}; make the folds again from this data"
            )


def write_folds(path: Path, folds: Mapping[str, int]) -> None:
    """Write a CSV file with the columns of `FOLDS_COLUMNS`, whole or not at all."""
    table = pd.DataFrame(sorted(folds.items()), columns=list(FOLDS_COLUMNS))
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_folds(csv: Path, groups: Mapping[str, str] | None = None) -> dict[str, int]:
    """The fold of every image of a folds file, by image id in ascending order.

    groups: the group of each image of the data the folds are for; then the folds are held against it by `check_folds`.

    Raises UserError naming file and line for anything else than `write_folds` writes, and for folds that leak.
    """
    if not csv.exists():
        raise UserError(f"{csv}: no such folds file; `sartorius data folds` makes one")
    _, rows, problems = read_rows(csv, FOLDS_COLUMNS)
    if problems:
        raise UserError(f"{csv}, {problems[0]}")
    folds: dict[str, int] = {}
    for line, (image_id, fold) in rows:
        if not (fold.isascii() and fold.isdigit() and len(fold) <= len(str(MAX_FOLD))):
            raise UserError(
                f"{csv}, line {line}: expected a fold from 0 to {MAX_FOLD}, got {shortened(fold)}"
            )
        if image_id in folds:
            raise UserError(
                f"{csv}, line {line}: image {image_id} has a fold already; remove one of the lines"
            )
        folds[image_id] = int(fold)
    if groups is not None:
        try:
            check_folds(folds, groups)
        except UserError as error:
            raise UserError(f"{csv}: {error}") from None
    return dict(sorted(folds.items()))


def count_folds(folds: Mapping[str, int], truth: Mapping[str, Cells]) -> list[FoldCount]:
    """Images and cells of each fold and cell type, sorted by fold and type.

    An image counts for the type of most of its cells; "" is the type of images without cells.
    """
    images: Counter[tuple[int, str]] = Counter()
    cells: Counter[tuple[int, str]] = Counter()
    for image_id, found in truth.items():
        key = (folds[image_id], _main_type([found]))
        images[key] += 1
        cells[key] += len(found)
    return [FoldCount(*key, images[key], cells[key]) for key in sorted(images)]


def _groups(truth: Mapping[str, Cells], groups: Mapping[str, str]) -> list[_Group]:
    members: dict[str, list[str]] = {}
    for image_id in truth:
        members.setdefault(groups[image_id], []).append(image_id)
    return [
        _Group(
            name,
            tuple(image_ids),
            _main_type([truth[image_id] for image_id in image_ids]),
            sum(len(truth[image_id]) for image_id in image_ids),
        )
        for name, image_ids in members.items()
    ]


def _main_type(images: list[Cells]) -> str:
    """The type of most cells, the first by name among equals; "" without cells."""
    counts = Counter(cell_type for cells in images for cell_type in cells.cell_types.tolist())
    return min(counts, key=lambda cell_type: (-counts[cell_type], cell_type), default="")


def _total_load(groups: list[_Group], cell_type: str) -> NDArray[np.float64]:
    """(2,) images and cells of a type; endless cells, of which each has a share of 0, if all are single images."""
    loads = np.array([group.load for group in groups if group.cell_type == cell_type])
    single = loads[:, 0].max() == 1
    return np.array([loads[:, 0].sum(), np.inf if single else max(1, loads[:, 1].sum())])


def _dealing_order(groups: list[_Group], folds: int, rng: np.random.Generator) -> list[_Group]:
    """Groups by type, then by falling images and cells, but shuffled within each hand of `folds` groups."""
    order: list[_Group] = []
    for cell_type in sorted({group.cell_type for group in groups}):
        same = sorted(
            (group for group in groups if group.cell_type == cell_type),
            key=lambda group: (-len(group.image_ids), -group.cells, group.name),
        )
        for first in range(0, len(same), folds):
            hand = same[first : first + folds]
            order += [hand[place] for place in rng.permutation(len(hand))]
    return order
