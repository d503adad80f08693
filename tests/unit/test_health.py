"""The judgement on what clusters report: tunnels, sites, traffic, the mesh as a whole, and the page that shows it.

Readings are made up here, after what was measured on a running mesh (facts: datapath.md); what a gateway logs and what
`ping`, `ip` and `curl` print is copied from there or from the real programs.
"""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from mesh.health import data_path, page, probes, site, tunnel
from mesh.health.data_path import Kind, Source, Target
from mesh.health.expect import Expected, expected, remote_networks
from mesh.health.models import (
    Connection,
    Coordinator,
    DataPath,
    Endpoint,
    Finding,
    Gateway,
    GatewayPod,
    KubeProxy,
    Link,
    LinkState,
    Membership,
    Node,
    Pod,
    Pool,
    Reading,
    Row,
    SiteReading,
    State,
    TunnelReading,
)
from mesh.health.read import milliseconds, network_plugins
from mesh.health.report import Health, MeshReport, judge, proven_by
from mesh.health.tunnel import TunnelReport
from mesh.plan import MeshPlan, load_plan
from mesh.steps.errors import StepError
from tests.unit.plans import changed, problems_of, seed

NOW = 1_764_000_000
GATEWAY = "controller-node-1"
WAN = {"cluster-a": "10.6.168.73", "cluster-b": "10.6.168.74", "cluster-c": "10.6.168.75"}
UNDERLAY = {"cluster-a": "172.110.0.11", "cluster-b": "172.111.0.11", "cluster-c": "172.112.0.11"}
NETWORKS = {
    "cluster-a": ("10.233.0.0/18", "172.110.0.0/16"),
    "cluster-b": ("10.243.0.0/18", "172.111.0.0/16"),
    "cluster-c": ("10.253.0.0/18", "172.112.0.0/16"),
}


def plan(**changes: Any) -> MeshPlan:
    """The seed's plan; `a__b=…` sets `a.b`."""
    return load_plan(changed({key.replace("__", "."): value for key, value in changes.items()}))


def three() -> MeshPlan:
    """A plan with a third cluster."""
    raw = seed()
    raw["clusters"]["cluster-c"] = json.loads(
        json.dumps(raw["clusters"]["cluster-b"]).replace("172.111.", "172.112.").replace("10.243.", "10.253.")
    )
    return load_plan(raw)


def endpoint(cluster_id: str, **changes: Any) -> Endpoint:
    facts: dict[str, Any] = {
        "cluster_id": cluster_id,
        "hostname": GATEWAY,
        "private_ip": WAN[cluster_id],
        "backend": "libreswan",
        "cable_name": f"submariner-cable-{cluster_id}-{WAN[cluster_id].replace('.', '-')}",
        "subnets": NETWORKS[cluster_id],
        "health_check_ip": UNDERLAY[cluster_id],
    }
    return Endpoint(**(facts | changes))


def connection(peer: str = "cluster-b", **changes: Any) -> Connection:
    end = changes.pop("peer_end", None) or endpoint(peer)
    facts: dict[str, Any] = {"peer": end, "status": "connected", "using_ip": end.private_ip, "rtt_ms": 0.66}
    return Connection(**(facts | changes))


def gateway(cluster_id: str = "cluster-a", **changes: Any) -> Gateway:
    facts: dict[str, Any] = {
        "node": GATEWAY,
        "ha_status": "active",
        "updated": NOW - 3,
        "version": "v0.24.1",
        "local": endpoint(cluster_id),
        "connections": [connection("cluster-b" if cluster_id == "cluster-a" else "cluster-a")],
    }
    return Gateway(**(facts | changes))


def tunnels(cluster_id: str = "cluster-a", *, peers: tuple[str, ...] = ("cluster-b",), **changes: Any) -> TunnelReading:
    facts: dict[str, Any] = {
        "now": NOW,
        "membership": Membership(cluster_id=cluster_id, version="0.24.1", cable_driver="libreswan", health_check=True),
        "gateways": [gateway(cluster_id)],
        "endpoints": [endpoint(cluster_id), *(endpoint(peer) for peer in peers)],
        "members": frozenset((cluster_id, *peers)),
    }
    return TunnelReading(**(facts | changes))


def without_health_check(driver: str, **changes: Any) -> TunnelReading:
    ends = [endpoint(name, backend=driver, health_check_ip="") for name in ("cluster-a", "cluster-b")]
    member = Membership(cluster_id="cluster-a", version="0.24.1", cable_driver=driver, health_check=False)
    link = connection(peer_end=ends[1], rtt_ms=None)
    return tunnels(membership=member, endpoints=ends, gateways=[gateway(local=ends[0], connections=[link])], **changes)


def verdict(reading: TunnelReading, wanted: Expected | None = None, **options: Any) -> TunnelReport:
    return tunnel.judge(wanted or expected(plan(), "cluster-a"), reading, **options)


def only_link(reading: TunnelReading, wanted: Expected | None = None, **options: Any) -> Link:
    (link,) = verdict(reading, wanted, **options).links
    return link


# --- tunnels ---------------------------------------------------------------------------------------------------------


def test_connected_and_answered_is_proved_by_the_pings() -> None:
    link = only_link(tunnels())
    assert (link.state, link.proof, link.rtt_ms, link.hint) == (LinkState.CONNECTED, "ping", 0.66, "")
    assert (link.gateway, link.peer_gateway, link.address) == (GATEWAY, GATEWAY, WAN["cluster-b"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("661.938µs", 0.661938), ("1.1ms", 1.1), ("1m2.5s", 62_500.0), ("0s", None), ("", None), ("garbage", None)],
)
def test_round_trips_are_go_durations_and_zero_is_none(text: str, value: float | None) -> None:
    assert milliseconds(text) == (None if value is None else pytest.approx(value))


def test_connected_without_an_answer_is_not_connected_where_the_health_check_is_on() -> None:
    link = only_link(tunnels(gateways=[gateway(connections=[connection(rtt_ms=None)])]))
    assert link.state is LinkState.CONNECTING
    assert not link.good
    assert "is ICMP allowed" in link.hint


def test_a_peer_without_health_check_is_named() -> None:
    end = endpoint("cluster-b", health_check_ip="")
    link = only_link(tunnels(gateways=[gateway(connections=[connection(peer_end=end, rtt_ms=None)])]))
    assert "cluster-b names no healthCheckIP" in link.hint


def test_vxlan_without_health_check_proves_nothing_and_says_so() -> None:
    link = only_link(without_health_check("vxlan"), expected(plan(submariner__cableDriver="vxlan"), "cluster-a"))
    assert (link.state, link.proof) == (LinkState.UNPROVEN, "")
    assert "says connected whatever happens" in link.message
    assert "--probe" in link.hint
    assert link.good  # nothing better can be had of the tunnel itself


