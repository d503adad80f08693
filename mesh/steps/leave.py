"""`leave`: take the cluster out of the mesh, and off the broker all that subctl's uninstall leaves of it there.

Leaving twice is no error. `MESH_FORCE=1` goes on where this refuses, and where the cluster itself is gone.
"""

from pathlib import Path
from typing import Any

from mesh.steps import submariner
from mesh.steps.broker_info import BrokerInfo
from mesh.steps.errors import StepError, forced
from mesh.steps.kube import Cluster, UnreachableError, connect
from mesh.steps.kubeconfig import Kubeconfig
from mesh.steps.spec import JoinSpec
from mesh.steps.subctl import Subctl
from mesh.steps.submariner import OPERATOR_NAMESPACE

_SOURCE_CLUSTER = "multicluster.kubernetes.io/source-cluster"  # set by Lighthouse on what it exports


def run(spec: JoinSpec, work: Path) -> dict[str, Any]:
    """`clusterID`, `action` (left, absent, or forgotten where only the broker was cleaned) and `warnings`."""
    cluster_id = spec.settings.cluster_id
    warnings: list[str] = []
    info = _read(spec, warnings)
    cluster: Cluster | None = None
    try:
        cluster, kubeconfig = connect(spec.access, cluster_id, work)
        action = _uninstall(cluster, kubeconfig, spec, info, work)
    except UnreachableError as error:
        if not forced():
            raise StepError(
                f"{error}; if {cluster_id} is gone for good, MESH_FORCE=1 has it leave on the broker's side only"
            ) from None
        action = "forgotten"
        warnings.append(f"{cluster_id} was not cleaned: {error}")
    if info and not (spec.hosts_broker and not cluster):
        warnings += _clean_broker(cluster, info, spec, work)
    return {"clusterID": cluster_id, "action": action, "warnings": warnings}


def _read(spec: JoinSpec, warnings: list[str]) -> BrokerInfo | None:
    try:
        return BrokerInfo.decode(spec.broker_info.get_secret_value())
    except StepError as error:  # the cluster itself can be left without it
        warnings.append(f"the broker was not cleaned: {error}")
        return None


def _uninstall(cluster: Cluster, kubeconfig: Kubeconfig, spec: JoinSpec, info: BrokerInfo | None, work: Path) -> str:
    cluster.version()  # is it there at all?
    found = submariner.joined(cluster)
    brokers = [item["metadata"]["namespace"] for item in cluster.list("Broker")]
    _check(cluster, found, brokers, spec, info)
    cluster.await_settled(OPERATOR_NAMESPACE)
    is_there = cluster.get("Namespace", OPERATOR_NAMESPACE)
    if not found and (not is_there or brokers):
        return "absent"  # what is there belongs to the broker, and remove-broker takes it
    result = Subctl(kubeconfig, work).run("uninstall", "--yes", f"--namespace={OPERATOR_NAMESPACE}")
    if result.code:
        raise result.explain(f"uninstall in {cluster}")
    if submariner.joined(cluster):
        raise StepError(
            f"subctl uninstall in {cluster} ended without an error but the Submariner resource is still there: "
            "run it again"
        )
    # With a broker in use subctl keeps the operator too.
    if not cluster.list("Broker"):
        for namespace in {OPERATOR_NAMESPACE, *brokers}:
            if cluster.get("Namespace", namespace):
                cluster.delete("Namespace", namespace)  # normally it is going already
                cluster.await_gone(namespace)
    return "left"


def _check(
    cluster: Cluster, found: dict[str, Any] | None, brokers: list[str], spec: JoinSpec, info: BrokerInfo | None
) -> None:
    """Refuse to uninstall what others need or own."""
    settings = spec.settings
    if found and found["spec"].get("clusterID") != settings.cluster_id:
        raise StepError(
            f"the cluster at {cluster.server} has joined as {found['spec'].get('clusterID')}, not as {cluster}: "
            f"correct {spec.access.variable} or mesh:context"
        )
    if found and info and not (submariner.is_ours(found) or settings.adopt):
        own = submariner.credentials(cluster, found)
        if not submariner.is_member_of(found, own, info):
            raise StepError(
                f"{cluster} has a Submariner that this project did not install, joined to the broker "
                f"{found['spec'].get('brokerK8sApiServer')}: uninstall it by hand (`subctl uninstall`)"
            )
    if forced():
        return
    if spec.hosts_broker:
        submariner.refuse_members(cluster, but=[settings.cluster_id])
    if brokers and not spec.hosts_broker:
        raise StepError(
            f"{cluster} hosts a broker that the plan does not have there (namespace {', '.join(brokers)}), and subctl "
            "uninstall would remove it: remove it by hand first, or set MESH_FORCE=1"
        )


def _clean_broker(cluster: Cluster | None, info: BrokerInfo, spec: JoinSpec, work: Path) -> list[str]:
    """Remove from the broker what stays of a member (facts: submariner.md 6); say what could not be removed."""
    cluster_id = spec.settings.cluster_id
    try:
        broker = submariner.broker_of(cluster if spec.hosts_broker else None, info, work)
        if spec.hosts_broker and not broker.get("Namespace", info.namespace):
            return []
        _clean(broker, info.namespace, cluster_id)
    except StepError as error:
        return [
            f"what the broker has of {cluster_id} was not removed (its Cluster, Endpoints and ServiceAccount "
            f"{submariner.account(cluster_id)} in namespace {info.namespace}): {error}"
        ]
    return []


def _clean(broker: Cluster, namespace: str, cluster_id: str) -> None:
    for kind in ("Endpoint", "Cluster"):
        for item in broker.list(kind, namespace):
            if submariner.cluster_id_of(item) == cluster_id:
                broker.delete(kind, item["metadata"]["name"], namespace)
    for kind in ("EndpointSlice", "ServiceImport"):
        for item in broker.list(kind, namespace, labels=f"{_SOURCE_CLUSTER}={cluster_id}"):
            broker.delete(kind, item["metadata"]["name"], namespace)
    account = submariner.account(cluster_id)
    for item in broker.list("RoleBinding", namespace):
        subjects = [subject["name"] for subject in item.get("subjects") or []]
        if subjects == [account]:
            broker.delete("RoleBinding", item["metadata"]["name"], namespace)
    for item in broker.list("Secret", namespace):
        annotations = item["metadata"].get("annotations") or {}
        if annotations.get("kubernetes.io/service-account.name") == account:
            broker.delete("Secret", item["metadata"]["name"], namespace)
    # Last: while it is there the step can see that something is left.
    broker.delete("ServiceAccount", account, namespace)
