"""How a command ends: its exit status and, when something is wrong, the one message on stderr."""

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from sartorius.errors import UserError

#: 0 is done and 1 is a check that found problems.
BAD_INPUT, FAULT, INTERRUPTED, READER_GONE = 2, 70, 130, 141

#: Unless the command says what is left and how to go on.
_INTERRUPTED = "the same command starts from the beginning"
_FAULT = "this is a fault in sartorius, not in your input; please report the text above"


class Commands(TyperGroup):
    """The commands under one name; whatever one of them raises becomes a message and an exit status.

    Bad input (UserError, OSError) ends with one message and status 2, its traceback shown with `--debug` only. Ctrl-C
    ends with 130, a reader that went away (`sartorius … | head`) quietly with 141, a fault of ours with its traceback
    and 70. Usage errors are Typer's own: status 2.
    """

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the options before the command's name, of which some print what was asked for and end."""
        with _ended(lambda: False):
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command and write out what it printed."""
        with _ended(lambda: bool(ctx.params.get("debug"))):
            result = super().invoke(ctx)
            sys.stdout.flush()
        return result


@contextmanager
def _ended(shows_traceback: Callable[[], bool]) -> Iterator[None]:
    """A block of which whatever it raises becomes a message and an exit status."""
    try:
        yield
    except (BrokenPipeError, SystemExit) as error:
        if not _is_reader_gone(error):
            raise
        _forget_unwritable_output()
        raise typer.Exit(READER_GONE) from None
    except KeyboardInterrupt as interrupt:
        _say(f"interrupted; {str(interrupt) or _INTERRUPTED}")
        raise typer.Exit(INTERRUPTED) from None
    except (UserError, OSError) as error:
        if shows_traceback():
            traceback.print_exc()
        _forget_unwritable_output()
        _say(message_of(error))
        raise typer.Exit(BAD_INPUT) from None
    except Exception as error:
        if _is_usage_or_exit(error):
            raise
        traceback.print_exc()
        _say(_FAULT)
        raise typer.Exit(FAULT) from None


@contextmanager
def interrupted_with(told: str) -> Iterator[None]:
    """A block that, ended by Ctrl-C, tells what is left of its work and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(told) from None


def prepare_streams() -> None:
    """Let what is printed to a stream that the process was started without (`2>&-`) go nowhere, and signs that a stream's
    encoding lacks, as in pipes of Windows, be escaped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def message_of(error: Exception) -> str:
    """What to tell a person about bad input: file first, then what happened and what to do."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    where = f"{error.filename}: " if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}the disk is full ({error.strerror}); make room and run the same command again"
    return f"{where}{error.strerror}"


def _is_reader_gone(error: BaseException) -> bool:
    """Whether nobody reads what is printed; rich tells it by ending the process with status 1."""
    return isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)


def _is_usage_or_exit(error: Exception) -> bool:
    """Whether Typer itself knows how to end with this error: a usage error, `typer.Exit` or `typer.Abort`."""
    return isinstance(error, (typer.Exit, typer.Abort)) or hasattr(error, "format_message")


def _say(message: str) -> None:
    sys.stderr.write(f"sartorius: {message}\n")


def _forget_unwritable_output() -> None:
    """Drop printed text that cannot be written, so that the interpreter's last flush has nothing to complain about."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
