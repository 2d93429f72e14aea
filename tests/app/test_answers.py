from html import escape
from types import SimpleNamespace

import gradio as gr
import pytest
from bright_cells import BrightCells, bright_offer, written_png

from sartorius.app.answers import Answers
from sartorius.app.desk import Desk
from sartorius.app.limits import Limits
from sartorius.app.offers import Models
from sartorius.app.sessions import SessionStore

REQUEST = SimpleNamespace(session_hash="visitor")


@pytest.fixture
def page(tmp_path):
    """A page whose visitor removes all images while the first of two is searched."""
    offer = bright_offer(tmp_path / "ensemble")
    settings = [offer.key, "", *[offer.thresholds[name] for name in offer.cell_types]]

    class Leaving(BrightCells):
        def __call__(self, *arguments):
            answers.clear(REQUEST, *settings)
            return super().__call__(*arguments)

    (tmp_path / "sessions").mkdir()
    store = SessionStore(tmp_path / "sessions", Limits())
    desk = Desk(store, {offer.key: offer}, Models(lambda path, ensemble: {"bright": Leaving()}), Limits())
    answers = Answers(desk, offer.cell_types)
    session = store.of("visitor")
    (session.folder / "images").mkdir()
    for name in ("a", "b"):
        session.images[name] = written_png(session.folder / "images" / f"{name}.png")
    session.selected = "a"
    return SimpleNamespace(answers=answers, settings=settings, session=session)


def test_a_search_whose_images_are_removed_ends_and_hides_its_progress(page):
    updates = list(page.answers.find(REQUEST, "area", False, *page.settings))
    assert page.session.closed
    refusals, progress, stop, *rest = updates[-1]
    assert (refusals, progress) == ("", "")
    assert stop.visible is False
    assert all(update == gr.skip() for update in rest)


@pytest.mark.parametrize(
    ("typed", "um_per_px"),
    [
        ("1.24", 1.24),
        (" 1,24 ", 1.24),
        ("1.24 um", 1.24),
        ("1.24\u00b5m", 1.24),
        ("1,24 \u03bcm", 1.24),
        ("1.24 \u00b5m/px", 1.24),
        ("1.24um / pixel", 1.24),
        ("", None),
        ("  ", None),
    ],
)
def test_a_pixel_size_is_taken_with_point_or_comma_and_with_its_unit(page, typed, um_per_px):
    page.answers.scene(REQUEST, page.settings[0], typed, *page.settings[2:])
    assert page.session.choice.um_per_px == um_per_px
    assert page.answers.size_note(typed) == ""


@pytest.mark.parametrize(
    "typed", ["abc", "0", "-1", "1,234.5", "nan", "inf", "1e-20", "1.24 mm", "um", "<i>"]
)
def test_what_is_no_pixel_size_leaves_pixels_and_is_said_as_text(page, typed):
    page.answers.scene(REQUEST, page.settings[0], typed, *page.settings[2:])
    assert page.session.choice.um_per_px is None
    assert f"“{escape(typed)}” is no pixel size. Type a number above 0" in page.answers.size_note(typed)
