"""Everything that follows from the plan, so that nobody types it twice."""

import ipaddress
from typing import Any

from mesh.plan.models import Cluster, Gateway, MeshPlan, Network, Pool, SampleApp
from mesh.plan.settings import BrokerSettings, GlobalnetSettings, JoinSettings
from mesh.plan.types import Network as IpNetwork
from mesh.plan.types import parse_network, version_tuple

DEFAULT_NETWORK_ANNOTATION = "v1.multus-cni.io/default-network"
GATEWAY_LABEL = "submariner.io/gateway"
ROUTES_ANNOTATION = "multi-cluster-mesh/hijack-cidr"
"""On pods that are to be replaced when what they reach through their node changes."""


def networks_of(cluster: Cluster) -> tuple[IpNetwork, ...]:
    """Service and pod CIDRs of a cluster, Service first (the order of the recipe), IPv4 before IPv6."""
    cidrs = (cluster.service_cidr, cluster.pod_cidr, cluster.service_cidr_v6, cluster.pod_cidr_v6)
    return tuple(parse_network(cidr) for cidr in cidrs if cidr)


def hijack_cidr(plan: MeshPlan, cluster_id: str) -> tuple[str, ...]:
    """CIDRs that pods of the cluster reach through their node: all that belongs to the other clusters, in plan order,
    then what the site needs locally.

    With globalnet it is the other clusters' global CIDRs, because their own may overlap with ours. The list replaces
    the chart's default (`coordinator.hijackCIDR`), hence `network.localCIDR` at its end.
    """
    wanted: list[str] = []
    for other_id, other in plan.clusters.items():
        if other_id == cluster_id:
            continue
        if plan.broker.globalnet:
            wanted += [other.globalnet_cidr] if other.globalnet_cidr else []
        else:
            wanted += [str(network) for network in networks_of(other)]
    wanted += plan.clusters[cluster_id].network.local_cidr
    return tuple(dict.fromkeys(wanted))


def default_network(cluster: Cluster) -> str:
    """Value of the annotation `v1.multus-cni.io/default-network`: `<namespace>/<name>` of the cluster's network.

    The namespace is always written: without it Multus looks in its own, not in the pod's.
    """
    return f"{cluster.network.namespace}/{cluster.network.name}"


def health_check(plan: MeshPlan) -> bool:
    """Whether gateways ping each other: as told, else only where every gateway of the mesh has an underlay address.

    One gateway without such an address would end in CrashLoopBackOff ("unable to find CNI Interface on the host"), and
    a health check on one side only leaves the other side's connection in error for good; so it is one value per mesh.
    """
    if plan.submariner.health_check.enabled is not None:
        return plan.submariner.health_check.enabled
    return all(answers_health_check(gateway) for cluster in plan.clusters.values() for gateway in cluster.gateways)


def answers_health_check(gateway: Gateway) -> bool:
    """Whether the gateway declares an address that Submariner can ping from: IPv4, inside the pod CIDR."""
    return gateway.address is not None and ipaddress.ip_address(gateway.address).version == 4


def pool_version(pool: Pool) -> int:
    """IP version of a pool, 4 or 6. Spiderpool fills it in from the subnet; sent by us, refresh sees no drift."""
    return parse_network(pool.subnet).version


def pool_names(cluster: Cluster, version: int) -> tuple[str, ...]:
    """Names of the cluster's pools of one IP version, in plan order."""
    return tuple(pool.name for pool in cluster.pools if pool_version(pool) == version)


def coordinator_spec(network: Network) -> dict[str, Any]:
    """`spec` of the SpiderCoordinator: what holds for pods on other networks than ours."""
    return {
        "mode": "auto",
        # The underlay is the only CNI: with "cluster", kubeadm's pod CIDR would be sent into the node as well.
        "podCIDRType": "none",
        "hijackCIDR": list(network.local_cidr),
    } | veth_mtu(network)