@pytest.mark.parametrize("driver", ["libreswan", "wireguard"])
def test_other_drivers_without_health_check_are_proved_by_their_handshake(driver: str) -> None:
    link = only_link(without_health_check(driver), expected(plan(submariner__cableDriver=driver), "cluster-a"))
    assert (link.state, link.proof) == (LinkState.CONNECTED, "handshake")


def _with(**changes: Any) -> TunnelReading:
    """A gateway whose one connection has these facts."""
    return tunnels(gateways=[gateway(connections=[connection(**changes)])])


LOST = 'Failed to successfully ping the remote endpoint IP "172.111.0.11"'  # as the gateway says it
BROKEN: dict[str, tuple[TunnelReading, LinkState, str]] = {
    "UDP 4500 closed": (_with(status="error", message=LOST), LinkState.ERROR, "open UDP 4500, UDP 500 and ESP"),
    "handshake under way": (_with(status="connecting", rtt_ms=None), LinkState.CONNECTING, "same pre-shared key"),
    "behind NAT": (_with(status="connecting", using_nat=True), LinkState.CONNECTING, "NAT is on the way"),
    "UDP 4490 closed": (
        tunnels(gateways=[gateway(connections=[])]),
        LinkState.MISSING,
        "open UDP 4490 (NAT discovery; closed, it takes 60 to 75 s)",
    ),
    "other cable driver": (
        tunnels(
            gateways=[gateway(connections=[])],
            endpoints=[endpoint("cluster-a"), endpoint("cluster-b", backend="vxlan")],
        ),
        LinkState.MISSING,
        "the cable drivers differ: libreswan in cluster-a, vxlan in cluster-b",
    ),
    "default route of the peer over the underlay": (
        tunnels(
            gateways=[gateway(connections=[])],
            endpoints=[endpoint("cluster-a"), endpoint("cluster-b", private_ip="172.111.0.11")],
        ),
        LinkState.MISSING,
        "the default route of controller-node-1 (cluster-b) must leave through the interface towards the other sites",
    ),
    "own default route over the underlay": (
        tunnels(gateways=[gateway(connections=[], local=endpoint("cluster-a", private_ip="172.110.0.11"))]),
        LinkState.MISSING,
        "the default route of controller-node-1 (cluster-a)",
    ),
    "overlapping networks": (
        tunnels(
            gateways=[gateway(connections=[])],
            endpoints=[endpoint("cluster-a"), endpoint("cluster-b", subnets=("172.110.0.0/16",))],
        ),
        LinkState.MISSING,
        "the networks overlap (172.110.0.0/16, 172.110.0.0/16)",
    ),
    "another driver is still at work": (
        tunnels(gateways=[gateway(local=endpoint("cluster-a", backend="vxlan"))]),
        LinkState.CONNECTING,
        "has not been restarted",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_gets_the_hint_that_fits(case: str) -> None:
    reading, state, hint = BROKEN[case]
    link = only_link(reading)
    assert link.state is state
    assert hint in link.hint
    assert not link.good
    assert str(link).startswith(f"cluster-b: {state}")


def test_a_gateway_that_tunnels_from_another_address_than_planned_is_not_connected() -> None:
    raw = changed({"clusters.cluster-b.gateways[0]": {"node": GATEWAY, "wanAddress": "10.6.168.99"}})
    wanted = expected(load_plan(raw), "cluster-a")
    link = only_link(tunnels(), wanted)
    assert link.state is LinkState.ERROR
    assert "tunnels from 10.6.168.74, not 10.6.168.99 as planned" in link.message
    assert "with 10.6.168.99" in link.hint


def test_a_planned_address_that_fits_changes_nothing() -> None:
    raw = changed({"clusters.cluster-b.gateways[0]": {"node": GATEWAY, "wanAddress": WAN["cluster-b"]}})
    assert only_link(tunnels(), expected(load_plan(raw), "cluster-a")).state is LinkState.CONNECTED


def test_nobody_else_has_joined() -> None:
    report = verdict(tunnels(peers=(), gateways=[gateway(connections=[])]))
    (link,) = report.links
    assert (link.state, link.good, report.problem, report.joined) == (LinkState.NOT_JOINED, True, "", ())


def test_a_member_that_is_only_known_elsewhere_is_missing_here() -> None:
    reading = tunnels(peers=(), gateways=[gateway(connections=[])])
    link = only_link(reading, joined={"cluster-a", "cluster-b"})
    assert (link.state, "has not arrived here" in link.message) == (LinkState.MISSING, True)
    assert "does the gateway of cluster-b run" in link.hint


def test_strangers_are_told() -> None:
    assert verdict(tunnels(members=frozenset({"cluster-a", "cluster-b", "lab-7"}))).strangers == ("lab-7",)


@pytest.mark.parametrize(
    ("seconds", "state"), [(29, LinkState.CONNECTED), (31, LinkState.STALE), (600, LinkState.STALE)]
)
def test_a_gateway_that_stopped_reporting_is_worth_nothing(seconds: int, state: LinkState) -> None:
    report = verdict(tunnels(gateways=[gateway(updated=NOW - seconds)]))
    assert report.links[0].state is state
    assert (f"has not reported for {seconds} s" in report.problem) is (state is LinkState.STALE)


def test_a_clock_that_is_ahead_is_no_reason_for_doubt() -> None:
    assert only_link(tunnels(gateways=[gateway(updated=NOW + 500)])).state is LinkState.CONNECTED


def test_a_gateway_that_never_reported() -> None:
    assert "has not reported so far" in verdict(tunnels(gateways=[gateway(updated=None)])).problem


def test_passive_gateways_alone_are_no_gateway() -> None:
    report = verdict(tunnels(gateways=[gateway(ha_status="passive", connections=[])]))
    assert "no active gateway, only passive ones (controller-node-1)" in report.problem
    assert report.links[0].state is LinkState.MISSING
    assert report.standby == (GATEWAY,)


def test_two_active_gateways_are_a_problem_unless_one_is_dead() -> None:
    alive, other = gateway(), gateway(node="worker-node-1")
    assert "several active gateways" in verdict(tunnels(gateways=[alive, other])).problem
    dead = gateway(node="worker-node-1", updated=NOW - 300)
    report = verdict(tunnels(gateways=[dead, alive]))
    assert (report.problem, report.gateway) == ("", GATEWAY)


def test_what_the_gateway_itself_reports_as_failed() -> None:
    report = verdict(tunnels(gateways=[gateway(failure="error starting the cable engine", connections=[])]))
    assert "reports: error starting the cable engine" in report.problem


def test_after_a_failover_of_the_peer_its_former_gateway_does_not_count() -> None:
    former = endpoint("cluster-b", cable_name="submariner-cable-cluster-b-10-6-168-84", private_ip="10.6.168.84")
    gone = connection(peer_end=former, status="error", message=LOST)
    assert only_link(tunnels(gateways=[gateway(connections=[gone, connection()])])).state is LinkState.CONNECTED


def test_of_two_connections_to_one_peer_both_have_to_be_good() -> None:
    second = endpoint("cluster-b", cable_name="submariner-cable-cluster-b-v6")
    reading = tunnels(
        gateways=[gateway(connections=[connection(), connection(peer_end=second, status="error", message="lost")])],
        endpoints=[endpoint("cluster-a"), endpoint("cluster-b"), second],
    )
    assert only_link(reading).state is LinkState.ERROR


@pytest.mark.parametrize(
    ("log", "hint"),
    [
        (  # facts: datapath.md 3, C2
            'FTL ..main.go:147 Main Error creating gateway instance error="error creating local endpoint object: error '
            "getting CNI Interface IP address: unable to find CNI Interface on the host which has IP from "
            '[\\"172.110.0.0/16\\"].Please disable the health check if your CNI does not expose a pod IP on the nodes"',
            "has no address inside the pod CIDR",
        ),
        (  # C1
            'Error getting local IP error="dial udp4 8.8.8.8:53: connect: network is unreachable"',
            "has no default route",
        ),
        (
            "could not determine public IP: Unable to resolve public IP by any of the resolver methods",
            "airGapped: true",
        ),
        ("listen udp4 :4500: bind: address already in use", "ip link del vxlan-tunnel"),
        ('Get "https://10.6.168.10:6443": dial tcp 10.6.168.10:6443: i/o timeout', "does not reach the broker"),
        ("something quite new", "kubectl logs -n submariner-operator submariner-gateway-x7 --previous"),
    ],
)
def test_a_gateway_in_crash_loop_says_why(log: str, hint: str) -> None:
    pod = GatewayPod(
        name="submariner-gateway-x7",
        node=GATEWAY,
        phase="Running",
        waiting="CrashLoopBackOff",
        restarts=4,
        last_words=f"INF starting\n{log}\nbye\n",
    )
    report = verdict(tunnels(gateways=[], pods=[pod]))
    assert "is in CrashLoopBackOff (" in report.problem
    assert hint in report.hint
    assert report.links[0].state is LinkState.MISSING
    assert report.links[0].hint == report.hint


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (None, "there is no pod of one"),
        (GatewayPod(name="g", phase="Pending"), "is Pending"),
        (GatewayPod(name="g", node="n", phase="Running"), "runs and has not reported yet"),
        (GatewayPod(name="g", node="n", phase="Pending", waiting="ImagePullBackOff"), "is in ImagePullBackOff"),
    ],
)
def test_other_ways_not_to_have_a_gateway(pod: GatewayPod | None, words: str) -> None:
    report = verdict(tunnels(gateways=[], pods=[pod] if pod else []))
    assert words in report.problem
    assert report.hint


