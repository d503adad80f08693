"""What `make up` ends with: where everything is, who is joined, what was real, and what to do next."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table

from lab.engine import Changes
from lab.project import LabProject

NAMESPACE = "submariner-operator"


@dataclass(frozen=True)
class Found:
    """What a cluster says of itself, read from its API server after the run."""

    server: str
    version: str
    nodes: list[str]
    gateways: list[str]
    pools: list[str]
    network: str
    joined_as: str | None
    pods: str


def read(kubeconfig: Path) -> Found:
    """Read a cluster, instead of repeating what the run believes it did."""
    api = config.new_client_from_config(str(kubeconfig))
    core, objects = client.CoreV1Api(api), client.CustomObjectsApi(api)
    nodes = core.list_node().items
    pools = objects.list_cluster_custom_object("spiderpool.spidernet.io", "v2beta1", "spiderippools")["items"]
    networks = objects.list_cluster_custom_object("spiderpool.spidernet.io", "v2beta1", "spidermultusconfigs")["items"]
    try:
        submariner = objects.get_namespaced_custom_object(
            "submariner.io", "v1alpha1", NAMESPACE, "submariners", "submariner"
        )
    except client.ApiException:
        submariner = {}
    pods = core.list_pod_for_all_namespaces(label_selector="app=test-app").items
    running = sum(pod.status.phase == "Running" for pod in pods)
    return Found(
        server=api.configuration.host,
        version=client.VersionApi(api).get_code().git_version,
        nodes=[node.metadata.name for node in nodes],
        gateways=[n.metadata.name for n in nodes if (n.metadata.labels or {}).get("submariner.io/gateway") == "true"],
        pools=[f"{pool['metadata']['name']}: {', '.join(pool['spec'].get('ips', []))}" for pool in pools],
        network=", ".join(f"{net['metadata']['namespace']}/{net['metadata']['name']}" for net in networks),
        joined_as=submariner.get("spec", {}).get("clusterID"),
        pods=f"{running} of {len(pods)} running",
    )


def show(
    console: Console,
    project: LabProject,
    kubeconfigs: dict[str, Path],
    changes: Changes,
    parts: dict[str, tuple[bool, str]],
    seconds: float,
) -> bool:
    """Print the report; True when every cluster of the plan is joined under its own ID.

    `parts`: what took part in the run, as {name: (whether it is real, what it was)}.
    """
    found = {cluster_id: read(path) for cluster_id, path in kubeconfigs.items()}
    console.print()
    console.print(_clusters(project, found))
    if changes:
        console.print(_stacks(changes))
    console.print(_parts(parts, project))
    joined = all(cluster.joined_as == cluster_id for cluster_id, cluster in found.items())
    console.print(
        Panel(
            _next_steps(kubeconfigs),
            title=f"[bold]{'All' if joined else 'Not all'} clusters are joined[/] after {seconds:.0f} s",
            title_align="left",
            border_style="green" if joined else "red",
        )
    )
    return joined


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", header_style="", show_lines=False)


def _clusters(project: LabProject, found: dict[str, Found]) -> Table:
    table = _table("Clusters, as their API servers tell")
    for column in ("", *found):
        table.add_column(column, overflow="fold")
    rows: dict[str, list[str]] = {
        "API server": [f"{cluster.server} ({cluster.version})" for cluster in found.values()],
        "joined as": [cluster.joined_as or "not joined" for cluster in found.values()],
        "hosts the broker": ["yes" if name == project.plan.broker.cluster else "" for name in found],
        "gateway nodes": [", ".join(cluster.gateways) for cluster in found.values()],
        "pod CIDR": [project.plan.clusters[name].pod_cidr for name in found],
        "Service CIDR": [project.plan.clusters[name].service_cidr for name in found],
        "pools": ["\n".join(cluster.pools) for cluster in found.values()],
        "network": [cluster.network for cluster in found.values()],
        "test-app pods": [cluster.pods for cluster in found.values()],
    }
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


def _stacks(changes: Changes) -> Table:
    kinds = sorted({kind for counts in changes.values() for kind in counts if kind != "read"})
    table = _table("Resources of this run")
    table.add_column("stack")
    for kind in kinds:
        table.add_column(kind, justify="right")
    for stack, counts in changes.items():
        table.add_row(stack, *(str(counts.get(kind, 0)) for kind in kinds))
    return table


def _parts(parts: dict[str, tuple[bool, str]], project: LabProject) -> Group:
    table = _table("What was real")
    for column in ("part", "", "what it was"):
        table.add_column(column, overflow="fold")
    for part, (real, what) in parts.items():
        table.add_row(part, "real" if real else "[yellow]stand-in[/]", what)
    notes = [f"  The plan differs from the shipped one: {text}" for text in project.adapted]
    return Group(table, *notes)


def _next_steps(kubeconfigs: dict[str, Path]) -> str:
    exports: list[str] = [f"export KUBECONFIG_{n.upper().replace('-', '_')}={path}" for n, path in kubeconfigs.items()]
    commands: list[Any] = [
        "Look around (any Kubernetes client):",
        *(f"  {line}" for line in exports),
        "Read the plan:              .venv/bin/python -m mesh check",
        "Change it:                  edit Pulumi.yaml, then make up again",
        "Take all of it away:        make down",
    ]
    return "\n".join(commands)
