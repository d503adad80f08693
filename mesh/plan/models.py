"""The plan: what every stack of the mesh shares, one frozen pydantic model per section, camelCase as in manifests.

Each model validates its own fields only. What must hold between fields and between clusters is in `mesh.plan.rules`,
and what follows from the plan (hijackCIDR, subctl's flags, the annotation) is in `mesh.plan.derive`.
"""

from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from mesh.plan.types import (
    Cidr,
    ClusterId,
    DnsLabel,
    HttpsUrl,
    ImageName,
    InterfaceName,
    IpAddress,
    IpRange,
    LabelKey,
    LabelValue,
    NodeName,
    ObjectName,
    Operator,
    Port,
    Version,
)


def _camel(name: str) -> str:
    """`pod_cidr` -> `podCIDR`: to_camel, with the abbreviations as Kubernetes writes them."""
    text = to_camel(name)
    text = text.replace("Udp", "UDP")
    for plain, written in {"Cidr": "CIDR", "Ips": "IPs", "Id": "ID", "Mtu": "MTU"}.items():
        if text.endswith(plain):
            return text.removesuffix(plain) + written
    return text


class PlanModel(BaseModel):
    """Base of all sections: frozen, no unknown keys, `podCIDR` in the file is `pod_cidr` here."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=_camel, validate_by_name=True, validate_by_alias=True, strict=True
    )


class CableDriver(StrEnum):
    """What carries the tunnel between gateways (subctl join --cable-driver, which does not check the name itself)."""

    LIBRESWAN = "libreswan"
    WIREGUARD = "wireguard"
    VXLAN = "vxlan"


class CniType(StrEnum):
    """Kinds of underlay interface a pod can get; both bridge pods onto the master interface of the node."""

    MACVLAN = "macvlan"
    IPVLAN = "ipvlan"


Choice = TypeVar("Choice", bound=StrEnum)


def _choice(choices: type[Choice]) -> BeforeValidator:
    """Strict models refuse strings for numbers, as they should; a choice comes as a string and is converted here."""

    def convert(value: Any) -> Choice:
        try:
            return choices(value)
        except ValueError:
            raise ValueError(f"{value!r} is not supported; use one of: {', '.join(choices)}") from None

    return BeforeValidator(convert)


class LabelRequirement(PlanModel):
    """One expression of a label selector."""

    key: LabelKey
    operator: Operator
    values: list[LabelValue] = Field(default=[])


class LabelSelector(PlanModel):
    """A Kubernetes label selector."""

    match_labels: dict[LabelKey, LabelValue] = Field(default={})
    match_expressions: list[LabelRequirement] = Field(default=[])


class Route(PlanModel):
    """A further route of the pods that take addresses from a pool."""

    dst: Cidr = Field(description="Destination; the default route is the pool's gateway, not a route")
    gw: IpAddress = Field(description="Next hop, inside the pool's subnet")


class Pool(PlanModel):
    """A SpiderIPPool: addresses of the site's underlay that pods may take.

    Source of its rules: Spiderpool's webhook, pkg/ippoolmanager/ippool_validate.go.
    """

    name: ObjectName = Field(description="Name of the SpiderIPPool")
    subnet: Cidr = Field(description="Subnet of the underlay; pods take its prefix length. Cannot change in place")
    ips: list[IpRange] = Field(default=[], description="Addresses and ranges that pods may take")
    exclude_ips: list[IpRange] = Field(default=[], description="Addresses of `ips` that pods must not take")
    gateway: IpAddress | None = Field(default=None, description="Default route of the pods, inside the subnet")
    routes: list[Route] = Field(default=[], description="Further routes of its pods")
    default: bool = Field(default=False, description="Pool for pods that nothing else assigns to a pool")
    pod_affinity: LabelSelector | None = Field(default=None, description="Only for pods with these labels")
    namespace_affinity: LabelSelector | None = Field(default=None, description="Only for namespaces with these labels")
    namespace_name: list[DnsLabel] = Field(default=[], description="Only for these namespaces")
    node_affinity: LabelSelector | None = Field(default=None, description="Only on nodes with these labels")
    node_name: list[NodeName] = Field(default=[], description="Only on these nodes")


class Bond(PlanModel):
    """How several master interfaces become one."""

    name: InterfaceName = Field(description="Name of the bond, on every node")
    mode: int = Field(ge=0, le=6, description="Linux bonding mode, 0 to 6")
    options: str | None = Field(default=None, description="Further bonding options, as Spiderpool's ifacer takes them")


class Network(PlanModel):
    """The SpiderMultusConfig of a cluster: how pods reach the underlay."""

    name: DnsLabel = Field(default="macvlan-conf", description="Name of the SpiderMultusConfig")
    namespace: DnsLabel = Field(default="kube-system", description="Its namespace: the one Spiderpool is installed in")
    cni_type: Annotated[CniType, _choice(CniType)] = Field(
        default=CniType.MACVLAN, description="ipvlan where the network refuses further MAC addresses, as clouds do"
    )
    master: list[InterfaceName] = Field(min_length=1, description="Parent interface on every node; several need a bond")
    vlan_id: int = Field(default=0, ge=0, le=4094, description="VLAN tag of the underlay; 0 for none")
    mtu: int | None = Field(default=None, ge=576, le=65535, description="MTU of the pods' underlay interface, bytes")
    veth_mtu: int | None = Field(
        default=None, ge=576, le=65535, description="MTU towards the tunnel, bytes: smallest MTU of the path less 50"
    )
    bond: Bond | None = Field(default=None, description="How several master interfaces become one")
    local_cidr: list[Cidr] = Field(
        default=["169.254.0.0/16"],
        description="What pods reach through their node besides the other clusters. A list in the SpiderMultusConfig "
        "replaces the chart's own, which has 169.254.0.0/16 for NodeLocal DNSCache",
    )


class Gateway(PlanModel):
    """A node that carries the tunnel."""

    node: NodeName = Field(description="Name of the node")
    address: IpAddress | None = Field(
        default=None, description="Its address inside the pod CIDR, which Submariner's health check needs"
    )
    wan_address: IpAddress | None = Field(
        default=None, description="Its address towards the other sites, that of the default route's interface"
    )


def _gateway(value: Any) -> Any:
    return {"node": value} if isinstance(value, str) else value


# In the JSON Schema too, or editors would underline the short form.
GatewayOrName = Annotated[Gateway, BeforeValidator(_gateway, json_schema_input_type=NodeName | Gateway)]


class Node(PlanModel):
    """A node whose addresses the plan declares, so that they can be checked."""

    name: NodeName = Field(description="Name of the node")
    address: IpAddress = Field(description="Its address on the underlay, inside the pod CIDR")


class Cluster(PlanModel):
    """One cluster of the mesh: its addresses, gateways, network and pools."""

    pod_cidr: Cidr = Field(description="The underlay's CIDR; covers all IPv4 pools and is what the others route here")
    service_cidr: Cidr = Field(description="The cluster's Service CIDR (kube-apiserver --service-cluster-ip-range)")
    pod_cidr_v6: Cidr | None = Field(default=None, alias="podCIDRv6", description="Covers all IPv6 pools")
    service_cidr_v6: Cidr | None = Field(default=None, alias="serviceCIDRv6", description="Goes with podCIDRv6")
    node_cidr: list[Cidr] = Field(default=[], description="Networks of the nodes and of the API server, for checks")
    gateways: list[GatewayOrName] = Field(
        min_length=1, description="Gateway nodes: a name, or {node, address, wanAddress}; two or more for failover"
    )
    nodes: list[Node] = Field(default=[], description="Nodes with their underlay addresses, for checks")
    network: Network
    pools: list[Pool] = Field(min_length=1)
    globalnet_cidr: Cidr | None = Field(default=None, description="This cluster's part of the globalnet range")


class Globalnet(PlanModel):
    """Submariner's answer to overlapping CIDRs: every cluster gets addresses that are unique in the mesh."""

    cidr_range: Cidr = Field(default="242.0.0.0/8", alias="cidrRange", description="All global addresses")
    cluster_size: int = Field(default=65536, ge=8, description="Addresses per cluster")


