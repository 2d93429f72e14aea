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


def test_opening_the_page_changes_nothing_on_it(tmp_path):
    """Else images that are dropped at once could be overwritten by the answer that there are none."""
    offer = bright_offer(tmp_path)
    models = Models(lambda *_: {"bright": BrightCells()})
    page = build_page(Desk(SessionStore(tmp_path, Limits()), {offer.key: offer}, models, Limits()))
    (opening,) = (answer for answer in page.config["dependencies"] if answer["api_name"] == "open")
    assert opening["outputs"] == []
    assert not [answer for answer in page.config["dependencies"] if answer["trigger_after"] == opening["id"]]
