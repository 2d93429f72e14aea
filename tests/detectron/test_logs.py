import io
import logging
import sys
from pathlib import Path

import pytest

from sartorius.detectron.logs import logging_into


def test_lines_go_where_a_progress_bar_takes_them_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logging_into(tmp_path, 0):
        bar = io.StringIO()
        monkeypatch.setattr(sys, "stderr", bar)
        logging.getLogger("sartorius").info("iteration 4")
    assert bar.getvalue().endswith("sartorius] iteration 4\n")
    assert (tmp_path / "log.txt").read_text() == bar.getvalue()
