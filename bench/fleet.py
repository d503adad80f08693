"""5. All stacks of a fleet by `mesh up`, against the same stacks one after another.

A stack for each cluster, as shipped, on clusters of their own. One after another is what a person or a script does with
the CLI alone: `pulumi up` of the broker's stack, then of each member. The first up is from new clusters on both sides,
once; the no-change ups take turns on the clusters that `mesh up` has brought up.
"""

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import events, measure, memory, workspace
from mesh.cli.fleet import PARALLEL

SIZES = (2, 4, 8)
ROUNDS = 3
ONE_BY_ONE, MESH_UP = "one after another", "mesh up"
_ROW = re.compile(r"^\s*(?P<stack>\S+)(?:\s+\d+){5}\s+(?P<seconds>[\d.]+) s\b", re.MULTILINE)  # of mesh up's summary


@dataclass
class _Ups:
    """The last up of all stacks, and what it showed of each.

    Attributes:
        made: where they are.
        seconds: by stack, in order.
        members: from the end of the broker's stack to that of the last one.
        taken: by stack and resource, seconds.
        peaks: by stack and program.
    """

    made: workspace.Workspace
    seconds: dict[str, float] = field(default_factory=dict)
    members: float = 0.0
    taken: dict[str, dict[str, float]] = field(default_factory=dict)
    peaks: dict[str, dict[str, memory.Size]] = field(default_factory=dict)

    def one_by_one(self, *arguments: str) -> measure.Sample:
        """`pulumi up` of each stack."""
        samples = []
        for stack in self.made.stacks:
            log, look = self.made.home / f"{stack}.events", memory.ByProgram()
            samples.append(
                self.made.run_pulumi(
                    *("up", "--yes", "--skip-preview", "--suppress-outputs", "--stack", stack, *arguments),
                    *("--event-log", str(log)),
                    look=look,
                )
            )
            self.taken[stack], self.peaks[stack] = events.spent(log), look.peaks
            log.unlink()
        self.seconds = {stack: sample.seconds for stack, sample in zip(self.made.stacks, samples, strict=True)}
        self.members = sum(sample.seconds for sample in samples[1:])
        return measure.in_a_row(samples)

    def mesh_up(self) -> measure.Sample:
        """`mesh up`, which says how long each stack took."""
        sample = self.made.run_mesh("up", "--yes", look=memory.ByProgram())
        self.seconds = {row["stack"]: float(row["seconds"]) for row in _ROW.finditer(sample.stdout)}
        if set(self.seconds) != set(self.made.stacks):
            raise measure.RunError(f"mesh up does not say how long each stack took: {sample.stdout}")
        ended = [self._log(stack).stat().st_mtime for stack in self.made.stacks]
        self.members = max(ended[1:]) - ended[0]
        return sample

    def _log(self, stack: str) -> Path:
        """The latest log of a stack; its last line is the CLI's last."""
        return max(self.made.folder.glob(f"logs/*/{stack}.log"))


def run(console: Console) -> None:
    """Print the section."""
    for count in SIZES:
        with workspace.with_clusters(count, console, stacks_each=True) as made:
            made.env.update(events.DEBUG)
            first = _Ups(made)
            samples = {ONE_BY_ONE: first.one_by_one()}
        with workspace.with_clusters(count, console, stacks_each=True) as made:
            made.env.update(events.DEBUG)
            together = _Ups(made)
            samples[MESH_UP] = together.mesh_up()
            series = {name: measure.Series((sample,)) for name, sample in samples.items()}
            title = f"First up of {count} stacks, with {made.subctl}"
            console.print(measure.comparison(title, series, ONE_BY_ONE))
            _where(console, samples, (first, together))
            _resources(console, first)
            _memory(console, first)
            one_by_one, together = _Ups(made), _Ups(made)
            sides: dict[str, Callable[[], measure.Sample]] = {
                ONE_BY_ONE: partial(one_by_one.one_by_one, "--expect-no-changes"),
                MESH_UP: together.mesh_up,
            }
            series = measure.by_turns(sides, ROUNDS, warm_up=False)
            console.print(measure.comparison(f"No-change up of {count} stacks", series, ONE_BY_ONE))
            _where(console, {name: side.samples[-1] for name, side in series.items()}, (one_by_one, together))
    console.print(
        f"{MESH_UP} runs at most {PARALLEL} stacks at once; here they share {measure.cpus()} CPUs with the clusters. "
        f"Peak memory is that of the whole of {MESH_UP}, and of the largest stack of {ONE_BY_ONE}: {memory.kind()}.",
        highlight=False,
    )


def _where(console: Console, samples: dict[str, measure.Sample], ups: Sequence[_Ups]) -> None:
    """Where the time of one run goes; the rest is Python, the SDK, and what they ask the backend before and after."""
    made = measure.table("Where the time goes, s", "", "broker's stack", "all members", "a member", "the rest")
    for (name, sample), side in zip(samples.items(), ups, strict=True):
        broker, *members = side.seconds.values()
        rest = sample.seconds - broker - side.members
        times = (broker, side.members, statistics.median(members), rest)
        made.add_row(name, *(f"{seconds:.1f}" for seconds in times))
    console.print(made)


def _resources(console: Console, ups: _Ups) -> None:
    """What takes the time within a stack; resources are made side by side, so theirs add up to more than the whole."""
    broker, *members = (
        {name.replace(stack, "<cluster>"): seconds for name, seconds in ups.taken[stack].items()}
        for stack in ups.made.stacks
    )
    made = measure.table(f"Where the time of a stack goes, {ONE_BY_ONE}, s", "", "broker's stack", "a member, mean")
    for name in dict.fromkeys(name for taken in (broker, *members) for name in taken):
        mean = statistics.mean(taken.get(name, 0.0) for taken in members)
        if max(mean, broker.get(name, 0.0)) >= 1:  # the log has no parts of a second
            made.add_row(name, f"{broker.get(name, 0.0):.0f}", f"{mean:.1f}")
    console.print(made)


def _memory(console: Console, ups: _Ups) -> None:
    """Of every program, the peak in any of the stacks."""
    largest: dict[str, memory.Size] = defaultdict(memory.Size)
    for peaks in ups.peaks.values():
        for name, size in peaks.items():
            largest[name] |= size
    made = measure.table("Peak memory of one stack's pulumi up, MiB", "", "own and shared part", "resident")
    for name, size in sorted(largest.items(), key=lambda item: item[1].resident):
        made.add_row(name, f"{size.share / measure.MIB:.0f}", f"{size.resident / measure.MIB:.0f}")
    console.print(made)
