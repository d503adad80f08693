"""3. Preview and no-change up with the real CLI, against a bare program with the same resources.

What this project adds to the engine's and the plugins' own time is the difference. Both stacks are up on the same two
local clusters, and their runs take turns.
"""

import json

from rich.console import Console

from bench import bare_project, measure, workspace

CLUSTERS = 2
ROUNDS = 7
WANTED = 1.1


def run(console: Console) -> None:
    """Print the section."""
    with workspace.with_clusters(CLUSTERS, console) as made:
        made.run_pulumi("up", "--yes", "--skip-preview", "--suppress-outputs", "--stack", workspace.STACK)
        exported = json.loads(made.run_pulumi("stack", "export", "--stack", workspace.STACK).stdout)
        ours = bare_project.resources(exported["deployment"]["resources"])
        bare = bare_project.make(made, ours, workspace.STACK)
        made.run_pulumi("up", "--yes", "--skip-preview", "--stack", workspace.STACK, folder=bare)
        flat = bare_project.flat(ours)
        console.print(
            f"{CLUSTERS} clusters, {len(flat)} resources each; this project has {len(ours) - len(flat)} components "
            "besides.",
            highlight=False,
        )
        for title, arguments in (
            ("preview", ("preview", "--expect-no-changes")),
            ("no-change up", ("up", "--yes", "--skip-preview", "--expect-no-changes")),
        ):
            sides = {
                name: lambda folder=folder, arguments=arguments: made.run_pulumi(
                    *arguments, "--suppress-outputs", "--stack", workspace.STACK, folder=folder
                )
                for name, folder in (("bare", bare), ("this project", made.folder))
            }
            series = measure.by_turns(sides, ROUNDS)
            console.print(measure.comparison(f"{title} (wanted: at most {WANTED} x bare)", series, "bare"))