def test_not_joined_and_joined_as_somebody_else() -> None:
    report = verdict(tunnels(membership=None, gateways=[], endpoints=[], members=frozenset()))
    assert report.problem == "cluster-a has not joined"
    other = Membership(cluster_id="cluster-b", version="0.24.1")
    assert "has joined as cluster-b" in verdict(tunnels(membership=other)).problem


# --- sites -----------------------------------------------------------------------------------------------------------

CONFIG = json.dumps(
    {
        "cniVersion": "0.3.1",
        "plugins": [
            {"type": "macvlan", "master": "ens224"},
            {
                "type": "coordinator",
                "mode": "auto",
                "hijackCIDR": ["10.243.0.0/18", "172.111.0.0/16", "169.254.0.0/16"],
            },
        ],
    }
)


def a_site(**changes: Any) -> SiteReading:
    facts: dict[str, Any] = {
        "kubernetes": "v1.33.4",
        "spiderpool": "1.2.2",
        "nodes": [Node(name=GATEWAY, ready=True, gateway=True), Node(name="worker-1", ready=True, gateway=False)],
        "pools": [Pool(name="cluster-a", total=200, allocated=12)],
        "coordinator": Coordinator(phase="Synced", service_cidr=("10.233.0.0/18",)),
        "network": CONFIG,
        "kube_proxy": KubeProxy(
            mode="iptables", tcp_be_liberal=True, cluster_cidr="10.233.64.0/18", masquerade_all=False
        ),
    }
    return SiteReading(**(facts | changes))


def findings(**changes: Any) -> tuple[Finding, ...]:
    return site.judge(expected(plan(), "cluster-a"), a_site(**changes))


def test_a_sound_site_has_nothing_to_complain_of() -> None:
    assert {finding.state for finding in findings()} == {State.OK, State.NOT_CHECKED}
    (unknown,) = [finding for finding in findings() if finding.state is State.NOT_CHECKED]
    assert "every node has an address on the underlay" in unknown.what


def proxy(**changes: Any) -> KubeProxy:
    facts = {"mode": "iptables", "tcp_be_liberal": True, "cluster_cidr": "10.233.64.0/18", "masquerade_all": False}
    return KubeProxy(**(facts | changes))


