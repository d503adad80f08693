"""What must hold for the pools of a cluster.

Sources: Spiderpool's webhook (pkg/ippoolmanager/ippool_validate.go), and what it accepts but does not work.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from mesh.plan import derive, ranges
from mesh.plan.models import Cluster, LabelRequirement, LabelSelector, MeshPlan, Pool
from mesh.plan.problems import Problem, repeated
from mesh.plan.types import Address, parse_network
from mesh.plan.types import Network as IpNetwork

Taker = tuple[str, Mapping[str, str]]
"""Pods that take addresses: their namespace and their labels."""

MAX_POOL_ADDRESSES = 5000  # Spiderpool stops allocating there (SPIDERPOOL_IPPOOL_MAX_ALLOCATED_IPS)


def problems(plan: MeshPlan, cluster_id: str) -> Iterator[Problem]:
    """All mistakes in the pools of one cluster."""
    path, cluster = f"clusters.{cluster_id}", plan.clusters[cluster_id]
    for index, pool in enumerate(cluster.pools):
        yield from _pool(f"{path}.pools[{index}]", pool, cluster)
    yield from _pools(path, cluster)
    yield from _routers(path, cluster)
    yield from _routes_against_hijack(path, cluster_id, plan)


def _pool(path: str, pool: Pool, cluster: Cluster) -> Iterator[Problem]:
    subnet = parse_network(pool.subnet)
    field, pods = "podCIDR" if subnet.version == 4 else "podCIDRv6", _pod_network(cluster, subnet)
    if pods is None:
        missing = f"{path.partition('.pools[')[0]}.podCIDRv6"
        yield Problem(f"{path}.subnet", f"{subnet} is IPv6, but the cluster has no {missing}", "set podCIDRv6")
    elif not ranges.within(subnet, pods):
        yield Problem(
            f"{path}.subnet",
            f"{subnet} is not inside {pods} ({field}): other clusters would not route its pods here",
            f"choose a subnet of {pods}, or widen {field}",
        )
    for name, given in (("ips", pool.ips), ("excludeIPs", pool.exclude_ips)):
        for index, text in enumerate(given):
            if not ranges.inside(ranges.parse_range(text), subnet):
                wider = f"set subnet: {pods}, or " if pods and ranges.inside(ranges.parse_range(text), pods) else ""
                yield Problem(
                    f"{path}.{name}[{index}]",
                    f"{text} is not inside {subnet} (subnet): Spiderpool refuses it (not match base subnet)",
                    f"{wider}use addresses of {subnet}",
                )
        if pair := ranges.given_overlaps(given):
            yield Problem(f"{path}.{name}", f"{pair[0]} and {pair[1]} overlap", "list every address once")
    yield from _pool_gateway(path, pool, subnet, cluster)
    yield from _pool_addresses(path, pool, subnet)
    yield from _pool_routes(path, pool, subnet)
    yield from _selectors(path, pool)


def _pod_network(cluster: Cluster, subnet: IpNetwork) -> IpNetwork | None:
    """The cluster's pod CIDR of the family of the subnet."""
    cidr = cluster.pod_cidr if subnet.version == 4 else cluster.pod_cidr_v6
    return parse_network(cidr) if cidr else None


def _pool_gateway(path: str, pool: Pool, subnet: IpNetwork, cluster: Cluster) -> Iterator[Problem]:
    if pool.gateway is None:
        return
    gateway = ipaddress.ip_address(pool.gateway)
    if gateway not in subnet:
        pods = _pod_network(cluster, subnet)
        wider = f"set subnet: {pods} and keep ips, or " if pods and gateway in pods else ""
        free = _free_host(pool, subnet)
        example = f", such as {free}" if free else ""
        yield Problem(
            f"{path}.gateway",
            f"{gateway} is not inside {subnet} (subnet): pods could not reach it, and Spiderpool refuses the pool "
            "(not pertains to the 'spec.subnet')",
            f"{wider}use a gateway inside {subnet}{example}",
        )
    elif ranges.contains(ranges.usable(pool.ips, pool.exclude_ips), gateway):
        yield Problem(
            f"{path}.gateway",
            f"{gateway} is also one of ips: a pod could get the router's address, and Spiderpool refuses the pool",
            f"add {gateway} to excludeIPs",
        )
    elif gateway in not_hosts(subnet):
        yield Problem(
            f"{path}.gateway",
            f"{gateway} is the {not_hosts(subnet)[gateway]} address of {subnet} (subnet), which no router has",
            "write the router's own address",
        )


