"""Probe pods: one on a gateway node and one on another node of each cluster, on the mesh's network, gone afterwards.

Pods of our own, because the sample app's image need not have `ip`, `ping` or a large file; each of them serves such a
file and sends to the others. How a script gets into a pod is the caller's choice (`Runner`): no test has ever run one
in a pod that is more than simulated.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from mesh.health import data_path
from mesh.health.data_path import Check, Source, Target
from mesh.health.expect import PROBE_START_SECONDS, App, Expected
from mesh.health.models import DataPath, Node, Row, State
from mesh.health.parallel import in_parallel
from mesh.plan.derive import DEFAULT_NETWORK_ANNOTATION
from mesh.steps.errors import StepError
from mesh.steps.kube import Cluster, Object

NAME = "mesh-probe"
PORT = 8080
START_SECONDS = PROBE_START_SECONDS - 30.0
LIFETIME_SECONDS = 900  # should we be killed, the pods end by themselves
POLL_SECONDS = 1.0
GATEWAY, OTHER = "gateway", "other"
_LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/managed-by": "multi-cluster-mesh"}
_RUN_LABEL = "multi-cluster-mesh/run"
# busybox has httpd; Alpine's, which nettest is made of, has it not, but an nc that starts a program per connection.
_SERVER = f"""\
mkdir -p /tmp/www && head -c {data_path.TRANSFER_BYTES} /dev/zero >/tmp/www/probe || exit 1
cat >/tmp/serve <<'END'
#!/bin/sh
while read -r line && [ "${{#line}}" -gt 1 ]; do :; done
printf 'HTTP/1.0 200 OK\\r\\nContent-Length: {data_path.TRANSFER_BYTES}\\r\\nConnection: close\\r\\n\\r\\n'
exec cat /tmp/www/probe
END
chmod +x /tmp/serve
trap 'exit 0' TERM
if command -v httpd >/dev/null; then httpd -f -p {PORT} -h /tmp/www
else nc -lk -p {PORT} -e /tmp/serve || nc -ll -p {PORT} -e /tmp/serve; fi &
wait $!
"""


@dataclass(frozen=True)
class ProbePod:
    """A probe that runs."""

    cluster: Cluster
    name: str
    namespace: str
    uid: str
    source: Source
    address: str


Runner = Callable[[ProbePod, str, float], str]
"""Runs a shell script in a pod within so many seconds, and gives what it prints.

Raises:
    StepError: it could not.
"""


def run_in_pod(pod: ProbePod, script: str, seconds: float) -> str:
    """The `Runner` that asks the API server to (`kubectl exec`)."""
    return pod.cluster.execute(pod.name, pod.namespace, script, seconds)


@dataclass(frozen=True)
class Site:
    """A cluster to probe from and to.

    Attributes:
        nodes: its nodes.
        active: the gateway node that carries the tunnels; empty where none does.
    """

    cluster: Cluster
    expected: Expected
    nodes: tuple[Node, ...]
    active: str = ""

    @property
    def chosen(self) -> list[tuple[str, str]]:
        """The nodes to probe from, each with its role: the gateway that carries the tunnels, and any other node."""
        ready = [node.name for node in self.nodes if node.ready and node.schedulable]
        gateways = {self.active, *self.expected.gateways}
        found = [(node, GATEWAY) for node in (self.active, *self.expected.gateways) if node in ready][:1]
        return found + [(node, OTHER) for node in ready if node not in gateways][:1]

    @property
    def untested(self) -> str:
        """What could not be probed, in a few words; empty for nothing."""
        roles = {role for _, role in self.chosen}
        if GATEWAY not in roles:
            return "no gateway node is Ready"
        others = {node.name for node in self.nodes} - {self.active, *self.expected.gateways}
        if others and OTHER not in roles:
            return "no node but gateways is Ready, and pods on other nodes take another path"
        return ""


@contextmanager
def running(sites: Mapping[str, Site]) -> Iterator[dict[str, list[ProbePod] | StepError]]:
    """Probe pods in all these clusters, or why there are none; gone at the end, as are those of runs that were killed.

    The result has what each cluster came to, so that one that has no image does not spoil the rest.
    """
    run = secrets.token_hex(3)
    with ExitStack() as stack:
        for site in sites.values():
            stack.callback(_remove, site, run)
        started = in_parallel({name: partial(_start, site, run) for name, site in sites.items()}, START_SECONDS + 15)
        yield {name: _pods_or_error(name, result) for name, result in started.items()}


def serve(site: Site, pods: Sequence[ProbePod]) -> str:
    """The ClusterIP of a new Service in front of the probe pods and of nothing else; it goes with the first of them."""
    name = pods[0].name.rpartition("-")[0]
    made = site.cluster.create("Service", service_manifest(site.expected, name, pods[0]))
    return str((made or {}).get("spec", {}).get("clusterIP", ""))


def pod_manifest(expected: Expected, name: str, node: str, role: str, run: str) -> Object:
    """One probe pod. It asks for no right that an ordinary pod has not."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": expected.namespace,
            "labels": {**_LABELS, _RUN_LABEL: run, "multi-cluster-mesh/role": role},
            "annotations": {DEFAULT_NETWORK_ANNOTATION: expected.network},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIFETIME_SECONDS,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],  # gateways are control-plane nodes often enough
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
                        ]
                    }
                }
            },
            "containers": [
                {
                    "name": "probe",
                    "image": expected.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", _SERVER],
                    "ports": [{"containerPort": PORT}],
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                }
            ],
        },
    }