SITES: dict[str, tuple[dict[str, Any], State, str]] = {
    "no coordinator": ({"coordinator": None}, State.FAILED, "there is no SpiderCoordinator"),
    "coordinator not ready": (
        {"coordinator": Coordinator(phase="NotReady", reason="No kube-controller-manager pod found")},
        State.FAILED,
        "is NotReady (No kube-controller-manager pod found)",
    ),
    "coordinator without a Service CIDR": ({"coordinator": Coordinator(phase="Synced")}, State.FAILED, "Synced"),
    "other Service CIDR": (
        {"coordinator": Coordinator(phase="Synced", service_cidr=("10.96.0.0/12",))},
        State.FAILED,
        "is 10.96.0.0/12, the plan's 10.233.0.0/18",
    ),
    "no network": ({"network": None}, State.FAILED, "no NetworkAttachmentDefinition kube-system/macvlan-conf"),
    "network without coordinator": (
        {"network": '{"plugins": [{"type": "macvlan"}]}'},
        State.FAILED,
        "has no coordinator",
    ),
    "network that is no JSON": ({"network": "{"}, State.FAILED, "has no coordinator"),
    "hijackCIDR of before": (
        {"network": CONFIG.replace('"172.111.0.0/16", ', "")},
        State.FAILED,
        "lacks 172.111.0.0/16",
    ),
    "gateway node gone": ({"nodes": []}, State.FAILED, "there is no node controller-node-1"),
    "gateway not labelled": (
        {"nodes": [Node(name=GATEWAY, ready=True, gateway=False)]},
        State.FAILED,
        "has no label submariner.io/gateway=true",
    ),
    "gateway not ready": ({"nodes": [Node(name=GATEWAY, ready=False, gateway=True)]}, State.WARNING, "is not Ready"),
    "gateway nobody planned": (
        {"nodes": [Node(name=GATEWAY, ready=True, gateway=True), Node(name="w", ready=True, gateway=True)]},
        State.WARNING,
        "node w is a gateway too",
    ),
    "no pool": ({"pools": []}, State.FAILED, "there is no SpiderIPPool cluster-a"),
    "pool not counted": ({"pools": [Pool(name="cluster-a", total=None, allocated=None)]}, State.FAILED, "not counted"),
    "pool full": ({"pools": [Pool(name="cluster-a", total=4, allocated=4)]}, State.FAILED, "is full (4 addresses)"),
    "pool nearly full": ({"pools": [Pool(name="cluster-a", total=9, allocated=6)]}, State.WARNING, "3 of 9 addresses"),
    "kube-proxy elsewhere": ({"kube_proxy": None}, State.NOT_CHECKED, "not in ConfigMap kube-system/kube-proxy"),
    "ipvs": ({"kube_proxy": proxy(mode="ipvs")}, State.FAILED, "ipvs mode, which Submariner does not support"),
    "strict conntrack": (
        {"kube_proxy": proxy(tcp_be_liberal=False)},
        State.WARNING,
        "pods on worker-1 lose TCP with other clusters with Submariner's nftables driver",
    ),
    "clusterCIDR over the underlay": (
        {"kube_proxy": proxy(cluster_cidr="172.96.0.0/12")},
        State.WARNING,
        "clusterCIDR 172.96.0.0/12 covers the underlay",
    ),
    "no clusterCIDR": ({"kube_proxy": proxy(cluster_cidr="")}, State.WARNING, "it has no clusterCIDR"),
    "pods from before the last change of the network": (
        {
            "network_changed": 1000,
            "pods": [Pod(name="default/old", created=999), Pod(name="default/new", created=1000)],
        },
        State.WARNING,
        "1 of 2 running pods are older than the last change of kube-system/macvlan-conf (1970-01-01T00:16:40Z) and "
        "keep the routes of before: default/old",
    ),
    "many pods from before the last change of the network": (
        {"network_changed": 1000, "pods": [Pod(name=f"default/p{number:02}", created=1) for number in range(12)]},
        State.WARNING,
        "default/p08, default/p09 and 2 more",
    ),
    "pods that have come after the last change of the network": (
        {"network_changed": 1000, "pods": [Pod(name="default/new", created=1001)]},
        State.OK,
        "all 1 running pods have the routes of kube-system/macvlan-conf",
    ),
}


@pytest.mark.parametrize("case", SITES)
def test_what_a_site_lacks(case: str) -> None:
    changes, state, words = SITES[case]
    found = [finding for finding in findings(**changes) if finding.state is state and words in finding.what]
    assert len(found) == 1, [str(finding) for finding in findings(**changes)]


def test_strict_conntrack_depends_on_who_starts_first_with_an_older_submariner() -> None:
    wanted = expected(plan(submariner__version="0.21.3"), "cluster-a")
    (found,) = [f for f in site.judge(wanted, a_site(kube_proxy=proxy(tcp_be_liberal=False))) if "lose TCP" in f.what]
    assert "where kube-proxy starts after Submariner's route agent" in found.what
    assert found.fix == "set kubeProxy.tcpBeLiberal: true in the plan"


@pytest.mark.parametrize(
    "changes",
    [
        {"kube_proxy": proxy(mode="nftables", tcp_be_liberal=False)},
        {"kube_proxy": proxy(tcp_be_liberal=False), "nodes": [Node(name=GATEWAY, ready=True, gateway=True)]},
    ],
)
def test_strict_conntrack_is_no_matter_in_nftables_mode_or_without_other_nodes(changes: dict[str, Any]) -> None:
    assert not [finding for finding in findings(**changes) if "lose TCP" in finding.what]


def test_masquerading_everything_makes_the_cluster_cidr_irrelevant() -> None:
    assert not [f for f in findings(kube_proxy=proxy(cluster_cidr="", masquerade_all=True)) if "clusterCIDR" in f.what]


def test_declared_nodes_are_compared_with_those_that_there_are() -> None:
    raw = changed({"clusters.cluster-a.gateways[0]": {"node": GATEWAY, "address": "172.110.0.11"}})
    missing = [f for f in site.judge(expected(load_plan(raw), "cluster-a"), a_site()) if f.check == "nodes"]
    assert [(f.state, "declared for worker-1" in f.what) for f in missing] == [(State.WARNING, True)]
    raw["clusters"]["cluster-a"]["nodes"] = [{"name": "worker-1", "address": "172.110.0.12"}]
    complete = [f for f in site.judge(expected(load_plan(raw), "cluster-a"), a_site()) if f.check == "nodes"]
    assert [f.state for f in complete] == [State.OK]


def test_what_only_nodes_show_is_told_with_what_has_to_come_out() -> None:
    text = "\n".join(site.by_hand(expected(plan(), "cluster-a")))
    for words in ("ip route get 8.8.8.8", "ens224", "FORWARD", "UDP 4500 and 4490", "UDP 4800", GATEWAY):
        assert words in text


def test_a_network_of_one_plugin_is_understood() -> None:
    assert network_plugins('{"type": "macvlan"}') == {"macvlan": {"type": "macvlan"}}
    assert network_plugins("[]") == {}


# --- traffic ---------------------------------------------------------------------------------------------------------

SOURCE = Source("cluster-a", "worker-1", "other", pod_cidrs=("172.110.0.0/16",))
POD = Target("cluster-b", "pod 172.111.1.1 on b", "172.111.1.1", 8080, 300_000, pings=True, hops=2)
# Printed by iproute2, iputils 20221126 and curl 7.88 in network namespaces (tests/lab/test_probe_script.py).
GOOD = {
    Kind.ROUTE: ("172.111.1.1 via 172.110.0.12 dev veth0 src 172.110.1.1 uid 0 \n    cache ", 0),
    Kind.PING: (
        "PING 172.111.1.1 (172.111.1.1) 56(84) bytes of data.\n"
        "64 bytes from 172.111.1.1: icmp_seq=1 ttl=61 time=0.062 ms\n"
        "64 bytes from 172.111.1.1: icmp_seq=2 ttl=61 time=0.081 ms\n\n"
        "--- 172.111.1.1 ping statistics ---\n"
        "2 packets transmitted, 2 received, 0% packet loss, time 1008ms\n"
        "rtt min/avg/max/mdev = 0.062/0.071/0.081/0.009 ms",
        0,
    ),
    Kind.MTU: (
        "PING 172.111.1.1 (172.111.1.1) 1372(1400) bytes of data.\n"
        "1380 bytes from 172.111.1.1: icmp_seq=1 ttl=61 time=0.033 ms\n\n"
        "--- 172.111.1.1 ping statistics ---\n"
        "2 packets transmitted, 2 received, 0% packet loss, time 1022ms",
        0,
    ),
    Kind.CONTROL: (
        "PING 172.111.1.1 (172.111.1.1) from 172.110.1.1 eth0: 56(84) bytes of data.\n"
        "From 172.110.0.1 icmp_seq=1 Destination Net Unreachable\n\n"
        "--- 172.111.1.1 ping statistics ---\n"
        "1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 1ms",
        1,
    ),
    Kind.TRANSFER: ("bytes 300000", 0),
}
NO_ANSWER = (
    "PING 172.111.1.1 (172.111.1.1) 56(84) bytes of data.\n\n--- 172.111.1.1 ping statistics ---\n"
    "2 packets transmitted, 0 received, 100% packet loss, time 1018ms",
    1,
)


