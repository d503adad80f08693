"""What a cluster's gateways say of its tunnels, judged: per peer a state, what proves it, and where it is not
connected the hint that fits.

Sources: submariner pkg/cableengine/syncer (what a Gateway reports), pkg/cable/* (what `connected` means for each
driver), and measurements on a running mesh (facts: datapath.md 3, 6 and 9).
"""

import ipaddress
from collections.abc import Callable, Collection, Iterator, Sequence

from mesh.health.expect import Expected, Peer
from mesh.health.models import Connection, Endpoint, Gateway, GatewayPod, Link, LinkState, Model, TunnelReading

FRESH_SECONDS = 30  # a gateway reports every 5 s
NAT_DISCOVERY_PORT = 4490
VXLAN = "vxlan"
IsFresh = Callable[[Gateway], bool]

# What a gateway pod says before it ends, and what to do about it (pkg/endpoint, pkg/natdiscovery, pkg/cable).
_LAST_WORDS = (
    (
        "unable to find CNI Interface",
        "the node has no address inside the pod CIDR: give it one on the underlay interface, or turn "
        "submariner.healthCheck off",
    ),
    (
        "could not determine public IP",
        "the site cannot ask for its public address: set submariner.airGapped: true",
    ),
    (
        "unable to find default route",
        "the node has no default route: it must have one, through the interface towards the other sites",
    ),
    (
        "network is unreachable",
        "the node has no default route: it must have one, through the interface towards the other sites",
    ),
    (
        "address already in use",
        "another program has the tunnel's UDP ports, or a vxlan-tunnel device is left of another cable driver: "
        "`ip link del vxlan-tunnel` on the node",
    ),
    (
        "unknown config annotation",
        "remove the label or annotation gateway.submariner.io/… that it names from the node",
    ),
    ("x509", "it does not trust the broker's API server: see broker.url"),
    ("connection refused", "it does not reach the broker's API server: see broker.url"),
    ("i/o timeout", "it does not reach the broker's API server: see broker.url, and the firewall between the sites"),
)


class TunnelReport(Model):
    """What the tunnels of one cluster are worth.

    Attributes:
        links: one per other cluster of the plan, in its order.
        gateway: the node that carries them; empty where none does.
        problem: why this cluster can have no tunnel at all; empty where it can.
        hint: what to do about that.
        strangers: clusters that have joined and are not in the plan.
        standby: gateway nodes that would take over.
    """

    cluster: str
    links: tuple[Link, ...]
    gateway: str = ""
    problem: str = ""
    hint: str = ""
    strangers: tuple[str, ...] = ()
    standby: tuple[str, ...] = ()

    @property
    def joined(self) -> tuple[str, ...]:
        """Peers that have joined."""
        return tuple(link.peer for link in self.links if link.state is not LinkState.NOT_JOINED)


def judge(
    expected: Expected, reading: TunnelReading, joined: Collection[str] = (), is_fresh: IsFresh | None = None
) -> TunnelReport:
    """What the tunnels are worth.

    Args:
        expected: what the plan promises.
        reading: what the cluster says.
        joined: clusters that have joined, as known from elsewhere.
        is_fresh: whether a gateway is still reporting; by the age of its last report unless told otherwise.
    """
    fresh = is_fresh or (lambda gateway: age(gateway, reading) <= FRESH_SECONDS)
    heard_of = reading.members | frozenset(endpoint.cluster_id for endpoint in reading.endpoints)
    problem, hint, gateway = _own_gateway(expected, reading, fresh)
    links = []
    for peer in expected.peers:
        if not reading.membership:
            link = _link(expected, peer, LinkState.NOT_JOINED, message=problem)
        elif peer.cluster_id not in heard_of and peer.cluster_id not in joined:
            link = _link(expected, peer, LinkState.NOT_JOINED)
        elif gateway is None:
            stale = any(each.ha_status == "active" for each in reading.gateways)
            link = _link(expected, peer, LinkState.STALE if stale else LinkState.MISSING, message=problem, hint=hint)
        else:
            link = _judge_peer(expected, reading, gateway, peer)
        links.append(link)
    known = {expected.cluster_id, *(peer.cluster_id for peer in expected.peers)}
    return TunnelReport(
        cluster=expected.cluster_id,
        links=tuple(links),
        gateway=gateway.node if gateway else "",
        problem=problem,
        hint=hint,
        strangers=tuple(sorted(heard_of - known)),
        standby=tuple(each.node for each in reading.gateways if each.ha_status == "passive" and fresh(each)),
    )


def age(gateway: Gateway, reading: TunnelReading) -> float:
    """Seconds since the gateway reported."""
    return float("inf") if gateway.updated is None else max(0, reading.now - gateway.updated)


