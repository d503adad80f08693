"""SIMULATED work of Submariner's operator and gateways, for tests and demonstrations of code that reads their reports.

Nothing here is measured, and no tunnel exists: `simulate` writes into joined clusters what real gateways would report
when all is well, and the other functions make it worse. Every object written bears the annotation
``multi-cluster-mesh/simulated: "true"``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.standin import kube, setup
from lab.standin.kube import Cluster, Object
from lab.standin.objects import GATEWAY_LABEL, OPERATOR_NAMESPACE

SIMULATED = "multi-cluster-mesh/simulated"
_TIMESTAMP = "update-timestamp"
# What the operator's pod installs, beyond what subctl brings.
_CRDS = (
    ("clusters", "submariner.io"),
    ("endpoints", "submariner.io"),
    ("gateways", "submariner.io"),
    ("routeagents", "submariner.io"),
    ("serviceexports", "multicluster.x-k8s.io"),
    ("serviceimports", "multicluster.x-k8s.io"),
)
_RTT = {"last": "1.1ms", "min": "0.9ms", "average": "1ms", "max": "1.4ms", "stdDev": "0.1ms"}


@dataclass(frozen=True)
class _Member:
    cluster: Cluster
    spec: Object  # of its Submariner resource
    nodes: list[Object]

    @property
    def cluster_id(self) -> str:
        return str(self.spec["clusterID"])

    @property
    def gateways(self) -> list[Object]:
        return [node for node in self.nodes if (node["metadata"].get("labels") or {}).get(GATEWAY_LABEL) == "true"]

    @property
    def active(self) -> Object | None:
        """The gateway node that carries the tunnels; None where no node is labelled, and so no gateway runs."""
        return next(iter(self.gateways), None)

    def endpoint(self, node: Object) -> Object:
        address = next((item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP"), "")
        return {
            "backend": self.spec.get("cableDriver", "libreswan"),
            "backend_config": {"natt-discovery-port": "4490", "preferred-server": "false", "udp-port": "4500"},
            "cable_name": f"submariner-cable-{self.cluster_id}-{address.replace('.', '-')}",
            "cluster_id": self.cluster_id,
            "hostname": node["metadata"]["name"],
            "nat_enabled": self.spec["natEnabled"],
            "private_ip": address,
            "public_ip": "",
            "subnets": [self.spec["serviceCIDR"], self.spec["clusterCIDR"]],
        }


def simulate(kubeconfigs: Mapping[str, Path]) -> None:
    """Report, in all these joined clusters, gateways that are connected with those of all the others.

    The keys are for the caller: IDs, addresses and options are read from each cluster. Call it again to refresh the
    time stamps. Where one of the clusters hosts the broker, the broker gets its records, too.
    """
    members = [_member(kube.from_file(path)) for path in kubeconfigs.values()]
    for member in members:
        for plural, group in _CRDS:
            setup.ensure_crd(member.cluster, plural, group)
        for other in members:
            _write_records(member.cluster, OPERATOR_NAMESPACE, other)
        for broker in member.cluster.find_all("Broker"):
            for other in members:
                _write_records(member.cluster, broker["metadata"]["namespace"], other)
        _write_gateways(member, [other for other in members if other is not member])


def break_connection(
    kubeconfig: Path, remote_id: str, status: str = "error", message: str = "simulated: no answer from the other side"
) -> None:
    """Put a cluster's connection to another one into a state of failure (``error``, ``connecting``)."""
    cluster = kube.from_file(kubeconfig)
    for gateway in cluster.find_all("Gateway", OPERATOR_NAMESPACE):
        for connection in gateway["status"]["connections"]:
            if connection["endpoint"]["cluster_id"] == remote_id:
                connection |= {"status": status, "statusMessage": message}
                connection.pop("latencyRTT", None)
        cluster.replace(gateway)


