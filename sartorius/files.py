"""Files that appear whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from sartorius.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)

#: What file managers leave in every folder that somebody looks into.
OF_FILE_MANAGERS = (".DS_Store", "Thumbs.db", "desktop.ini")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`, which becomes `path` when the block ends without an error.

    The folder is made if it is missing. A link stays one: the file it points to is replaced. On an error the temporary
    file is removed and what stood at `path` before stays as it was.
    Raises UserError if `path` is a folder or a device, its folder cannot be written, or the disk is full.
    """
    path = path.resolve()
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _FULL:
            if (
                error.filename is None and error.errno is not None
            ):  # writing to an open file does not tell which
                error.filename = str(path)
            raise
        raise UserError(
            f"{path}: the disk is full ({error.strerror}); nothing was changed there. Make room and run it again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when the block ends without an error.

    A link stays one: what it points to is replaced. What was there is there again if the exchange itself is interrupted.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        new, old = Path(name) / "new", Path(name) / "old"
        new.mkdir()
        yield new
        if folder.is_dir() and folder.samefile("."):
            _exchange_contents(folder, new, old)
        else:
            _exchange(folder, new, old)


@contextmanager
def filled_folder(folder: Path) -> Iterator[Path]:
    """A new folder whose files move into `folder`, which is new or empty, when the block ends without an error.

    Otherwise `folder` is left empty. It may be a mounted disk, or stand where nothing else can be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as name:
        yield Path(name)
        for path in list(Path(name).iterdir()):
            path.rename(folder / path.name)


def refuse_input(out: Path, inputs: Iterable[Path]) -> None:
    """Raise UserError if a file to write is one of those that are read; inputs need not exist."""
    for given in inputs:
        if out.resolve() == given.resolve():
            raise UserError(
                f"{out}: expected another file than the input {given}, which stays as it is; choose another name"
            )


def require_writable(path: Path) -> None:
    """Raise UserError unless a file can be written there: asked before long work, of which nothing would be left.

    The folder is made if it is missing.
    """
    _temporary(path).unlink()


def require_utf8_name(path: Path) -> None:
    """Raise UserError if the name of a file, or of its folder, is of bytes that are not UTF-8: no table could hold it."""
    try:
        f"{path.parent.name}/{path.name}".encode()
    except UnicodeEncodeError:
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UserError(f"{name}: expected a file name in UTF-8, got other bytes; rename it") from None


def require_suffix(path: Path, suffixes: Collection[str], what: str) -> None:
    """Raise UserError unless the name of a file to write has one of these endings, in lower or upper case.

    what: the file in words, for the message.
    """
    if path.suffix.lower() not in suffixes:
        raise UserError(
            f"{path}: expected the name of a {what} ending in {' or '.join(suffixes)}, got {path.name!r}"
        )


def refuse_foreign(
    folder: Path, is_ours: Callable[[Path], bool], what: str, parts: Collection[str] = ("*",)
) -> None:
    """Raise UserError unless the folder may be replaced: new, empty, or an earlier result of the same kind.

    is_ours: tells whether a folder is one; what: such a result in words, for the message.
    parts: patterns of all that such a result consists of, as paths in the folder; anything else is the user's own.
    """
    if folder.is_file() or folder.resolve().is_mount():
        raise UserError(
            f"{folder}: expected the name of a folder to write; choose a folder inside or beside it"
        )
    if folder.is_dir() and any(folder.iterdir()) and not is_ours(folder):
        raise UserError(f"{folder}: holds something that is no {what}; choose another folder")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name not in OF_FILE_MANAGERS and not any(fnmatchcase(name, pattern) for pattern in parts):
            raise UserError(
                f"{folder}: would be replaced, but {name} is no part of a {what}; move it, or choose another folder"
            )


def _exchange(folder: Path, new: Path, old: Path) -> None:
    try:
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise


def _exchange_contents(folder: Path, new: Path, old: Path) -> None:
    """Replace what a folder holds, not the folder: the shell that stands in it would be left in a deleted one."""
    old.mkdir()
    arriving = list(new.iterdir())
    try:
        _move(folder.iterdir(), old)
        _move(arriving, folder)
    except BaseException:
        _move([folder / path.name for path in arriving if not path.exists()], new)
        _move(old.iterdir(), folder)
        raise


def _move(paths: Iterable[Path], folder: Path) -> None:
    for path in list(paths):
        path.rename(folder / path.name)


def _temporary(path: Path) -> Path:
    """A new empty file beside `path`."""
    if path.is_dir():
        raise UserError(f"{path}: expected the name of a file to write, but this is a folder")
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: expected the name of a file to write, but this is a device")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        raise UserError(
            f"{path}: the folder {path.parent} cannot be written ({error.strerror}); choose another"
        ) from error
    os.close(handle)
    return Path(name)