def _own_gateway(expected: Expected, reading: TunnelReading, fresh: IsFresh) -> tuple[str, str, Gateway | None]:
    """Why this cluster can have no tunnel and what to do about it; or the gateway that carries them."""
    me = expected.cluster_id
    if reading.membership is None:
        return f"{me} has not joined", "bring its stack up", None
    if reading.membership.cluster_id != me:
        said = reading.membership.cluster_id
        return f"{me} has joined as {said}", "correct the kubeconfig, or let it leave and join again", None
    active = [gateway for gateway in reading.gateways if gateway.ha_status == "active"]
    alive = [gateway for gateway in active if fresh(gateway)]
    if len(alive) > 1:
        nodes = ", ".join(gateway.node for gateway in alive)
        return f"{me} has several active gateways ({nodes})", "restart the DaemonSet submariner-gateway", None
    if alive:
        gateway = alive[0]
        if gateway.failure:
            return f"the gateway {gateway.node} reports: {gateway.failure}", "", gateway
        return (*_wrong_address(me, gateway.local, expected.wan_addresses, expected.pod_cidrs), gateway)
    if active:
        since = f"for {age(active[0], reading):.0f} s" if active[0].updated else "so far"
        return (
            f"the gateway {active[0].node} of {me} has not reported {since}",
            "its pod or its node is down. The kernel's tunnel may go on for a while by itself",
            None,
        )
    return (*_why_no_gateway(expected, reading), None)


def _why_no_gateway(expected: Expected, reading: TunnelReading) -> tuple[str, str]:
    me = expected.cluster_id
    if reading.gateways:
        nodes = ", ".join(gateway.node for gateway in reading.gateways)
        return f"{me} has no active gateway, only passive ones ({nodes})", "look at their logs: none becomes the leader"
    if not reading.pods:
        nodes = ", ".join(expected.gateways)
        return (
            f"no gateway runs in {me}, and there is no pod of one",
            f"does node {nodes} bear the label submariner.io/gateway=true, and does submariner-operator run? Its log "
            "says what keeps it",
        )
    pod = reading.pods[0]
    if pod.waiting:
        said = _telling_line(pod.last_words)
        return (
            f"the gateway pod on {pod.node or 'no node'} of {me} is in {pod.waiting}" + (f" ({said})" if said else ""),
            _hint_of(pod),
        )
    if pod.phase != "Running":
        return f"the gateway pod {pod.name} of {me} is {pod.phase}", "kubectl describe says why it does not start"
    return f"the gateway pod on {pod.node} of {me} runs and has not reported yet", "its log says what it waits for"


def _hint_of(pod: GatewayPod) -> str:
    for words, hint in _LAST_WORDS:
        if words in pod.last_words:
            return hint
    if "Image" in pod.waiting:
        return "the image cannot be pulled: see submariner.repository and submariner.version"
    return f"kubectl logs -n submariner-operator {pod.name} --previous says why"


