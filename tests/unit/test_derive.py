"""Contract: what follows from the plan beyond the recipe: globalnet, options of subctl, versions.

What the recipe itself has is in test_seed, what holds for every plan in test_properties.
"""

from typing import Any

import pytest

from mesh.plan import derive, load_plan
from mesh.plan.settings import supports_kubernetes
from mesh.plan.types import version_tuple
from tests.unit.plans import changed

A, B = "clusters.cluster-a", "clusters.cluster-b"
GLOBALNET = {
    "broker.globalnet": {"cidrRange": "242.0.0.0/12", "clusterSize": 4096},
    f"{A}.globalnetCIDR": "242.1.0.0/16",
    f"{B}.globalnetCIDR": "242.2.0.0/16",
}
ADDRESSES = {
    f"{A}.gateways": [{"node": "controller-node-1", "address": "172.110.0.10"}],
    f"{B}.gateways": [{"node": "controller-node-1", "address": "172.111.0.10"}],
}


def join_flags(changes: dict[str, Any], cluster_id: str = "cluster-a") -> tuple[str, ...]:
    return derive.join_settings(load_plan(changed(changes)), cluster_id).flags()


def broker_flags(changes: dict[str, Any]) -> tuple[str, ...]:
    return derive.broker_settings(load_plan(changed(changes))).flags()


def test_flags_of_the_recipe_to_the_letter() -> None:
    assert broker_flags({}) == (
        "--components=service-discovery,connectivity",
        "--globalnet=false",
        "--version=0.24.1",
        "--repository=quay.io/submariner",
    )
    assert join_flags({}) == (
        "--clusterid=cluster-a",
        "--clustercidr=172.110.0.0/16",
        "--servicecidr=10.233.0.0/18",
        "--label-gateway=false",
        "--cable-driver=libreswan",
        "--natt=false",
        "--nattport=4500",
        "--health-check=false",
        "--health-check-interval=1",
        "--health-check-max-packet-loss-count=5",
        "--globalnet=false",
        "--version=0.24.1",
        "--repository=quay.io/submariner",
    )


def test_globalnet_hijacks_the_others_global_addresses_only() -> None:
    """Their own CIDRs may be the same as ours."""
    plan = load_plan(changed(GLOBALNET | {f"{B}.serviceCIDR": "10.233.0.0/18"}))
    assert derive.hijack_cidr(plan, "cluster-a") == ("242.2.0.0/16", "169.254.0.0/16")
    assert derive.hijack_cidr(plan, "cluster-b") == ("242.1.0.0/16", "169.254.0.0/16")


def test_globalnet_in_flags() -> None:
    added = ("--globalnet=true", "--globalnet-cidr-range=242.0.0.0/12", "--globalnet-cluster-size=4096")
    assert broker_flags(GLOBALNET)[1:4] == added
    assert [flag for flag in join_flags(GLOBALNET) if "globalnet" in flag] == [
        "--globalnet=true",
        "--globalnet-cidr=242.1.0.0/16",
    ]


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"submariner.natTraversal": True}, "--natt=true"),
        ({"submariner.natPort": 4501}, "--nattport=4501"),
        ({"submariner.cableDriver": "wireguard"}, "--cable-driver=wireguard"),
        ({"submariner.healthCheck": {"interval": 3}}, "--health-check-interval=3"),
        ({"submariner.healthCheck": {"maxPacketLossCount": 9}}, "--health-check-max-packet-loss-count=9"),
        ({"submariner.forceUDPEncaps": True}, "--force-udp-encaps"),
        ({"submariner.preferredServer": "cluster-a"}, "--preferred-server"),
        ({"submariner.airGapped": True}, "--air-gapped"),
        ({"submariner.ignoreRequirements": True}, "--ignore-requirements"),
        ({"submariner.imageOverrides": {"submariner-gateway": "x/gw:1"}}, "--image-override=submariner-gateway=x/gw:1"),
        ({"submariner.version": "0.21.3"}, "--version=0.21.3"),
        ({"submariner.repository": "mirror.example/submariner"}, "--repository=mirror.example/submariner"),
    ],
)
def test_option_of_join(changes: dict[str, Any], flag: str) -> None:
    """Each option of the plan is one flag, and only there where it is set."""
    assert flag in join_flags(changes)
    assert flag not in join_flags({})


def test_preferred_server_is_one_cluster() -> None:
    assert "--preferred-server" not in join_flags({"submariner.preferredServer": "cluster-a"}, "cluster-b")