def rows(**outputs: tuple[str, int | None]) -> dict[str, Row]:
    """What these outputs mean, where all others are good; by check."""
    todo, source = data_path.checks(SOURCE, [POD]), SOURCE
    said = {check.kind: outputs.get(check.kind.replace(" ", "_"), GOOD[check.kind]) for check in todo}
    text = "".join(
        f"### {number}\n{said[check.kind][0]}\n"
        + (f"### rc {said[check.kind][1]}\n" if said[check.kind][1] is not None else "")
        for number, check in enumerate(todo)
    )
    judged = data_path.judge(source, todo, text)
    return {row.check: row for row in data_path.summarise(judged).rows}


def test_good_traffic() -> None:
    found = rows()
    assert {row.state for row in found.values()} == {State.OK}
    assert list(found) == ["route", "node address", "ping", "mtu", "control", "transfer"]
    assert found["ping"].detail == "0.071 ms, ttl 61"
    assert found["mtu"].detail == "1400 B pass whole"


def test_busybox_prints_other_words() -> None:
    found = rows(
        route=("172.111.1.1 via 172.110.0.12 dev veth0  src 172.110.1.1 ", 0),
        ping=(
            "PING 172.111.1.1 (172.111.1.1): 56 data bytes\n64 bytes from 172.111.1.1: seq=0 ttl=62 time=0.049 ms\n\n"
            "--- 172.111.1.1 ping statistics ---\n2 packets transmitted, 2 packets received, 0% packet loss\n"
            "round-trip min/avg/max = 0.049/0.056/0.064 ms",
            0,
        ),
        mtu=("ping: invalid option -- 'M'\nBusyBox v1.35.0 multi-call binary.\n\nUsage: ping [OPTIONS] HOST", 1),
        control=(
            "PING 172.111.1.1 (172.111.1.1): 56 data bytes\n\n--- 172.111.1.1 ping statistics ---\n"
            "1 packets transmitted, 0 packets received, 100% packet loss",
            1,
        ),
    )
    assert found["ping"].detail == "0.056 ms, ttl 62"
    assert found["control"].state is State.OK
    assert (found["mtu"].state, found["mtu"].detail) == (
        State.NOT_CHECKED,
        "the image's program cannot do that (ping: invalid option -- 'M')",
    )


