"""Tables that people read: names as they are written, and nothing cut off."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Columns of a log or a pipe, which has no width of its own; more than any table needs.
WIDE = 10_000


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """A table of plain text: brackets are no markup, and a field wider than its column goes on in the next line."""
    table = Table(title=None if title is None else Text(title, "table.title"), title_justify="left")
    for place, name in enumerate(header):
        table.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def print_table(table: Table) -> None:
    """Print a table, as wide as a terminal has room for, or as it wants where nothing sets a width."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    console.print(table)
