"""The one error a person sees as a message instead of a traceback, and what helps to word it."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input from outside: a file, a setting, an argument.

    The message says what was expected, what came, where (file, line or key) and what to do about it.
    The command line prints it on stderr and exits with status 2.
    """


def did_you_mean(word: str, known: Iterable[str], quote: str = "") -> str:
    """The end of a message about an unknown word: "; did you mean …?" with the nearest known one, or nothing."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {quote}{near[0]}{quote}?" if near else ""
