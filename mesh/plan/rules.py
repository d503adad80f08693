"""What must hold between the fields of a plan and between its clusters.

Each rule yields `Problem`s and never stops at the first. Sources: Spiderpool's webhooks (pkg/ippoolmanager and
pkg/multuscniconfig), what they accept but does not work, Submariner's limits, and what cannot work in any cluster.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from itertools import combinations

from mesh.plan import derive, ranges
from mesh.plan.models import CableDriver, Cluster, MeshPlan, Network, Pool
from mesh.plan.problems import Problem
from mesh.plan.types import Network as IpNetwork
from mesh.plan.types import version_tuple

MAX_POOL_ADDRESSES = 5000  # Spiderpool stops allocating there (SPIDERPOOL_IPPOOL_MAX_ALLOCATED_IPS)
MAX_INTERFACE_NAME = 15  # IFNAMSIZ - 1
IMAGE_COMPONENTS = frozenset(
    f"submariner-{name}"
    for name in ("operator", "gateway", "routeagent", "globalnet", "lighthouse-agent", "lighthouse-coredns", "nettest")
) | {"submariner-metrics-proxy"}
_DENIED_EXPORT_PREFIXES = ("kube-", "openshift")  # Lighthouse since 0.24.1: import-namespace-deny-list


def problems(plan: MeshPlan) -> list[Problem]:
    """All mistakes of a plan whose sections are valid by themselves."""
    found: list[Problem] = [*_broker(plan), *_submariner(plan), *_spiderpool(plan), *_sample_app(plan)]
    for cluster_id, cluster in plan.clusters.items():
        path = f"clusters.{cluster_id}"
        found += _cluster_networks(path, cluster)
        found += _local_cidr(path, cluster)
        found += _nodes(path, cluster)
        found += _network(f"{path}.network", cluster.network, plan)
        for index, pool in enumerate(cluster.pools):
            found += _pool(f"{path}.pools[{index}]", pool, cluster)
        found += _pools(path, cluster)
        found += _globalnet(path, cluster_id, cluster, plan)
    return [*found, *_between_clusters(plan)]


def advice(plan: MeshPlan) -> list[Problem]:
    """What works but deserves a second look; printed, never refused."""
    found: list[Problem] = []
    for cluster_id, cluster in plan.clusters.items():
        if len(cluster.gateways) == 1:
            found.append(
                Problem(
                    f"clusters.{cluster_id}.gateways",
                    f"one gateway node ({cluster.gateways[0].node}): no failover",
                    "name a second one",
                )
            )
    if not derive.health_check(plan):
        without = [
            f"{cluster_id}/{gateway.node}"
            for cluster_id, cluster in plan.clusters.items()
            for gateway in cluster.gateways
            if not gateway.address
        ]
        found.append(
            Problem(
                "submariner.healthCheck",
                f"off, because these gateways declare no address in the pod CIDR: {', '.join(without)}"
                if plan.submariner.health_check.enabled is None
                else "turned off",
                "give each gateway an address on the underlay and declare it: {node: …, address: …}",
            )
        )
    if plan.submariner.cable_driver is CableDriver.VXLAN:
        found.append(
            Problem("submariner.cableDriver", "vxlan does not encrypt", "use libreswan where the path is not trusted")
        )
    return found


def _broker(plan: MeshPlan) -> Iterator[Problem]:
    ids = ", ".join(plan.clusters)
    if plan.broker.cluster not in plan.clusters:
        yield Problem("broker.cluster", f"{plan.broker.cluster!r} is no cluster of the plan", f"use one of: {ids}")
    if plan.broker.url:
        host = plan.broker.url.removeprefix("https://").split("/")[0]
        host = host[1:].split("]")[0] if host.startswith("[") else host.rsplit(":", 1)[0]
        if host == "localhost" or _is_loopback(host):
            yield Problem(
                "broker.url",
                f"{plan.broker.url} is a loopback address: gateways of the other clusters would dial themselves",
                "write the address at which every cluster reaches this API server",
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _submariner(plan: MeshPlan) -> Iterator[Problem]:
    submariner, driver = plan.submariner, plan.submariner.cable_driver
    if submariner.preferred_server is not None:
        if submariner.preferred_server not in plan.clusters:
            yield Problem(
                "submariner.preferredServer",
                f"{submariner.preferred_server!r} is no cluster of the plan",
                f"use one of: {', '.join(plan.clusters)}",
            )
        if driver is not CableDriver.LIBRESWAN:
            yield Problem("submariner.preferredServer", f"{driver.value} has no servers", "only libreswan knows it")
    if submariner.force_udp_encaps and driver is not CableDriver.LIBRESWAN:
        yield Problem("submariner.forceUDPEncaps", f"{driver.value} uses no IPsec", "only libreswan knows it")
    if driver is CableDriver.VXLAN and submariner.nat_traversal:
        yield Problem(
            "submariner.natTraversal",
            "the vxlan cable driver cannot pass NAT: gateways must reach each other directly",
            "set natTraversal: false, or cableDriver: libreswan",
        )
    for component in submariner.image_overrides:
        if component not in IMAGE_COMPONENTS:
            yield Problem(
                f"submariner.imageOverrides.{component}",
                "no component of Submariner",
                f"use one of: {', '.join(sorted(IMAGE_COMPONENTS))}",
            )
    if submariner.health_check.enabled:
        for cluster_id, cluster in plan.clusters.items():
            for index, gateway in enumerate(cluster.gateways):
                if not gateway.address:
                    yield Problem(
                        f"clusters.{cluster_id}.gateways[{index}].address",
                        f"the health check is on, but {gateway.node} declares no address in {cluster.pod_cidr}: its "
                        'gateway pod would end in CrashLoopBackOff ("unable to find CNI Interface on the host")',
                        "declare the address, or leave submariner.healthCheck.enabled unset",
                    )


def _spiderpool(plan: MeshPlan) -> Iterator[Problem]:
    spiderpool = plan.spiderpool
    if version_tuple(spiderpool.version) < (1, 0, 0):
        yield Problem("spiderpool.version", f"{spiderpool.version} has other chart values", "use 1.0.0 or later")
    local_chart = spiderpool.chart.startswith((".", "/")) or spiderpool.chart.endswith(".tgz")
    if spiderpool.install and local_chart and spiderpool.repository:
        yield Problem(
            "spiderpool.repository",
            f"chart {spiderpool.chart!r} is a local path, which no repository has",
            "set repository: null",
        )
    if spiderpool.install and not local_chart and not spiderpool.repository:
        yield Problem(
            "spiderpool.repository", f"needed to find chart {spiderpool.chart!r}", "set it, or make chart a path"
        )
    default_cni = spiderpool.values.get("multus", {})
    default_cni = default_cni.get("multusCNI", {}) if isinstance(default_cni, dict) else {}
    if isinstance(default_cni, dict) and "defaultCniCRName" in default_cni:
        yield Problem(
            "spiderpool.values.multus.multusCNI.defaultCniCRName",
            "derived from each cluster's network.name; another value leaves pods without a network",
            "remove it",
        )


def _sample_app(plan: MeshPlan) -> Iterator[Problem]:
    app = plan.sample_app
    if app.enabled and app.export and not plan.broker.service_discovery:
        yield Problem(
            "sampleApp.export", "needs service discovery, which broker.serviceDiscovery turns off", "turn one of them"
        )
    if app.enabled and app.export and app.namespace.startswith(_DENIED_EXPORT_PREFIXES):
        yield Problem(
            "sampleApp.namespace",
            f"Submariner does not export from {app.namespace!r} (kube-* and openshift* are denied)",
            "use another namespace",
        )
    if len(app.name) > 63 - len("-svc"):
        yield Problem("sampleApp.name", f"{app.name!r} with -svc is longer than 63 characters", "shorten it")


def _cluster_networks(path: str, cluster: Cluster) -> Iterator[Problem]:
    for field, cidr, version in (
        ("podCIDR", cluster.pod_cidr, 4),
        ("serviceCIDR", cluster.service_cidr, 4),
        ("podCIDRv6", cluster.pod_cidr_v6, 6),
        ("serviceCIDRv6", cluster.service_cidr_v6, 6),
    ):
        if cidr and ipaddress.ip_network(cidr).version != version:
            yield Problem(f"{path}.{field}", f"{cidr} is not IPv{version}", f"write an IPv{version} CIDR")
    if bool(cluster.pod_cidr_v6) != bool(cluster.service_cidr_v6):
        missing = "serviceCIDRv6" if cluster.pod_cidr_v6 else "podCIDRv6"
        yield Problem(f"{path}.{missing}", "missing: IPv6 needs both a pod and a Service CIDR", "set both or neither")
    for (one_field, one), (other_field, other) in combinations(_named_networks(cluster), 2):
        if one_field.startswith("nodeCIDR") and other_field.startswith("nodeCIDR"):
            continue
        if one.overlaps(other):
            yield Problem(
                f"{path}.{other_field}",
                f"{other} overlaps with {one} ({path}.{one_field})",
                "pod, Service and node networks of a cluster must be disjoint",
            )


def _named_networks(cluster: Cluster) -> list[tuple[str, IpNetwork]]:
    named = [
        ("podCIDR", cluster.pod_cidr),
        ("serviceCIDR", cluster.service_cidr),
        ("podCIDRv6", cluster.pod_cidr_v6),
        ("serviceCIDRv6", cluster.service_cidr_v6),
        *((f"nodeCIDR[{index}]", cidr) for index, cidr in enumerate(cluster.node_cidr)),
    ]
    return [(field, ipaddress.ip_network(cidr)) for field, cidr in named if cidr]


def _local_cidr(path: str, cluster: Cluster) -> Iterator[Problem]:
    for index, cidr in enumerate(cluster.network.local_cidr):
        local = ipaddress.ip_network(cidr)
        for field, network in _named_networks(cluster):
            if field.startswith("podCIDR") and local.overlaps(network):
                yield Problem(
                    f"{path}.network.localCIDR[{index}]",
                    f"{cidr} overlaps with {network} ({path}.{field}): traffic to neighbouring pods would be sent "
                    "into the node instead of the underlay",
                    "list only what pods reach through their node",
                )


def _between_clusters(plan: MeshPlan) -> Iterator[Problem]:
    for (one_id, one), (other_id, other) in combinations(plan.clusters.items(), 2):
        for one_field, one_network in _named_networks(one):
            for other_field, other_network in _named_networks(other):
                both_nodes = one_field.startswith("nodeCIDR") and other_field.startswith("nodeCIDR")
                # Sites may share the network between their gateways. With globalnet, pod and Service CIDRs may overlap.
                any_nodes = one_field.startswith("nodeCIDR") or other_field.startswith("nodeCIDR")
                if both_nodes or (plan.broker.globalnet and not any_nodes):
                    continue
                if one_network.overlaps(other_network):
                    yield Problem(
                        f"clusters.{other_id}.{other_field}",
                        f"{other_network} overlaps with {one_network} (clusters.{one_id}.{one_field}): the same "
                        "address would be in two clusters",
                        "give each cluster networks of its own, or set broker.globalnet: {} for pod and Service CIDRs",
                    )
        for index, cidr in enumerate(one.network.local_cidr):
            yield from _local_against_remote(f"clusters.{one_id}.network.localCIDR[{index}]", cidr, other_id, other)
        for index, cidr in enumerate(other.network.local_cidr):
            yield from _local_against_remote(f"clusters.{other_id}.network.localCIDR[{index}]", cidr, one_id, one)


def _local_against_remote(path: str, cidr: str, remote_id: str, remote: Cluster) -> Iterator[Problem]:
    for field, network in _named_networks(remote):
        if not field.startswith("nodeCIDR") and ipaddress.ip_network(cidr).overlaps(network):
            yield Problem(
                path,
                f"{cidr} overlaps with {network} (clusters.{remote_id}.{field}), which is derived already",
                "list only local networks here",
            )


def _nodes(path: str, cluster: Cluster) -> Iterator[Problem]:
    pod_networks = [ipaddress.ip_network(cidr) for cidr in (cluster.pod_cidr, cluster.pod_cidr_v6) if cidr]
    taken = {str(pool.gateway): f"{path}.pools[{index}].gateway" for index, pool in enumerate(cluster.pools)}
    declared = [(f"{path}.gateways[{i}]", g.node, g.address) for i, g in enumerate(cluster.gateways)]
    declared += [(f"{path}.nodes[{i}]", node.name, node.address) for i, node in enumerate(cluster.nodes)]
    yield from _repeated((f"{path}.gateways[{i}]", g.node) for i, g in enumerate(cluster.gateways))
    yield from _repeated((f"{path}.nodes[{i}].name", node.name) for i, node in enumerate(cluster.nodes))
    owners: dict[str, str] = {}
    for where, node, text in declared:
        if text is None:
            continue
        address = ipaddress.ip_address(text)
        if not any(address in network for network in pod_networks):
            yield Problem(
                f"{where}.address",
                f"{text} of {node} is outside the pod CIDR {cluster.pod_cidr}",
                "declare the node's address on the underlay, or leave it out",
            )
        if text in taken:
            yield Problem(f"{where}.address", f"{text} of {node} is also {taken[text]}", "one address, one owner")
        if owners.setdefault(text, node) != node:
            yield Problem(f"{where}.address", f"{text} belongs to {owners[text]} and {node}", "one address, one node")
        for index, pool in enumerate(cluster.pools):
            if ranges.contains(ranges.merge(pool.ips), address) and not ranges.contains(
                ranges.merge(pool.exclude_ips), address
            ):
                yield Problem(
                    f"{where}.address",
                    f"{text} of {node} lies in {path}.pools[{index}].ips: a pod could get the node's address",
                    f"add {text} to {path}.pools[{index}].excludeIPs",
                )
    for index, gateway in enumerate(cluster.gateways):
        if gateway.wan_address and any(ipaddress.ip_address(gateway.wan_address) in net for net in pod_networks):
            yield Problem(
                f"{path}.gateways[{index}].wanAddress",
                f"{gateway.wan_address} lies in the pod CIDR: the tunnel would start on the isolated underlay",
                "declare the address of the interface that reaches the other sites and has the default route",
            )


def _network(path: str, network: Network, plan: MeshPlan) -> Iterator[Problem]:
    version = version_tuple(plan.spiderpool.version)
    yield from _repeated((f"{path}.master[{i}]", master) for i, master in enumerate(network.master))
    if len(network.master) > 1 and not network.bond:
        yield Problem(
            f"{path}.bond",
            f"missing: {len(network.master)} master interfaces ({', '.join(network.master)}) have to be bonded",
            "set bond: {name: bond0, mode: 1}, or name one master",
        )
    if len(network.master) == 1 and network.bond:
        yield Problem(f"{path}.bond", "a bond of one interface", "name several masters, or remove the bond")
    parent = network.bond.name if network.bond and len(network.master) > 1 else network.master[0]
    if network.vlan_id and len(f"{parent}.{network.vlan_id}") > MAX_INTERFACE_NAME:
        yield Problem(
            f"{path}.vlanID",
            f"the VLAN interface {parent}.{network.vlan_id} has more than {MAX_INTERFACE_NAME} characters",
            "use a parent interface with a shorter name",
        )
    if network.mtu is not None and version < (1, 2, 0):
        yield Problem(f"{path}.mtu", f"Spiderpool {plan.spiderpool.version} drops it", "needs 1.2.0 or later")
    if network.veth_mtu is not None and version < (1, 2, 1):
        yield Problem(f"{path}.vethMTU", f"Spiderpool {plan.spiderpool.version} drops it", "needs 1.2.1 or later")


def _pool(path: str, pool: Pool, cluster: Cluster) -> Iterator[Problem]:
    subnet = ipaddress.ip_network(pool.subnet)
    field = "podCIDR" if subnet.version == 4 else "podCIDRv6"
    pod_cidr = cluster.pod_cidr if subnet.version == 4 else cluster.pod_cidr_v6
    if pod_cidr is None:
        yield Problem(f"{path}.subnet", f"{subnet} is IPv6, but the cluster has no podCIDRv6", "set podCIDRv6")
    else:
        pods = ipaddress.ip_network(pod_cidr)
        if pods.version != subnet.version or not _subnet_of(subnet, pods):
            yield Problem(
                f"{path}.subnet",
                f"{subnet} is not inside {pod_cidr} ({field}): other clusters would not route its pods here",
                f"choose a subnet of {pod_cidr}, or widen {field}",
            )
    for name, given in (("ips", pool.ips), ("excludeIPs", pool.exclude_ips)):
        for index, text in enumerate(given):
            if not ranges.inside(ranges.parse_range(text), subnet):
                yield Problem(
                    f"{path}.{name}[{index}]",
                    f"{text} is not inside {subnet} (subnet)",
                    f"Spiderpool refuses it (not match base subnet); use addresses of {subnet}, or change the subnet",
                )
        if pair := ranges.given_overlaps(given):
            yield Problem(f"{path}.{name}", f"{pair[0]} and {pair[1]} overlap", "list every address once")
    yield from _pool_gateway(path, pool, subnet, cluster)
    yield from _pool_addresses(path, pool, subnet)
    yield from _pool_routes(path, pool, subnet)


def _pool_gateway(path: str, pool: Pool, subnet: IpNetwork, cluster: Cluster) -> Iterator[Problem]:
    if pool.gateway is None:
        return
    gateway = ipaddress.ip_address(pool.gateway)
    if gateway not in subnet:
        pods = ipaddress.ip_network(cluster.pod_cidr)
        last_host = subnet.broadcast_address - 1
        wider = f"set subnet: {pods} and keep ips, or " if gateway in pods else ""
        yield Problem(
            f"{path}.gateway",
            f"{gateway} is not inside {subnet} (subnet): pods could not reach it, and Spiderpool refuses the pool "
            "(not pertains to the 'spec.subnet')",
            f"{wider}use a gateway inside {subnet}, such as {last_host}",
        )
    elif ranges.contains(ranges.merge(pool.ips), gateway) and not ranges.contains(
        ranges.merge(pool.exclude_ips), gateway
    ):
        yield Problem(
            f"{path}.gateway",
            f"{gateway} is also one of ips: a pod could get the router's address, and Spiderpool refuses the pool",
            f"add {gateway} to excludeIPs",
        )


def _pool_addresses(path: str, pool: Pool, subnet: IpNetwork) -> Iterator[Problem]:
    usable, excluded = ranges.merge(pool.ips), ranges.merge(pool.exclude_ips)
    count = ranges.subtract(usable, excluded)
    if count <= 0:
        yield Problem(f"{path}.ips", "no address is left for pods", "give at least one address or range")
    if count > MAX_POOL_ADDRESSES:
        yield Problem(
            f"{path}.ips",
            f"{count} addresses; Spiderpool allocates at most {MAX_POOL_ADDRESSES} of a pool",
            "split it into several pools",
        )
    if subnet.version == 4 and subnet.prefixlen < 31:
        for name, address in (("network", subnet.network_address), ("broadcast", subnet.broadcast_address)):
            if ranges.contains(usable, address) and not ranges.contains(excluded, address):
                yield Problem(
                    f"{path}.ips",
                    f"{address} is the {name} address of {subnet}: a pod that gets it is unreachable",
                    f"start or end the range one address further in, or add {address} to excludeIPs",
                )


def _pool_routes(path: str, pool: Pool, subnet: IpNetwork) -> Iterator[Problem]:
    for index, route in enumerate(pool.routes):
        destination = ipaddress.ip_network(route.dst)
        if destination.prefixlen == 0:
            yield Problem(f"{path}.routes[{index}].dst", f"{route.dst} is the default route", "set the pool's gateway")
        if destination.version != subnet.version:
            yield Problem(f"{path}.routes[{index}].dst", f"{route.dst} is not IPv{subnet.version}", "as the subnet")
        if ipaddress.ip_address(route.gw) not in subnet:
            yield Problem(
                f"{path}.routes[{index}].gw", f"{route.gw} is not inside {subnet} (subnet)", f"use a hop in {subnet}"
            )
    yield from _repeated((f"{path}.routes[{index}].dst", route.dst) for index, route in enumerate(pool.routes))


def _pools(path: str, cluster: Cluster) -> Iterator[Problem]:
    pools = list(enumerate(cluster.pools))
    yield from _repeated((f"{path}.pools[{index}].name", pool.name) for index, pool in pools)
    defaults: dict[int, str] = {}
    for index, pool in pools:
        version = derive.pool_version(pool)
        if pool.default and defaults.setdefault(version, pool.name) != pool.name:
            yield Problem(
                f"{path}.pools[{index}].default",
                f"{defaults[version]} and {pool.name} are both the default IPv{version} pool: which one is taken is "
                "not defined",
                "make one of them the default",
            )
    for (_, one), (index, other) in combinations(pools, 2):
        one_subnet, other_subnet = ipaddress.ip_network(one.subnet), ipaddress.ip_network(other.subnet)
        if one_subnet != other_subnet and one_subnet.overlaps(other_subnet):
            yield Problem(
                f"{path}.pools[{index}].subnet",
                f"{other_subnet} and {one_subnet} (pool {one.name}) overlap in part; Spiderpool refuses that",
                "subnets of a cluster's pools must be equal or disjoint",
            )
        shared = ranges.overlap(ranges.merge(one.ips), ranges.merge(other.ips))
        if shared and not ranges.contains(ranges.merge([*one.exclude_ips, *other.exclude_ips]), shared[0]):
            yield Problem(
                f"{path}.pools[{index}].ips",
                f"{shared[0]}-{shared[1]} is in pool {one.name} and in pool {other.name}",
                "an address belongs to one pool",
            )


def _globalnet(path: str, cluster_id: str, cluster: Cluster, plan: MeshPlan) -> Iterator[Problem]:
    globalnet = plan.broker.globalnet
    if cluster.pod_cidr_v6 or cluster.service_cidr_v6:
        reasons = []
        if globalnet:
            reasons.append("globalnet")
        if plan.submariner.cable_driver is not CableDriver.LIBRESWAN:
            reasons.append(f"the {plan.submariner.cable_driver.value} cable driver")
        if not derive.supports_ipv6(plan.submariner.version):
            reasons.append(f"Submariner {plan.submariner.version} (0.21.0 or later does)")
        for reason in reasons:
            yield Problem(f"{path}.podCIDRv6", f"{reason} does not carry IPv6", "remove the IPv6 CIDRs and pools")
    if not globalnet:
        if cluster.globalnet_cidr:
            yield Problem(f"{path}.globalnetCIDR", "globalnet is off", "remove it, or set broker.globalnet: {}")
        return
    if not cluster.globalnet_cidr:
        yield Problem(
            f"{path}.globalnetCIDR",
            "missing: with globalnet, clusters that join at the same time would race for one range",
            f"give each cluster a part of {globalnet.cidr_range}",
        )
        return
    own, whole = ipaddress.ip_network(cluster.globalnet_cidr), ipaddress.ip_network(globalnet.cidr_range)
    if own.version != whole.version or not _subnet_of(own, whole):
        yield Problem(
            f"{path}.globalnetCIDR",
            f"{own} is not inside {whole} (broker.globalnet.cidrRange)",
            f"choose part of {whole}",
        )
    for other_id, other in plan.clusters.items():
        if other_id == cluster_id:
            break
        if other.globalnet_cidr and own.overlaps(ipaddress.ip_network(other.globalnet_cidr)):
            yield Problem(
                f"{path}.globalnetCIDR",
                f"{own} overlaps with {other.globalnet_cidr} (clusters.{other_id}.globalnetCIDR)",
                "each cluster needs a range of its own",
            )


def _subnet_of(inner: IpNetwork, outer: IpNetwork) -> bool:
    return inner.network_address in outer and inner.broadcast_address in outer


def _repeated(items: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for path, value in items:
        if value in seen:
            yield Problem(path, f"{value!r} is there already ({seen[value]})", "name it once")
        seen.setdefault(value, path)
