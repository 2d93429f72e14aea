import json
import logging
from collections.abc import Callable
from html import escape
from types import SimpleNamespace

import gradio as gr
import pytest
from bright_cells import BrightCells, written_png

from sartorius.app import desk
from sartorius.app.offers import Models

REQUEST = SimpleNamespace(session_hash="visitor")


def meanwhile(monkeypatch, owner: object, name: str, change: Callable[[], object]) -> None:
    """The first call of a function takes so long that something else is done while it runs."""
    slow, changes = getattr(owner, name), [change]

    def called(*arguments, **named):
        made = slow(*arguments, **named)
        if changes:
            changes.pop()()
        return made

    monkeypatch.setattr(owner, name, called)


def rows(table: gr.Dataframe) -> int:
    return len(table.value["data"])


def test_a_search_whose_images_are_removed_ends_and_shows_that_there_are_none(page, monkeypatch):
    meanwhile(monkeypatch, BrightCells, "__call__", lambda: page.answers.clear(REQUEST, *page.settings))
    updates = list(page.answers.find(REQUEST, *page.settings))
    assert page.session.closed
    refusals, progress, stop, images, *_, files = updates[-1]
    assert (refusals, progress) == ("", "")
    assert stop.visible is False
    assert images.choices == []
    assert "href" not in files


def test_cells_that_are_shown_but_not_measured_yet_are_said_to_be_so(page):
    """Else the page would say under found cells that none have been looked for."""
    updates = list(page.answers.find(REQUEST, *page.settings))
    notes = [note.value for *_, note, _, _, _ in updates if isinstance(note, gr.HTML)]
    assert "being measured" in notes[0]
    assert not any("looked for" in note or "being measured" in note for note in notes[1::2])


def test_measurements_that_take_long_are_of_what_is_set_when_they_are_done(page, monkeypatch):
    """Else they overwrite those of a later answer, and the table is of cells that are not shown."""
    list(page.answers.find(REQUEST, *page.settings))
    strict = [*page.settings[:4], *[0.7 for _ in page.settings[4:]]]
    meanwhile(monkeypatch, desk, "measured", lambda: page.answers.scene(REQUEST, *strict))
    assert rows(page.answers.measured(REQUEST, *page.settings).table) == 2


def test_measurements_of_images_that_were_removed_meanwhile_are_not_shown(page, monkeypatch):
    list(page.answers.find(REQUEST, *page.settings))
    meanwhile(monkeypatch, desk, "measured", lambda: page.answers.clear(REQUEST, *page.settings))
    numbers = page.answers.measured(REQUEST, *page.settings)
    assert numbers.table.visible is False
    assert "href" not in numbers.files


def test_a_question_that_was_overtaken_does_not_take_settings_back(page):
    list(page.answers.find(REQUEST, *page.settings))
    page.answers.scene(REQUEST, *page.settings[:4], *[0.7 for _ in page.settings[4:]])
    for ask in (page.answers.measured, page.answers.sized, page.answers.drawn, page.answers.charts):
        list(ask(REQUEST, *page.settings))
    assert len(json.loads(page.answers.select(REQUEST, "a", *page.settings).scene)["cells"]) == 2


def test_another_image_takes_the_table_of_the_former_one_away_until_its_own_is_there(page, tmp_path):
    list(page.answers.find(REQUEST, *page.settings))
    shown = page.answers.select(REQUEST, "b", *page.settings)
    assert (shown.note.visible, shown.table.visible) == (True, False)
    assert "being measured" in shown.note.value
    page.answers.measured(REQUEST, *page.settings)
    _, note, table = page.answers.select(REQUEST, "b", *page.settings)
    assert note == table == gr.skip()
    new = [str(written_png(tmp_path / "new.png"))]
    *_, note, table = page.answers.add(REQUEST, new, *page.settings)
    assert "looked for" in note.value
    assert table.visible is False


def test_stop_tells_nothing_when_the_search_has_ended(page):
    """Else its bar would stay for ever."""
    search = page.answers.find(REQUEST, *page.settings)
    next(search)
    assert "Stopping" in page.answers.stop(REQUEST)
    list(search)
    assert page.answers.stop(REQUEST) == gr.skip()


