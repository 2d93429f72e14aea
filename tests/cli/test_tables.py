"""Tables that people read."""

import re

import pytest
from rich.console import Console
from rich.table import Table

from sartorius.cli.evaluate_tables import tables
from sartorius.cli.tables import print_table, text_table

TYPES = ("A172", "BT474", "BV2", "Huh7", "MCF7", "SH-SY5Y", "SkBr3", "SK-OV-3")


def printed(table: Table, width: int) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def column(text: str, place: int) -> str:
    """What stands in one column, its lines joined."""
    rows = [re.split("[│┃]", line)[1:-1] for line in text.splitlines()]
    return "".join(row[place].strip() for row in rows if row)


def test_eight_types_keep_every_figure_on_a_narrow_terminal():
    found_as = (*TYPES, "no cell")
    share = {"value": 0.52, "low": 0.491, "high": 1.0}
    result = {
        "interval_95": {}, "per_type": {}, "per_threshold": {}, "at_50": {},
        "confusion": {name: dict.fromkeys(found_as, 12345) for name in found_as},
        "confusion_shares": {name: dict.fromkeys(found_as, share) for name in found_as},
    }  # fmt: skip
    text = printed(list(tables(result))[-1], width=80)
    assert "…" not in text
    for place, name in enumerate(found_as, 1):
        cells = "".join(["1234552.0%49.1–100.0%"] * len(found_as))
        assert column(text, place) == f"{name}{cells}".replace("no cell", "nocell")


def test_a_long_name_is_told_apart_from_one_that_begins_alike(capsys):
    long = "a_file_with_a_quite_long_name_that_begins_like_another_and_ends_in_"
    table = text_table(("what", "mAP", "interval"), [(long + end, "0.1", "0.1 to 0.2") for end in "xy"])
    text = printed(table, width=50)
    assert column(text, 0) == f"what{long}x{long}y"
    print_table(table)
    assert f"│ {long}y │ 0.1 │ 0.1 to 0.2 │" in capsys.readouterr().out  # no terminal, no width


@pytest.mark.parametrize("name", ["cort [gfp]", "astro [/x]", "[red]cort", ":cat:"])
def test_names_are_shown_as_they_are_written(name):
    text = printed(text_table(("type", name), [(name, "1")], title=name), width=80)
    assert text.count(name) == 3