def make_stale(kubeconfig: Path, seconds: int = 600) -> None:
    """Let a cluster's gateways have reported for the last time that long ago."""
    cluster = kube.from_file(kubeconfig)
    for gateway in cluster.find_all("Gateway", OPERATOR_NAMESPACE):
        patch = {"metadata": {"annotations": {_TIMESTAMP: str(int(time.time()) - seconds)}}}
        cluster.merge("Gateway", gateway["metadata"]["name"], OPERATOR_NAMESPACE, patch)


def forget(cluster_id: str, kubeconfigs: Mapping[str, Path]) -> None:
    """Remove a cluster's records everywhere, as its gateway does when Submariner is uninstalled in an orderly way."""
    for path in kubeconfigs.values():
        cluster = kube.from_file(path)
        for kind in ("Cluster", "Endpoint"):
            for record in cluster.find_all(kind):
                if record["spec"]["cluster_id"] == cluster_id:
                    cluster.delete(kind, record["metadata"]["name"], record["metadata"]["namespace"])


def _member(cluster: Cluster) -> _Member:
    spec = cluster.get("Submariner", "submariner", OPERATOR_NAMESPACE)["spec"]
    return _Member(cluster, spec, cluster.find_all("Node"))


def _write_records(cluster: Cluster, namespace: str, member: _Member) -> None:
    spec: Object = {
        "cluster_id": member.cluster_id,
        "cluster_cidr": [member.spec["clusterCIDR"]],
        "service_cidr": [member.spec["serviceCIDR"]],
        "global_cidr": [member.spec["globalCIDR"]] if member.spec.get("globalCIDR") else [],
        "color_codes": ["blue"],
    }
    cluster.ensure(_custom("Cluster", member.cluster_id, namespace, {"spec": spec}))
    if member.active:
        endpoint = member.endpoint(member.active)
        name = f"{member.cluster_id}-{endpoint['cable_name']}"
        cluster.ensure(_custom("Endpoint", name, namespace, {"spec": endpoint}))


def _write_gateways(member: _Member, others: list[_Member]) -> None:
    connections = [_connection(member, other) for other in others]
    connections = [connection for connection in connections if connection]
    version = f"v{member.spec.get('version', '').removeprefix('v')}"
    reported = []
    for node in member.gateways:
        active = node is member.active
        status = {
            "haStatus": "active" if active else "passive",
            "localEndpoint": member.endpoint(node),
            "connections": connections if active else [],
            "statusFailure": "",
            "version": version,
        }
        reported.append(status)
        gateway = _custom("Gateway", node["metadata"]["name"], OPERATOR_NAMESPACE, {"status": status})
        gateway["metadata"]["annotations"][_TIMESTAMP] = str(int(time.time()))
        member.cluster.ensure(gateway)
    remote = [
        {
            "spec": item["endpoint"],
            **{key: item[key] for key in ("status", "statusMessage", "latencyRTT") if key in item},
        }
        for item in connections
    ]
    for node in member.nodes:
        agent: Object = {"remoteEndpoints": remote, "statusFailure": "", "version": version}
        member.cluster.ensure(_custom("RouteAgent", node["metadata"]["name"], OPERATOR_NAMESPACE, {"status": agent}))
    status = {key: member.spec[key] for key in ("clusterID", "clusterCIDR", "serviceCIDR", "natEnabled")}
    status |= {"gateways": reported, "networkPlugin": "generic", "version": version}
    member.cluster.merge("Submariner", "submariner", OPERATOR_NAMESPACE, {"status": status}, status=True)


def _connection(member: _Member, other: _Member) -> Object:
    if other.active is None:
        return {}
    endpoint = other.endpoint(other.active)
    connection: dict[str, Any] = {
        "endpoint": endpoint,
        "status": "connected",
        "statusMessage": "",
        "usingIP": endpoint["private_ip"],
        "usingNAT": False,
    }
    if member.spec.get("connectionHealthCheck", {}).get("enabled"):
        connection["latencyRTT"] = dict(_RTT)
    return connection


def _custom(kind: str, name: str, namespace: str, content: Object) -> Object:
    metadata = {"name": name, "namespace": namespace, "annotations": {SIMULATED: "true"}}
    return {"apiVersion": "submariner.io/v1", "kind": kind, "metadata": metadata, **content}