def veth_mtu(network: Network) -> dict[str, int]:
    """`vethMTU` of a coordinator, where it is not left to Spiderpool."""
    return {} if network.veth_mtu is None else {"vethMTU": network.veth_mtu}


def chart_values(plan: MeshPlan, cluster_id: str) -> dict[str, Any]:
    """Values of Spiderpool's chart for a cluster whose only CNI is the underlay, but for the webhook's certificate.

    What each prevents: facts/spiderpool.md, sections 4 and 11.
    """
    spiderpool, cluster = plan.spiderpool, plan.clusters[cluster_id]
    families = {pool_version(pool) for pool in cluster.pools}
    values: dict[str, Any] = {
        # Without it Multus finds no default network, and every pod that names none stays down.
        "multus": {"multusCNI": {"defaultCniCRName": cluster.network.name}},
        "plugins": {"installCNI": spiderpool.install_cni},
        "coordinator": coordinator_spec(cluster.network),
        "ipam": {"enableIPv4": 4 in families, "enableIPv6": 6 in families, "spiderSubnet": {"enable": False}},
        "spiderpoolController": {
            # With the chart's own (auto) every render makes new ones, and the webhook fails until the kubelet has
            # caught up.
            "tls": {"method": "provided", "provided": {}},
            # Else any uninstall, also that of a replacement, deletes all pools and Spiderpool's CRDs.
            "cleanup": {"enable": False},
        },
    }
    if spiderpool.image_registry:
        values["global"] = {"imageRegistryOverride": spiderpool.image_registry}
    return values


def app_labels(app: SampleApp) -> dict[str, str]:
    """Labels of the sample app's pods."""
    return {"app": app.name}


def broker_settings(plan: MeshPlan) -> BrokerSettings:
    """What deploy-broker needs."""
    globalnet, submariner = plan.broker.globalnet, plan.submariner
    return BrokerSettings(
        cluster_id=plan.broker.cluster,
        url=plan.broker.url,
        service_discovery=plan.broker.service_discovery,
        globalnet=GlobalnetSettings(cidr_range=globalnet.cidr_range, cluster_size=globalnet.cluster_size)
        if globalnet
        else None,
        version=submariner.version,
        repository=submariner.repository,
        psk_rotation=submariner.psk_rotation,
        ignore_requirements=submariner.ignore_requirements,
        adopt=submariner.adopt,
        timeout=submariner.step_timeout,
    )


def join_settings(plan: MeshPlan, cluster_id: str) -> JoinSettings:
    """What the join of one cluster needs."""
    cluster, submariner = plan.clusters[cluster_id], plan.submariner
    return JoinSettings(
        cluster_id=cluster_id,
        cluster_cidr=",".join(filter(None, (cluster.pod_cidr, cluster.pod_cidr_v6))),
        service_cidr=",".join(filter(None, (cluster.service_cidr, cluster.service_cidr_v6))),
        cable_driver=submariner.cable_driver,
        nat_traversal=submariner.nat_traversal,
        nat_port=submariner.nat_port,
        force_udp_encaps=submariner.force_udp_encaps,
        preferred_server=submariner.preferred_server == cluster_id,
        health_check=health_check(plan),
        health_check_interval=submariner.health_check.interval,
        health_check_max_packet_loss_count=submariner.health_check.max_packet_loss_count,
        air_gapped=submariner.air_gapped,
        globalnet_cidr=cluster.globalnet_cidr if plan.broker.globalnet else None,
        gateways=tuple(gateway.node for gateway in cluster.gateways),
        version=submariner.version,
        repository=submariner.repository,
        image_overrides=submariner.image_overrides,
        ignore_requirements=submariner.ignore_requirements,
        adopt=submariner.adopt,
        timeout=submariner.step_timeout,
    )


def supports_ipv6(version: str) -> bool:
    """Whether that Submariner carries IPv6 (partial dual-stack since 0.21)."""
    return version_tuple(version) >= (0, 21, 0)
