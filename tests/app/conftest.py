"""A session with images, and an ensemble whose model finds bright discs."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from bright_cells import BrightCells, bright_offer, written_png

pytest.importorskip("gradio")

from sartorius.app.finding import find_cells
from sartorius.app.limits import Limits
from sartorius.app.offers import Choice
from sartorius.app.sessions import SessionStore


@pytest.fixture
def visit(tmp_path: Path) -> SimpleNamespace:
    """A visitor who has added the image `well` and had it searched with the recommended thresholds."""
    store = SessionStore(_made(tmp_path / "sessions"), Limits())
    session, offer, model = store.of("visitor"), bright_offer(tmp_path / "ensemble"), BrightCells()
    session.images["well"] = written_png(tmp_path / "well.png")
    session.selected = "well"
    find_cells(session, offer, {"bright": model}, "well", lambda done, total: None)
    session.choice = Choice(offer, offer.thresholds)
    return SimpleNamespace(store=store, session=session, offer=offer, model=model, choice=session.choice)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
