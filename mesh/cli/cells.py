"""What stands in the cells of tables."""

from typing import Any

from rich.console import Console
from rich.containers import Lines
from rich.text import Text


class Ranges(Text):
    """Ranges of addresses, each on a line; where one has to be broken, it is after its dash and not in an address."""

    def wrap(self, console: Console, width: int, **options: Any) -> Lines:
        """The lines that fit."""
        lines = (line if len(line) <= width else line.replace("-", "-\n") for line in self.plain.splitlines())
        return Text("\n".join(lines), self.style).wrap(console, width, **options)
