"""How commands print: for people in a terminal, and the same text without colours or cuts in a pipe."""

import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

_UNLIMITED = 10_000


class CommandError(Exception):
    """What the command cannot do, in one sentence that says what to do about it. Ends the program with exit code 1."""


def complain(message: str) -> None:
    """Print to stderr, the first line in red."""
    first, newline, rest = message.partition("\n")
    typer.secho(first, err=True, fg=typer.colors.RED, bold=True)
    if newline:
        typer.echo(rest, err=True)


def console() -> "Console":
    """Where results go. Nothing in a message is markup: `pools[0]` is a path and no style."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _UNLIMITED  # in a pipe, rich would cut tables at 80 columns
    return Console(width=width, markup=False, highlight=False, emoji=False)