def test_image_overrides_come_in_a_fixed_order() -> None:
    images = {"submariner-routeagent": "x/ra", "submariner-gateway": "x/gw"}
    found = [flag for flag in join_flags({"submariner.imageOverrides": images}) if "override" in flag]
    assert found == ["--image-override=submariner-gateway=x/gw", "--image-override=submariner-routeagent=x/ra"]


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"broker.url": "https://10.6.168.73:6443"}, "--broker-url=https://10.6.168.73:6443"),
        ({"broker.serviceDiscovery": False}, "--components=connectivity"),
        ({"submariner.version": "0.21.3"}, "--version=0.21.3"),
        ({"submariner.repository": "mirror.example/submariner"}, "--repository=mirror.example/submariner"),
    ],
)
def test_option_of_deploy_broker(changes: dict[str, Any], flag: str) -> None:
    assert flag in broker_flags(changes)
    assert flag not in broker_flags({})


def test_both_steps_use_the_same_images_and_patience() -> None:
    """They share the operator's Deployment on the broker's cluster."""
    plan = load_plan(changed({"submariner.stepTimeout": 77, "submariner.adopt": True, "submariner.pskRotation": 3}))
    broker, join = derive.broker_settings(plan), derive.join_settings(plan, "cluster-a")
    assert (broker.timeout, broker.adopt, broker.psk_rotation) == (77, True, 3)
    assert (broker.version, broker.repository) == (join.version, join.repository)
    assert (join.timeout, join.adopt) == (77, True)


@pytest.mark.parametrize(
    ("changes", "on"),
    [
        (ADDRESSES, True),
        (ADDRESSES | {"submariner.healthCheck.enabled": False}, False),
        (ADDRESSES | {"submariner.healthCheck.enabled": True}, True),
        ({"submariner.healthCheck.enabled": False}, False),
        (GLOBALNET | {"submariner.healthCheck.enabled": True}, True),
    ],
)
def test_health_check_is_as_told_where_it_is_told(changes: dict[str, Any], on: bool) -> None:
    assert derive.health_check(load_plan(changed(changes))) is on


def test_local_cidr_is_what_the_plan_says() -> None:
    plan = load_plan(changed({f"{A}.network.localCIDR": ["100.64.0.0/16", "169.254.25.10/32"]}))
    assert derive.hijack_cidr(plan, "cluster-a")[2:] == ("100.64.0.0/16", "169.254.25.10/32")
    assert derive.hijack_cidr(plan, "cluster-b")[2:] == ("169.254.0.0/16",)


def test_local_cidr_given_twice_is_hijacked_once() -> None:
    plan = load_plan(changed({f"{A}.network.localCIDR": ["100.64.0.0/16", "100.64.0.0/16"]}))
    assert derive.hijack_cidr(plan, "cluster-a")[2:] == ("100.64.0.0/16",)


@pytest.mark.parametrize(
    ("submariner", "kubernetes", "works"),
    [
        ("0.20.1", "v1.32.9", True),
        ("0.20.1", "v1.33.0", False),
        ("0.20.2", "v1.33.0", True),
        ("0.20.9", "1.34.1", True),
        ("0.21.0", "v1.33.0", False),
        ("0.21.1", "v1.33.0+k3s1", True),
        ("0.21.1-rc1", "v1.36.0", True),
        ("0.24.1", "v1.36.3", True),
        ("0.19.2", "v2.0.0", False),
    ],
)
def test_which_kubernetes_a_submariner_works_on(submariner: str, kubernetes: str, works: bool) -> None:
    assert supports_kubernetes(submariner, kubernetes) is works


@pytest.mark.parametrize(
    ("version", "carries"), [("0.20.9", False), ("0.21.0", True), ("0.24.1", True), ("1.0.0", True)]
)
def test_which_submariner_carries_ipv6(version: str, carries: bool) -> None:
    assert derive.supports_ipv6(version) is carries


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0.24.1", (0, 24, 1)), ("v1.33.0", (1, 33, 0)), ("1.33.0+k3s1", (1, 33, 0)), ("0.24.1-rc1", (0, 24, 1)),
     ("10.2.30-a.b", (10, 2, 30))],
)  # fmt: skip
def test_versions_compare_as_numbers(text: str, numbers: tuple[int, int, int]) -> None:
    assert version_tuple(text) == numbers
