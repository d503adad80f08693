"""Shows how a run goes: a live table in a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mesh.fleet.changes import Op
from mesh.fleet.run import Board, State, Task

SIGNS = {Op.CREATE: "+", Op.UPDATE: "~", Op.REPLACE: "±", Op.DELETE: "-", Op.SAME: "="}
STYLES = {Op.CREATE: "green", Op.UPDATE: "yellow", Op.REPLACE: "magenta", Op.DELETE: "red", Op.SAME: "dim"}
_MARKS = {
    State.WAITING: ("·", "dim"),
    State.DONE: ("✓", "green"),
    State.FAILED: ("✗", "red"),
    State.STOPPED: ("■", "yellow"),
    State.NOT_STARTED: ("-", "dim"),
}


@contextmanager
def board() -> Iterator[Board]:
    """The board that fits stderr, where progress goes; results go to stdout."""
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    if console.is_terminal:
        with _LiveBoard(console) as live:
            yield live
    else:
        yield _PlainBoard(console)


class _LiveBoard:
    """One line per stack, redrawn."""

    def __init__(self, console: Console) -> None:
        self._tasks: Sequence[Task] = ()
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8)

    def __enter__(self) -> "_LiveBoard":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks

    def moved(self, task: Task) -> None:
        """Nothing: the next frame shows it."""

    def said(self, stack: str, line: str) -> None:
        if not stack:
            self._live.console.print(line)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(min_width=len(State.NOT_STARTED), no_wrap=True)
        table.add_column(min_width=6, justify="right")
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for task in self._tasks:
            running = task.state is State.RUNNING
            mark = self._spinner if running else Text(*_MARKS[task.state])
            elapsed = "" if task.started is None else f"{task.elapsed():.0f} s"
            latest = task.changes.latest if running else task.reason.partition("\n")[0]
            table.add_row(mark, task.stack.name, task.state.value, elapsed, counts(task), latest)
        return table


class _PlainBoard:
    """A line for each thing that happens, for pipes and CI logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def show(self, tasks: Sequence[Task]) -> None:
        """Nothing: each will be told when it starts."""

    def moved(self, task: Task) -> None:
        if task.state is State.RUNNING:
            self.said(task.stack.name, "started")
        else:
            took = "" if task.started is None else f" after {task.elapsed():.0f} s"
            why = task.reason.partition("\n")[0]
            self.said(task.stack.name, f"{task.state.value}{took} {counts(task)} {why}".rstrip())

    def said(self, stack: str, line: str) -> None:
        with self._lock:
            prefix = f"{stack}: " if stack else ""
            self._console.print(f"{time.monotonic() - self._started:7.1f} s  {prefix}{line}", soft_wrap=True)


def counts(task: Task) -> Text:
    """`+3 ~1 =12`."""
    found = task.changes.count()
    parts = [Text(f"{SIGNS[op]}{found[op]}", STYLES[op]) for op in SIGNS if found[op]]
    return Text(" ").join(parts)
