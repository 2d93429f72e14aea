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
    Raises UserError if `path` cannot be read, holds no image, or `out` cannot be written or is read itself.
    """
    require_target(out, target)
    refuse_input(out, [path, path / MANIFEST, *([known.reference] if known.reference else [])])
    read_as = source or detect_format(path)
    before = read_known(path, read_as, known)
    if not before:
        raise UserError(f"{path}: expected cells to convert, but there is not one image in it")
    write_any(out, before, target, known.images, known.reference)
    sizes_hw = {name: cells.size_hw for name, cells in before.items()}
    after = read_known(out, target, known._replace(sizes_hw=sizes_hw))
    cells = sum(map(len, before.values()))
    return Converted(read_as, len(before), cells, differences(before, after))