def _free_host(pool: Pool, subnet: IpNetwork) -> Address | None:
    """The last address of the subnet that a router could have."""
    last = type(subnet.network_address)(int(subnet.broadcast_address) - (subnet.prefixlen < subnet.max_prefixlen - 1))
    left = ranges.difference(((subnet.network_address, last),), ranges.merge(pool.ips))
    return left[-1][1] if left and left[-1][1] not in not_hosts(subnet) else None


def not_hosts(subnet: IpNetwork) -> dict[Address, str]:
    """Addresses that belong to the subnet and to no host in it. A /31 and a /32 have none, and neither has IPv6."""
    if subnet.version == 6 or subnet.prefixlen >= 31:
        return {}
    return {subnet.network_address: "network", subnet.broadcast_address: "broadcast"}


def _pool_addresses(path: str, pool: Pool, subnet: IpNetwork) -> Iterator[Problem]:
    usable = ranges.usable(pool.ips, pool.exclude_ips)
    count = ranges.size(usable)
    if count == 0:
        yield Problem(f"{path}.ips", "no address is left for pods", "give at least one address or range")
    if count > MAX_POOL_ADDRESSES:
        yield Problem(
            f"{path}.ips",
            f"{count} addresses; Spiderpool allocates at most {MAX_POOL_ADDRESSES} of a pool",
            "split it into several pools",
        )
    for address, kind in not_hosts(subnet).items():
        if ranges.contains(usable, address):
            yield Problem(
                f"{path}.ips",
                f"{address} is the {kind} address of {subnet}: a pod that gets it is unreachable",
                f"start or end the range one address further in, or add {address} to excludeIPs",
            )


def _selectors(path: str, pool: Pool) -> Iterator[Problem]:
    for field, selector in (
        ("podAffinity", pool.pod_affinity),
        ("namespaceAffinity", pool.namespace_affinity),
        ("nodeAffinity", pool.node_affinity),
    ):
        if selector is None:
            continue
        if not selector.match_labels and not selector.match_expressions:
            yield Problem(f"{path}.{field}", "empty: it selects nothing in particular", "fill it in, or remove it")
        for index, requirement in enumerate(selector.match_expressions):
            needs_values = requirement.operator in ("In", "NotIn")
            if needs_values != bool(requirement.values):
                yield Problem(
                    f"{path}.{field}.matchExpressions[{index}]",
                    f"{requirement.operator} takes {'one value or more' if needs_values else 'no values'}",
                    "add values" if needs_values else "remove the values",
                )


def _pool_routes(path: str, pool: Pool, subnet: IpNetwork) -> Iterator[Problem]:
    for index, route in enumerate(pool.routes):
        destination = parse_network(route.dst)
        if destination.prefixlen == 0:
            yield Problem(f"{path}.routes[{index}].dst", f"{route.dst} is the default route", "set the pool's gateway")
        if destination.version != subnet.version:
            yield Problem(
                f"{path}.routes[{index}].dst",
                f"{route.dst} is not IPv{subnet.version}, as {subnet} (subnet) is",
                "put it into a pool of its own family",
            )
        hop = ipaddress.ip_address(route.gw)
        if hop not in subnet:
            yield Problem(
                f"{path}.routes[{index}].gw", f"{route.gw} is not inside {subnet} (subnet)", f"use a hop in {subnet}"
            )
        elif hop in not_hosts(subnet):
            yield Problem(
                f"{path}.routes[{index}].gw",
                f"{hop} is the {not_hosts(subnet)[hop]} address of {subnet} (subnet), which no router has",
                "write the router's own address",
            )
    yield from repeated((f"{path}.routes[{index}].dst", route.dst) for index, route in enumerate(pool.routes))


