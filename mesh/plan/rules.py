"""What must hold between the fields of a plan and between its clusters.

Each rule yields `Problem`s and never stops at the first. Sources: Spiderpool's webhooks (pkg/ippoolmanager and
pkg/multuscniconfig), what they accept but does not work, Submariner's limits, and what cannot work in any cluster.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

from mesh.plan import derive, pool_rules, ranges
from mesh.plan.models import CableDriver, Cluster, MeshPlan, Network, Spiderpool
from mesh.plan.problems import Problem, repeated
from mesh.plan.types import Network as IpNetwork
from mesh.plan.types import parse_network, version_tuple

IPV6_MIN_MTU = 1280
MAX_INTERFACE_NAME = 15  # IFNAMSIZ - 1
IMAGE_COMPONENTS = frozenset(
    f"submariner-{name}"
    for name in ("operator", "gateway", "routeagent", "globalnet", "lighthouse-agent", "lighthouse-coredns", "nettest")
) | {"submariner-metrics-proxy"}
# Ports of Submariner's own that the tunnel's must differ from.
RESERVED_PORTS = {500: "IKE", 4490: "NAT discovery", 4800: "the VXLAN between a cluster's nodes"}
_SYSTEM_PODS = 6  # two of CoreDNS, the operator, Lighthouse's agent and its two DNS servers
_SYSTEM_TAKERS: tuple[pool_rules.Taker, ...] = (("kube-system", {"k8s-app": "kube-dns"}), ("submariner-operator", {}))
# RFC 6890. Not 240.0.0.0/4: Linux routes it, and globalnet's own default (242.0.0.0/8) is part of it.
_UNUSABLE = {
    parse_network(cidr): kind
    for cidr, kind in (
        ("0.0.0.0/8", "this-network"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("::/127", "loopback"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
}
_DENIED_EXPORT_PREFIXES = ("kube-", "openshift")  # Lighthouse since 0.24.1: import-namespace-deny-list


def problems(plan: MeshPlan) -> list[Problem]:
    """All mistakes of a plan whose sections are valid by themselves."""
    found: list[Problem] = [
        *_broker(plan),
        *_globalnet_range(plan),
        *_submariner(plan),
        *_spiderpool(plan),
        *_sample_app(plan),
        *_verify(plan),
    ]
    for cluster_id, cluster in plan.clusters.items():
        path = f"clusters.{cluster_id}"
        found += _cluster_networks(path, cluster)
        found += _local_cidr(path, cluster)
        found += _nodes(path, cluster)
        found += _network(f"{path}.network", cluster.network, plan)
        found += pool_rules.problems(plan, cluster_id)
        found += _globalnet(path, cluster_id, cluster, plan)
    return [*found, *_between_clusters(plan), *_wan_addresses(plan)]


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
        found += _nodes_as_local(f"clusters.{cluster_id}", cluster)
    if not derive.health_check(plan):
        without = [
            f"{cluster_id}/{gateway.node}"
            for cluster_id, cluster in plan.clusters.items()
            for gateway in cluster.gateways
            if not derive.answers_health_check(gateway)
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
    need, takers = _SYSTEM_PODS, list(_SYSTEM_TAKERS)
    if app := plan.sample_app if plan.sample_app.enabled else None:
        need += app.replicas + -(-app.replicas // 4)  # a rolling update's surge of 25 %
        takers.append((app.namespace, derive.app_labels(app)))
    for cluster_id, cluster in plan.clusters.items():
        for version, have in pool_rules.addresses(cluster, takers).items():
            if have < need:
                found.append(
                    Problem(
                        f"clusters.{cluster_id}.pools",
                        f"{have} IPv{version} addresses; CoreDNS, Submariner's own pods and the sample app with its "
                        f"rolling update take {need}",
                        "give the pools that these pods can use more addresses",
                    )
                )
    clean_up = ("spiderpoolController", "cleanup", "enable")
    if not plan.spiderpool.install:
        found += _idle(plan.spiderpool)
    elif _value(plan.spiderpool.values, *clean_up):
        found.append(
            Problem(
                f"spiderpool.values.{'.'.join(clean_up)}",
                "on: any uninstall, also that of a replacement, deletes all pools of the cluster and Spiderpool's CRDs",
                "remove it until Spiderpool is to go for good",
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
    if not plan.broker.url:
        return
    host = (urlsplit(plan.broker.url).hostname or "").removesuffix(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    address = getattr(address, "ipv4_mapped", None) or address  # ::ffff:127.0.0.1 is 127.0.0.1
    local_name = host in ("localhost", "localhost.localdomain") or host.endswith(".localhost")
    if local_name or (address and (address.is_loopback or address.is_unspecified)):
        yield Problem(
            "broker.url",
            f"{plan.broker.url} is a loopback address: gateways of the other clusters would dial themselves",
            "write the address at which every cluster reaches this API server",
        )
    if address and address.is_link_local:
        yield Problem(
            "broker.url",
            f"{plan.broker.url} is a link-local address: it leads to nothing outside its own wire",
            "write the address at which every cluster reaches this API server",
        )
    for cluster_id, cluster in plan.clusters.items():
        for field, network in _pod_and_service_networks(cluster):
            if address and address in network:
                yield Problem(
                    "broker.url",
                    f"{host} lies in {network} (clusters.{cluster_id}.{field}), which is reached through the tunnel, "
                    "and the tunnel needs the broker first",
                    "write an address outside all pod and Service CIDRs",
                )


def _globalnet_range(plan: MeshPlan) -> Iterator[Problem]:
    globalnet = plan.broker.globalnet
    if globalnet is None:
        return
    whole = parse_network(globalnet.cidr_range)
    if whole.version != 4:
        yield Problem("broker.globalnet.cidrRange", f"{whole} is not IPv4", "globalnet knows IPv4 only")
    if globalnet.cluster_size > whole.num_addresses:
        yield Problem(
            "broker.globalnet.clusterSize",
            f"{globalnet.cluster_size} addresses per cluster, but {whole} (broker.globalnet.cidrRange) has "
            f"{whole.num_addresses} for all",
            "lower it, or widen cidrRange",
        )


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
    if submariner.nat_port in RESERVED_PORTS:
        yield Problem(
            "submariner.natPort",
            f"{submariner.nat_port} is the port of {RESERVED_PORTS[submariner.nat_port]}",
            "use another one, such as 4500",
        )
    for component in submariner.image_overrides:
        if component not in IMAGE_COMPONENTS:
            yield Problem(
                f"submariner.imageOverrides.{component}",
                "no component of Submariner",
                f"use one of: {', '.join(sorted(IMAGE_COMPONENTS))}",
            )
    # With globalnet the gateways ping each other's global addresses, and need none of their own.
    if submariner.health_check.enabled and not plan.broker.globalnet:
        for cluster_id, cluster in plan.clusters.items():
            for index, gateway in enumerate(cluster.gateways):
                if not derive.answers_health_check(gateway):
                    yield Problem(
                        f"clusters.{cluster_id}.gateways[{index}].address",
                        f"the health check is on, but {gateway.node} declares no IPv4 address in {cluster.pod_cidr}: "
                        'its gateway pod would end in CrashLoopBackOff ("unable to find CNI Interface on the host")',
                        "declare the address, or leave submariner.healthCheck.enabled unset",
                    )


def _spiderpool(plan: MeshPlan) -> Iterator[Problem]:
    spiderpool = plan.spiderpool
    if version_tuple(spiderpool.version) < (1, 0, 0):
        yield Problem("spiderpool.version", f"{spiderpool.version} has other chart values", "use 1.0.0 or later")
    chart = spiderpool.chart
    by_itself = chart.startswith((".", "/", "oci://")) or chart.endswith(".tgz")
    if spiderpool.install and by_itself and spiderpool.repository:
        yield Problem(
            "spiderpool.repository",
            f"{chart!r} (spiderpool.chart) says by itself where the chart is, no repository has it",
            "set repository: null",
        )
    if spiderpool.install and not by_itself and not spiderpool.repository:
        yield Problem(
            "spiderpool.repository",
            f"missing: needed to find {chart!r} (spiderpool.chart)",
            "set it, or make chart a path or an oci:// address",
        )
    if spiderpool.install:
        yield from _taken_away(plan)
        for path, value, why in _contradictions(spiderpool.values, plan):
            yield Problem(f"spiderpool.values.{path}", f"{value!r}: {why}", "remove it")


def _taken_away(plan: MeshPlan) -> Iterator[Problem]:
    """Values of the plan that would not change one of ours but take it away, as a whole section or by null."""
    for cluster_id in list(plan.clusters)[:1]:  # in every cluster the sections are the same
        for path, value in _replaced(derive.chart_values(plan, cluster_id), plan.spiderpool.values):
            # Never the value itself: in place of a section it may be a key.
            shown = "null" if value is None else "a list" if isinstance(value, list) else "a plain value"
            yield Problem(
                f"spiderpool.values.{path}",
                f"{shown} would take away what the plan gives the chart here; without it, pods have no network or all "
                "pools are at risk",
                "remove it; below it, write only what is to differ",
            )


def _replaced(ours: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in ours.items():
        if key not in given:
            continue
        if isinstance(value, Mapping) and isinstance(given[key], Mapping):
            yield from ((f"{key}.{path}", found) for path, found in _replaced(value, given[key]))
        elif isinstance(value, Mapping) or given[key] is None:
            yield key, given[key]


def _contradictions(values: Mapping[str, Any], plan: MeshPlan) -> Iterator[tuple[str, Any, str]]:
    """Chart values that would undo what the plan says: path, value, why not.

    Source: the chart (values.yaml, templates/deployment.yaml) and cmd/spiderpool-controller/cmd/daemon.go.
    """
    families = {derive.pool_version(pool) for cluster in plan.clusters.values() for pool in cluster.pools}
    found = _value(values, "multus", "multusCNI", "defaultCniCRName")
    if found is not None:
        why = "derived from each cluster's network.name; another value leaves pods without a network"
        yield "multus.multusCNI.defaultCniCRName", found, why
    if _value(values, "multus", "enableMultusConfig") is False:
        yield "multus.enableMultusConfig", False, "no SpiderMultusConfig becomes a network then, and no pod has one"
    for family in sorted(families):
        found = _value(values, "ipam", f"enableIPv{family}")
        if found is False:
            yield f"ipam.enableIPv{family}", found, f"Spiderpool refuses the plan's IPv{family} pools then"
    for key in ("mode", "podCIDRType", "hijackCIDR", "vethMTU"):
        found = _value(values, "coordinator", key)
        if found is not None:
            why = "only the chart's set-up job reads it, which does not run; the plan's network section decides"
            yield f"coordinator.{key}", found, why
    if _value(values, "coordinator", "enabled") is False:
        yield "coordinator.enabled", False, "the SpiderCoordinator is never Synced then, and no pod starts without it"
    found = _value(values, "coordinator", "name")
    if found not in (None, "default"):
        why = "the SpiderCoordinator is called default; under another name it is never Synced"
        yield "coordinator.name", found, why
    found = _value(values, "spiderpoolController", "tls", "method")
    if found not in (None, "provided"):
        why = "the chart makes a new certificate at every up then, and Spiderpool refuses pools until it is read"
        yield "spiderpoolController.tls.method", found, why
    # Where somebody else's Multus is the one that runs, another network than ours can be the default.
    own_multus = _value(values, "multus", "multusCNI", "install") is not False
    if own_multus and _value(values, "spiderpoolController", "hostnetwork") is False:
        why = "its pod would wait for the network that only it can make"
        yield "spiderpoolController.hostnetwork", False, why


def _idle(spiderpool: Spiderpool) -> Iterator[Problem]:
    """Fields that only the chart's installation reads."""
    for name in ("chart", "repository", "image_registry", "install_cni", "values"):
        field = Spiderpool.model_fields[name]
        if getattr(spiderpool, name) != field.default:
            yield Problem(
                f"spiderpool.{field.alias}",
                "does nothing: spiderpool.install is false, so the chart is not installed",
                "remove it, or set it where Spiderpool is installed",
            )


