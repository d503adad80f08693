"""The project folder of the bare program (`bench.bare`), made of what this project has declared.

Taken from the engine, from a state or from a preview, so that both sides have the same resources.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench import measure, workspace
from lab.project import ROOT

COMPONENTS = "multi-cluster-mesh:"
# Default providers are the engine's own; the stack and its references are no resources of a provider.
_NOT_OURS = ("pulumi:pulumi:", "pulumi:providers:command", "pulumi:providers:pulumi")
Resource = dict[str, Any]


def resources(states: Iterable[dict[str, Any]]) -> list[Resource]:
    """What `resources.json` says of these states of the engine, which have what is depended on first."""
    ours = [state for state in states if not state["type"].startswith(_NOT_OURS)]
    names = {_name(state["urn"]) for state in ours}
    return [
        {
            "name": _name(state["urn"]),
            "type": state["type"],
            "inputs": state.get("inputs") or {},
            "provider": _name(state.get("provider", "").rpartition("::")[0]),
            "depends_on": sorted({_name(urn) for urn in state.get("dependencies") or []} & names),
        }
        for state in ours
    ]


def flat(ours: Sequence[Resource]) -> list[Resource]:
    """All but the components."""
    return [resource for resource in ours if not resource["type"].startswith(COMPONENTS)]


def make(made: workspace.Workspace, ours: Sequence[Resource], stack: str) -> Path:
    """The project folder, with that stack, still empty."""
    folder = made.home / f"bare-{stack}"
    folder.mkdir()
    (folder / ".venv").symlink_to(ROOT / ".venv")
    shutil.copyfile(ROOT / "bench" / "bare.py", folder / "__main__.py")
    runtime = yaml.safe_load((made.folder / "Pulumi.yaml").read_text())["runtime"]
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": f"bare-{stack}", "runtime": runtime}))
    renamed = [_renamed(resource) for resource in flat(ours)]
    if repeated := [name for name, count in Counter(resource["name"] for resource in renamed).items() if count > 1]:
        raise measure.RunError(f"several resources are called {', '.join(repeated)}")
    (folder / "resources.json").write_text(json.dumps(renamed))
    made.run_pulumi("stack", "init", stack, "--no-select", folder=folder)
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
