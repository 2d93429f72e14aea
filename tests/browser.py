"""The page in a real browser, and a server for it whose model finds bright discs."""

import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import uvicorn
from bright_cells import DISCS, SIZE_HW, BrightCells, bright_offer
from numpy.typing import NDArray

from sartorius.app.limits import Limits
from sartorius.app.names import palette
from sartorius.app.offers import Models
from sartorius.app.server import build_server, temporary_folder

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

ASTRO = palette(["astro"])["astro"]
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
#: A busy machine is slow to answer.
PATIENCE_MS = 60_000
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


class Served(NamedTuple):
    """A running server: its address, the model behind it, and the folder that visitors' files are in."""

    url: str
    model: BrightCells
    folder: Path


def chromium_path() -> str:
    """The browser of this machine; the test skips where there is none."""
    found = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on this machine: looked for {', '.join(CHROMIUMS)} (apt install chromium)")
    return found


@contextmanager
def served(ensemble_folder: Path, limits: Limits | None = None) -> Iterator[Served]:
    """A server in a thread of this process, at a free port."""
    offer, model = bright_offer(ensemble_folder), BrightCells()
    with temporary_folder() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        app = build_server([offer], Models(lambda *_: {"bright": model}), limits or Limits(), folder)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}/", model, folder)
        finally:
            server.should_exit = True
            thread.join()


class Visit:
    """One visitor's page, opened; what it asks of whom, and what goes wrong in it, is noted."""

    def __init__(self, browser: Any, url: str, script: str = "", **context: Any) -> None:
        """script: run in the page before its own."""
        self.page = browser.new_context(**context).new_page()
        self.page.add_init_script(script)
        self.page.set_default_timeout(PATIENCE_MS)
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector(".viewer[data-state=empty]")

    def add(self, *paths: Path) -> None:
        """Drop files, and wait until each is listed or refused."""
        count = "document.querySelectorAll('#images label').length"
        wanted = self.page.evaluate(count) + len(paths)
        self.page.set_input_files("#drop input[type=file]", paths)
        self.page.wait_for_function(f"{count} + document.querySelectorAll('#notice li').length >= {wanted}")

    def find(self) -> None:
        """Search all images, and wait for the end."""
        searched = (
            "document.querySelectorAll('#images label').length > 0 &&"
            " [...document.querySelectorAll('#images label')].every(label => label.innerText.includes('✓'))"
        )
        self.page.click("#find:not([disabled])")
        self.page.wait_for_function(searched)
        self.page.wait_for_selector("#stop", state="hidden")
        self.page.wait_for_selector("#table [data-testid=cell-0-0]")

    def show(self, image_id: str) -> None:
        """Choose an image of the list."""
        self.page.click(f"#images label:has-text('{image_id}')")
        self.wait_for_text(".viewer-name", image_id)

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def set_threshold(self, value: float) -> None:
        """Type a threshold of astro beside its slider."""
        self.page.fill("#confidence-astro input[type=number]", str(value))

    def wait_for_text(self, selector: str, text: str) -> None:
        """Wait until the first of these elements shows exactly this."""
        expect(self.page.locator(selector).first).to_have_text(text, use_inner_text=True, timeout=PATIENCE_MS)

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def is_too_wide(self) -> bool:
        """Whether one must scroll sideways to see all of the page."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def picture(self) -> NDArray[np.uint8]:
        """(height, width, 3) red, green and blue of the image with its outlines, as it is on the screen."""
        self.page.mouse.move(0, 0)
        png = np.frombuffer(self.page.locator(".viewer-stage").screenshot(), np.uint8)
        return np.asarray(cv2.imdecode(png, cv2.IMREAD_COLOR)[:, :, ::-1], dtype=np.uint8)

    def close(self) -> None:
        self.page.context.close()


def is_colour(picture: NDArray[np.uint8], colour: str, within: int = 40) -> NDArray[np.bool_]:
    """(height, width) whether a pixel has the colour `#rrggbb`, more or less."""
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return np.asarray(np.abs(picture.astype(int) - wanted).max(axis=2) <= within)


def share_around(
    marked: NDArray[np.bool_], middle_rc: Sequence[float], radius: float, reach: float = 4
) -> float:
    """The share of directions from a point in which something is marked at about a distance, in pixels."""
    found = 0
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    for angle in angles:
        distances = np.arange(radius - reach, radius + reach + 1)
        rows = np.round(middle_rc[0] + distances * np.sin(angle)).astype(int)
        cols = np.round(middle_rc[1] + distances * np.cos(angle)).astype(int)
        found += bool(marked[rows, cols].any())
    return found / len(angles)


def outlined(visit: Visit) -> list[bool]:
    """Whether each disc has a line around it on the screen."""
    picture = visit.picture()
    line, scale = is_colour(picture, ASTRO), picture.shape[1] / SIZE_HW[1]
    return [
        share_around(
            line, (scale * (disc.row + 0.5), scale * (disc.col + 0.5)), scale * disc.radius, 1.6 * scale
        )
        > 0.9
        for disc in DISCS
    ]


@contextmanager
def held(monkeypatch, owner, name: str) -> Iterator[Event]:
    """While the event is not set, calls of this function of `owner` do not begin; with the context's end they do."""
    free, function = Event(), getattr(owner, name)

    def late(*arguments):
        free.wait()
        return function(*arguments)

    monkeypatch.setattr(owner, name, late)
    yield free
    free.set()
