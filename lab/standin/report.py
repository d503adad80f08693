"""Progress on stderr in subctl's format: ` • … ` starts a step, ` ✓ `, ` ⚠ ` and ` ✗ ` end it or add to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab.standin.errors import SubctlError, UnexplainedError

SUCCESS, WARNING, FAILURE = "✓", "⚠", "✗"


class Reporter:
    """Messages of a step are kept back until it ends, as subctl does: its own line comes first."""

    def __init__(self) -> None:
        self._step = ""
        self._messages: list[tuple[str, str]] = []

    def start(self, step: str) -> None:
        """Begin a step, ending the one before."""
        self.end()
        self._step = step
        _line(f" • {step}  ...")

    def end(self) -> None:
        """End the step under way."""
        if not self._step:
            return
        marks = [mark for mark, _ in self._messages]
        worst = FAILURE if FAILURE in marks else WARNING if WARNING in marks else SUCCESS
        for mark, message in [(worst, self._step), *self._messages]:
            _line(f" {mark} {message}")
        self._step, self._messages = "", []

    def success(self, message: str) -> None:
        """Add good news to the step."""
        self._say(SUCCESS, message)

    def warning(self, message: str) -> None:
        """Add a warning to the step."""
        self._say(WARNING, message)

    def failure(self, message: str) -> None:
        """Add bad news to the step."""
        self._say(FAILURE, message)

    def error(self, error: Exception, message: str = "") -> SubctlError:
        """Report a failure, end the step and return the error to raise."""
        wrapped = wrap(error, message)
        text = str(wrapped)
        self.failure(text[:1].upper() + text[1:])
        self.end()
        return wrapped

    @contextmanager
    def failing(self, message: str) -> Iterator[None]:
        """Report whatever fails inside as `message`."""
        try:
            yield
        except (SubctlError, OSError) as error:
            if isinstance(error, UnexplainedError) or getattr(error, "rc", 1) != 1:
                raise
            raise self.error(error, message) from error

    def _say(self, mark: str, message: str) -> None:
        if self._step:
            self._messages.append((mark, message))
        else:
            _line(f" {mark} {message}")


@contextmanager
def wrapping(message: str) -> Iterator[None]:
    """Put `message` before whatever fails inside, without reporting it yet."""
    try:
        yield
    except SubctlError as error:
        if isinstance(error, UnexplainedError) or error.rc != 1:
            raise
        raise wrap(error, message) from error


def wrap(error: Exception, message: str) -> SubctlError:
    """Return an error that says `message`, then what `error` says."""
    return SubctlError(f"{message}: {error}" if message else str(error))


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