class Broker(PlanModel):
    """Where clusters of the mesh find each other."""

    cluster: ClusterId = Field(description="The cluster that hosts the broker")
    url: HttpsUrl | None = Field(
        default=None,
        description="The broker's API server as all clusters reach it; needed where kubeconfig says loopback",
    )
    service_discovery: bool = Field(default=True, description="Install Lighthouse: <service>.<ns>.svc.clusterset.local")
    globalnet: Globalnet | None = Field(default=None, description="Set ({}) where pod or Service CIDRs overlap")


class HealthCheck(PlanModel):
    """Pings between gateways, from and to addresses inside the pod CIDRs."""

    enabled: bool | None = Field(
        default=None, description="Unset: on where every gateway of the mesh declares an address in its pod CIDR"
    )
    interval: int = Field(default=1, ge=1, description="Seconds between two pings")
    max_packet_loss_count: int = Field(default=5, ge=1, description="Lost pings after which a connection is in error")


class Submariner(PlanModel):
    """How the clusters are tunnelled together; the same in every cluster."""

    version: Version = Field(description="Of Submariner and, in major and minor, of subctl")
    cable_driver: Annotated[CableDriver, _choice(CableDriver)] = Field(
        default=CableDriver.LIBRESWAN, description="What carries the tunnel; vxlan does not encrypt"
    )
    nat_traversal: bool = Field(default=False, description="Dial public addresses where NAT discovery times out")
    nat_port: Port = Field(default=4500, description="UDP port of the tunnel")
    force_udp_encaps: bool = Field(default=False, description="IPsec in UDP even where no NAT is seen")
    preferred_server: ClusterId | None = Field(default=None, description="The cluster that the others dial (libreswan)")
    health_check: HealthCheck = HealthCheck()
    air_gapped: bool = Field(default=False, description="Never ask public services for the gateways' public addresses")
    repository: ImageName = Field(
        default="quay.io/submariner", description="Image repository, for a mirror of one's own"
    )
    image_overrides: dict[str, ImageName] = Field(default={}, description="<component>: <image>")
    psk_rotation: int = Field(default=0, ge=0, description="Raise it by one to replace the IPsec pre-shared key")
    ignore_requirements: bool = Field(default=False, description="Go on where Kubernetes is too new")
    adopt: bool = Field(default=False, description="Take over a Submariner that this project did not install")
    step_timeout: int = Field(default=900, ge=60, description="Seconds that one deploy-broker or join may take")


