import pytest
from bright_cells import BrightCells, bright_offer

pytest.importorskip("gradio")

from sartorius.app.desk import Desk
from sartorius.app.limits import Limits
from sartorius.app.offers import Models
from sartorius.app.page import build_page
from sartorius.app.sessions import SessionStore


def test_cells_that_change_while_others_are_measured_are_measured_afterwards(tmp_path):
    """Else the table keeps the numbers of cells that are no longer shown."""
    offer = bright_offer(tmp_path)
    models = Models(lambda *_: {"bright": BrightCells()})
    page = build_page(Desk(SessionStore(tmp_path, Limits()), {offer.key: offer}, models, Limits()))
    asked = [answer for answer in page.config["dependencies"] if answer["api_name"].startswith("measured")]
    assert len(asked) == 8
    assert {answer["trigger_mode"] for answer in asked} == {"always_last"}
