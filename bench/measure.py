"""How things are measured: whole process trees, the sides of a comparison by turns, medians.

By turns, because a machine that does something else for a minute would otherwise be part of one side only.
"""

import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

MIB = 1024 * 1024


class RunError(Exception):
    """What was to be measured has failed; the message is for people."""


class Look:
    """How the memory of a run is looked at.

    Attributes:
        every: seconds between two looks.
    """

    every = 0.02

    def memory(self, pids: Sequence[int]) -> int:
        """What these processes take at the moment, bytes: resident, so what they share counts for each of them."""
        return sum(map(resident, pids))


@dataclass(frozen=True)
class Sample:
    """One run of one program.

    Attributes:
        seconds: wall time.
        cpu: time on a CPU, of the process and of all descendants that somebody waited for.
        peak: the largest sum of the memory of the process and its descendants, MiB: resident unless told otherwise.
        stdout: what it printed.
        stderr: what it complained of.
    """

    seconds: float
    cpu: float
    peak: float
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True)
class Series:
    """All runs of one side."""

    samples: tuple[Sample, ...]

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return statistics.median(sample.seconds for sample in self.samples)

    @property
    def cpu(self) -> float:
        """Median time on a CPU: on a busy machine the steadier one of the two."""
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def peak(self) -> float:
        """Median of the peak memory, MiB."""
        return statistics.median(sample.peak for sample in self.samples)

    def spread(self) -> str:
        """The fastest and the slowest run."""
        seconds = [sample.seconds for sample in self.samples]
        return f"{min(seconds):.2f} - {max(seconds):.2f}"


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    expect: int | None = 0,
    timeout: float = 600,
    look: Look | None = None,
) -> Sample:
    """Run a program once.

    Raises:
        RunError: it ended with another exit code than expected (None: any will do), or not in time.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as complaints:
        before, started = _cpu(), time.perf_counter()
        process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=complaints, text=True
        )
        look, peak, late = look or Look(), 0, False
        try:
            while process.poll() is None:
                peak = max(peak, look.memory(_tree(process.pid)))
                late = time.perf_counter() - started > timeout
                if late:
                    break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(look.every)  # wakes up at the end, so that the wall time is not rounded
            seconds = time.perf_counter() - started
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        out.seek(0)
        complaints.seek(0)
        sample = Sample(seconds, _cpu() - before, peak / MIB, out.read(), complaints.read())
    if late:
        raise RunError(f"{' '.join(argv)[:200]} did not end within {timeout:g} s")
    if expect is not None and process.returncode != expect:
        said = "\n".join((sample.stdout + sample.stderr).strip().splitlines()[-12:])
        raise RunError(f"{' '.join(argv)[:200]} ended with exit code {process.returncode}: {said}")
    return sample


def in_a_row(samples: Sequence[Sample]) -> Sample:
    """Runs one after another as one."""
    return Sample(
        sum(sample.seconds for sample in samples),
        sum(sample.cpu for sample in samples),
        max(sample.peak for sample in samples),
    )


def by_turns(sides: Mapping[str, Callable[[], Sample]], rounds: int, *, warm_up: bool = True) -> dict[str, Series]:
    """Each side as often as told, in turns, and every other round backwards; the first round may be for the caches."""
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for number in range(-1 if warm_up else 0, rounds):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            sample = sides[name]()
            if number >= 0:
                samples[name].append(sample)
    return {name: Series(tuple(taken)) for name, taken in samples.items()}


def table(title: str, *columns: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def comparison(title: str, series: Mapping[str, Series], against: str) -> Table:
    """Wall time and memory of all sides, as multiples of one of them too."""
    made = table(title, "", "median s", "min - max s", f"x {against}", "CPU s", "peak MiB")
    for name, side in series.items():
        ratio = f"{side.seconds / series[against].seconds:.2f}"
        made.add_row(name, f"{side.seconds:.2f}", side.spread(), ratio, f"{side.cpu:.2f}", f"{side.peak:.0f}")
    return made


def need(command: str) -> str:
    """The path of a program that a section cannot do without.

    Raises:
        SkippedError: it is not on PATH.
    """
    from bench import SkippedError

    found = shutil.which(command)
    if not found:
        raise SkippedError(f"{command} is not on PATH")
    return found


def cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """How many processes wanted a CPU in the last minute: above `cpus()`, times are those of a busy machine."""
    return os.getloadavg()[0]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree(pid: int) -> list[int]:
    """The process and its descendants; without /proc only itself."""
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        with suppress(OSError):  # it has just ended
            for task in Path(f"/proc/{found[-1]}/task").glob("*/children"):
                left += map(int, task.read_text().split())
    return found


def resident(pid: int) -> int:
    """Resident memory of one process, bytes; 0 where that cannot be told."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