def test_a_search_shows_what_is_set_and_looked_at_while_it_runs(page, monkeypatch):
    strict = [*page.settings[:2], "perimeter", True, *[0.7 for _ in page.settings[4:]]]

    def change() -> None:
        page.answers.scene(REQUEST, *strict)
        page.answers.charts(REQUEST, *strict)
        page.answers.select(REQUEST, "b", *strict)

    meanwhile(monkeypatch, BrightCells, "__call__", change)
    *_, facts, _, table, _, charts = list(page.answers.find(REQUEST, *page.settings))[-1]
    assert json.loads(facts["value"])["name"] == "b"
    assert rows(table) == 2
    assert "4 cells" in charts
    assert "Perimeter" in charts


def test_the_button_waits_for_a_search_to_end_whatever_the_visitor_does_meanwhile(page, monkeypatch):
    """The browser drops a click on it until then."""
    meanwhile_says: list[bool] = []

    def look() -> None:
        meanwhile_says.append(page.answers.restored(REQUEST, *page.settings).find.interactive)

    def remove() -> None:
        page.answers.clear(REQUEST, *page.settings)
        page.store.of("visitor").images = dict(page.session.images)
        look()

    def find_button(update: list[object]) -> gr.Button:
        return update[5]

    meanwhile(monkeypatch, BrightCells, "__call__", look)
    meanwhile(monkeypatch, desk, "measured", remove)
    updates = list(page.answers.find(REQUEST, *page.settings))
    assert find_button(updates[0]).interactive is False
    assert meanwhile_says == [False, False]
    assert find_button(updates[-1]).interactive is True


def test_models_that_cannot_be_loaded_by_a_fault_are_told_and_the_button_can_be_used_again(
    page, monkeypatch, caplog
):
    def fail(*arguments: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(Models, "of", fail)
    with caplog.at_level(logging.ERROR, logger="sartorius"):
        refusals, progress, _, _, _, find, *_ = list(page.answers.find(REQUEST, *page.settings))[-1]
    assert "The model cannot be used" in refusals
    assert "the log of the server says why" in refusals
    assert "CUDA out of memory" in caplog.text
    assert (progress, find.interactive) == ("", True)


def test_a_row_that_is_clicked_again_is_another_answer(page):
    """Gradio ignores one that is the same, and the cell may have been let go of, or the image be another."""
    event = SimpleNamespace(row_value=[3], index=[2, 0])
    first, again = (page.answers.chosen_row(event).props["chosen"] for _ in range(2))
    assert first != again
    assert json.loads(first)["cell"] == json.loads(again)["cell"] == 2


def test_a_search_that_nobody_awaits_any_more_lets_the_button_search_again(page):
    search = page.answers.find(REQUEST, *page.settings)
    next(search)
    assert page.answers.restored(REQUEST, *page.settings).find.interactive is False
    search.close()
    assert page.answers.restored(REQUEST, *page.settings).find.interactive is True


def test_a_page_whose_session_is_over_is_told_so_until_images_are_added_anew(page, tmp_path):
    """Else it would show nothing where cells were, and not say why."""
    list(page.answers.find(REQUEST, *page.settings))
    page.store.close()
    answers = page.answers
    for ask in (
        answers.scene,
        answers.restored,
        answers.measured,
        answers.sized,
        answers.drawn,
        answers.charts,
        answers.find,
    ):
        with pytest.raises(gr.Error, match="session is over"):
            list(ask(REQUEST, *page.settings))
    assert answers.stop(REQUEST) == gr.skip()
    with pytest.raises(gr.Error, match="session is over"):
        answers.select(REQUEST, "a", *page.settings)
    answers.add(REQUEST, [str(written_png(tmp_path / "new.png"))], *page.settings)
    assert json.loads(answers.scene(REQUEST, *page.settings))["name"] == "new"


def test_the_table_does_not_wait_for_the_charts(page, monkeypatch):
    list(page.answers.find(REQUEST, *page.settings))
    assert "Histogram" in page.answers.drawn(REQUEST, *page.settings)
    monkeypatch.delattr(desk, "charts_html")
    assert rows(page.answers.measured(REQUEST, *page.settings).table) == 3


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
    page.answers.sized(REQUEST, page.settings[0], typed, *page.settings[2:])
    assert page.session.choice.um_per_px == um_per_px
    assert page.answers.size_note(typed) == ""


@pytest.mark.parametrize(
    "typed", ["abc", "0", "-1", "1,234.5", "nan", "inf", "1e-20", "1.24 mm", "um", "<i>"]
)
def test_what_is_no_pixel_size_leaves_pixels_and_is_said_as_text(page, typed):
    page.answers.sized(REQUEST, page.settings[0], typed, *page.settings[2:])
    assert page.session.choice.um_per_px is None
    assert f"“{escape(typed)}” is no pixel size. Type a number above 0" in page.answers.size_note(typed)
