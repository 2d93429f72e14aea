"""The table of a folder of ablations as Markdown, put between its markers in a page."""

import re
from collections.abc import Sequence
from pathlib import Path

from sartorius.ablation.results import Row
from sartorius.errors import UserError
from sartorius.files import atomic_path, require_suffix
from sartorius.metrics.bootstrap import PairedDifference

TITLE = "# Results\n\nWritten by `sartorius ablate`; nothing here is typed by hand.\n"


def section(title: str, explanation: Sequence[str], rows: Sequence[Row]) -> str:
    """A heading, paragraphs and the table, base first.

    Differences are to the base on the same images, with their 95 % interval from drawing images in pairs.
    """
    types = list(rows[0].per_type)
    head = ["what", "changes", "mAP out of fold", "difference to base", *types, "as written", "seconds"]
    lines = [f"## {title}", ""]
    for paragraph in explanation:
        lines += [paragraph, ""]
    lines += [_line(head), _line(["---", "---", "---:", "---", *["---:"] * len(types), "---:", "---:"])]
    lines += [_line(_fields(row)) for row in rows]
    return "\n".join(lines)


def require_page(page: Path, name: str) -> None:
    """Raise UserError unless it is a Markdown page by its ending, with both markers of the section `name` or neither."""
    require_suffix(page, (".md",), "Markdown page")
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    begin, end = _markers(name)
    counts = begins, ends = text.count(begin), text.count(end)
    if counts not in ((0, 0), (1, 1)) or text.find(begin) > text.find(end):
        raise UserError(
            f"{page}: expected {begin} once and {end} once below it, or neither, got them {begins} and {ends} times"
            + (", the wrong way round" if counts == (1, 1) else "")
            + "; mend or remove them"
        )


def write_section(page: Path, name: str, text: str) -> None:
    """Put a section between the markers of `name` in a page; at its end if they are not there. Other text stays.

    Raises UserError if the file's ending is not that of a page, or one of the markers is missing or there twice.
    """
    require_page(page, name)
    begin, end = _markers(name)
    before = page.read_text(encoding="utf-8") if page.exists() else TITLE
    block = f"{begin}\n{text}\n{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    after = (
        pattern.sub(lambda _: block, before) if pattern.search(before) else f"{before.rstrip()}\n\n{block}\n"
    )
    with atomic_path(page) as path:
        path.write_text(after, encoding="utf-8")


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def _fields(row: Row) -> list[str]:
    figures = [
        f"{one:.4f}" if isinstance(one, float) else f"{one.difference:+.4f}" for one in row.per_type.values()
    ]
    return [
        row.name,
        row.changes or "the base",
        f"{row.total.value:.4f}",
        "" if row.difference is None else difference_text(row.difference),
        *figures,
        f"{row.as_written:.4f}",
        f"{row.seconds:.0f}",
    ]


def difference_text(one: PairedDifference) -> str:
    """A difference with its interval: `+0.0012 [-0.0003, +0.0030]`."""
    return f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"


def _line(fields: Sequence[str]) -> str:
    return f"| {' | '.join(field.replace('|', '/') for field in fields)} |"
