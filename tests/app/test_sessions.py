from pathlib import Path

import pytest

from sartorius.app.limits import Limits
from sartorius.app.sessions import SessionStore


class Clock:
    """A clock that is set by hand, in minutes."""

    def __init__(self) -> None:
        self.minutes = 0.0

    def __call__(self) -> float:
        return 60 * self.minutes


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> SessionStore:
    return SessionStore(tmp_path, Limits(idle_minutes=60, left_minutes=5), clock)


def test_every_page_has_a_session_with_a_folder_and_a_secret_of_its_own(store):
    first, second = store.of("a"), store.of("b")
    assert store.of("a") is first
    assert first.folder != second.folder
    assert first.folder.stat().st_mode & 0o077 == 0
    assert len({first.token, second.token}) == 2
    assert len(first.token) >= 32
    assert store.by_token(first.token) is first
    assert store.by_token("guess") is None


def test_a_session_that_was_left_goes_a_while_later_with_its_files(store, clock):
    session = store.of("a")
    (session.folder / "image.png").write_bytes(b"x")
    store.leave("a")
    clock.minutes = 4
    assert store.expire() == 0
    clock.minutes = 5.1
    assert store.expire() == 1
    assert (len(store), session.folder.exists(), session.closed) == (0, False, True)


@pytest.mark.parametrize("asked_by", [SessionStore.of, SessionStore.known])
def test_a_visitor_who_comes_back_in_time_finds_everything(store, clock, asked_by):
    session = store.of("a")
    store.leave("a")
    clock.minutes = 4
    assert asked_by(store, "a") is session
    clock.minutes = 30
    assert store.expire() == 0


def test_a_session_without_use_goes(store, clock):
    session = store.of("a")
    clock.minutes = 59
    store.by_token(session.token)  # a picture was fetched
    clock.minutes = 118
    assert store.expire() == 0
    clock.minutes = 120
    assert store.expire() == 1


def test_work_keeps_a_session_that_is_not_used_otherwise(store, clock):
    session = store.of("a")
    with store.working(session):
        clock.minutes = 200
        assert store.expire() == 0
    clock.minutes = 259
    assert store.expire() == 0


def test_work_for_a_visitor_who_left_ends_and_then_the_files_go(store, clock):
    session = store.of("a")
    with store.working(session):
        store.leave("a")
        clock.minutes = 6
        assert store.expire() == 1
        assert session.closed
        (session.folder / "late.npz").write_bytes(b"x")
    assert not session.folder.exists()


def test_starting_over_gives_a_new_session_and_removes_the_old(store):
    first = store.of("a")
    second = store.restart("a")
    assert second is store.of("a")
    assert (first.folder.exists(), second.folder.exists()) == (False, True)
    assert store.by_token(first.token) is None


def test_closing_the_store_leaves_nothing(store, tmp_path):
    store.of("a")
    store.of("b")
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_known_until_its_session_is_over(store, clock):
    assert store.known("a") is None
    assert len(store) == 0
    session = store.of("a")
    assert store.known("a") is session
    clock.minutes = 61
    assert store.expire() == 1
    assert store.known("a") is None


def test_leaving_without_a_session_does_nothing(store):
    store.leave("nobody")
    assert len(store) == 0
