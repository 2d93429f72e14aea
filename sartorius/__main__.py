"""`python -m sartorius`, which is how torchrun starts the command."""

from sartorius.cli import main

main()
