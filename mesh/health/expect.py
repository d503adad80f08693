"""What the plan promises of one cluster, and so what its health is measured by.

Only what concerns the cluster itself: a change elsewhere in the plan does not make its proof run again.
"""

from mesh.health.models import Model
from mesh.plan import MeshPlan, derive

NETTEST = "submariner-nettest"
PROBE_START_SECONDS = 150
"""How long probe pods may take to start: an image pull, mostly."""


class Peer(Model):
    """Another cluster of the plan.

    Attributes:
        networks: CIDRs that this cluster's pods reach through the tunnel: its own, or its part of the globalnet.
        wan_addresses: of its gateway nodes, where the plan declares them.
    """

    cluster_id: str
    pod_cidrs: tuple[str, ...]
    networks: tuple[str, ...]
    wan_addresses: dict[str, str]


class App(Model):
    """The exported Service that every cluster has."""

    service: str
    namespace: str
    port: int


class Expected(Model):
    """One cluster as the plan wants it.

    Attributes:
        network: namespace and name of the network that pods name in their annotation.
        gateways: gateway nodes.
        wan_addresses: of the gateway nodes, where the plan declares them.
        nodes: nodes whose address on the underlay the plan declares.
        psk_rotation: not looked at; another pre-shared key wants another proof.
        app: the exported sample Service; None where none is exported.
        image: of the probe pods.
        namespace: where the probe pods run.
    """

    cluster_id: str
    pod_cidrs: tuple[str, ...]
    service_cidrs: tuple[str, ...]
    hijack_cidr: tuple[str, ...]
    network: str
    master: str
    pools: tuple[str, ...]
    veth_mtu: int | None
    gateways: tuple[str, ...]
    wan_addresses: dict[str, str]
    nodes: tuple[str, ...]
    cable_driver: str
    health_check: bool
    nat_port: int
    globalnet: bool
    version: str
    psk_rotation: int
    peers: tuple[Peer, ...]
    site: bool
    tunnel: bool
    tunnel_timeout: int
    may_be_down: tuple[str, ...]
    data_path: bool
    app: App | None
    image: str
    namespace: str

    @property
    def timeout(self) -> int:
        """Seconds that the whole proof may take."""
        return self.tunnel_timeout + (PROBE_START_SECONDS + self.probe_timeout if self.data_path else 0)

    @property
    def probe_timeout(self) -> int:
        """Seconds that sending traffic to all peers may take: 10 where all is well, and room for some that are not."""
        return 90 + 20 * len(self.peers)

    def peer(self, cluster_id: str) -> Peer | None:
        """The peer of that ID; None where the plan has none."""
        return next((peer for peer in self.peers if peer.cluster_id == cluster_id), None)


def probe_image(plan: MeshPlan) -> str:
    """The image of the probe pods: Submariner's own, which sites without Internet access have mirrored already."""
    submariner = plan.submariner
    return (
        plan.verify.image
        or submariner.image_overrides.get(NETTEST)
        or f"{submariner.repository}/nettest:{submariner.version}"
    )


def expected(plan: MeshPlan, cluster_id: str) -> Expected:
    """What the plan promises of a cluster."""
    cluster, app = plan.clusters[cluster_id], plan.sample_app
    declared = [(gateway.node, gateway.address) for gateway in cluster.gateways]
    declared += [(node.name, node.address) for node in cluster.nodes]
    return Expected(
        cluster_id=cluster_id,
        pod_cidrs=_pod_cidrs(plan, cluster_id),
        service_cidrs=tuple(filter(None, (cluster.service_cidr, cluster.service_cidr_v6))),
        hijack_cidr=derive.hijack_cidr(plan, cluster_id),
        network=derive.default_network(cluster),
        master=", ".join(cluster.network.master),
        pools=tuple(pool.name for pool in cluster.pools),
        veth_mtu=cluster.network.veth_mtu,
        gateways=tuple(gateway.node for gateway in cluster.gateways),
        wan_addresses=_wan_addresses(plan, cluster_id),
        nodes=tuple(dict.fromkeys(node for node, address in declared if address)),
        cable_driver=plan.submariner.cable_driver.value,
        health_check=derive.health_check(plan),
        nat_port=plan.submariner.nat_port,
        globalnet=plan.broker.globalnet is not None,
        version=plan.submariner.version,
        psk_rotation=plan.submariner.psk_rotation,
        peers=tuple(_peer(plan, other) for other in plan.clusters if other != cluster_id),
        site=plan.verify.site,
        tunnel=plan.verify.tunnel,
        tunnel_timeout=plan.verify.tunnel_timeout,
        may_be_down=tuple(plan.verify.may_be_down),
        data_path=plan.verify.data_path,
        app=App(service=f"{app.name}-svc", namespace=app.namespace, port=app.port)
        if app.enabled and app.export
        else None,
        image=probe_image(plan),
        namespace=app.namespace,
    )


def remote_networks(plan: MeshPlan, cluster_id: str) -> tuple[str, ...]:
    """All that a cluster's pods reach through the tunnel."""
    peers = (_peer(plan, other) for other in plan.clusters if other != cluster_id)
    return tuple(dict.fromkeys(network for peer in peers for network in peer.networks))


def _peer(plan: MeshPlan, cluster_id: str) -> Peer:
    cluster = plan.clusters[cluster_id]
    own = tuple(str(network) for network in derive.networks_of(cluster))
    part = tuple(filter(None, (cluster.globalnet_cidr,)))
    return Peer(
        cluster_id=cluster_id,
        pod_cidrs=_pod_cidrs(plan, cluster_id),
        networks=part if plan.broker.globalnet else own,
        wan_addresses=_wan_addresses(plan, cluster_id),
    )


def _pod_cidrs(plan: MeshPlan, cluster_id: str) -> tuple[str, ...]:
    cluster = plan.clusters[cluster_id]
    return tuple(filter(None, (cluster.pod_cidr, cluster.pod_cidr_v6)))


def _wan_addresses(plan: MeshPlan, cluster_id: str) -> dict[str, str]:
    return {gateway.node: gateway.wan_address for gateway in plan.clusters[cluster_id].gateways if gateway.wan_address}
