"""What the page answers to each control: values for its components, for the visitor who asked."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr

from sartorius.app import desk as shown
from sartorius.app.desk import Desk
from sartorius.app.finding import Stopped, find_cells, searched_images
from sartorius.app.offers import Choice, Offer
from sartorius.app.quantities import FIRST_NUMBER
from sartorius.app.sessions import GONE, Said, Session
from sartorius.app.steps import Abandoned, Progress, steps_of
from sartorius.app.updates import (
    Numbers,
    Overview,
    Pictured,
    Update,
    all_listed,
    all_new,
    all_pictured,
    all_waiting,
    numbers,
    overview,
    pictured,
)
from sartorius.app.uploads import Refusal, take_uploads
from sartorius.errors import UserError
from sartorius.morphometrics.cell_table import is_pixel_size
from sartorius.pipeline import Predictor

_say = logging.getLogger("sartorius")
#: What may stand behind a pixel's size. Keyboards have two letters µ, one called micro and one called mu.
_UNIT = re.compile(r"\s*[u\u00b5\u03bc]m(\s*/\s*(px|pixel))?$")
_FAULT = "the program failed on this image; the log of the server says why"
_NOT_LOADED = "it could not be loaded; the log of the server says why"
_NOT_SHOWN = Refusal("What was found cannot be shown", "the log of the server says why")


class Answers:
    """The functions behind the page's controls.

    Gradio gives each its request, which tells visitors apart, and the values of components; the last ones, `settings`,
    are always the ensemble's key, the pixel size, the quantity of the charts, whether they are of all images, and one
    threshold for each of `cell_types`.
    """

    def __init__(self, desk: Desk, cell_types: Sequence[str]) -> None:
        self._desk = desk
        self._cell_types = tuple(cell_types)
        self._one_search = Lock()

    def open(self, request: gr.Request, *settings: Any) -> None:
        """A session for a visitor who comes; the page shows already that it is empty."""
        self._desk.store.of(_key(request))
        self._session(request, settings)

    def restored(self, request: gr.Request, *settings: Any) -> Overview:
        """The page with another model, or with its recommended thresholds."""
        return self._present(self._session(request, settings, "offer", "thresholds"), overview)

    def leave(self, request: gr.Request) -> None:
        """The visitor's files go a while after the page was closed."""
        self._desk.store.leave(_key(request))

    def add(self, request: gr.Request, uploads: list[str] | None, *settings: Any) -> list[Update]:
        """Uploaded files are images of the session, the first new one is shown; what was refused is said."""
        self._desk.store.of(_key(request))
        session = self._session(request, settings)
        with self._desk.store.working(session):
            taken = take_uploads(session, [Path(upload) for upload in uploads or []], self._desk.limits)
        if taken.image_ids:
            session.look_at(taken.image_ids[0])
        return [None, shown.refusals_html(taken.refusals), *self._present(session, overview)]

    def clear(self, request: gr.Request, *settings: Any) -> list[Update]:
        """A session without images."""
        self._desk.store.restart(_key(request))
        return ["", *self.restored(request, *settings)]

    def select(self, request: gr.Request, image_id: str | None, *settings: Any) -> Pictured:
        """The scene of an image of the list."""
        session = self._session(request, settings)
        if image_id in session.images:
            session.look_at(image_id)
        return self._present(session, pictured)

    def scene(self, request: gr.Request, *settings: Any) -> str:
        """The scene with other thresholds: what was found is cleaned again, no model runs."""
        return self._present(self._session(request, settings, "thresholds"), shown.scene_json)

    def measured(self, request: gr.Request, *settings: Any) -> Numbers:
        """The measurements of what the scene shows."""
        return self._present(self._session(request, settings), numbers)

    def sized(self, request: gr.Request, *settings: Any) -> Numbers:
        """The measurements with another pixel size."""
        return self._present(self._session(request, settings, "um_per_px"), numbers)

    def drawn(self, request: gr.Request, *settings: Any) -> str:
        """The charts of what was measured."""
        return self._present(self._session(request, settings), shown.charts_html)

    def charts(self, request: gr.Request, *settings: Any) -> str:
        """The charts of another quantity, or of more images."""
        return self._present(self._session(request, settings, "quantity", "of_all"), shown.charts_html)

    def thresholds(self, offer_key: str) -> list[Update]:
        """The thresholds that an ensemble's file says, for the types that it can tell apart."""
        offer = self._desk.offers[offer_key]
        return [
            gr.Slider(value=offer.thresholds.get(name, 0.5), visible=name in offer.thresholds)
            for name in self._cell_types
        ]

    def size_note(self, typed: str | None) -> str:
        """Why what stands in the field is no pixel size; "" if it is one, or the field is empty."""
        text = (typed or "").strip()
        return "" if not text or _pixel_size(text) is not None else shown.no_size_html(text)

    def chosen_row(self, event: gr.SelectData) -> Update:
        """The viewer shows the cell of a row of the table; every answer is another, since Gradio ignores what it has."""
        chosen = {"cell": event.row_value[0] - FIRST_NUMBER, "at_ns": time.monotonic_ns()}
        return gr.HTML(chosen=json.dumps(chosen))

    def stop(self, request: gr.Request) -> Update:
        """The search ends after the step that it is at; one that has ended tells nothing more."""
        session = self._desk.store.known(_key(request))
        if session is None or not session.searching:
            return gr.skip()
        session.stopping = True
        return shown.progress_html("Stopping …", 0)

    def find(self, request: gr.Request, *settings: Any) -> Iterator[list[Update]]:
        """The images that the ensemble has not seen are searched one by one; the page follows.

        One bad image costs only itself. Ends early if the visitor stops or leaves.
        """
        session = self._session(request, settings)
        session.stopping = False
        refusals: list[Refusal] = []
        same = all_waiting()
        with self._desk.store.working(session):
            with self._desk.store.searching(session):
                for words, share, is_new in self._search(session, self._desk.offers[settings[0]], refusals):
                    told = [gr.skip(), shown.progress_html(words, share), gr.Button(visible=True)]
                    if not is_new:
                        yield [*told, *same]
                        continue
                    session.changes += 1
                    # the picture first, its numbers take longer
                    yield [*told, *self._found(session, all_pictured)[0]]
                    yield [*told, *self._found(session, all_new)[0]]
            if session.closed and session.successor is None:
                return  # nobody is there to be told
            updates, faults = self._found(session, all_new)
            yield [shown.refusals_html([*refusals, *faults]), "", gr.Button(visible=False), *updates]

    def _search(
        self, session: Session, offer: Offer, refusals: list[Refusal]
    ) -> Iterator[tuple[str, float, bool]]:
        """What is being done, the share that is done, and whether there is a new result to show."""
        done_before = set(searched_images(session, offer))
        todo = [image_id for image_id in session.images if image_id not in done_before]
        if not self._desk.models.are_loaded(offer):
            yield "Loading the model …", 0.0, False
        try:
            predictors = self._desk.models.of(offer)
        except UserError as error:
            refusals.append(Refusal("The model cannot be used", str(error)))
            return
        except Exception:
            _say.exception("the models of %s could not be loaded", offer.path)
            refusals.append(Refusal("The model cannot be used", _NOT_LOADED))
            return
        for number, image_id in enumerate(todo):
            words = f"Searching image {number + 1} of {len(todo)}" if len(todo) > 1 else "Searching the image"
            yield words, number / len(todo), False
            try:
                search = partial(self._find_cells, session, offer, predictors, image_id)
                for done, total in steps_of(search, lambda: session.closed):
                    yield words, (number + done / total) / len(todo), False
            except (Stopped, Abandoned):
                return
            except UserError as error:
                refusals.append(Refusal(image_id, str(error)))
            except Exception:
                _say.exception("image %s could not be searched", image_id)
                refusals.append(Refusal(image_id, _FAULT))
            yield words, (number + 1) / len(todo), True

    def _find_cells(
        self,
        session: Session,
        offer: Offer,
        predictors: Mapping[str, Predictor],
        image_id: str,
        progress: Progress,
    ) -> None:
        """One image is searched, after a search that nobody awaits any more has come to the end of its step."""
        with self._desk.store.working(session), self._one_search:
            find_cells(session, offer, predictors, image_id, progress)

    def _found(
        self, session: Session, say: Callable[[Session, Choice], list[Update]]
    ) -> tuple[list[Update], list[Refusal]]:
        """What there is to show; if a fault is in the way, the list of images and what is told of it."""
        try:
            return self._present(session, say), []
        except Exception:
            _say.exception("what was found could not be shown")
            return self._present(session, all_listed), [_NOT_SHOWN]

    def _present(self, session: Session, say: Callable[[Session, Choice], Said]) -> Said:
        return self._desk.store.present(session, say)

    def _session(self, request: gr.Request, settings: Sequence[Any], *fields: str) -> Session:
        """The visitor's session, which follows these fields of what is set; a new one follows all.

        Each is followed by the answer to its own control alone, since questions may overtake each other.
        Raises gr.Error, which the page shows, if the session is over.
        """
        offer_key, um_per_px, quantity, of_all, *thresholds = settings
        offer = self._desk.offers[offer_key]
        of_type = dict(zip(self._cell_types, thresholds, strict=True))
        session = self._desk.store.known(_key(request))
        if session is None:
            raise gr.Error(GONE, duration=None, print_exception=False)
        session.choose(Choice(offer, of_type, _pixel_size(um_per_px), quantity, of_all), fields)
        return session


def _pixel_size(text: str | None) -> float | None:
    """The number a visitor has typed, with point or comma, its unit perhaps; None if it is none or no pixel's size."""
    try:
        um_per_px = float(_UNIT.sub("", (text or "").strip()).replace(",", "."))
    except ValueError:
        return None
    return um_per_px if is_pixel_size(um_per_px) else None


def _key(request: gr.Request) -> str:
    return str(request.session_hash)
