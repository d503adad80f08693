"""1. Refusing a bad plan: how long until all its mistakes are told, and what of that time is imports."""

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from rich.console import Console

from bench import measure, plans

ROUNDS = 9
HEAVIEST = 8
REFUSED = {"check": 1, "program": 3}  # exit codes


def run(console: Console) -> None:
    """Print the section."""
    with tempfile.TemporaryDirectory() as folder:
        plan = str(plans.write(plans.bad(), Path(folder)))
        check = ["-m", "mesh", "check", "--plan", plan]
        program = ["-m", "bench.program", plan]
        sides = {
            "python": lambda: _python(["-c", "pass"], 0),
            "import pulumi": lambda: _python(["-c", "import pulumi"], 0),
            "python -m mesh check": lambda: _python(check, REFUSED["check"]),
            "the program, no engine": lambda: _python(program, REFUSED["program"]),
        }
        series = measure.by_turns(sides, ROUNDS)
        console.print(measure.comparison("A bad plan refused (wanted: under 1 s)", series, "python"))
        told = series["python -m mesh check"].samples[0]
        mistakes = (told.stdout + told.stderr).count("fix:")
        console.print(f"Mistakes told at once: {mistakes}.", highlight=False)
        for name, argv, code in (("mesh check", check, REFUSED["check"]), ("program", program, REFUSED["program"])):
            _imports(console, name, argv, code)


def _python(arguments: list[str], code: int) -> measure.Sample:
    return measure.run([sys.executable, *arguments], cwd=plans.ROOT, expect=code)


def _imports(console: Console, name: str, argv: list[str], code: int) -> None:
    """What the imports of one run cost; the times are those of a run that is slowed down by measuring them."""
    sample = _python(["-X", "importtime", *argv], code)
    own: dict[str, float] = defaultdict(float)
    modules: dict[str, int] = defaultdict(int)
    for line in sample.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and len(parts) == 3 and parts[0].strip().isdigit():
            package = parts[2].strip().split(".")[0]
            own[package] += int(parts[0]) / 1e6
            modules[package] += 1
    total = sum(own.values())
    made = measure.table(
        f"Imports of {name}: {sum(modules.values())} modules, {total:.2f} of {sample.seconds:.2f} s "
        f"({total / sample.seconds:.0%})",
        "package",
        "modules",
        "ms",
        "share",
    )
    for package, seconds in sorted(own.items(), key=lambda item: -item[1])[:HEAVIEST]:
        made.add_row(package, str(modules[package]), f"{seconds * 1000:.0f}", f"{seconds / total:.0%}")
    console.print(made)
