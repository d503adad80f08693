"""What the mesh needs of a cluster's nodes and of Spiderpool: what the API shows of it, and as text what it does not.

Sources: the conditions under which pods of all nodes reach all others, measured (facts: datapath.md 3 and 4), and what
Spiderpool needs (facts: spiderpool.md 2, 3 and 6).
"""

import ipaddress
from collections.abc import Iterator

from mesh.health.expect import Expected
from mesh.health.models import Finding, KubeProxy, SiteReading, State
from mesh.health.read import network_plugins, timestamp
from mesh.plan.types import version_tuple

FEW_ADDRESSES = 3
NAMED = 10  # pods that are named, of those that are meant
TCP_LIBERAL_SINCE = (1, 29, 0)  # kube-proxy's conntrack.tcpBeLiberal
NFTABLES_SINCE = (0, 22, 0)  # Submariner's default packet filter driver


def judge(expected: Expected, reading: SiteReading) -> tuple[Finding, ...]:
    """All findings, the good ones too."""
    return (
        *_coordinator(expected, reading),
        *_network(expected, reading),
        *_routes(expected, reading),
        *_gateways(expected, reading),
        *_nodes(expected, reading),
        *_pools(expected, reading),
        *_kube_proxy(expected, reading),
    )


def by_hand(expected: Expected) -> tuple[str, ...]:
    """What only the nodes themselves can show: how to look, and what has to come out."""
    gateways, pods = ", ".join(expected.gateways), ", ".join(expected.pod_cidrs)
    forward = "iptables -S FORWARD | head -1; nft list chain ip filter FORWARD"
    return (
        f"on {gateways}: `ip route get 8.8.8.8` must leave through the interface towards the other sites, not through "
        f"{expected.master}; no packet is sent, Submariner only asks for the source address",
        f"on every node: `ip -4 addr show` must have an address inside {pods} on {expected.master}; without it "
        "Services of the own cluster fail for backends on other nodes, and Submariner starts two minutes late",
        f"on every node: `{forward}` must say ACCEPT (Docker and firewalld set DROP: all cross-cluster traffic fails)",
        f"between the gateways of all sites: UDP {expected.nat_port} and 4490 open in both directions; between all "
        "nodes of the cluster: UDP 4800",
    )


def _coordinator(expected: Expected, reading: SiteReading) -> Iterator[Finding]:
    found = reading.coordinator
    if found is None:
        yield _failed("coordinator", "there is no SpiderCoordinator", "pods can't start without it: install Spiderpool")
    elif found.phase != "Synced" or not found.service_cidr:
        reason = f" ({found.reason})" if found.reason else ""
        yield _failed(
            "coordinator",
            f"the SpiderCoordinator is {found.phase or 'without a status'}{reason}",
            "no pod can start on the underlay: does spiderpool-controller run, and does ConfigMap "
            "kube-system/kubeadm-config say podSubnet and serviceSubnet?",
        )
    elif missing := [cidr for cidr in expected.service_cidrs if cidr not in found.service_cidr]:
        yield _failed(
            "coordinator",
            f"the cluster's Service CIDR is {', '.join(found.service_cidr)}, the plan's {', '.join(missing)}",
            "correct serviceCIDR in the plan: the others route it here",
        )
    else:
        yield _ok("coordinator", f"SpiderCoordinator Synced, Service CIDR {', '.join(found.service_cidr)}")


def _network(expected: Expected, reading: SiteReading) -> Iterator[Finding]:
    if reading.network is None:
        yield _failed(
            "network",
            f"there is no NetworkAttachmentDefinition {expected.network}",
            "spiderpool-controller makes it of the SpiderMultusConfig: does it run?",
        )
        return
    coordinator = network_plugins(reading.network).get("coordinator")
    if coordinator is None:
        yield _failed(
            "network",
            f"{expected.network} has no coordinator: its pods never reach the tunnel",
            "enableCoordinator must be true in the SpiderMultusConfig; another one of that name may have been there",
        )
        return
    # A list here replaces Spiderpool's own, and pods get it once, when they start.
    missing = [cidr for cidr in expected.hijack_cidr if cidr not in (coordinator.get("hijackCIDR") or [])]
    if missing:
        yield _failed(
            "network",
            f"hijackCIDR of {expected.network} lacks {', '.join(missing)}: pods send that to the underlay",
            "bring the stack up, then restart the pods: routes are set when a pod starts",
        )
    else:
        yield _ok("network", f"{expected.network} sends {', '.join(expected.hijack_cidr)} into the node")


def _routes(expected: Expected, reading: SiteReading) -> Iterator[Finding]:
    """Pods get their routes once, when they start: those that are older than the network's last change have others."""
    changed = reading.network_changed
    if changed is None or not reading.pods:
        return
    older = sorted(pod.name for pod in reading.pods if pod.created < changed)
    if older:
        more = f" and {len(older) - NAMED} more" if len(older) > NAMED else ""
        yield _warning(
            "routes",
            f"{len(older)} of {len(reading.pods)} running pods are older than the last change of {expected.network} "
            f"({timestamp(changed)}) and keep the routes of before: {', '.join(older[:NAMED])}{more}",
            "restart those that have to reach a cluster that has come since (`kubectl rollout restart`)",
        )
    else:
        yield _ok("routes", f"all {len(reading.pods)} running pods have the routes of {expected.network}")


