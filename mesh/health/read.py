"""Reads what a cluster reports into the models. Nothing is judged here, and nothing is changed."""

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import yaml

from mesh.health.expect import Expected
from mesh.health.models import (
    Connection,
    Coordinator,
    Endpoint,
    Gateway,
    GatewayPod,
    KubeProxy,
    Membership,
    Node,
    Pod,
    Pool,
    Reading,
    SiteReading,
    TunnelReading,
)
from mesh.steps.errors import scrub
from mesh.steps.kube import Cluster, Object
from mesh.steps.submariner import GATEWAY_LABEL, OPERATOR_NAMESPACE, cluster_id_of, joined

UPDATE_TIMESTAMP = "update-timestamp"  # submariner pkg/cableengine/syncer/syncer.go
LOG_LINES = 20
KUBE_PROXY, KUBE_PROXY_NAMESPACE, KUBE_PROXY_CONFIG = "kube-proxy", "kube-system", "config.conf"
_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h)")
_MILLISECONDS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}


def read(cluster: Cluster, expected: Expected) -> Reading:
    """All of one cluster.

    Raises:
        StepError: it does not answer, or not all of it may be read.
    """
    return Reading(server=cluster.server, tunnel=read_tunnel(cluster), site=read_site(cluster, expected))


def read_tunnel(cluster: Cluster) -> TunnelReading:
    """What it says of its tunnels; little enough to be read every other second."""
    found = joined(cluster)
    gateways = tuple(_gateway(item) for item in cluster.list("Gateway", OPERATOR_NAMESPACE))
    endpoints = cluster.list("Endpoint", OPERATOR_NAMESPACE)
    members = {cluster_id_of(item) for item in (*endpoints, *cluster.list("Cluster", OPERATOR_NAMESPACE))}
    # With a gateway at work, its pods have nothing to add.
    silent = found is not None and not any(gateway.ha_status == "active" for gateway in gateways)
    return TunnelReading(
        now=cluster.now(),
        membership=_membership(found["spec"]) if found else None,
        gateways=gateways,
        endpoints=tuple(_endpoint(item["spec"]) for item in endpoints),
        members=frozenset(members),
        pods=tuple(_pods(cluster)) if silent else (),
    )


def read_site(cluster: Cluster, expected: Expected) -> SiteReading:
    """What its API shows of what the mesh needs there."""
    namespace, name = expected.network.split("/")
    network = cluster.get("NetworkAttachmentDefinition", name, namespace)
    controller = cluster.get("Deployment", "spiderpool-controller", namespace)
    pools = cluster.list("SpiderIPPool")
    return SiteReading(
        kubernetes=cluster.version(),
        spiderpool=_image_version(controller) if controller else None,
        nodes=tuple(_node(item) for item in cluster.list("Node")),
        pools=tuple(map(_pool, pools)),
        coordinator=_coordinator(cluster),
        network=str((network.get("spec") or {}).get("config") or "") if network else None,
        kube_proxy=_kube_proxy(cluster.get("ConfigMap", KUBE_PROXY, KUBE_PROXY_NAMESPACE)),
        network_changed=_changed(cluster.get("SpiderMultusConfig", name, namespace)),
        pods=tuple(_pods_of(cluster, [item for item in pools if item["metadata"]["name"] in expected.pools])),
    )


def milliseconds(duration: str) -> float | None:
    """A Go duration such as `661.938µs`; None for none, and for `0s`, which stands for no answer so far."""
    total = sum(float(number) * _MILLISECONDS[unit] for number, unit in _GO_DURATION.findall(duration))
    return total or None


def remote_services(cluster: Cluster, expected: Expected) -> dict[str, tuple[str, int]]:
    """Address and port of the sample Service in each other cluster, as Lighthouse has told this one."""
    found: dict[str, tuple[str, int]] = {}
    if expected.app is None:
        return found
    labels = (
        f"multicluster.kubernetes.io/service-name={expected.app.service},"
        "endpointslice.kubernetes.io/managed-by=lighthouse-agent.submariner.io"
    )
    for item in cluster.list("EndpointSlice", expected.app.namespace, labels=labels):
        source = item["metadata"]["labels"].get("multicluster.kubernetes.io/source-cluster", "")
        ready = [each for each in item.get("endpoints") or [] if _is_ready(each)]
        ports = [port["port"] for port in item.get("ports") or [] if port.get("port")]
        if source != expected.cluster_id and ready and ports:
            found[source] = (ready[0]["addresses"][0], ports[0])
    return found