def _routers(path: str, cluster: Cluster) -> Iterator[Problem]:
    """Routers among the addresses that pods may take. Spiderpool only looks for a pool's gateway in its own `ips`."""
    for number, pool in enumerate(cluster.pools):
        where = f"{path}.pools[{number}]"
        routers = [(f"{where}.gateway", pool.gateway)] if pool.gateway else []
        routers += [(f"{where}.routes[{index}].gw", route.gw) for index, route in enumerate(pool.routes)]
        for field, text in routers:
            for index, other in enumerate(cluster.pools):
                if field == f"{path}.pools[{index}].gateway":  # told by `_pool_gateway`
                    continue
                if ranges.contains(ranges.usable(other.ips, other.exclude_ips), ipaddress.ip_address(text)):
                    yield Problem(
                        field,
                        f"{text} is also one of {path}.pools[{index}].ips: a pod could get the router's address",
                        f"add {text} to {path}.pools[{index}].excludeIPs",
                    )


def _routes_against_hijack(path: str, cluster_id: str, plan: MeshPlan) -> Iterator[Problem]:
    cluster = plan.clusters[cluster_id]
    if not any(pool.routes for pool in cluster.pools):
        return
    through_node = [*derive.hijack_cidr(plan, cluster_id), cluster.service_cidr, cluster.service_cidr_v6]
    for pool_index, pool in enumerate(cluster.pools):
        for index, route in enumerate(pool.routes):
            for cidr in filter(None, through_node):
                if ranges.within(parse_network(route.dst), parse_network(cidr)):
                    yield Problem(
                        f"{path}.pools[{pool_index}].routes[{index}].dst",
                        f"{route.dst} lies in {cidr}, which pods reach through their node: the route would take that "
                        "traffic past it, and past the tunnel",
                        "remove the route",
                    )


def _pools(path: str, cluster: Cluster) -> Iterator[Problem]:
    pools = list(enumerate(cluster.pools))
    for version, cidr, field in ((4, cluster.pod_cidr, "podCIDR"), (6, cluster.pod_cidr_v6, "podCIDRv6")):
        if cidr and not derive.pool_names(cluster, version):
            yield Problem(
                f"{path}.pools",
                f"no pool is IPv{version}: pods would have no address in {cidr} ({path}.{field})",
                "add a pool" if version == 4 else f"add a pool, or remove {field} and serviceCIDRv6",
            )
    yield from repeated((f"{path}.pools[{index}].name", pool.name) for index, pool in pools)
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
        one_subnet, other_subnet = parse_network(one.subnet), parse_network(other.subnet)
        if one_subnet != other_subnet and one_subnet.overlaps(other_subnet):
            yield Problem(
                f"{path}.pools[{index}].subnet",
                f"{other_subnet} and {one_subnet} (pool {one.name}) overlap in part; Spiderpool refuses that",
                "subnets of a cluster's pools must be equal or disjoint",
            )
        shared = ranges.overlap(ranges.usable(one.ips, one.exclude_ips), ranges.usable(other.ips, other.exclude_ips))
        if shared:
            yield Problem(
                f"{path}.pools[{index}].ips",
                f"{ranges.text(shared)} is in pool {one.name} and in pool {other.name}",
                "an address belongs to one pool",
            )


def addresses(cluster: Cluster, takers: Sequence[Taker] | None = None) -> dict[int, int]:
    """How many addresses the cluster has for these pods, or for any, per IP version: a pod takes one of each."""
    found: dict[int, int] = {}
    for pool in cluster.pools:
        usable = ranges.usable(pool.ips, pool.exclude_ips) if takers is None or _serves(pool, takers) else ()
        version = derive.pool_version(pool)
        found[version] = found.get(version, 0) + ranges.size(usable)
    return found


def _serves(pool: Pool, takers: Sequence[Taker]) -> bool:
    """Whether some of the pods can get addresses of the pool; what the plan cannot know, labels of nodes and of
    namespaces, is taken to fit. Source: Spiderpool's pkg/ipam/allocate.go, all that is given has to match.
    """
    return any(
        (not pool.namespace_name or namespace in pool.namespace_name)
        and (pool.pod_affinity is None or _selects(pool.pod_affinity, labels))
        for namespace, labels in takers
    )


def _selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """As Kubernetes does."""

    def fits(wanted: LabelRequirement) -> bool:
        value = labels.get(wanted.key)
        return {
            "In": value in wanted.values,
            "NotIn": value not in wanted.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[wanted.operator]

    return selector.match_labels.items() <= labels.items() and all(map(fits, selector.match_expressions))