def service_manifest(expected: Expected, name: str, first: ProbePod) -> Object:
    """A Service for the probe pods of one run."""
    labels = {**_LABELS, _RUN_LABEL: name.rpartition("-")[2]}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": first.name, "uid": first.uid}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": expected.namespace,
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {"selector": labels, "ports": [{"port": PORT, "targetPort": PORT}]},
    }


def source(expected: Expected, node: str, role: str) -> Source:
    """A pod of this cluster as the sender of checks."""
    mtu = expected.veth_mtu or data_path.DEFAULT_MTU
    return Source(expected.cluster_id, node, role, mtu=min(mtu, data_path.DEFAULT_MTU), pod_cidrs=expected.pod_cidrs)


def send(
    pods: Sequence[ProbePod], targets: Mapping[str, Sequence[Target]], run: Runner, limit: float = LIFETIME_SECONDS
) -> list[Row]:
    """Send from all pods at once, from each to the targets of its cluster's peers.

    Args:
        pods: the senders.
        targets: what to send to, by the cluster that sends.
        run: how a script is run in a pod.
        limit: seconds that it may take.
    """

    # By number: pods of different clusters have the same names.
    jobs = {
        str(number): (pod, data_path.checks(pod.source, targets.get(pod.source.cluster, ())))
        for number, pod in enumerate(pods)
    }

    def one(pod: ProbePod, todo: Sequence[Check]) -> list[Row]:
        seconds = min(limit, _seconds(todo))
        return data_path.judge(pod.source, todo, run(pod, data_path.script(todo), seconds)) if todo else []

    longest = min(limit, max((_seconds(todo) for _, todo in jobs.values()), default=0.0)) + 5
    results = in_parallel({number: partial(one, *job) for number, job in jobs.items()}, longest)
    rows: list[Row] = []
    for number, (pod, todo) in jobs.items():
        result = results[number]
        if isinstance(result, Exception):
            rows += data_path.not_checked(pod.source, todo, str(result))
        else:
            rows += result
    return rows


def matrix(sites: Mapping[str, Site], run: Runner = run_in_pod) -> DataPath:
    """Traffic from every cluster to every other one: from and to a pod on each kind of node, and to a Service."""
    with running(sites) as started:
        pods = {name: result for name, result in started.items() if not isinstance(result, StepError)}
        targets = {name: _targets(sites[name], pods[name]) for name in pods if pods[name]}
        rows = send(
            [pod for each in pods.values() for pod in each],
            {name: [target for peer in targets if peer != name for target in targets[peer]] for name in pods},
            run,
        )
    rows += [_nothing_sent(name, str(result)) for name, result in started.items() if isinstance(result, StepError)]
    rows += [row for name in pods for row in untested(sites[name])]
    return data_path.summarise(rows)


