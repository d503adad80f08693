"""How the plan's mistakes are told: where, what, and what to do."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in the plan.

    `path` is the field (`clusters.cluster-a.pools[0].gateway`), `what` names the values and why they do not work,
    `fix` says what to write instead.
    """

    path: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" + (f"\n    fix: {self.fix}" if self.fix else "")


class PlanError(Exception):
    """The plan cannot be used; `problems` has every mistake found, in the order of the plan."""

    def __init__(self, problems: Sequence[Problem], source: str = "the plan") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source} has {count} mistake{'s' if count != 1 else ''}; nothing was changed.\n{lines}")


def repeated(items: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    """A problem for each value, given with its path, that was there before."""
    seen: dict[str, str] = {}
    for path, value in items:
        if value in seen:
            yield Problem(path, f"{value!r} is there already ({seen[value]})", "name it once")
        seen.setdefault(value, path)