class Spiderpool(PlanModel):
    """Whether and how Spiderpool is installed; the same in every cluster."""

    install: bool = Field(default=True, description="false: it is there already, create only pools and networks")
    version: Version = Field(default="1.2.2", description="Of the chart, and so of Spiderpool")
    chart: str = Field(default="spiderpool", description="Name in the repository, or the path of a local chart archive")
    repository: HttpsUrl | None = Field(
        default="https://spidernet-io.github.io/spiderpool", description="Chart repository; null for a local chart"
    )
    image_registry: ImageName | None = Field(default=None, description="Registry that replaces the images' own")
    install_cni: bool = Field(default=True, description="Copy the macvlan and ipvlan plugins onto the nodes")
    values: dict[str, Any] = Field(default={}, description="Further chart values; they win over ours")


class SampleApp(PlanModel):
    """The app that proves the mesh."""

    enabled: bool = Field(default=True, description="Put it into every cluster")
    name: DnsLabel = Field(default="test-app", description="Name of the Deployment; its Service is <name>-svc")
    namespace: DnsLabel = Field(default="default", description="Where it and the probe pods run")
    image: ImageName = Field(default="nginx", description="Answers HTTP on the port")
    replicas: int = Field(default=2, ge=1, description="Pods per cluster")
    port: Port = Field(default=80, description="Of the pods and of the Service")
    export: bool = Field(default=False, description="Export the Service to the other clusters")
    roll_out: bool = Field(
        default=False, description="Restart its pods when hijackCIDR changes; else running ones keep their old routes"
    )


class Verify(PlanModel):
    """How the mesh is proved, after every join and by `mesh status`."""

    site: bool = Field(default=True, description="Look at Spiderpool and kube-proxy; off where neither is real")
    tunnel: bool = Field(default=True, description="Wait after the join until every joined peer is connected")
    tunnel_timeout: int = Field(
        default=180, ge=5, le=3600, description="Seconds to wait for that; NAT discovery alone may take 75"
    )
    may_be_down: list[ClusterId] = Field(default=[], description="Peers that are reported, but need not be connected")
    data_path: bool = Field(default=True, description="Send traffic from probe pods; off where pods are simulated")
    image: ImageName | None = Field(
        default=None,
        description="Of the probe pods and the leak guard: sh, ip, ping, curl or wget, httpd or nc. Unset: nettest, "
        "Submariner's own, from submariner.repository",
    )


class KubeProxy(PlanModel):
    """What is set in every cluster's kube-proxy; unset is left as it is, and never undone."""

    tcp_be_liberal: bool = Field(
        default=False,
        description="Set conntrack.tcpBeLiberal and restart kube-proxy: without it, pods outside the gateway nodes "
        "lose TCP wherever kube-proxy starts after Submariner's route agent",
    )


class LeakGuard(PlanModel):
    """A DaemonSet that keeps traffic for a peer that is gone from leaving a node in clear text."""

    enabled: bool = Field(default=False, description="Put it onto every node")
    image: ImageName | None = Field(default=None, description="Has sh and ip; unset: that of verify.image")


class MeshPlan(PlanModel):
    """One mesh: two or more clusters, the broker they meet at, and what is installed in all of them."""

    broker: Broker
    submariner: Submariner
    spiderpool: Spiderpool = Spiderpool()
    sample_app: SampleApp = SampleApp()
    verify: Verify = Verify()
    kube_proxy: KubeProxy = KubeProxy()
    leak_guard: LeakGuard = LeakGuard()
    clusters: dict[ClusterId, Cluster] = Field(min_length=2)