def network_plugins(config: str) -> dict[str, dict[str, Any]]:
    """The plugins of a network's CNI configuration, by type; none where it is not one."""
    try:
        parsed = json.loads(config)
        return {plugin["type"]: plugin for plugin in parsed.get("plugins") or [parsed]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def timestamp(seconds: float) -> str:
    """Unix seconds as a time in UTC, as people and programs read it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def first_address(cidr: str) -> str:
    """Some address of a network."""
    return str(ipaddress.ip_network(cidr)[1])


def _membership(spec: Object) -> Membership:
    return Membership(
        cluster_id=spec.get("clusterID", ""),
        version=spec.get("version", ""),
        cable_driver=spec.get("cableDriver", ""),
        health_check=bool((spec.get("connectionHealthCheck") or {}).get("enabled")),
    )


def _gateway(item: Object) -> Gateway:
    status = item.get("status") or {}
    stamp = str((item["metadata"].get("annotations") or {}).get(UPDATE_TIMESTAMP, ""))
    return Gateway(
        node=item["metadata"]["name"],
        ha_status=status.get("haStatus", ""),
        updated=int(stamp) if stamp.isdigit() else None,
        version=status.get("version", ""),
        failure=status.get("statusFailure", ""),
        local=_endpoint(status.get("localEndpoint") or {}),
        connections=tuple(_connection(each) for each in status.get("connections") or []),
    )


def _connection(found: Object) -> Connection:
    return Connection(
        peer=_endpoint(found.get("endpoint") or {}),
        status=found.get("status", ""),
        message=found.get("statusMessage", ""),
        using_ip=found.get("usingIP", ""),
        using_nat=bool(found.get("usingNAT")),
        # The gateway fills latencyRTT in before the first answer, with zeros (pkg/pinger/pinger.go GetLatencyInfo).
        rtt_ms=milliseconds((found.get("latencyRTT") or {}).get("average", "")),
    )


def _endpoint(spec: Object) -> Endpoint:
    return Endpoint(
        cluster_id=spec.get("cluster_id", ""),
        hostname=spec.get("hostname", ""),
        private_ip=spec.get("private_ip", ""),
        public_ip=spec.get("public_ip", ""),
        backend=spec.get("backend", ""),
        cable_name=spec.get("cable_name", ""),
        subnets=tuple(spec.get("subnets") or ()),
        health_check_ip=spec.get("healthCheckIP", ""),
    )


def _pods(cluster: Cluster) -> Iterator[GatewayPod]:
    for item in cluster.list("Pod", OPERATOR_NAMESPACE, labels="app=submariner-gateway"):
        name, status = item["metadata"]["name"], item.get("status") or {}
        container: Object = next(iter(status.get("containerStatuses") or []), {})
        waiting = ((container.get("state") or {}).get("waiting") or {}).get("reason", "")
        restarts = int(container.get("restartCount", 0))
        words = cluster.logs(name, OPERATOR_NAMESPACE, lines=LOG_LINES, previous=restarts > 0) if waiting else ""
        yield GatewayPod(
            name=name,
            node=(item.get("spec") or {}).get("nodeName", ""),
            phase=status.get("phase", ""),
            waiting=waiting,
            restarts=restarts,
            last_words=scrub(words),
        )


def _node(item: Object) -> Node:
    conditions = (item.get("status") or {}).get("conditions") or []
    spec = item.get("spec") or {}
    return Node(
        name=item["metadata"]["name"],
        ready=any(each["type"] == "Ready" and each["status"] == "True" for each in conditions),
        gateway=(item["metadata"].get("labels") or {}).get(GATEWAY_LABEL) == "true",
        schedulable=not spec.get("unschedulable"),
    )


def _pool(item: Object) -> Pool:
    status = item.get("status") or {}
    return Pool(
        name=item["metadata"]["name"], total=status.get("totalIPCount"), allocated=status.get("allocatedIPCount")
    )


def _pods_of(cluster: Cluster, pools: Iterable[Object]) -> Iterator[Pod]:
    """The pods that have an address of the pools, as Spiderpool keeps account of them."""
    uids = {uid for item in pools for uid in _allocated((item.get("status") or {}).get("allocatedIPs"))}
    if not uids:
        return
    for item in cluster.list("Pod", metadata_only=True):  # of all namespaces: whole, that could be a lot
        metadata = item["metadata"]
        if metadata["uid"] in uids:
            name = f"{metadata['namespace']}/{metadata['name']}"
            yield Pod(name=name, created=_seconds(metadata["creationTimestamp"]))


def _allocated(text: str | None) -> Iterator[str]:
    """UIDs of pods in a pool's account: JSON, `{"<address>": {"pod": "<namespace>/<name>", "podUid": "<UID>"}}`.

    (spiderpool pkg/k8s/apis/spiderpool.spidernet.io/v2beta1/spiderippool_types.go)
    """
    try:
        yield from (each["podUid"] for each in json.loads(text or "{}").values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _changed(network: Object | None) -> int | None:
    """When the spec of an object was last changed; its creation counts.

    The API server keeps one time for all that one field manager has set, so other fields of the same manager count too.
    """
    if network is None:
        return None
    metadata = network["metadata"]
    specs = [entry for entry in metadata.get("managedFields") or [] if "f:spec" in (entry.get("fieldsV1") or {})]
    return max(map(_seconds, (metadata["creationTimestamp"], *(entry["time"] for entry in specs if "time" in entry))))


def _seconds(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp())


def _coordinator(cluster: Cluster) -> Coordinator | None:
    # The agent takes the first one that there is, so there must be one only; ours is `default`.
    found = cluster.list("SpiderCoordinator")
    if not found:
        return None
    status = found[0].get("status") or {}
    return Coordinator(
        phase=status.get("phase", ""),
        reason=status.get("reason", ""),
        service_cidr=tuple(status.get("serviceCIDR") or ()),
    )


def _kube_proxy(config_map: Object | None) -> KubeProxy | None:
    text = ((config_map or {}).get("data") or {}).get(KUBE_PROXY_CONFIG)
    try:
        parsed = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        return None
    if not isinstance(parsed, dict):
        return None
    return KubeProxy(
        mode=parsed.get("mode") or "iptables",
        tcp_be_liberal=bool((parsed.get("conntrack") or {}).get("tcpBeLiberal")),
        cluster_cidr=str(parsed.get("clusterCIDR") or ""),
        masquerade_all=bool((parsed.get("iptables") or {}).get("masqueradeAll")),
    )


def _is_ready(endpoint: Object) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False  # absent means ready


def _image_version(deployment: Object) -> str:
    containers = deployment["spec"]["template"]["spec"].get("containers") or [{}]
    return str(containers[0].get("image", "")).rpartition(":")[2].removeprefix("v")
