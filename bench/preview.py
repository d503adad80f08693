"""7. Previews of a fleet on a machine that can reach no cluster, as in a pull request, against bare programs.

Nothing is up yet, so every resource would be created. The bare programs declare the same resources, taken from previews
of this project, and have the same plugins to wait for. Side by side, because that is how `mesh preview` does it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import bare_project, measure, workspace

ROUNDS = 7
WANTED = 1.2
PREVIEW = ("preview", "--suppress-outputs", "--stack")
# The options of the CLI first, then pairs of a folder and a stack: all at once, and failed where one has.
_AT_ONCE = """\
cli=$1 pids=; shift
while [ $# -gt 0 ]; do
  "$cli" --non-interactive --color never --cwd "$1" preview --suppress-outputs --stack "$2" & pids="$pids $!"; shift 2
done
for pid in $pids; do wait "$pid" || exit; done
"""


def run(console: Console) -> None:
    """Print the section."""
    with workspace.without_clusters() as made:
        ours = {stack: _resources(made, stack) for stack in made.stacks}
        bare = {stack: bare_project.make(made, resources, stack) for stack, resources in ours.items()}
        for stack, resources in ours.items():
            count = len(bare_project.flat(resources))
            console.print(
                f"{stack}: {count} resources on both sides, {len(resources) - count} components besides.",
                highlight=False,
            )
        one, wanted = made.stacks[0], f"(wanted: at most {WANTED} x bare)"
        series = measure.by_turns(
            {
                "bare": lambda: made.run_pulumi(*PREVIEW, one, folder=bare[one]),
                "this project": lambda: made.run_pulumi(*PREVIEW, one),
            },
            ROUNDS,
        )
        console.print(measure.comparison(f"pulumi preview of stack {one} {wanted}", series, "bare"))
        series = measure.by_turns(
            {
                "bare": lambda: _at_once(made, list(bare.items())),
                "this project": lambda: _at_once(made, [(stack, made.folder) for stack in made.stacks]),
                "python -m mesh preview": lambda: made.run_mesh("preview"),
            },
            ROUNDS,
        )
        console.print(measure.comparison(f"{len(bare)} stacks at once {wanted}", series, "bare"))
        console.print(
            "python -m mesh preview asks the backend for its stacks first, and gathers the changes of all.",
            highlight=False,
        )


def _resources(made: workspace.Workspace, stack: str) -> list[bare_project.Resource]:
    """What the stack would create; no cluster is known, so nothing secret is in it, and secrets have their length."""
    previewed = json.loads(made.run_pulumi("preview", "--json", "--show-secrets", "--stack", stack).stdout)
    return bare_project.resources(step["newState"] for step in previewed["steps"])


def _at_once(made: workspace.Workspace, stacks: Sequence[tuple[str, Path]]) -> measure.Sample:
    folders = [word for stack, folder in stacks for word in (str(folder), stack)]
    return measure.run(["sh", "-c", _AT_ONCE, "sh", made.pulumi, *folders], env=made.env)