def _gateways(expected: Expected, reading: SiteReading) -> Iterator[Finding]:
    nodes = {node.name: node for node in reading.nodes}
    for name in expected.gateways:
        node = nodes.get(name)
        if node is None:
            yield _failed("gateways", f"there is no node {name}", "correct gateways in the plan")
        elif not node.gateway:
            label = "submariner.io/gateway=true"
            yield _failed("gateways", f"node {name} has no label {label}", "bring the stack up: it sets it")
        elif not node.ready:
            yield _warning("gateways", f"gateway node {name} is not Ready", "")
        else:
            yield _ok("gateways", f"gateway node {name} is Ready")
    for node in reading.nodes:
        if node.gateway and node.name not in expected.gateways:
            what = f"node {node.name} is a gateway too, which the plan does not say"
            yield _warning("gateways", what, "add it to the plan, or take its label")


def _nodes(expected: Expected, reading: SiteReading) -> Iterator[Finding]:
    if not expected.nodes:
        yield _not_checked(
            "nodes",
            "whether every node has an address on the underlay: the API does not show it",
            "declare them in the plan (gateways[].address, nodes), or send probes: python -m mesh status --probe",
        )
        return
    missing = [node.name for node in reading.nodes if node.name not in expected.nodes]
    if missing:
        yield _warning(
            "nodes",
            f"no address on the underlay is declared for {', '.join(missing)}",
            f"each needs one inside {', '.join(expected.pod_cidrs)} on {expected.master}: give it one and declare it",
        )
    else:
        yield _ok("nodes", "every node has a declared address on the underlay")


def _pools(expected: Expected, reading: SiteReading) -> Iterator[Finding]:
    found = {pool.name: pool for pool in reading.pools}
    for name in expected.pools:
        pool = found.get(name)
        if pool is None:
            yield _failed("pools", f"there is no SpiderIPPool {name}", "bring the stack up")
        elif pool.free is None:
            what = f"Spiderpool has not counted pool {name}"
            yield _failed("pools", what, "does spiderpool-controller run, and has it a leader?")
        elif pool.free <= 0:
            yield _failed("pools", f"pool {name} is full ({pool.total} addresses)", "give it more: no pod can start")
        elif pool.free <= FEW_ADDRESSES:
            yield _warning("pools", f"pool {name} has {pool.free} of {pool.total} addresses left", "give it more")
        else:
            yield _ok("pools", f"pool {name} has {pool.free} of {pool.total} addresses left")


def _kube_proxy(expected: Expected, reading: SiteReading) -> Iterator[Finding]:
    others = [node.name for node in reading.nodes if not node.gateway]
    proxy = reading.kube_proxy
    if proxy is None:
        yield _not_checked(
            "kube-proxy",
            "kube-proxy's mode and conntrack.tcpBeLiberal: they are not in ConfigMap kube-system/kube-proxy",
            "mode iptables needs --conntrack-tcp-be-liberal where pods run outside the gateway nodes; ipvs is not "
            "supported by Submariner",
        )
        return
    if proxy.mode == "ipvs":
        yield _failed("kube-proxy", "kube-proxy runs in ipvs mode, which Submariner does not support", "use iptables")
        return
    if proxy.mode == "iptables" and others and not proxy.tcp_be_liberal:
        yield _tcp_be_liberal(expected, reading, others)
    else:
        liberal = ", tcpBeLiberal" if proxy.tcp_be_liberal else ""
        yield _ok("kube-proxy", f"kube-proxy in {proxy.mode} mode{liberal}")
    yield from _cluster_cidr(expected, proxy)


def _tcp_be_liberal(expected: Expected, reading: SiteReading, others: list[str]) -> Finding:
    nodes = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    always = version_tuple(expected.version) >= NFTABLES_SINCE
    when = "with Submariner's nftables driver" if always else "where kube-proxy starts after Submariner's route agent"
    what = f"kube-proxy drops packets of half-seen connections: pods on {nodes} lose TCP with other clusters {when}"
    if version_tuple(reading.kubernetes) < TCP_LIBERAL_SINCE:
        return _warning("kube-proxy", what, f"Kubernetes {reading.kubernetes} has no remedy; 1.29 has")
    return _warning("kube-proxy", what, "set kubeProxy.tcpBeLiberal: true in the plan")


def _cluster_cidr(expected: Expected, proxy: KubeProxy) -> Iterator[Finding]:
    if proxy.masquerade_all:
        return
    covered = [cidr for cidr in proxy.cluster_cidr.split(",") if cidr and _overlaps(cidr, expected.pod_cidrs)]
    if not proxy.cluster_cidr or covered:
        what = f"its clusterCIDR {covered[0]} covers the underlay" if covered else "it has no clusterCIDR"
        yield _warning(
            "kube-proxy",
            f"kube-proxy: {what}, so that Services of the own cluster fail for backends on other nodes",
            "set clusterCIDR to a network outside the underlay, or iptables.masqueradeAll: true",
        )


def _overlaps(cidr: str, others: tuple[str, ...]) -> bool:
    try:
        return any(ipaddress.ip_network(cidr.strip()).overlaps(ipaddress.ip_network(other)) for other in others)
    except ValueError:
        return False


def _ok(check: str, what: str) -> Finding:
    return Finding(check=check, state=State.OK, what=what)


def _warning(check: str, what: str, fix: str) -> Finding:
    return Finding(check=check, state=State.WARNING, what=what, fix=fix)


def _failed(check: str, what: str, fix: str) -> Finding:
    return Finding(check=check, state=State.FAILED, what=what, fix=fix)


def _not_checked(check: str, what: str, fix: str) -> Finding:
    return Finding(check=check, state=State.NOT_CHECKED, what=what, fix=fix)
