"""`python -m bench [section ...]`: run the named sections, by default all of them."""

import importlib
import platform
import sys
import time

from rich.console import Console

from bench import SkippedError, measure

SECTIONS = {
    "refuse": "Refusing a bad plan",
    "graph": "The program by number of clusters in one stack, without an engine",
    "engine": "Preview and no-change up, against a bare program with the same resources",
    "first_up": "First up of a mesh, against the recipe's commands one after another",
    "fleet": "All stacks of a fleet at once, against one after another",
    "status": "Reading the state of a fleet",
    "preview": "Previews of a fleet, as in a pull request",
}


def main(arguments: list[str]) -> int:
    """Run sections and return the exit code: 1 where a name is unknown or a section failed."""
    console = Console()
    if unknown := [name for name in arguments if name not in SECTIONS]:
        console.print(f"No section {', '.join(unknown)}; there are: {', '.join(SECTIONS)}.")
        return 1
    console.print(
        f"Python {platform.python_version()}, {measure.cpus()} CPUs, load {measure.load():.1f} at the start. "
        "Medians, with the smallest and the largest of the runs behind them.",
        highlight=False,
    )
    skipped, failed = [], []
    for name in arguments or SECTIONS:
        console.rule(f"[bold]{name}[/]: {SECTIONS[name]}", align="left")
        started = time.monotonic()
        try:
            importlib.import_module(f"bench.{name}").run(console)
        except ModuleNotFoundError as error:
            if error.name != f"bench.{name}":
                raise
            skipped.append(f"{name}: it is not in this checkout")
        except SkippedError as error:
            skipped.append(f"{name}: {error}")
        except measure.RunError as error:
            failed.append(f"{name}: {error}")
        else:
            console.print(f"[dim]{name} took {time.monotonic() - started:.0f} s[/]\n", highlight=False)
    for reason in skipped:
        console.print(f"[yellow]Skipped[/] {reason}", highlight=False, soft_wrap=True)
    for reason in failed:
        console.print(f"[red]Failed[/] {reason}", highlight=False, soft_wrap=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