def _value(values: Any, *path: str) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _sample_app(plan: MeshPlan) -> Iterator[Problem]:
    app = plan.sample_app
    if app.enabled and app.export and not plan.broker.service_discovery:
        yield Problem(
            "sampleApp.export",
            "needs service discovery, which broker.serviceDiscovery turns off",
            "set export: false, or broker.serviceDiscovery: true",
        )
    if app.enabled and app.export and app.namespace.startswith(_DENIED_EXPORT_PREFIXES):
        yield Problem(
            "sampleApp.namespace",
            f"Submariner does not export from {app.namespace!r} (kube-* and openshift* are denied)",
            "use another namespace",
        )
    if len(app.name) > 63 - len("-svc"):
        yield Problem("sampleApp.name", f"{app.name!r} with -svc is longer than 63 characters", "shorten it")
    if not app.name[0].isalpha():
        yield Problem(
            "sampleApp.name",
            f"{app.name!r} starts with a digit, which the name of its Service ({app.name}-svc) must not",
            "start it with a letter",
        )
    for cluster_id, cluster in plan.clusters.items() if app.enabled else ():
        given = pool_rules.addresses(cluster)
        for version, have in pool_rules.addresses(cluster, [(app.namespace, derive.app_labels(app))]).items():
            if have < app.replicas and given[version]:  # of a pool without addresses, its own rule tells
                yield Problem(
                    "sampleApp.replicas",
                    f"{app.replicas} pods, but the pools of {cluster_id} have {have} IPv{version} addresses for them "
                    f"(clusters.{cluster_id}.pools)",
                    "lower it, or give pools that its pods can use more addresses",
                )


