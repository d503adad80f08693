"""What Submariner is made of in a cluster, and what a cluster has joined with."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.plan.settings import JoinSettings
from mesh.steps.broker_info import BrokerInfo, decode
from mesh.steps.errors import StepError, remember
from mesh.steps.kube import Cluster, Object, connect_with_token

OPERATOR_NAMESPACE = "submariner-operator"
OPERATOR = "submariner-operator"
SUBMARINER = "submariner"
BROKER_NAMESPACE = "submariner-k8s-broker"
BROKER = "submariner-broker"
BROKER_ADMIN = "submariner-k8s-broker-admin"
GATEWAY_LABEL = "submariner.io/gateway"
OURS = {"app.kubernetes.io/managed-by": "multi-cluster-mesh"}


def is_ours(found: Object | None) -> bool:
    """Whether an object carries this project's label."""
    return found is not None and OURS.items() <= (found["metadata"].get("labels") or {}).items()


def joined(cluster: Cluster) -> Object | None:
    """The Submariner resource of a cluster; one that is being deleted counts too."""
    found = cluster.get("Submariner", SUBMARINER, OPERATOR_NAMESPACE)
    if found:
        remember(found["spec"].get("brokerK8sApiServerToken"), decode(found["spec"].get("ceIPSecPSK", "")))
    return found


def joined_as_another(cluster: Cluster, found: Object) -> str:
    """What is wrong where a cluster has joined under another ID than the one it is to have; empty where it has not."""
    cluster_id = found["spec"].get("clusterID")
    if cluster_id == cluster.name:
        return ""
    return (
        f"the cluster at {cluster.server} has already joined as {cluster_id} and is to join as {cluster}: correct the "
        f"kubeconfig if it is the wrong cluster, else have it leave as {cluster_id} first"
    )


def account(cluster_id: str) -> str:
    """Name of a member's ServiceAccount on the broker."""
    return f"cluster-{cluster_id}"


def token_secret(cluster: Cluster, namespace: str, service_account: str) -> Object | None:
    """The Secret with a ServiceAccount's token, filled; the first by name, as subctl takes it."""
    for found in cluster.list("Secret", namespace, fields="type=kubernetes.io/service-account-token"):
        annotations = found["metadata"].get("annotations") or {}
        if annotations.get("kubernetes.io/service-account.name") == service_account:
            data = found.get("data") or {}
            remember(decode(data.get("token", "")))
            return found if data.get("token") and data.get("ca.crt") and data.get("namespace") else None
    return None


def token_of(secret: Object) -> str:
    """The token in a Secret; empty where there is none."""
    return decode((secret.get("data") or {}).get("token", "")).decode(errors="replace")


def token(cluster: Cluster, namespace: str, service_account: str) -> str:
    """A ServiceAccount's token; empty where it has none."""
    found = token_secret(cluster, namespace, service_account)
    return token_of(found) if found else ""


def members(broker: Cluster, namespace: str) -> list[str]:
    """IDs of the clusters that have joined a broker: by their resources, and by their ServiceAccounts, which are all
    there is while their gateways have not started."""
    found = {cluster_id_of(item) for kind in ("Cluster", "Endpoint") for item in broker.list(kind, namespace)}
    names = [item["metadata"]["name"] for item in broker.list("ServiceAccount", namespace)]
    found |= {name.removeprefix("cluster-") for name in names if name.startswith("cluster-")}
    return sorted(found)


def refuse_members(broker: Cluster, *, but: Collection[str]) -> None:
    """Refuse to take the broker of a cluster away from those that have joined it, `but` apart.

    Raises:
        StepError: somebody is joined.
    """
    local = joined(broker)
    found = {*members(broker, BROKER_NAMESPACE), *([local["spec"].get("clusterID", broker.name)] if local else [])}
    if others := sorted(found.difference(but)):
        raise StepError(
            f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} still joined to the broker in {broker}: leave "
            "first there (pulumi destroy in that stack), or set MESH_FORCE=1 to cut off who is left"
        )


def cluster_id_of(item: Object) -> str:
    """The cluster that a Cluster or Endpoint resource speaks of."""
    return str(item.get("spec", {}).get("cluster_id") or item["metadata"]["name"])