def untested(site: Site) -> list[Row]:
    """A row for a kind of node that there was no probe on."""
    return [_nothing_sent(site.expected.cluster_id, site.untested)] if site.untested else []


def _targets(site: Site, pods: Sequence[ProbePod]) -> list[Target]:
    expected, size = site.expected, data_path.TRANSFER_BYTES
    found = [
        Target(
            expected.cluster_id,
            f"pod {pod.address} on {pod.source.node} ({pod.source.role})",
            pod.address,
            PORT,
            size,
            pings=True,
            hops=2,
        )
        for pod in pods
    ]
    if address := serve(site, pods):
        found.append(Target(expected.cluster_id, f"Service {address}", address, PORT, size))
    if expected.app:
        found.append(app_by_name(expected.app, expected.cluster_id))
    return found


def app_by_name(app: App, cluster_id: str) -> Target:
    """One cluster's sample Service by its name in the whole mesh; without the cluster's, the own cluster answers."""
    name = f"{cluster_id}.{app.service}.{app.namespace}.svc.clusterset.local"
    return Target(cluster_id, name, name, app.port)


def _nothing_sent(cluster: str, why: str) -> Row:
    return Row(check="pods", state=State.NOT_CHECKED, cluster=cluster, node="", role="", peer="", target="", detail=why)


def no_traffic(note: str) -> DataPath:
    """The result where nothing was sent, and why."""
    return DataPath(state="not checked", note=note)


def _start(site: Site, run: str) -> list[ProbePod]:
    cluster, expected = site.cluster, site.expected
    names = {f"{NAME}-{run}-{role}": (node, role) for node, role in site.chosen}
    for name, (node, role) in names.items():
        cluster.create("Pod", pod_manifest(expected, name, node, role, run))
    return [_await(site, name, node, role) for name, (node, role) in names.items()]


def _await(site: Site, name: str, node: str, role: str) -> ProbePod:
    cluster, expected = site.cluster, site.expected
    deadline = time.monotonic() + START_SECONDS
    while True:
        pod = cluster.get("Pod", name, expected.namespace) or {}
        status = pod.get("status") or {}
        if status.get("phase") == "Running" and status.get("podIP"):
            uid = pod["metadata"]["uid"]
            return ProbePod(cluster, name, expected.namespace, uid, source(expected, node, role), status["podIP"])
        if status.get("phase") in ("Failed", "Succeeded") or time.monotonic() > deadline:
            raise StepError(f"the probe pod on {node} of {cluster} did not start ({_why_not(pod)})")
        time.sleep(POLL_SECONDS)


def _pods_or_error(cluster: str, result: list[ProbePod] | Exception) -> list[ProbePod] | StepError:
    if isinstance(result, list | StepError):
        return result
    return StepError(f"the probe pods of {cluster} did not start ({result})")


def _why_not(pod: Object) -> str:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        state = container.get("state") or {}
        found = state.get("waiting") or state.get("terminated") or {}
        if found.get("reason"):
            return ": ".join(filter(None, (found["reason"], found.get("message", ""))))
    for condition in status.get("conditions") or []:
        if condition.get("status") == "False" and condition.get("message"):
            return str(condition["message"])
    return str(status.get("phase") or "no status")


def _remove(site: Site, run: str) -> None:
    """Remove the probes of this run, and those of others that have ended by themselves."""
    labels = ",".join(f"{key}={value}" for key, value in _LABELS.items())
    # Nothing can be done about a cluster that does not answer any more; the pods end by themselves.
    with suppress(StepError):
        for pod in site.cluster.list("Pod", site.expected.namespace, labels=labels):
            mine = pod["metadata"]["labels"].get(_RUN_LABEL) == run
            if mine or (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
                site.cluster.delete("Pod", pod["metadata"]["name"], site.expected.namespace)


def _seconds(todo: Sequence[Check]) -> float:
    """How long a script with these checks may take."""
    return 30.0 + data_path.SECONDS_PER_TARGET * len({check.target for check in todo})