def _verify(plan: MeshPlan) -> Iterator[Problem]:
    for index, cluster_id in enumerate(plan.verify.may_be_down):
        if cluster_id not in plan.clusters:
            yield Problem(
                f"verify.mayBeDown[{index}]",
                f"{cluster_id!r} is no cluster of the plan",
                f"use some of: {', '.join(plan.clusters)}",
            )


def _cluster_networks(path: str, cluster: Cluster) -> Iterator[Problem]:
    for field, cidr, version in (
        ("podCIDR", cluster.pod_cidr, 4),
        ("serviceCIDR", cluster.service_cidr, 4),
        ("podCIDRv6", cluster.pod_cidr_v6, 6),
        ("serviceCIDRv6", cluster.service_cidr_v6, 6),
    ):
        if cidr and parse_network(cidr).version != version:
            yield Problem(f"{path}.{field}", f"{cidr} is not IPv{version}", f"write an IPv{version} CIDR")
        for unusable, kind in _UNUSABLE.items():
            if cidr and parse_network(cidr).overlaps(unusable):
                yield Problem(
                    f"{path}.{field}",
                    f"{cidr} has {kind} addresses ({unusable}), which no pod or Service can have",
                    "use a private network",
                )
    if bool(cluster.pod_cidr_v6) != bool(cluster.service_cidr_v6):
        missing = "serviceCIDRv6" if cluster.pod_cidr_v6 else "podCIDRv6"
        yield Problem(f"{path}.{missing}", "missing: IPv6 needs both a pod and a Service CIDR", "set both or neither")
    mtu = cluster.network.mtu
    if cluster.pod_cidr_v6 and mtu is not None and mtu < IPV6_MIN_MTU:
        yield Problem(f"{path}.network.mtu", f"{mtu} is too small for IPv6", f"use {IPV6_MIN_MTU} or more")
    for (one_field, one), (other_field, other) in combinations(_named_networks(cluster), 2):
        if one_field.startswith("nodeCIDR"):  # they come last, so the other one is too
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
    return [(field, parse_network(cidr)) for field, cidr in named if cidr]


