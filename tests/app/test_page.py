import pytest
from bright_cells import BrightCells, bright_offer

pytest.importorskip("gradio")

from sartorius.app.desk import Desk
from sartorius.app.limits import Limits
from sartorius.app.offers import Models
from sartorius.app.page import build_page
from sartorius.app.sessions import SessionStore


def test_what_is_asked_while_an_answer_is_awaited_is_answered(tmp_path):
    """Gradio drops it otherwise, and the page would not show what its controls say."""
    offer = bright_offer(tmp_path)
    models = Models(lambda *_: {"bright": BrightCells()})
    page = build_page(Desk(SessionStore(tmp_path, Limits()), {offer.key: offer}, models, Limits()))
    drops = [answer["api_name"] for answer in page.config["dependencies"] if answer["trigger_mode"] == "once"]
    assert sorted(drops) == ["clear", "find", "leave", "open", "stop"]
