"""One format turned into another, and what was lost on the way."""

from pathlib import Path
from typing import NamedTuple

from sartorius.data.predictions import MANIFEST
from sartorius.errors import UserError
from sartorius.files import refuse_input
from sartorius.formats.detection import FormatName, detect_format
from sartorius.formats.differences import differences
from sartorius.formats.known import NOTHING_KNOWN, Known
from sartorius.formats.reading import read_known
from sartorius.formats.writing import require_target, write_any


class Converted(NamedTuple):
    """What a conversion did; lost: one sentence for each kind of loss, none if reading it back gives the same cells."""

    read_as: FormatName
    images: int
    cells: int
    lost: list[str]


def convert(
    path: Path,
    out: Path,
    target: FormatName,
    known: Known = NOTHING_KNOWN,
    source: FormatName | None = None,
) -> Converted:
    """`out` holds the cells of `path` in the format `target`.

    known: images and a COCO reference, for formats that need them. source: None tells the format from the file.
    What was lost is found by reading `out` back and comparing.
    Raises UserError if `path` cannot be read, holds no image, if `out` cannot be written, is read itself or stands in
    the folder `path`, or if there is a reference that neither format needs.
    """
    require_target(out, target)
    refuse_input(
        out, [path, path / MANIFEST, *([known.reference] if known.reference else []), *_within(path, out)]
    )
    read_as = source or detect_format(path)
    if known.reference and "coco-results" not in (read_as, target):
        raise UserError(
            f"{known.reference}: a reference explains the numbers of coco-results, but {path} is {read_as} and is "
            f"written as {target}; leave it out"
        )
    before = read_known(path, read_as, known)
    if not before:
        raise UserError(f"{path}: expected cells to convert, but there is not one image in it")
    write_any(out, before, target, known.images, known.reference)
    sizes_hw = {name: cells.size_hw for name, cells in before.items()}
    after = read_known(out, target, known._replace(sizes_hw=sizes_hw))
    cells = sum(map(len, before.values()))
    return Converted(read_as, len(before), cells, differences(before, after))


def _within(folder: Path, out: Path) -> list[Path]:
    """The file to write, if it is one of those that a folder of cells already holds."""
    return [out] if out.is_file() and folder.resolve() in out.resolve().parents else []
