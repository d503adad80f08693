"""Several things at once, none of which can hold up the others or the end of the program."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class _Job(threading.Thread, Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        # A daemon, and no pool, which Python waits for when it ends: a site that hangs must not.
        super().__init__(daemon=True)
        self.result: T | Exception | None = None
        self.done = False
        self._work = work

    def run(self) -> None:
        try:
            self.result = self._work()
        except Exception as error:  # noqa: BLE001 the caller gets it
            self.result = error
        self.done = True


def in_parallel(work: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T | Exception]:
    """What each has given or raised; a TimeoutError for those that have not ended in time, and are left behind."""
    jobs = {name: _Job(each) for name, each in work.items()}
    for job in jobs.values():
        job.start()
    deadline = time.monotonic() + seconds
    for job in jobs.values():
        job.join(max(0.0, deadline - time.monotonic()))
    results: dict[str, T | Exception] = {}
    for name, job in jobs.items():
        late = TimeoutError(f"did not answer within {seconds:g} s")
        results[name] = job.result if job.done else late  # type: ignore[assignment]
    return results