TRAFFIC: dict[str, tuple[dict[str, tuple[str, int | None]], str, State, str, str]] = {
    "pod older than hijackCIDR": (
        {"route": ("172.111.1.1 via 172.110.0.1 dev eth0 src 172.110.1.1 uid 0", 0)},
        "route", State.FAILED, "leads via 172.110.0.1 to eth0", "restart the pods",
    ),
    "leak guard": (
        {"route": ("RTNETLINK answers: No route to host", 2)}, "route", State.FAILED, "No route", "tunnel up",
    ),
    "node without underlay address": (
        {"route": ("172.111.1.1 via 10.6.168.83 dev veth0 src 172.110.1.1", 0)},
        "node address", State.WARNING, "worker-1 has no address on the underlay", "inside 172.110.0.0/16",
    ),
    "no ip program": ({"route": ("sh: ip: not found", 127)}, "route", State.NOT_CHECKED, "no such program", ""),
    "no answer": ({"ping": NO_ANSWER}, "ping", State.FAILED, "no answer", "nothing gets through"),
    "unreachable": (
        {"ping": (NO_ANSWER[0].replace("\n\n", "\nFrom 10.6.168.73 icmp_seq=1 Destination Host Unreachable\n\n"), 1)},
        "ping", State.FAILED, "Destination Host Unreachable", "nothing gets through",
    ),
    "same segment": (
        {"ping": (GOOD[Kind.PING][0].replace("ttl=61", "ttl=64"), 0)},
        "ping", State.FAILED, "nearer", "share a network",
    ),
    "may not ping": (
        {"ping": ("ping: permission denied (are you root?)", 1)}, "ping", State.NOT_CHECKED, "NET_RAW", "",
    ),
    "packets vanish": ({"mtu": NO_ANSWER}, "mtu", State.FAILED, "1400 B vanish without a word", "network.vethMTU"),
    "path says its size": (
        {"mtu": ("From 172.110.0.11 icmp_seq=1 Frag needed and DF set (mtu = 1350)\n\n"
                 "2 packets transmitted, 0 received", 1)},
        "mtu", State.WARNING, "it carries 1350 B", "set network.vethMTU: 1350",
    ),
    "own interface says its size": (
        {"mtu": ("ping: local error: message too long, mtu=1380\n\n2 packets transmitted, 0 received", 1)},
        "mtu", State.WARNING, "it carries 1380 B", "set network.vethMTU: 1380",
    ),
    "transfer hangs": (
        {"transfer": ("curl: (28) Operation timed out after 10001 milliseconds with 13980 out of 300000 bytes "
                      "received\nbytes 13980", 28)},
        "transfer", State.FAILED, "stopped after 13980 of 300000 B", "vethMTU lower",
    ),
    "TCP alone lost": (
        {"transfer": ("curl: (28) Connection timed out after 10001 milliseconds", 28)},
        "transfer", State.FAILED, "timed out", "kubeProxy.tcpBeLiberal: true",
    ),
    "cut off by the server": (
        {"transfer": ("bytes 299999", 0)}, "transfer", State.FAILED, "stopped after 299999 of 300000 B", "vethMTU",
    ),
    "no fetcher": ({"transfer": ("sh: wget: not found", 127)}, "transfer", State.NOT_CHECKED, "no such program", ""),
    "crashed": ({"transfer": ("Segmentation fault", 139)}, "transfer", State.NOT_CHECKED, "crashed", ""),
    "cut short": ({"transfer": ("", None)}, "transfer", State.NOT_CHECKED, "did not end", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", TRAFFIC)
def test_bad_traffic(case: str) -> None:
    outputs, check, state, detail, hint = TRAFFIC[case]
    row = rows(**outputs)[check]
    assert (row.state, detail in row.detail, hint in row.hint) == (state, True, True), row


def test_what_arrives_over_the_underlay_too_proves_nothing() -> None:
    found = rows(control=(GOOD[Kind.PING][0], 0))
    assert found["control"].state is State.WARNING
    assert {found[check].state for check in ("ping", "transfer")} == {State.NOT_CHECKED}
    path = data_path.summarise(found.values())
    assert path.state == "partial"
    assert not data_path.proves(path, "cluster-a", "cluster-b")


def test_a_control_with_nothing_to_compare_is_not_good() -> None:
    found = rows(ping=NO_ANSWER, control=NO_ANSWER, mtu=NO_ANSWER)
    assert (found["control"].state, found["mtu"].state) == (State.NOT_CHECKED, State.NOT_CHECKED)


def test_only_gateway_nodes_get_through() -> None:
    other = data_path.judge(SOURCE, todo := data_path.checks(SOURCE, [POD]), _text(todo, {Kind.PING: NO_ANSWER}))
    here = replace(SOURCE, node=GATEWAY, role="gateway")
    good = data_path.judge(here, todo, _text(todo, {}))
    (failed,) = [
        row for row in data_path.summarise([*other, *good]).rows if row.check == "ping" and row.state is State.FAILED
    ]
    assert "only gateway nodes get through: open UDP 4800" in failed.hint


def _text(todo: list[data_path.Check], outputs: dict[Kind, tuple[str, int]]) -> str:
    said = GOOD | outputs
    return "".join(f"### {number}\n{said[c.kind][0]}\n### rc {said[c.kind][1]}\n" for number, c in enumerate(todo))


def test_traffic_with_its_control_proves_a_tunnel_that_could_not_prove_itself() -> None:
    link = Link(cluster="cluster-a", peer="cluster-b", state=LinkState.UNPROVEN, message="…", hint="…")
    proven = proven_by(link, data_path.summarise(rows().values()))
    assert (proven.state, proven.proof, proven.message) == (LinkState.CONNECTED, "traffic", "")
    only_route = [row for row in rows().values() if row.check == "route"]
    assert proven_by(link, data_path.summarise(only_route)) is link
    # Without a control that has failed, what arrived may have come over the underlay.
    uncontrolled = rows(ping=("ping: permission denied (are you root?)", 1))
    assert uncontrolled["transfer"].state is State.OK
    assert proven_by(link, data_path.summarise(uncontrolled.values())) is link


def test_nothing_sent_is_never_ok() -> None:
    path = probes.no_traffic("turned off")
    assert (path.state, path.note) == ("not checked", "turned off")
    assert data_path.summarise([]).state == "not checked"
    assert (
        data_path.summarise(data_path.not_checked(SOURCE, data_path.checks(SOURCE, [POD]), "no pod")).state
        == "not checked"
    )


def test_a_service_is_not_pinged_and_a_name_has_no_route() -> None:
    service = Target("cluster-b", "Service 10.243.2.135", "10.243.2.135", 80)
    name = Target("cluster-b", "x", "cluster-b.test-app-svc.default.svc.clusterset.local", 80)
    commands = [check.command for check in data_path.checks(SOURCE, [service, name])]
    assert commands == [
        "ip route get 10.243.2.135",
        "fetch http://10.243.2.135:80/",
        "fetch http://cluster-b.test-app-svc.default.svc.clusterset.local:80/",
    ]
    v6 = data_path.checks(SOURCE, [Target("cluster-b", "v6", "fd00::1", 80)])
    assert v6[-1].command == "fetch http://[fd00::1]:80/"


def test_a_smaller_veth_is_what_the_path_has_to_carry() -> None:
    small = expected(plan(**{"clusters__cluster-a__network__vethMTU": 1350}), "cluster-a")
    (_, _, check, *_) = data_path.checks(probes.source(small, "n", "other"), [POD])
    assert check.command == "ping -c 2 -W 2 -M do -s 1322 172.111.1.1"


# --- probe pods ------------------------------------------------------------------------------------------------------


def probe_site(*nodes: Node, active: str = GATEWAY) -> probes.Site:
    return probes.Site(None, expected(plan(), "cluster-a"), nodes, active)  # type: ignore[arg-type]


G, W = Node(name=GATEWAY, ready=True, gateway=True), Node(name="worker-1", ready=True, gateway=False)


@pytest.mark.parametrize(
    ("nodes", "chosen", "untested"),
    [
        ((G, W), [(GATEWAY, "gateway"), ("worker-1", "other")], ""),
        ((G,), [(GATEWAY, "gateway")], ""),
        ((G, Node(name="w", ready=False, gateway=False)), [(GATEWAY, "gateway")], "no node but gateways is Ready"),
        ((G, Node(name="w", ready=True, gateway=False, schedulable=False)), [(GATEWAY, "gateway")], "no node but"),
        ((W,), [("worker-1", "other")], "no gateway node is Ready"),
    ],
)
def test_probes_run_on_both_kinds_of_nodes(
    nodes: tuple[Node, ...], chosen: list[tuple[str, str]], untested: str
) -> None:
    found = probe_site(*nodes)
    assert found.chosen == chosen
    assert untested in found.untested
    assert bool(untested) is bool(found.untested)


def test_a_probe_pod_is_an_ordinary_pod_of_the_mesh_on_one_node() -> None:
    pod = probes.pod_manifest(expected(plan(), "cluster-a"), "p", "worker-1", "other", "abc")
    assert pod["metadata"]["annotations"] == {"v1.multus-cni.io/default-network": "kube-system/macvlan-conf"}
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "quay.io/submariner/nettest:0.24.1"
    assert "securityContext" not in container
    assert pod["spec"]["activeDeadlineSeconds"] == probes.LIFETIME_SECONDS
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["worker-1"]


@pytest.mark.parametrize(
    ("changes", "image"),
    [
        ({}, "quay.io/submariner/nettest:0.24.1"),
        ({"submariner__repository": "mirror.local/sm"}, "mirror.local/sm/nettest:0.24.1"),
        ({"submariner__imageOverrides": {"submariner-nettest": "mirror.local/n:1"}}, "mirror.local/n:1"),
        ({"verify__image": "busybox"}, "busybox"),
    ],
)
def test_the_image_of_the_probes(changes: dict[str, Any], image: str) -> None:
    assert expected(plan(**changes), "cluster-a").image == image


def _pods(names: list[str], cluster: str = "cluster-a") -> list[probes.ProbePod]:
    source = probes.source(expected(plan(), cluster), "n", "gateway")
    return [probes.ProbePod(None, name, "default", "u", source, "172.110.1.1") for name in names]  # type: ignore[arg-type]


def test_a_script_that_cannot_be_run_leaves_its_checks_unchecked_and_the_others_alone() -> None:
    def run(pod: probes.ProbePod, script: str, seconds: float) -> str:
        if pod.name == "bad":
            raise StepError("cannot run a script in pod default/bad")
        todo = data_path.checks(pod.source, [POD])
        assert script == data_path.script(todo)
        assert seconds > data_path.SECONDS_PER_TARGET
        return _text(todo, {})

    found = probes.send(_pods(["good", "bad"]), {"cluster-a": [POD]}, run)
    assert [row.state for row in found[:6]] == [State.OK] * 6
    assert {(row.state, row.detail) for row in found[6:]} == {
        (State.NOT_CHECKED, "cannot run a script in pod default/bad")
    }


def test_pods_of_different_clusters_may_have_the_same_name() -> None:
    back = replace(POD, cluster="cluster-a", address="172.110.1.1")

    def run(pod: probes.ProbePod, script: str, seconds: float) -> str:
        assert ("172.110.1.1" in script) is (pod.source.cluster == "cluster-b")
        return _text(data_path.checks(pod.source, [POD]), {})

    pods = [*_pods(["probe"]), *_pods(["probe"], "cluster-b")]
    found = probes.send(pods, {"cluster-a": [POD], "cluster-b": [back]}, run)
    assert [(row.cluster, row.peer, row.state) for row in found if row.check == "ping"] == [
        ("cluster-a", "cluster-b", State.OK), ("cluster-b", "cluster-a", State.OK),
    ]  # fmt: skip


# --- the whole mesh --------------------------------------------------------------------------------------------------


def mirrored() -> TunnelReading:
    return tunnels("cluster-b", peers=("cluster-a",), gateways=[gateway("cluster-b")])


def reading(tunnel_reading: TunnelReading, **changes: Any) -> Reading:
    return Reading(server="https://10.6.168.10:6443", tunnel=tunnel_reading, site=a_site(**changes))


B_CONFIG = CONFIG.replace("10.243", "10.233").replace("172.111", "172.110")
B_SITE: dict[str, Any] = {
    "network": B_CONFIG,
    "pools": [Pool(name="cluster-b", total=200, allocated=1)],
    "coordinator": Coordinator(phase="Synced", service_cidr=("10.243.0.0/18",)),
}
SENT_NOTHING = probes.no_traffic("no traffic was sent")


def mesh(path: DataPath = SENT_NOTHING, wanted: MeshPlan | None = None, /, **readings: Any) -> MeshReport:
    found = {"cluster-a": reading(tunnels()), "cluster-b": reading(mirrored(), **B_SITE)}
    found |= {name.replace("_", "-"): value for name, value in readings.items()}
    return judge(wanted or plan(), found, path)


def test_a_healthy_mesh() -> None:
    report = mesh()
    assert (report.health, report.health.exit_code, list(report.wrong())) == (Health.HEALTHY, 0, [])
    assert report.link("cluster-a", "cluster-b").rtt_ms == 0.66
    assert report.data_path.state == "not checked"


def test_traffic_that_was_asked_for_and_not_sent_makes_it_unknown() -> None:
    found = {"cluster-a": reading(tunnels()), "cluster-b": reading(mirrored(), **B_SITE)}
    assert judge(plan(), found, probes.no_traffic("no image"), asked=True).health is Health.UNKNOWN
    assert judge(plan(), found, data_path.summarise(rows().values()), asked=True).health is Health.HEALTHY


def test_a_site_that_is_down_is_one_row_and_no_failure_of_the_rest() -> None:
    report = mesh(cluster_b=TimeoutError("did not answer within 10 s"))
    assert (report.health, report.health.exit_code) == (Health.DEGRADED, 1)
    assert report.clusters["cluster-b"].error == "did not answer within 10 s"
    assert report.link("cluster-b", "cluster-a").state is LinkState.UNKNOWN
    assert report.link("cluster-a", "cluster-b").state is LinkState.CONNECTED
    assert list(report.wrong()) == ["cluster-b could not be read: did not answer within 10 s"]


def test_nothing_could_be_read() -> None:
    report = mesh(cluster_a=StepError("no kubeconfig"), cluster_b=StepError("no kubeconfig"))
    assert (report.health, report.health.exit_code) == (Health.UNKNOWN, 2)


def test_an_unproven_tunnel_makes_the_mesh_unknown_until_traffic_has_come_through() -> None:
    wanted = plan(submariner__cableDriver="vxlan")
    ends = [endpoint(name, backend="vxlan", health_check_ip="") for name in ("cluster-a", "cluster-b")]
    member = Membership(cluster_id="cluster-b", version="0.24.1", cable_driver="vxlan", health_check=False)
    back = tunnels(
        "cluster-b", peers=("cluster-a",), membership=member, endpoints=ends,
        gateways=[gateway("cluster-b", local=ends[1], connections=[connection(peer_end=ends[0], rtt_ms=None)])],
    )  # fmt: skip
    both = {"cluster_a": reading(without_health_check("vxlan")), "cluster_b": reading(back, **B_SITE)}
    assert mesh(SENT_NOTHING, wanted, **both).health is Health.UNKNOWN
    there = list(rows().values())
    again = [row.model_copy(update={"cluster": "cluster-b", "peer": "cluster-a"}) for row in there]
    assert mesh(data_path.summarise([*there, *again]), wanted, **both).health is Health.HEALTHY


def test_failed_traffic_and_failed_sites_degrade_it() -> None:
    assert mesh(data_path.summarise(rows(ping=NO_ANSWER).values())).health is Health.DEGRADED
    assert mesh(cluster_a=reading(tunnels(), pools=[])).health is Health.DEGRADED
    assert mesh(cluster_a=reading(tunnels(), kube_proxy=proxy(tcp_be_liberal=False))).health is Health.HEALTHY


def test_one_side_that_is_not_connected_degrades_it() -> None:
    report = mesh(cluster_a=reading(_with(status="error", message=LOST)))
    assert report.health is Health.DEGRADED
    (told,) = report.wrong()
    assert told.startswith(f"cluster-a to cluster-b: error ({LOST}): open UDP 4500")


def test_what_may_be_down_is_told_and_excused() -> None:
    wanted = plan(verify__mayBeDown=["cluster-b"])
    report = mesh(
        SENT_NOTHING, wanted, cluster_b=TimeoutError("…"), cluster_a=reading(_with(status="error", message=LOST))
    )
    assert report.health is Health.HEALTHY
    assert len(list(report.wrong())) == 2


def test_what_the_plan_turns_off_is_not_checked_and_never_ok() -> None:
    report = mesh(SENT_NOTHING, load_plan(seed() | {"verify": {"site": False, "tunnel": False}}))
    assert {link.state for link in report.links} == {LinkState.NOT_CHECKED}
    assert {state.state for cluster in report.clusters.values() for state in cluster.findings} == {State.NOT_CHECKED}
    assert (report.health, report.health.exit_code) == (Health.UNKNOWN, 2)


def test_a_member_that_only_its_own_api_knows_of_is_missing_elsewhere() -> None:
    alone = tunnels(peers=(), gateways=[gateway(connections=[])])
    report = mesh(cluster_a=reading(alone))
    assert report.link("cluster-a", "cluster-b").state is LinkState.MISSING


def test_a_planned_standby_that_does_not_stand_by() -> None:
    raw = changed({"clusters.cluster-a.gateways[1]": "worker-1"})
    found = [f for f in mesh(SENT_NOTHING, load_plan(raw)).clusters["cluster-a"].findings if "stands by" in f.what]
    assert [f.state for f in found] == [State.WARNING]


def test_the_document_for_programs() -> None:
    document = json.loads(json.dumps(mesh().document()))
    assert document["health"] == "healthy"
    assert document["links"][0]["rttMs"] == 0.66
    assert document["clusters"]["cluster-a"]["gateways"][0] == {
        "node": GATEWAY, "haStatus": "active", "address": "10.6.168.73", "secondsAgo": 3, "fresh": True,
    }  # fmt: skip
    assert document["dataPath"] == {"state": "not checked", "note": "no traffic was sent", "rows": []}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["takenAt"])


# --- what is expected ------------------------------------------------------------------------------------------------


def test_another_cluster_s_pools_do_not_make_the_proof_run_again() -> None:
    raw = changed({"clusters.cluster-b.pools[0].ips": ["172.111.1.1-172.111.1.9"]})
    assert expected(load_plan(raw), "cluster-a") == expected(plan(), "cluster-a")
    assert expected(load_plan(raw), "cluster-b") == expected(plan(), "cluster-b")


@pytest.mark.parametrize(
    "changes",
    [
        {"submariner__pskRotation": 1},
        {"submariner__cableDriver": "vxlan"},
        {"submariner__version": "0.24.2"},
        {"clusters__cluster-b__podCIDR": "172.111.0.0/15"},
        {"verify__tunnelTimeout": 60},
    ],
)
def test_what_bears_on_the_tunnel_makes_the_proof_run_again(changes: dict[str, Any]) -> None:
    raw = changed({key.replace("__", "."): value for key, value in changes.items()})
    if "172.111.0.0/15" in str(changes):
        raw["clusters"]["cluster-b"]["podCIDR"] = "172.111.0.0/16"
        raw["clusters"]["cluster-b"]["serviceCIDR"] = "10.242.0.0/18"
    assert expected(load_plan(raw), "cluster-a") != expected(plan(), "cluster-a")


def test_what_the_leak_guard_holds_back_is_all_of_the_others() -> None:
    assert remote_networks(three(), "cluster-a") == (*NETWORKS["cluster-b"], *NETWORKS["cluster-c"])


def test_with_globalnet_it_is_the_others_part_of_the_range() -> None:
    raw = changed({"broker.globalnet": {}})
    for number, name in enumerate(raw["clusters"]):
        raw["clusters"][name]["globalnetCIDR"] = f"242.{number}.0.0/16"
    assert remote_networks(load_plan(raw), "cluster-a") == ("242.1.0.0/16",)


def test_peers_that_may_be_down_are_clusters_of_the_plan() -> None:
    (problem,) = problems_of(changed({"verify.mayBeDown": ["cluster-x"]}))
    assert problem.path == "verify.mayBeDown[0]"
    assert problems_of(changed({"verify.tunnelTimeout": 1}))[0].path == "verify.tunnelTimeout"


# --- the page --------------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """The elements of a page, and whether they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def links(self) -> dict[str, str]:
        """Class of each pair's link."""
        return {
            attrs["data-pair"] or "": attrs["class"] or ""
            for tag, attrs in self.elements
            if tag == "g" and "data-pair" in attrs
        }


def many(count: int) -> MeshReport:
    """A mesh of that many clusters of which the first could not be read."""
    names = [f"site-{number:02}" for number in range(count)]
    links = [
        Link(cluster=one, peer=other, state=LinkState.UNKNOWN if one == names[0] else LinkState.CONNECTED, rtt_ms=1.5)
        for one in names for other in names if one != other
    ]  # fmt: skip
    report = mesh()
    template = report.clusters["cluster-a"]
    clusters = {name: template.model_copy(update={"cluster": name, "error": ""}) for name in names}
    clusters[names[0]] = clusters[names[0]].model_copy(update={"error": "did not answer"})
    return report.model_copy(update={"clusters": clusters, "links": tuple(links), "by_hand": {}})


@pytest.mark.parametrize("count", [2, 3, 8, 9, 50])
def test_the_drawing_has_one_link_per_pair(count: int) -> None:
    drawn = _Page(page.render(many(count))).links()
    assert len(drawn) == count * (count - 1) // 2
    assert drawn["site-00 site-01"] == "link unknown"
    assert count == 2 or drawn["site-01 site-02"] == "link connected"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "connected"),
        ({"status": "error", "message": LOST}, "error"),
        ({"status": "connecting", "rtt_ms": None}, "connecting"),
    ],
)
def test_a_pair_shows_the_worse_of_its_two_sides(changes: dict[str, Any], state: str) -> None:
    text = page.render(mesh(cluster_a=reading(_with(**changes))))
    assert _Page(text).links() == {"cluster-a cluster-b": f"link {state}"}
    assert f'class="half {state}"' in text
    assert 'class="half connected"' in text  # what cluster-b says
    other_way = tunnels("cluster-b", peers=("cluster-a",), gateways=[gateway("cluster-b", connections=[])])
    text = page.render(mesh(cluster_b=reading(other_way, **B_SITE)))
    assert _Page(text).links() == {"cluster-a cluster-b": "link missing"}


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    for tag, attrs in _Page(page.render(mesh(data_path.summarise(rows().values())))).elements:
        assert tag not in ("script", "img", "iframe", "object")
        for name in ("src", "href", "action"):
            assert attrs.get(name, "data:,") == "data:,"
        assert not any(name.startswith("on") for name in attrs)
    assert "url(" not in page.render(mesh())
    assert 'http-equiv="refresh"' not in page.render(mesh())
    assert '<meta http-equiv="refresh" content="10">' in page.render(mesh(), refresh=10)


def test_what_clusters_say_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script>\"'&"
    text = page.render(mesh(cluster_a=reading(_with(status="error", message=evil)), cluster_b=StepError(evil)))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    _Page(text)


def test_every_state_has_a_colour() -> None:
    styled = set(re.findall(r"\.([a-z-]+)(?=[, ]|\s*\{)", page._STYLE))
    for state in (*LinkState, *State, *Health):
        assert str(state).replace(" ", "-") in styled, state
    assert {page.worse(one, LinkState.CONNECTED) for one in LinkState} == set(LinkState)