def _pod_and_service_networks(cluster: Cluster) -> list[tuple[str, IpNetwork]]:
    return [(field, network) for field, network in _named_networks(cluster) if not field.startswith("nodeCIDR")]


def _local_cidr(path: str, cluster: Cluster) -> Iterator[Problem]:
    """What pods reach through their node must not be what they reach on the wire.

    The cluster's own Services may be listed, as NodeLocal DNSCache's address among them is: coordinator adds their CIDR
    to hijackCIDR by itself, with the same next hop (cmd/coordinator/cmd/command_add.go). Of its nodes, `advice` tells.
    """
    for index, cidr in enumerate(cluster.network.local_cidr):
        local = parse_network(cidr)
        for field, network in _named_networks(cluster):
            if field.startswith("podCIDR") and local.overlaps(network):
                yield Problem(
                    f"{path}.network.localCIDR[{index}]",
                    f"{cidr} overlaps with {network} ({path}.{field}): traffic to neighbouring pods would be sent "
                    "into the node instead of the underlay",
                    "list only what pods reach through their node",
                )


def _nodes_as_local(path: str, cluster: Cluster) -> Iterator[Problem]:
    for index, cidr in enumerate(cluster.network.local_cidr):
        for number, nodes in enumerate(cluster.node_cidr):
            if parse_network(cidr).overlaps(parse_network(nodes)):
                yield Problem(
                    f"{path}.network.localCIDR[{index}]",
                    f"{cidr} overlaps with {nodes} ({path}.nodeCIDR[{number}]): pods reach other nodes through their "
                    "own, and get an answer only from nodes that have a route to the pods",
                    "leave it out unless pods have to reach nodes that way",
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
            path = f"clusters.{one_id}.network.localCIDR[{index}]"
            yield from _local_against_remote(path, cidr, other_id, other, plan)
        for index, cidr in enumerate(other.network.local_cidr):
            path = f"clusters.{other_id}.network.localCIDR[{index}]"
            yield from _local_against_remote(path, cidr, one_id, one, plan)


def _local_against_remote(path: str, cidr: str, remote_id: str, remote: Cluster, plan: MeshPlan) -> Iterator[Problem]:
    if plan.broker.globalnet:
        given = remote.globalnet_cidr
        derived = [("globalnetCIDR", parse_network(given))] if given else []
    else:
        # Of a network that none can use, its own rule tells; the localCIDR that it meets is mostly the default one.
        derived = [item for item in _pod_and_service_networks(remote) if not any(map(item[1].overlaps, _UNUSABLE))]
    for field, network in derived:
        if parse_network(cidr).overlaps(network):
            yield Problem(
                path,
                f"{cidr} overlaps with {network} (clusters.{remote_id}.{field}), which is derived already",
                "list only local networks here",
            )


def _nodes(path: str, cluster: Cluster) -> Iterator[Problem]:
    pod_networks = [parse_network(cidr) for cidr in (cluster.pod_cidr, cluster.pod_cidr_v6) if cidr]
    wires = [*pod_networks, *(parse_network(pool.subnet) for pool in cluster.pools)]
    taken = {pool.gateway: f"{path}.pools[{index}].gateway" for index, pool in enumerate(cluster.pools)}
    declared = [(f"{path}.gateways[{i}]", g.node, g.address) for i, g in enumerate(cluster.gateways)]
    declared += [(f"{path}.nodes[{i}]", node.name, node.address) for i, node in enumerate(cluster.nodes)]
    yield from repeated((f"{path}.gateways[{i}]", g.node) for i, g in enumerate(cluster.gateways))
    yield from repeated((f"{path}.nodes[{i}].name", node.name) for i, node in enumerate(cluster.nodes))
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
        nobodys = next((network for network in wires if address in pool_rules.not_hosts(network)), None)
        if nobodys:
            yield Problem(
                f"{where}.address",
                f"{text} of {node} is the {pool_rules.not_hosts(nobodys)[address]} address of {nobodys}, which no node "
                "has",
                "declare the node's own address",
            )
        if text in taken:
            yield Problem(f"{where}.address", f"{text} of {node} is also {taken[text]}", "one address, one owner")
        if owners.setdefault(text, node) != node:
            yield Problem(f"{where}.address", f"{text} belongs to {owners[text]} and {node}", "one address, one node")
        for index, pool in enumerate(cluster.pools):
            if ranges.contains(ranges.usable(pool.ips, pool.exclude_ips), address):
                yield Problem(
                    f"{where}.address",
                    f"{text} of {node} lies in {path}.pools[{index}].ips: a pod could get the node's address",
                    f"add {text} to {path}.pools[{index}].excludeIPs",
                )


def _wan_addresses(plan: MeshPlan) -> Iterator[Problem]:
    seen: dict[str, tuple[str, str]] = {}
    for cluster_id, cluster in plan.clusters.items():
        for index, gateway in enumerate(cluster.gateways):
            if gateway.wan_address is None:
                continue
            path, wan = f"clusters.{cluster_id}.gateways[{index}].wanAddress", gateway.wan_address
            address = ipaddress.ip_address(wan)
            if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
                yield Problem(path, f"{wan} is no address that another site can reach", "declare the WAN interface's")
            for field, network in _pod_and_service_networks(cluster):
                if address in network:
                    yield Problem(
                        path,
                        f"{wan} lies in {network} (clusters.{cluster_id}.{field}): the tunnel would start on the "
                        "isolated underlay",
                        "declare the address of the interface that reaches the other sites and has the default route",
                    )
            for other_id, other in plan.clusters.items():
                if other_id == cluster_id or plan.broker.globalnet:
                    continue
                for field, network in _pod_and_service_networks(other):
                    if address in network:
                        yield Problem(
                            path,
                            f"{wan} lies in {network} (clusters.{other_id}.{field}): that cluster would not reach it",
                            "a gateway's WAN address must be outside all pod and Service CIDRs",
                        )
            owner, where = seen.setdefault(wan, (cluster_id, path))
            # Behind NAT two sites may well use the same private addresses.
            if where != path and (owner == cluster_id or not plan.submariner.nat_traversal):
                yield Problem(path, f"{wan} is that of another gateway already ({where})", "one address, one gateway")


def _network(path: str, network: Network, plan: MeshPlan) -> Iterator[Problem]:
    version = version_tuple(plan.spiderpool.version)
    yield from repeated((f"{path}.master[{i}]", master) for i, master in enumerate(network.master))
    if len(network.master) > 1 and not network.bond:
        yield Problem(
            f"{path}.bond",
            f"missing: {len(network.master)} master interfaces ({', '.join(network.master)}) have to be bonded",
            "set bond: {name: bond0, mode: 1}, or name one master",
        )
    if len(network.master) == 1 and network.bond:
        yield Problem(f"{path}.bond", "a bond of one interface", "name several masters, or remove the bond")
    if network.bond and network.bond.name in network.master:
        yield Problem(
            f"{path}.bond.name", f"{network.bond.name!r} is one of its own masters", "give the bond a name of its own"
        )
    parent = network.bond.name if network.bond else network.master[0]
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


def _globalnet(path: str, cluster_id: str, cluster: Cluster, plan: MeshPlan) -> Iterator[Problem]:
    globalnet = plan.broker.globalnet
    if cluster.pod_cidr_v6:
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
            yield Problem(
                f"{path}.globalnetCIDR",
                f"{cluster.globalnet_cidr} is given, but broker.globalnet is off",
                "remove it, or set broker.globalnet: {}",
            )
        return
    if not cluster.globalnet_cidr:
        yield Problem(
            f"{path}.globalnetCIDR",
            "missing: with broker.globalnet, clusters that join at the same time would race for one range",
            f"give each cluster a part of {globalnet.cidr_range}",
        )
        return
    own, whole = parse_network(cluster.globalnet_cidr), parse_network(globalnet.cidr_range)
    if not ranges.within(own, whole):
        yield Problem(
            f"{path}.globalnetCIDR",
            f"{own} is not inside {whole} (broker.globalnet.cidrRange)",
            f"choose part of {whole}",
        )
    for field, network in _named_networks(cluster):
        if network.overlaps(whole):
            yield Problem(
                f"{path}.{field}",
                f"{network} overlaps with {whole} (broker.globalnet.cidrRange)",
                "choose a cidrRange that no cluster uses",
            )
    for other_id, other in plan.clusters.items():
        if other_id == cluster_id:
            break
        if other.globalnet_cidr and own.overlaps(parse_network(other.globalnet_cidr)):
            yield Problem(
                f"{path}.globalnetCIDR",
                f"{own} overlaps with {other.globalnet_cidr} (clusters.{other_id}.globalnetCIDR)",
                "each cluster needs a range of its own",
            )
