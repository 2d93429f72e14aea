"""What the page fetches beside Gradio's own: a session's pictures and files, and whether the server is well."""

import logging
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, PlainTextResponse
from starlette.background import BackgroundTask
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sartorius.app.downloads import write_download
from sartorius.app.sessions import GONE, Session, SessionStore
from sartorius.data.images import read_image
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.plots import stretched

#: A picture's longer side on the page.
_LONGEST_PX = 4096
_JPEG_QUALITY = 92
_PRIVATE = {"Cache-Control": "private, no-store"}
_say = logging.getLogger("sartorius")
_FAULT = "The program failed on this file; the log of the server says why."

#: Nothing is loaded from elsewhere, whatever the page or Gradio may ask for. Gradio runs code that is inline and
#: compiles templates.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_routes(app: FastAPI, store: SessionStore) -> None:
    """`/health`, and under a session's secret its pictures and files; what is not given is told in plain words."""

    @app.exception_handler(HTTPException)
    def told(_: Request, error: HTTPException) -> PlainTextResponse:
        return PlainTextResponse(error.detail, error.status_code)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/session/{token}/image/{image_id}")
    def picture(token: str, image_id: str) -> FileResponse:
        session = _session(store, token)
        if image_id not in session.images:
            raise HTTPException(404, "There is no such image in this session.")
        with store.working(session):
            return FileResponse(_picture(session, image_id), media_type="image/jpeg", headers=_PRIVATE)

    @app.get("/session/{token}/file/{key}")
    def file(token: str, key: str) -> FileResponse:
        session = _session(store, token)
        if session.choice is None:
            raise HTTPException(404, GONE)
        with store.working(session):
            folder = Path(tempfile.mkdtemp(dir=session.folder))
            removal = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
            try:
                path = write_download(key, folder, session, session.choice)
            except Exception as error:
                shutil.rmtree(folder, ignore_errors=True)
                if isinstance(error, UserError):
                    raise HTTPException(404, str(error)) from None
                _say.exception("file %s could not be written", key)
                raise HTTPException(500, _FAULT) from None
            return FileResponse(path, filename=path.name, headers=_PRIVATE, background=removal)


class SafeHeaders:
    """An application whose every answer forbids the browser to fetch anything from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the headers added."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _session(store: SessionStore, token: str) -> Session:
    session = store.by_token(token)
    if session is None:
        raise HTTPException(404, GONE)
    return session


def _picture(session: Session, image_id: str) -> Path:
    """The image as JPEG for the page, made once."""
    path = session.folder / "pictures" / f"{image_id}.jpg"
    if not path.is_file():
        image = stretched(read_image(session.images[image_id]))
        share = min(1.0, _LONGEST_PX / max(image.shape))
        if share < 1:
            size = [max(1, round(side * share)) for side in (image.shape[1], image.shape[0])]
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        with atomic_path(path) as temporary:
            cv2.imwrite(str(temporary), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return path
