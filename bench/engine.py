"""3. Preview and no-change up with the real CLI, against a bare program with the same resources.

What this project adds to the engine's and the plugins' own time is the difference. Both stacks are up on the same two
local clusters, and their runs take turns.
"""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from bench import measure, workspace
from lab.project import ROOT

CLUSTERS = 2
ROUNDS = 7
WANTED = 1.1


def run(console: Console) -> None:
    """Print the section."""
    with workspace.with_clusters(CLUSTERS, console) as made:
        made.run_pulumi("up", "--yes", "--skip-preview", "--suppress-outputs", "--stack", workspace.STACK)
        ours = _resources(made)
        bare = _bare(made, ours)
        made.run_pulumi("up", "--yes", "--skip-preview", "--stack", workspace.STACK, folder=bare)
        flat = [resource for resource in ours if not resource["type"].startswith("multi-cluster-mesh:")]
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


def _resources(made: workspace.Workspace) -> list[dict[str, Any]]:
    """Everything in the project's stack, in the order of the state: what is depended on comes first."""
    exported = json.loads(made.run_pulumi("stack", "export", "--stack", workspace.STACK).stdout)
    return [
        {
            "name": _name(resource["urn"]),
            "type": resource["type"],
            "inputs": resource.get("inputs", {}),
            "provider": _name(resource.get("provider", "").rpartition("::")[0]),
            "depends_on": sorted({_name(urn) for urn in resource.get("dependencies", [])}),
        }
        for resource in exported["deployment"]["resources"]
        # Default providers are the engine's own.
        if not resource["type"].startswith(("pulumi:pulumi:", "pulumi:providers:command"))
    ]


def _bare(made: workspace.Workspace, ours: list[dict[str, Any]]) -> Path:
    """The project folder of the bare program, its stack still empty."""
    folder = made.home / "bare"
    folder.mkdir()
    (folder / ".venv").symlink_to(ROOT / ".venv")
    shutil.copyfile(ROOT / "bench" / "bare.py", folder / "__main__.py")
    runtime = yaml.safe_load((made.folder / "Pulumi.yaml").read_text())["runtime"]
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "bare", "runtime": runtime}))
    flat = [_renamed(resource) for resource in ours if not resource["type"].startswith("multi-cluster-mesh:")]
    if repeated := [name for name, count in Counter(resource["name"] for resource in flat).items() if count > 1]:
        raise measure.RunError(f"several resources are called {', '.join(repeated)}")
    (folder / "resources.json").write_text(json.dumps(flat))
    made.run_pulumi("stack", "init", workspace.STACK, folder=folder)
    return folder


def _renamed(resource: dict[str, Any]) -> dict[str, Any]:
    """The resource under another name of its object: the project's own is in the same cluster."""
    inputs = {key: value for key, value in resource["inputs"].items() if not key.startswith("__")}
    if resource["type"] == "command:local:Command":
        # As long as what is encrypted in the state.
        return resource | {"inputs": {"stdin": "x" * len(json.dumps(inputs["stdin"]))}}
    if resource["type"] == "kubernetes:core/v1:NodePatch":
        # The node is there once only; a label of its own.
        return resource | {"inputs": {"metadata": {"name": inputs["metadata"]["name"], "labels": {"bare/x": "true"}}}}
    if "metadata" in inputs:
        metadata = {key: value for key, value in inputs["metadata"].items() if key in ("name", "namespace", "labels")}
        return resource | {"inputs": inputs | {"metadata": metadata | {"name": f"bare-{metadata['name']}"}}}
    return resource


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
