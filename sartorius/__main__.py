"""The command `sartorius`, also as `python -m sartorius`, which is how torchrun starts it."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback from the first import on."""
    try:
        from sartorius.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # as `sartorius.cli.exits` does, which may not be there yet


if __name__ == "__main__":
    main()
