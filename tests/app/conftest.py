"""A session with images and an ensemble whose model finds bright discs, the answers of a page, and it in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from bright_cells import BrightCells, bright_offer, written_png, written_tiff_16_bit

pytest.importorskip("gradio")

from sartorius.app.answers import Answers
from sartorius.app.desk import Desk
from sartorius.app.finding import find_cells
from sartorius.app.limits import Limits
from sartorius.app.offers import Choice, Models
from sartorius.app.sessions import SessionStore


@pytest.fixture
def visit(tmp_path: Path) -> SimpleNamespace:
    """A visitor who has added the image `well` and had it searched with the recommended thresholds."""
    store = SessionStore(_made(tmp_path / "sessions"), Limits())
    session, offer, model = store.of("visitor"), bright_offer(tmp_path / "ensemble"), BrightCells()
    session.images["well"] = written_png(tmp_path / "well.png")
    session.selected = "well"
    find_cells(session, offer, {"bright": model}, "well", lambda done, total: None)
    session.choice = Choice(offer, offer.thresholds)
    return SimpleNamespace(store=store, session=session, offer=offer, model=model, choice=session.choice)


@pytest.fixture
def page(tmp_path: Path) -> SimpleNamespace:
    """A page whose visitor has added two images of three cells each."""
    offer = bright_offer(tmp_path / "ensemble")
    settings = [offer.key, "", "area", False, *[offer.thresholds[name] for name in offer.cell_types]]
    store = SessionStore(_made(tmp_path / "sessions"), Limits())
    shared = Desk(store, {offer.key: offer}, Models(lambda *_: {"bright": BrightCells()}), Limits())
    answers = Answers(shared, offer.cell_types)
    session = store.of("visitor")
    folder = _made(session.folder / "images")
    for name in ("a", "b"):
        session.images[name] = written_png(folder / f"{name}.png")
    session.selected = "a"
    return SimpleNamespace(answers=answers, settings=settings, session=session, store=store)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The page's server, with the model behind it."""
    from browser import served

    with served(tmp_path_factory.mktemp("ensemble")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from browser import chromium_path, playwright

    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=chromium_path())
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two images of the same cells, and half a file."""
    folder = tmp_path_factory.mktemp("images")
    whole = written_png(folder / "well.png")
    (folder / "broken.png").write_bytes(whole.read_bytes()[:120])
    return {"well": whole, "deep": written_tiff_16_bit(folder / "deep.tif"), "broken": folder / "broken.png"}


@pytest.fixture(scope="module")
def searched(browser: object, server: object, images: dict[str, Path]) -> Iterator[object]:
    """A visitor who has searched a PNG and a 16-bit TIFF; tests leave settings as they find them."""
    from browser import DESKTOP, Visit

    visit = Visit(browser, server.url, **DESKTOP)
    visit.add(images["well"], images["deep"])
    visit.find()
    yield visit
    assert visit.faults == []
    visit.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
