"""Uploaded files taken into a session, each checked by itself so that one bad file costs only itself."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sartorius.app.limits import Limits, accepted_images, free_name, safe_name
from sartorius.app.sessions import Session
from sartorius.data.images import read_image
from sartorius.errors import UserError


class Refusal(NamedTuple):
    """A file that was not taken, and why, in words for the visitor."""

    name: str
    reason: str


class Taken(NamedTuple):
    """What became of uploaded files: ids of the images that were added, and the files that were not."""

    image_ids: list[str]
    refusals: list[Refusal]


def take_uploads(session: Session, uploads: Sequence[Path], limits: Limits) -> Taken:
    """Uploaded files are copied into the session, except those that are no whole image of allowed size.

    An image is called after its file; a second one of the same name gets a number. A file that is given twice is
    taken once. The uploads stay for Gradio to remove: for it, the same file of another visitor is the same upload.
    """
    image_ids: list[str] = []
    refusals: list[Refusal] = []
    with session.lock:
        for upload in dict.fromkeys(uploads):
            name = safe_name(upload.name)
            folder = session.folder / "images"
            folder.mkdir(exist_ok=True)
            path = folder / free_name(
                name, {file.name for file in folder.iterdir()} | _taken_names(session, name)
            )
            try:
                found = _copied_and_checked(upload, path, limits, limits.images - len(session.images))
                _refuse_same_ids(session, found)
            except (UserError, OSError) as error:
                path.unlink(missing_ok=True)
                refusals.append(Refusal(upload.name, _reason(error, path)))
                continue
            session.images = session.images | found  # a new one, others may be going through it
            image_ids += found
    return Taken(image_ids, refusals)


def _taken_names(session: Session, name: str) -> set[str]:
    """The file names that would give an image an id that another one has."""
    suffix = Path(name).suffix
    return {f"{image_id}{suffix}" for image_id in session.images}


def _refuse_same_ids(session: Session, found: dict[str, Path]) -> None:
    """Planes of a stack are called `stack_p001`, as another file may be, in small or capital letters."""
    here = {image_id.casefold() for image_id in session.images}
    same = [image_id for image_id in found if image_id.casefold() in here]
    if same:
        raise UserError(f"an image called {same[0]} is here already; rename the file")


def _copied_and_checked(upload: Path, path: Path, limits: Limits, room: int) -> dict[str, Path]:
    """The images of an uploaded file by id, each read once to know that it can be."""
    shutil.copyfile(upload, path)
    found = accepted_images(path, limits, room)
    for image_path in found.values():
        read_image(image_path)
    return found


def _reason(error: Exception, path: Path) -> str:
    """A message without the server's own paths."""
    if isinstance(error, FileNotFoundError):
        return "the file did not arrive whole; add it again"
    if isinstance(error, OSError):
        return f"the server could not keep the file ({error.strerror})"
    text = str(error)
    for own in (f"{path}: ", f"{path}/", f"{path}"):
        text = text.replace(own, "")
    return text
