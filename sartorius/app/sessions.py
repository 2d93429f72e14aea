"""What belongs to one visitor: images and results in a folder of their own, which goes when the visitor does."""

import secrets
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import TypeVar

import pandas as pd

from sartorius.app.limits import Limits
from sartorius.app.offers import Choice
from sartorius.rle import CocoRle

#: What is said to a visitor whose session was removed.
GONE = "This session is over and its files were removed. Open the page again and add the images once more."
_SECONDS_PER_MINUTE = 60
Said = TypeVar("Said")


class Session:
    """One visitor's images and what was found in them.

    token: a secret that the addresses of this session's pictures and files hold.
    folder: everything of the session; removed with it.
    images: image files by id, in the order in which they came.
    selected: the image that the visitor looks at.
    choice: what the visitor has set, which the files to take away follow; None before anything was shown.
    changes: how often something that the page shows has changed.
    successor: the session that has taken this one's place after the visitor removed all images.
    known: what was measured on masks, by image.
    tables: measurements, the longest unused first.
    searching: whether the page awaits a search, perhaps one of images that were removed since.
    stopping: whether the visitor has asked to stop the search.
    closed: whether the session was removed; work for it should end.
    """

    def __init__(self, folder: Path, now_s: float) -> None:
        self.token = secrets.token_urlsafe(24)
        self.folder = folder
        self.images: dict[str, Path] = {}
        self.selected: str | None = None
        self.choice: Choice | None = None
        self.changes = 0
        self.successor: Session | None = None
        self.known: dict[str, dict[CocoRle, dict[str, float]]] = {}
        self.tables: OrderedDict[Hashable, pd.DataFrame] = OrderedDict()
        self.lock = RLock()
        self._choosing = Lock()
        self.used_s = now_s
        self.left_s: float | None = None
        self.workers = 0
        self.searching = False
        self.stopping = False
        self.closed = False

    def choose(self, choice: Choice, fields: Sequence[str]) -> None:
        """These fields of what the visitor has set are as in `choice` from now on, or all if none was known."""
        with self._choosing:
            chosen = {name: getattr(choice, name) for name in fields}
            known = choice if self.choice is None else self.choice._replace(**chosen)
            if known != self.choice:
                self.choice = known
                self.changes += 1

    def search(self, searching: bool) -> None:
        """A search begins or has ended."""
        self.searching = searching
        self.changes += 1

    def look_at(self, image_id: str) -> None:
        """The visitor looks at another image."""
        self.selected = image_id
        self.changes += 1


class SessionStore:
    """The sessions of all visitors, each by the key that its browser page sends with every request.

    root: an existing folder that is the store's alone.
    clock: seconds that only rise.
    """

    def __init__(
        self,
        root: Path,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._limits, self._clock = root, limits, clock
        self._sessions: dict[str, Session] = {}
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._sessions)

    def of(self, key: str) -> Session:
        """The session of a page, opened if there is none; a visitor who left has come back."""
        with self._lock:
            if key not in self._sessions:
                folder = self._root / secrets.token_hex(8)
                folder.mkdir(mode=0o700)
                self._sessions[key] = Session(folder, self._clock())
            return self._used(self._sessions[key])

    def known(self, key: str) -> Session | None:
        """The session of a page; None if it is over. A visitor who left has come back."""
        with self._lock:
            return self._used(self._sessions[key]) if key in self._sessions else None

    def by_token(self, token: str) -> Session | None:
        """The session with this secret; None if it is gone or never was."""
        with self._lock:
            for session in self._sessions.values():
                if secrets.compare_digest(session.token.encode(), token.encode()):
                    session.used_s = self._clock()
                    return session
        return None

    def leave(self, key: str) -> None:
        """Note that the page was closed; the session goes a while later unless the visitor comes back."""
        with self._lock:
            if key in self._sessions:
                self._sessions[key].left_s = self._clock()

    def restart(self, key: str) -> Session:
        """A new, empty session in place of the one there was; what was set stays."""
        with self._lock:
            before = self.of(key)
            self._remove(key)
            before.successor = self.of(key)
            before.successor.choice = before.choice
            before.successor.searching = before.searching
            return before.successor

    def expire(self) -> int:
        """Remove the sessions that were left or not used for long; returns how many."""
        with self._lock:
            gone = [key for key, session in self._sessions.items() if self._is_over(session)]
            for key in gone:
                self._remove(key)
            return len(gone)

    def close(self) -> None:
        """Remove every session."""
        with self._lock:
            for key in list(self._sessions):
                self._remove(key)

    @contextmanager
    def working(self, session: Session) -> Iterator[None]:
        """A block that uses the session's folder; a session that is removed meanwhile goes when it ends."""
        with self._lock:
            session.workers += 1
        try:
            yield
        finally:
            with self._lock:
                session.workers -= 1
                session.used_s = self._clock()
                if session.closed and not session.workers:
                    shutil.rmtree(session.folder, ignore_errors=True)

    @contextmanager
    def searching(self, session: Session) -> Iterator[None]:
        """A block that searches for a page, which awaits its end even if the images are removed meanwhile."""
        with self._lock:
            _latest(session).search(True)
        try:
            yield
        finally:
            with self._lock:
                _latest(session).search(False)

    def present(self, session: Session, say: Callable[[Session, Choice], Said]) -> Said:
        """What there is to say to a visitor by now, however much has changed since it was asked.

        Answers overtake each other, and the page shows the one that comes last: it has to be true then.
        say: called as say(session, choice), anew if something has changed meanwhile.
        """
        while True:
            session = _latest(session)
            before, choice = session.changes, session.choice
            assert choice is not None
            with self.working(session):
                said = say(session, choice)
            if session.changes == before and session.successor is None:
                return said

    def _used(self, session: Session) -> Session:
        session.used_s, session.left_s = self._clock(), None
        return session

    def _is_over(self, session: Session) -> bool:
        now_s = self._clock()
        left = session.left_s is not None and now_s - session.left_s > _seconds(self._limits.left_minutes)
        idle = now_s - session.used_s > _seconds(self._limits.idle_minutes)
        return left or (idle and not session.workers)

    def _remove(self, key: str) -> None:
        session = self._sessions.pop(key, None)
        if session is None:
            return
        session.closed = True
        if not session.workers:
            shutil.rmtree(session.folder, ignore_errors=True)


def _latest(session: Session) -> Session:
    """The session that is now in this one's place, itself if none is."""
    while session.successor is not None:
        session = session.successor
    return session


def _seconds(minutes: float) -> float:
    return minutes * _SECONDS_PER_MINUTE
