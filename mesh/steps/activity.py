"""What the step is doing just now: told as it begins, and for the sentence that says what it was stopped at.

On stderr, a line each, which the engine shows beside the step. Lines for people who wait end with `PENDING`, those that
matter afterwards begin with `WARNING`; what a step fails with is a line of neither kind.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mesh.steps.errors import scrub

PENDING = " ..."
WARNING = "warning: "

_doing: list[str] = []
_limit = [0.0]


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what is being done, such as "waiting for subctl join"."""
    _doing.append(what)
    say(what + PENDING)
    yield
    _doing.pop()  # stays after an exception: that is when it is asked for


def say(text: str) -> None:
    """Print a line on stderr, without secrets."""
    with suppress(OSError):  # nobody listens any more
        sys.stderr.write(" ".join(scrub(text).split()) + "\n")
        sys.stderr.flush()


def failure(said: str) -> str:
    """What a step failed with, out of all that it has said on stderr."""
    return "\n".join(line for line in said.splitlines() if not line.endswith(PENDING))


def current() -> str:
    """What was being done last."""
    return _doing[-1] if _doing else ""


def set_limit(seconds: float) -> None:
    """Say how long the step may take."""
    _limit[0] = seconds


def limit() -> float:
    """How long the step may take, in seconds."""
    return _limit[0]
