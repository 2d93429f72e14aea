"""The `sartorius` command as a test calls it."""

import sys

import pytest

from sartorius.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit status of `sartorius <arguments>`."""
    monkeypatch.setattr(sys, "argv", ["sartorius", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