def _telling_line(log: str) -> str:
    """The line that says why it ended: the one we know, else the last."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    known = [line for line in lines if any(words in line for words, _ in _LAST_WORDS)]
    return (known or lines or [""])[-1][-300:]


def _judge_peer(expected: Expected, reading: TunnelReading, gateway: Gateway, peer: Peer) -> Link:
    endpoints = [endpoint for endpoint in reading.endpoints if endpoint.cluster_id == peer.cluster_id]
    connections = [each for each in gateway.connections if each.peer.cluster_id == peer.cluster_id]
    # After a failover of the peer the connection to its former gateway stays for a moment.
    current = {endpoint.cable_name for endpoint in endpoints}
    connections = [each for each in connections if each.peer.cable_name in current] or connections
    links = [_judge_connection(expected, reading, gateway, peer, each) for each in connections]
    if not links:
        message = (
            "no connection to it" if endpoints else "it has joined, and what it tells of itself has not arrived here"
        )
        end = endpoints[0] if endpoints else None
        links = [
            _link(
                expected,
                peer,
                LinkState.MISSING,
                gateway=gateway.node,
                peer_gateway=end.hostname if end else "",
                cable_driver=gateway.local.backend,
                message=message,
                hint=next(_hints(expected, gateway, peer, end, None), ""),
            )
        ]
    # IPv4 and IPv6 have a connection each: both must be good.
    return min(links, key=lambda link: link.good)


def _judge_connection(
    expected: Expected, reading: TunnelReading, gateway: Gateway, peer: Peer, connection: Connection
) -> Link:
    facts = {
        "gateway": gateway.node,
        "peer_gateway": connection.peer.hostname,
        "address": connection.using_ip,
        "nat": connection.using_nat,
        "cable_driver": gateway.local.backend,
        "rtt_ms": connection.rtt_ms,
    }

    def link(state: LinkState, message: str, proof: str = "", hint: str | None = None) -> Link:
        if hint is None:
            hint = next(_hints(expected, gateway, peer, connection.peer, connection), "")
        return _link(expected, peer, state, message=message, proof=proof, hint=hint, **facts)

    wrong, hint = _wrong_address(peer.cluster_id, connection.peer, peer.wan_addresses, peer.pod_cidrs)
    if wrong:
        return link(LinkState.ERROR, wrong, hint=hint)
    if gateway.local.backend and gateway.local.backend != expected.cable_driver:
        message = f"still {gateway.local.backend}, not {expected.cable_driver} as planned"
        return link(LinkState.CONNECTING, message, hint="the gateway has not been restarted with it yet")
    if connection.status == "connecting":
        return link(LinkState.CONNECTING, connection.message)
    if connection.status != "connected":
        return link(LinkState.ERROR, connection.message or connection.status)
    if connection.rtt_ms is not None:
        return link(LinkState.CONNECTED, "", "ping", hint="")
    if reading.membership and reading.membership.health_check:
        return link(LinkState.CONNECTING, connection.message or "no ping of the health check has been answered yet")
    if connection.peer.backend == VXLAN:
        message = "the vxlan driver says connected whatever happens, and no health check looks"
        return link(LinkState.UNPROVEN, message, hint="only traffic can prove it: python -m mesh status --probe")
    return link(LinkState.CONNECTED, "", "handshake", hint="")


def _hints(
    expected: Expected, gateway: Gateway, peer: Peer, end: Endpoint | None, connection: Connection | None
) -> Iterator[str]:
    """What may be wrong, the most certain first."""
    me, local = expected.cluster_id, gateway.local
    _, own = _wrong_address(me, local, expected.wan_addresses, expected.pod_cidrs)
    if own:
        yield own
    if end is None:
        yield f"does the gateway of {peer.cluster_id} run, and does that of {me} reach the broker?"
        return
    _, theirs = _wrong_address(peer.cluster_id, end, peer.wan_addresses, peer.pod_cidrs)
    if theirs:
        yield theirs
    if end.backend and local.backend and end.backend != local.backend:
        yield (
            f"the cable drivers differ: {local.backend} in {me}, {end.backend} in {peer.cluster_id}; bring both stacks "
            "up with the same submariner.cableDriver"
        )
    if overlap := _overlap(local.subnets, end.subnets):
        yield f"the networks overlap ({overlap}), and gateways then leave each other out without a word"
    between = f"between {local.private_ip or 'the gateway'} and {end.private_ip or 'that of the peer'}"
    ports = _ports(expected)
    if connection is None:
        yield (
            f"open UDP {NAT_DISCOVERY_PORT} (NAT discovery; closed, it takes 60 to 75 s) and {ports} in both "
            f"directions {between}"
        )
    elif connection.using_nat:
        yield (
            f"NAT is on the way: {ports} must be forwarded to the gateway; clusters behind one address need different "
            "ports (gateway.submariner.io/udp-port)"
        )
    elif connection.status == "connecting" and expected.cable_driver != VXLAN:
        yield (
            f"open {ports} in both directions {between}; they are, and it stays so: do both have the same pre-shared "
            "key? Bring both stacks up"
        )
    elif connection.status == "connected":
        without = "" if end.health_check_ip else f"; {peer.cluster_id} names no healthCheckIP: its health check is off"
        yield f"pings between the gateways' underlay addresses get no answer: is ICMP allowed there{without}?"
    else:
        yield (
            f"open {ports} in both directions {between}; the health check must be on in both clusters or in none; and "
            "restart the gateway of the one whose address has changed"
        )


def _ports(expected: Expected) -> str:
    if expected.cable_driver == "libreswan":
        return f"UDP {expected.nat_port}, UDP 500 and ESP (or set submariner.forceUDPEncaps)"
    return f"UDP {expected.nat_port}"


def _wrong_address(
    cluster_id: str, end: Endpoint, wan_addresses: dict[str, str], pod_cidrs: Sequence[str]
) -> tuple[str, str]:
    """What is wrong with the address that a gateway tunnels from, and what to do about it; twice empty for nothing."""
    if not end.private_ip:
        return "", ""
    declared = wan_addresses.get(end.hostname)
    in_pods = [cidr for cidr in pod_cidrs if _contains(cidr, end.private_ip)]
    if not in_pods and declared in (None, end.private_ip):
        return "", ""
    where = f"inside the pod CIDR {in_pods[0]}" if in_pods else f"not {declared} as planned"
    # Submariner takes the source address of its default route: the kernel's answer to a dial to 8.8.8.8.
    return (
        f"the gateway {end.hostname} of {cluster_id} tunnels from {end.private_ip}, {where}",
        f"the default route of {end.hostname} ({cluster_id}) must leave through the interface towards the other sites"
        + (f", with {declared}" if declared else "")
        + "; then restart its gateway pod",
    )


def _overlap(ours: Sequence[str], theirs: Sequence[str]) -> str:
    for one in ours:
        for other in theirs:
            if ipaddress.ip_network(one).overlaps(ipaddress.ip_network(other)):
                return f"{one}, {other}"
    return ""


def _contains(cidr: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)
    except ValueError:
        return False


def _link(expected: Expected, peer: Peer, state: LinkState, **facts: object) -> Link:
    return Link.model_validate({"cluster": expected.cluster_id, "peer": peer.cluster_id, "state": state, **facts})
