"""The page served from one process, everything it keeps in one temporary folder that goes when it ends."""

import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI

from sartorius.app.desk import Desk
from sartorius.app.limits import BYTES_PER_MB, Limits
from sartorius.app.offers import Loader, Models, Offer
from sartorius.app.page import asset, build_page, page_css
from sartorius.app.routes import SafeHeaders, add_routes
from sartorius.app.sessions import SessionStore
from sartorius.app.theme import page_theme
from sartorius.errors import UserError

#: Seconds between two looks for sessions that are over.
_SWEEP_S = 20.0
#: Seconds that open requests have to end when the server does.
_LAST_S = 2
_NO_REPORTS = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}


def serve(
    offers: Sequence[Offer],
    load: Loader,
    limits: Limits,
    address: tuple[str, int],
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """The page answers at the address until the process is told to end; then nothing of it is left on the disk.

    offers: the ensembles to choose from, the first one is chosen and loaded already.
    load: loads an ensemble's models.
    address: host name or number, and port; port 0 takes a free one.
    ready: called with the page's URL once it answers.
    Raises UserError if the address cannot be used, or the first ensemble's models cannot be loaded.
    """
    models = Models(load)
    with told_to_end(), closing(_listening(address)) as listener, temporary_folder() as folder:
        models.of(offers[0])
        server = uvicorn.Server(
            uvicorn.Config(
                build_server(offers, models, limits, folder),
                log_level="warning",
                timeout_graceful_shutdown=_LAST_S,
            )
        )
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        with _told(server, url, ready), _quiet_end(server), suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def build_server(offers: Sequence[Offer], models: Models, limits: Limits, folder: Path) -> FastAPI:
    """The application, which keeps what visitors bring in the folder; `temporary_folder` makes one."""
    store = SessionStore(folder, limits)
    desk = Desk(store, {offer.key: offer for offer in offers}, models, limits)

    page = build_page(desk)
    app = FastAPI(lifespan=_sweeping(store), docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(SafeHeaders)
    add_routes(app, store)
    gr.mount_gradio_app(
        app,
        page,
        "/",
        max_file_size=int(limits.file_mb * BYTES_PER_MB) if math.isfinite(limits.file_mb) else None,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=page_theme(),
        css=page_css(offers),
        head=f"{asset('head.html')}<script>{asset('stream.js')}{asset('thresholds.js')}</script>",
    )
    return app


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for everything that visitors bring; while it is there Gradio keeps its files in it and reports nothing.

    Gradio reads both from the environment, when it builds a page and when a file arrives.
    """
    with tempfile.TemporaryDirectory(prefix="sartorius-app-", ignore_cleanup_errors=True) as name:
        wanted = _NO_REPORTS | {"GRADIO_TEMP_DIR": str(Path(name) / "uploads")}
        before = {variable: os.environ.get(variable) for variable in wanted}
        os.environ.update(wanted)
        try:
            yield Path(name)
        finally:
            for variable, value in before.items():
                os.environ.pop(variable)
                if value is not None:
                    os.environ[variable] = value


@contextmanager
def told_to_end() -> Iterator[None]:
    """A request to end, and a terminal that is closed, end the block by SystemExit, so that it can tidy up.

    Without this the process would end at once and leave visitors' images behind. uvicorn has handlers of its own while
    it runs, and hands what it caught to these afterwards. What the process was started to ignore, as `nohup` does with
    terminals that are closed, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: Any) -> None:
        sys.exit(128 + number)

    wanted: dict[int, Any] = {signal.SIGTERM: end}
    if hasattr(signal, "SIGHUP"):
        wanted[signal.SIGHUP] = lambda *_: signal.raise_signal(signal.SIGTERM)
    before = {
        number: signal.signal(number, handler)
        for number, handler in wanted.items()
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listening(address: tuple[str, int]) -> socket.socket:
    """A socket that the server can take; raises UserError if the address cannot be used."""
    host, port = address
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(address, family=family)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number is not None and number > 0 else str(error)
        raise UserError(
            f"http://{host}:{port}: expected a free address of this machine ({reason}); choose another --port or --host"
        ) from None


def _sweeping(store: SessionStore) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """While the application lives, sessions that are over are removed now and then; all of them at its end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ended = Event()
        Thread(target=_sweep, args=(store, ended), daemon=True, name="sweep").start()
        try:
            yield
        finally:
            ended.set()
            store.close()

    return lifespan


def _sweep(store: SessionStore, ended: Event) -> None:
    while not ended.wait(_SWEEP_S):
        store.expire()


@contextmanager
def _told(server: uvicorn.Server, url: str, ready: Callable[[str], None]) -> Iterator[None]:
    """Says the page's URL as soon as the server has started."""
    ended = Event()

    def tell() -> None:
        while not server.started:
            if ended.wait(0.05):
                return
        ready(url)

    Thread(target=tell, daemon=True, name="ready").start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def _quiet_end(server: uvicorn.Server) -> Iterator[None]:
    """Connections of open pages, which are cut when the server ends, are not told as errors."""

    def is_told(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        message = record.getMessage()  # of a second Ctrl-C it holds the traceback
        is_cut = isinstance(error, CancelledError) or "CancelledError" in message
        return not (server.should_exit and (is_cut or "timeout graceful shutdown" in message))

    log = logging.getLogger("uvicorn.error")
    log.addFilter(is_told)
    try:
        yield
    finally:
        log.removeFilter(is_told)
