"""The server behind the page: built with any limits, and ended while pages are open."""

import math
from collections.abc import Iterator
from threading import Event, Thread
from urllib.request import urlopen

import pytest
import uvicorn
from bright_cells import BrightCells, bright_offer

from sartorius.app.limits import Limits
from sartorius.app.offers import Models
from sartorius.app.server import build_server, serve, temporary_folder


def loaded(*_: object) -> dict[str, BrightCells]:
    return {"bright": BrightCells()}


def test_files_may_be_as_large_as_they_like(tmp_path):
    with temporary_folder() as folder:
        assert build_server([bright_offer(tmp_path)], Models(loaded), Limits(file_mb=math.inf), folder)


@pytest.fixture
def started(monkeypatch) -> Iterator[list[uvicorn.Server]]:
    """The servers that the test starts; they end with it."""
    servers: list[uvicorn.Server] = []

    class Noted(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr(uvicorn, "Server", Noted)
    yield servers
    for server in servers:
        server.should_exit = True


@pytest.mark.parametrize("at_once", [False, True], ids=["Ctrl-C", "Ctrl-C twice"])
def test_a_server_that_ends_while_a_page_is_open_says_nothing_of_it(tmp_path, started, capsys, at_once):
    urls, is_ready = [], Event()

    def ready(url: str) -> None:
        urls.append(url)
        is_ready.set()

    offers = [bright_offer(tmp_path)]
    serving = Thread(target=serve, args=(offers, loaded, Limits(), ("127.0.0.1", 0), ready), daemon=True)
    serving.start()
    assert is_ready.wait(60)
    with urlopen(f"{urls[0]}/gradio_api/heartbeat/visitor", timeout=60) as page:
        assert b"ALIVE" in page.readline()
        started[0].should_exit, started[0].force_exit = True, at_once
        serving.join(60)
    assert not serving.is_alive()
    assert capsys.readouterr().err == ""
