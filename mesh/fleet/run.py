"""Runs an operation on stacks, wave by wave, and keeps what came out of each."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Protocol

from mesh.fleet.changes import StackChanges
from mesh.fleet.engine import Engine, NotStartedError, StackFailedError
from mesh.fleet.order import Operation, Wave
from mesh.fleet.stacks import Stack


class State(StrEnum):
    """Where a stack is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    NOT_STARTED = "not started"


@dataclass
class Task:
    """One stack in a run.

    Attributes:
        stack: the stack.
        changes: what happens in it.
        log: the file with all that the CLI printed.
        state: where it is.
        reason: why it failed or did not start.
        started: on the monotonic clock; None before.
        seconds: how long it took, once it has ended.
    """

    stack: Stack
    changes: StackChanges
    log: Path
    state: State = State.WAITING
    reason: str = ""
    started: float | None = field(default=None, repr=False)
    seconds: float | None = None

    def elapsed(self) -> float:
        """Seconds since it started, or that it took."""
        if self.started is None:
            return 0.0
        return self.seconds if self.seconds is not None else time.monotonic() - self.started

    def errors(self) -> list[str]:
        """What went wrong: what the engine said of resources, else what the CLI ended with."""
        if self.state is not State.FAILED:
            return []
        return self.changes.errors() or [self.reason]


class Board(Protocol):
    """Shows people how a run goes; called from several threads."""

    def show(self, tasks: Sequence[Task]) -> None:
        """These are the stacks of the run."""

    def moved(self, task: Task) -> None:
        """The stack is in another state."""

    def said(self, stack: str, line: str) -> None:
        """Something happened in the stack, or in all (empty name)."""


class Run:
    """One operation on all the stacks of some waves."""

    def __init__(self, engine: Engine, operation: Operation, board: Board, logs: Path, *, dry_run: bool) -> None:
        self._engine = engine
        self._operation = operation
        self._board = board
        self._logs = logs
        self._dry_run = dry_run
        self._failed: list[str] = []
        self.interrupts = 0

    def run(self, waves: Sequence[Wave]) -> list[Task]:
        """Run the waves one after another; give every stack's task, in that order."""
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        planned = [(wave, [self._task(stack) for stack in wave.stacks]) for wave in waves]
        tasks = [task for _, in_wave in planned for task in in_wave]
        self._board.show(tasks)
        with _interrupts(self._interrupt):
            for wave, in_wave in planned:
                # A failed wave keeps all later ones from starting: they build on it.
                stop_at_failure = wave.stop_at_failure or bool(self._failed)
                with ThreadPoolExecutor(max_workers=wave.parallel) as pool:
                    for job in [pool.submit(self._do, task, stop_at_failure) for task in in_wave]:
                        job.result()
        return tasks

    def _task(self, stack: Stack) -> Task:
        suffix = ".preview.log" if self._dry_run and self._operation is not Operation.PREVIEW else ".log"
        changes = StackChanges(lambda line: self._board.said(stack.name, line))
        return Task(stack, changes, self._logs / f"{stack.name}{suffix}")

    def _do(self, task: Task, stop_at_failure: bool) -> None:
        if self.interrupts:
            self._move(task, State.NOT_STARTED, "all was stopped before its turn")
        elif self._failed and stop_at_failure:
            self._move(task, State.NOT_STARTED, f"{', '.join(self._failed)} failed before its turn")
        else:
            task.started = time.monotonic()
            self._move(task, State.RUNNING)
            state, reason = self._outcome(task)
            task.seconds = task.elapsed()
            if state is State.FAILED:
                self._failed.append(task.stack.name)
            self._move(task, state, reason)

    def _outcome(self, task: Task) -> tuple[State, str]:
        try:
            with task.log.open("w", encoding="utf-8") as log:
                self._engine.run(task.stack, self._operation, task.changes, log, dry_run=self._dry_run)
        except NotStartedError:
            return State.NOT_STARTED, "all was stopped before its turn"
        except StackFailedError as failure:
            if self.interrupts:
                return State.STOPPED, "half-way; the next run goes on from here"
            return State.FAILED, next(iter(task.changes.errors()), str(failure))
        return State.DONE, ""

    def _move(self, task: Task, state: State, reason: str = "") -> None:
        task.state, task.reason = state, reason
        self._board.moved(task)

    def _interrupt(self) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            self._board.said("", "Stopping: what runs is asked to end. Once more ends it at once, half-done.")
        self._engine.stop()


@contextmanager
def _interrupts(act: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, and what CI systems and closed terminals send instead, call `act` while this lasts."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        act()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
