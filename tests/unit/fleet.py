"""A project folder and engine events to test the fleet with."""

from pathlib import Path
from typing import Any

import yaml
from pulumi.automation import EngineEvent

from mesh.fleet.changes import StackChanges
from mesh.fleet.run import State, Task
from mesh.fleet.stacks import Stack
from tests.unit.plans import changed, seed

MESH = "multi-cluster-mesh:index:MultiClusterMesh"
POOL = f"{MESH}$multi-cluster-mesh:index:Spiderpool$kubernetes:spiderpool.spidernet.io/v2beta1:SpiderIPPool"
NETWORK = f"{MESH}$multi-cluster-mesh:index:Spiderpool$kubernetes:spiderpool.spidernet.io/v2beta1:SpiderMultusConfig"
BROKER = f"{MESH}$multi-cluster-mesh:index:Broker$command:local:Command"
JOIN = f"{MESH}$multi-cluster-mesh:index:Join$command:local:Command"
SECRET = f"{MESH}$kubernetes:core/v1:Secret"


def third_cluster() -> dict[str, Any]:
    """The seed's plan with a cluster-c."""
    cluster = changed({})["clusters"]["cluster-b"] | {"podCIDR": "172.112.0.0/16", "serviceCIDR": "10.253.0.0/18"}
    pool = {"name": "c", "subnet": "172.112.0.0/16", "ips": ["172.112.1.1-172.112.1.9"], "gateway": "172.112.0.1"}
    return changed({"clusters.cluster-c": cluster | {"pools": [pool]}})


def project(folder: Path, plan: dict[str, Any] | None = None, **stacks: Any) -> Path:
    """A project folder with a plan and stack files; `cluster_b={...}` is the config in Pulumi.cluster-b.yaml."""
    document = {"name": "mesh", "runtime": "python", "config": {"mesh:plan": {"value": plan or seed()}}}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(document))
    for name, config in stacks.items():
        (folder / f"Pulumi.{name.replace('_', '-')}.yaml").write_text(yaml.safe_dump({"config": config}))
    return folder


def step(
    op: str,
    types: str,
    name: str,
    *,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
    diff: dict[str, str] | None = None,
    custom: bool = True,
    kind: str = "resOutputsEvent",
    planning: bool = True,
) -> EngineEvent:
    """An event as the engine writes it into its log, of a step on one resource."""
    urn = f"urn:pulumi:cluster-b::mesh::{types}::{name}"
    metadata = {
        "op": op,
        "urn": urn,
        "type": types.rsplit("$", 1)[-1],
        "provider": "",
        "old": None if old is None else {"urn": urn, "custom": custom, "inputs": old},
        "new": {"urn": urn, "custom": custom, "inputs": new or {}},
        "detailedDiff": {path: {"diffKind": how, "inputDiff": True} for path, how in (diff or {}).items()},
    }
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, kind: {"metadata": metadata, "planning": planning}})


def diagnostic(message: str, severity: str = "error", types: str = "", name: str = "", **more: Any) -> EngineEvent:
    """A message of the engine."""
    urn = f"urn:pulumi:cluster-b::mesh::{types}::{name}" if types else ""
    event = {"message": message, "severity": severity, "color": "never", "urn": urn, **more}
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": event})


def task(*events: EngineEvent, name: str = "cluster-b", state: State = State.DONE) -> Task:
    """A stack in which that has happened."""
    changes = StackChanges()
    for event in events:
        changes.on_event(event)
    return Task(Stack(name, (name,), name == "cluster-a"), changes, Path("logs") / f"{name}.log", state, seconds=1.0)