@dataclass(frozen=True)
class Credentials:
    """What a cluster uses to reach the broker and the other gateways.

    Attributes:
        psk: the pre-shared key of its tunnels.
        token: its token on the broker.
        ca: certificate authority of the broker's API server (PEM).
        complete: whether the Secrets that the Submariner resource names are there.
    """

    psk: bytes
    token: str
    ca: str
    complete: bool


def credentials(cluster: Cluster, found: Object) -> Credentials:
    """The credentials that a cluster has joined with: from its Secrets, else from the resource, which repeats them."""
    spec = found["spec"]
    secrets = {
        field: cluster.get("Secret", spec[field], OPERATOR_NAMESPACE) if spec.get(field) else {}
        for field in ("ceIPSecPSKSecret", "brokerK8sSecret")
    }
    psk, broker = ((secret or {}).get("data") or {} for secret in secrets.values())
    result = Credentials(
        psk=decode(psk.get("psk") or spec.get("ceIPSecPSK", "")),
        token=decode(broker.get("token", "")).decode(errors="replace") or spec.get("brokerK8sApiServerToken", ""),
        ca=decode(broker.get("ca.crt") or spec.get("brokerK8sCA", "")).decode(errors="replace"),
        complete=None not in secrets.values(),
    )
    remember(result.psk, result.token)
    return result


def is_member_of(found: Object, own: Credentials, info: BrokerInfo) -> bool:
    """Whether a cluster has joined this broker, with its present pre-shared key."""
    spec = found["spec"]
    return bool(
        spec.get("brokerK8sApiServer") == info.host
        and spec.get("brokerK8sRemoteNamespace") == info.namespace
        and own.psk == info.psk
    )


def broker_of(cluster: Cluster | None, info: BrokerInfo, work: Path) -> Cluster:
    """The cluster that hosts the broker: `cluster` where that is the one, else with the broker admin's token.

    Raises:
        UnreachableError: it does not answer, or does not know the token.
    """
    if cluster:
        return cluster
    source = "the broker info (its URL is the plan's broker.url)"
    return connect_with_token("the broker", info.url, source, info.token, info.ca, work)


def fixed_part(settings: JoinSettings, info: BrokerInfo) -> dict[str, Any]:
    """What the resource must say and only a join can change: other images, another network, another broker.

    Field names and forms: submariner-operator api/v1alpha1/submariner_types.go, subctl pkg/deploy/submariner.go.
    """
    return {
        "clusterID": settings.cluster_id,
        "clusterCIDR": settings.cluster_cidr,
        "serviceCIDR": settings.service_cidr,
        "globalCIDR": settings.globalnet_cidr or "",
        "brokerK8sApiServer": info.host,
        "brokerK8sRemoteNamespace": info.namespace,
        "brokerK8sInsecure": False,
        "serviceDiscoveryEnabled": info.service_discovery,
        "customDomains": list(info.custom_domains),
        "version": settings.version,
        "repository": settings.repository,
        "imageOverrides": dict(settings.image_overrides),
    }


def patchable_part(settings: JoinSettings) -> dict[str, Any]:
    """What the resource must say and takes in place: the operator carries it over to the running pods."""
    return {
        "cableDriver": settings.cable_driver.value,
        "natEnabled": settings.nat_traversal,
        "ceIPSecNATTPort": settings.nat_port,
        "ceIPSecForceUDPEncaps": settings.force_udp_encaps,
        "ceIPSecPreferredServer": settings.preferred_server,
        "airGappedDeployment": settings.air_gapped,
        "connectionHealthCheck": {
            "enabled": settings.health_check,
            "intervalSeconds": settings.health_check_interval,
            "maxPacketLossCount": settings.health_check_max_packet_loss_count,
        },
    }


def differences(found: Object, wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields of `wanted` that the resource says otherwise, with the wanted values."""
    spec = found["spec"]
    return {key: value for key, value in wanted.items() if _without_zeros(spec.get(key)) != _without_zeros(value)}


def _without_zeros(value: Any) -> Any:
    """Go leaves out false, 0, "" and what is empty."""
    if isinstance(value, dict):
        return {key: inner for key, inner in value.items() if inner} or None
    return value or None
