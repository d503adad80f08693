"""What the step is doing just now, for the sentence that says what it was stopped at."""

from collections.abc import Iterator
from contextlib import contextmanager

_doing: list[str] = []
_limit = [0.0]


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what is being done, such as "waiting for subctl join"."""
    _doing.append(what)
    yield
    _doing.pop()  # stays after an exception: that is when it is asked for


def current() -> str:
    """What was being done last."""
    return _doing[-1] if _doing else ""


def set_limit(seconds: float) -> None:
    """Say how long the step may take."""
    _limit[0] = seconds


def limit() -> float:
    """How long the step may take, in seconds."""
    return _limit[0]
