"""The one error a person sees as a message instead of a traceback."""


class UserError(ValueError):
    """Bad input from outside: a file, a setting, an argument.

    The message says what was expected, what came, where (file, line or key) and what to do about it.
    The command line prints it on stderr and exits with status 2.
    """
