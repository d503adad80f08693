"""4. The first up of a mesh in one stack, against the recipe's commands typed one after another.

Both start from new clusters, end with the same objects in them (which is compared), and use the same subctl with the
same flags. The recipe's side is a script that never has to think and makes no mistake: the fastest that typing can be.
It applies what the recipe applies and waits, as `pulumi up` does, until the apps are available.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import config, dynamic
from rich.console import Console

from bench import events, measure, workspace
from components.spiderpool import API_VERSION, network_spec, pool_spec
from mesh.plan import derive
from mesh.plan.settings import BROKER_INFO_FILE

SIZES = {2: 0.75, 4: 0.5}  # clusters: the wanted share of the recipe's time
ROUNDS = 3
APP_SECONDS = 120
DEPLOY_BROKER, JOIN = "subctl deploy-broker", "subctl join"
Phases = dict[str, float]
Timed = tuple[measure.Sample, Phases]


def run(console: Console) -> None:
    """Print the section."""
    for count, wanted in SIZES.items():
        sides = {"recipe": _Side(count, console, _recipe), "pulumi up": _Side(count, console, _project)}
        series = measure.by_turns({name: side.once for name, side in sides.items()}, ROUNDS, warm_up=False)
        one, other = (side.effect for side in sides.values())
        if one != other:
            raise measure.RunError(f"the two sides do not end with the same: {one} against {other}")
        title = f"First up of {count} clusters with {sides['recipe'].subctl} (wanted: at most {wanted} x recipe)"
        console.print(measure.comparison(title, series, "recipe"))
        for name, side in sides.items():
            console.print(_where(name, side.phases))
        console.print("Resources are made side by side: theirs add up to more than the whole.", highlight=False)
        console.print(_floor(sides["recipe"].phases, series["recipe"].seconds), highlight=False)


class _Side:
    """One side of the comparison, on new clusters every time."""

    def __init__(self, count: int, console: Console, work: Callable[[workspace.Workspace], Timed]) -> None:
        self.count, self.console, self.work = count, console, work
        self.phases: list[Phases] = []
        self.effect: dict[str, Any] = {}
        self.subctl = ""

    def once(self) -> measure.Sample:
        with workspace.with_clusters(self.count, self.console) as made:
            timed = self.work(made)
            self.effect, self.subctl = _effect(made), made.subctl
        self.phases.append(timed[1])
        return timed[0]


def _where(side: str, rounds: list[Phases]) -> Any:
    """Where the time went, the longest first, of the round in the middle."""
    made = measure.table(f"Where the time of {side} goes", "", "s")
    for name, seconds in sorted(_middle(rounds).items(), key=lambda item: -item[1])[:12]:
        made.add_row(name, f"{seconds:.1f}")
    return made


def _floor(rounds: list[Phases], recipe: float) -> str:
    """What no order of subctl's commands can go below, however much else is done at the same time.

    A join reads what deploy-broker writes last (subctl pkg/deploy/broker.go, pkg/join/join.go), so they cannot overlap.
    """
    spent = _middle(rounds)
    (deploy,) = (seconds for name, seconds in spent.items() if name.endswith(DEPLOY_BROKER))
    least = deploy + max(seconds for name, seconds in spent.items() if name.endswith(JOIN))
    return (
        f"subctl deploy-broker and then the slowest {JOIN}, with nothing before, between or after them: {least:.1f} s, "
        f"{least / recipe:.2f} x recipe."
    )


def _middle(rounds: list[Phases]) -> Phases:
    return sorted(rounds, key=lambda spent: sum(spent.values()))[len(rounds) // 2]


def _recipe(made: workspace.Workspace) -> Timed:
    """What the recipe says, command after command."""
    spent: Phases = {}

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        spent[name] = time.perf_counter() - began

    apis = {cluster_id: _connect(made.kubeconfig(cluster_id)) for cluster_id in made.plan.clusters}
    started = time.perf_counter()
    for cluster_id, cluster in made.plan.clusters.items():
        with phase(f"{cluster_id}: apply pools and network"):
            for pool in cluster.pools:
                _apply(apis[cluster_id], API_VERSION, "SpiderIPPool", pool.name, "", {"spec": pool_spec(pool)})
            network, hijacked = cluster.network, derive.hijack_cidr(made.plan, cluster_id)
            spec = {"spec": network_spec(cluster, hijacked)}
            _apply(apis[cluster_id], API_VERSION, "SpiderMultusConfig", network.name, network.namespace, spec)
    host = made.plan.broker.cluster
    with phase(f"{host}: {DEPLOY_BROKER}"):
        _subctl(made, "deploy-broker", host, *derive.broker_settings(made.plan).flags())
    for cluster_id, cluster in made.plan.clusters.items():
        with phase(f"{cluster_id}: label gateways"):
            for gateway in cluster.gateways:
                labels = {"metadata": {"labels": {derive.GATEWAY_LABEL: "true"}}}
                _apply(apis[cluster_id], "v1", "Node", gateway.node, "", labels)
        with phase(f"{cluster_id}: {JOIN}"):
            _subctl(made, "join", cluster_id, BROKER_INFO_FILE, *derive.join_settings(made.plan, cluster_id).flags())
    with phase("all apps available"):
        for cluster_id in made.plan.clusters:
            _create_app(made, apis[cluster_id], cluster_id)
        for cluster_id in made.plan.clusters:
            _await_app(made, apis[cluster_id], cluster_id)
    return measure.Sample(time.perf_counter() - started, 0, 0), spent


def _subctl(made: workspace.Workspace, command: str, cluster_id: str, *arguments: str) -> None:
    argv = ["subctl", command, "--kubeconfig", str(made.kubeconfig(cluster_id)), *arguments]
    done = subprocess.run(
        argv, cwd=made.home, env=made.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise measure.RunError(f"subctl {command} of {cluster_id} failed: {(done.stdout + done.stderr)[-500:]}")


def _create_app(made: workspace.Workspace, api: Any, cluster_id: str) -> None:
    app, labels = made.plan.sample_app, {"app": made.plan.sample_app.name}
    annotations = {derive.DEFAULT_NETWORK_ANNOTATION: derive.default_network(made.plan.clusters[cluster_id])}
    container = {"name": app.name, "image": app.image, "ports": [{"name": "http", "containerPort": app.port}]}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [container]}}
    deployment = {"spec": {"replicas": app.replicas, "selector": {"matchLabels": labels}, "template": template}}
    _apply(api, "apps/v1", "Deployment", app.name, app.namespace, deployment)
    service = {"spec": {"ports": [{"port": app.port, "targetPort": app.port}], "selector": labels}}
    _apply(api, "v1", "Service", f"{app.name}-svc", app.namespace, service)


def _await_app(made: workspace.Workspace, api: Any, cluster_id: str) -> None:
    app = made.plan.sample_app
    deployments, limit = api.resources.get(api_version="apps/v1", kind="Deployment"), time.monotonic() + APP_SECONDS
    while deployments.get(app.name, app.namespace).to_dict().get("status", {}).get("availableReplicas") != app.replicas:
        if time.monotonic() > limit:
            raise measure.RunError(f"the app of {cluster_id} is not available after {APP_SECONDS} s")
        time.sleep(0.2)


def _project(made: workspace.Workspace) -> Timed:
    """`pulumi up`, and from its events how long each resource took."""
    log = made.home / "events.json"
    made.env.update(events.DEBUG)
    arguments = ("up", "--yes", "--skip-preview", "--suppress-outputs", "--stack", workspace.STACK)
    return made.run_pulumi(*arguments, "--event-log", str(log)), events.spent(log)


def _effect(made: workspace.Workspace) -> dict[str, Any]:
    """What the clusters have in the end, as far as both sides should agree."""
    found = {}
    for cluster_id in made.plan.clusters:
        api = _connect(made.kubeconfig(cluster_id))
        submariner = _read(api, "submariner.io/v1alpha1", "Submariner")
        app = _read(api, "apps/v1", "Deployment", namespace=made.plan.sample_app.namespace)
        found[cluster_id] = {
            "pools": {name: item["spec"] for name, item in _read(api, API_VERSION, "SpiderIPPool").items()},
            "networks": {name: item["spec"] for name, item in _read(api, API_VERSION, "SpiderMultusConfig").items()},
            "joined": {
                name: {
                    key: item["spec"].get(key)
                    for key in ("clusterID", "clusterCIDR", "serviceCIDR", "cableDriver", "version")
                }
                for name, item in submariner.items()
            },
            "gateways": sorted(_read(api, "v1", "Node", label_selector=f"{derive.GATEWAY_LABEL}=true")),
            "available": {name: item["status"].get("availableReplicas") for name, item in app.items()},
            "services": sorted(_read(api, "v1", "Service", namespace=made.plan.sample_app.namespace)),
        }
    return found


def _connect(kubeconfig: Path) -> Any:
    return dynamic.DynamicClient(config.new_client_from_config(str(kubeconfig)))


def _read(api: Any, version: str, kind: str, **options: str) -> dict[str, dict[str, Any]]:
    items = api.resources.get(api_version=version, kind=kind).get(**options).to_dict()["items"]
    return {item["metadata"]["name"]: item for item in items}


def _apply(api: Any, version: str, kind: str, name: str, namespace: str, body: dict[str, Any]) -> None:
    """As `kubectl apply --server-side`."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {}) | body.get("metadata", {})
    api.resources.get(api_version=version, kind=kind).server_side_apply(
        body={"apiVersion": version, "kind": kind} | body | {"metadata": metadata},
        name=name,
        namespace=namespace or None,
        field_manager="recipe",
        force_conflicts=True,
    )
