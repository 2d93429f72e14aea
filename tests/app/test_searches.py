"""Searches that nobody awaits any more, and searches whose results cannot be shown."""

import logging
import threading
from threading import Event, Thread
from types import SimpleNamespace

import pytest

from sartorius.app import answers, desk

REQUEST = SimpleNamespace(session_hash="visitor")


@pytest.fixture
def held(monkeypatch):
    """A search of an image has two steps; `done` has what goes on, and the second step begins when `free` is set."""
    done, free = [], Event()

    def find_slowly(session, offer, predictors, image_id, progress):
        done.append("begun")
        progress(1, 2)
        assert free.wait(20)
        (session.folder / "late").mkdir(parents=True, exist_ok=True)
        done.append("ended")
        progress(2, 2)
        done.append("told")

    monkeypatch.setattr(answers, "find_cells", find_slowly)
    yield SimpleNamespace(done=done, free=free)
    free.set()


def abandon_search(page, held) -> None:
    """Begin a search, and await it no more in the middle of an image."""
    search = page.answers.find(REQUEST, *page.settings)
    while not held.done:
        next(search)
    search.close()


def wait_for_searches() -> None:
    for thread in threading.enumerate():
        if thread.name == "search":
            thread.join(20)


def test_a_search_that_nobody_awaits_ends_after_its_step_and_leaves_nothing_of_a_removed_session(page, held):
    abandon_search(page, held)
    page.store.close()
    held.free.set()
    wait_for_searches()
    assert held.done == ["begun", "ended"]
    assert not page.session.folder.exists()


def test_a_search_of_a_session_that_is_over_is_not_awaited(page, held):
    """Else the server would not end before the model has looked at the image."""
    search = page.answers.find(REQUEST, *page.settings)
    while not held.done:
        next(search)
    page.store.close()
    assert list(search) == []
    assert held.done == ["begun"]
    held.free.set()
    wait_for_searches()
    assert held.done == ["begun", "ended"]
    assert not page.session.folder.exists()


def test_a_search_waits_for_the_step_of_one_that_nobody_awaits(page, held):
    abandon_search(page, held)
    page.session.images.pop("b")
    again = Thread(target=lambda: list(page.answers.find(REQUEST, *page.settings)))
    again.start()
    again.join(0.3)
    assert held.done == ["begun"]
    held.free.set()
    again.join(20)
    wait_for_searches()
    assert held.done == ["begun", "ended", "begun", "ended", "told"]


def test_a_fault_while_results_are_drawn_costs_only_the_drawing(page, monkeypatch, caplog):
    draw, faults = desk.charts_html, [RuntimeError("by a bug")]

    def fail_once(*arguments):
        if faults:
            raise faults.pop()
        return draw(*arguments)

    monkeypatch.setattr(desk, "charts_html", fail_once)
    with caplog.at_level(logging.ERROR, logger="sartorius"):
        refusals, progress, stop, images, *_ = list(page.answers.find(REQUEST, *page.settings))[-1]
    assert "by a bug" in caplog.text
    assert (refusals, progress, stop.visible) == ("", "", False)
    assert [label for label, _ in images.choices] == ["a ✓", "b ✓"]


@pytest.mark.parametrize("part", ["scene_json", "measured", "charts_html"])
def test_results_that_cannot_be_shown_at_all_are_told_and_the_search_ends(page, monkeypatch, caplog, part):
    def fail(*arguments: object) -> None:
        raise RuntimeError("by a bug")

    monkeypatch.setattr(desk, part, fail)
    with caplog.at_level(logging.ERROR, logger="sartorius"):
        updates = list(page.answers.find(REQUEST, *page.settings))
    refusals, progress, stop, images, _, find, *_ = updates[-1]
    assert "What was found cannot be shown" in refusals
    assert (progress, stop.visible, find.interactive) == ("", False, False)
    assert [label for label, _ in images.choices] == ["a ✓", "b ✓"]
    assert {len(update) for update in updates} == {13}
