"""Contract: pools and networks say what the plan says, in the form in which Spiderpool's webhooks store it.

Rows are those of the recipe (docs/usage/submariner.md of Spiderpool) and of its API reference; where the recipe itself
is refused by the webhook, the corrected value.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.graph.harness import ROOT, Graph, raw_plan, run_mesh

REAL_DIR = Path(os.environ.get("MESH_SHARED", ROOT.parent / "shared")) / "crds"
API_VERSION = "spiderpool.spidernet.io/v2beta1"
POOL: dict[str, Any] = {
    "name": "cluster-a",
    "subnet": "172.110.0.0/16",
    "ips": ["172.110.1.1-172.110.1.200"],
    "gateway": "172.110.0.1",
}


@pytest.fixture(scope="module", params=[False, True], ids=["up", "preview"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return run_mesh(preview=request.param)


def cluster_a(**changes: Any) -> Graph:
    # In the app's own namespace: a plan whose pools do not serve its sample app is refused.
    return run_mesh(raw_plan({"sampleApp": {"name": "shop", "namespace": "shop"}, "clusters": {"cluster-a": changes}}))


def pool(**changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = cluster_a(pools=[POOL | changes])["cluster-a-pool-cluster-a"].inputs["spec"]
    return spec


def network(**changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = cluster_a(network=changes)["cluster-a-network-macvlan-conf"].inputs["spec"]
    return spec


def test_seed_pool_cluster_a(graph: Graph) -> None:
    assert graph["cluster-a-pool-cluster-a"].inputs == {
        "apiVersion": API_VERSION,
        "kind": "SpiderIPPool",
        "metadata": {"name": "cluster-a"},
        "spec": {
            "ipVersion": 4,
            "subnet": "172.110.0.0/16",
            "ips": ["172.110.1.1-172.110.1.200"],
            "gateway": "172.110.0.1",
            "default": True,
        },
    }


def test_seed_pool_cluster_b(graph: Graph) -> None:
    assert graph["cluster-b-pool-cluster-b"].inputs == {
        "apiVersion": API_VERSION,
        "kind": "SpiderIPPool",
        "metadata": {"name": "cluster-b"},
        "spec": {
            "ipVersion": 4,
            "subnet": "172.111.0.0/16",
            "ips": ["172.111.1.1-172.111.1.200"],
            "gateway": "172.111.0.1",
            "default": True,
        },
    }


def test_seed_spidermultusconfig_cluster_a(graph: Graph) -> None:
    assert graph["cluster-a-network-macvlan-conf"].inputs == {
        "apiVersion": API_VERSION,
        "kind": "SpiderMultusConfig",
        "metadata": {"name": "macvlan-conf", "namespace": "kube-system"},
        "spec": {
            "cniType": "macvlan",
            "enableCoordinator": True,
            "macvlan": {"master": ["ens224"], "ippools": {"ipv4": ["cluster-a"]}},
            "coordinator": {"mode": "auto", "hijackCIDR": ["10.243.0.0/18", "172.111.0.0/16", "169.254.0.0/16"]},
        },
    }


def test_seed_spidermultusconfig_cluster_b(graph: Graph) -> None:
    assert graph["cluster-b-network-macvlan-conf"].inputs == {
        "apiVersion": API_VERSION,
        "kind": "SpiderMultusConfig",
        "metadata": {"name": "macvlan-conf", "namespace": "kube-system"},
        "spec": {
            "cniType": "macvlan",
            "enableCoordinator": True,
            "macvlan": {"master": ["ens224"], "ippools": {"ipv4": ["cluster-b"]}},
            "coordinator": {"mode": "auto", "hijackCIDR": ["10.233.0.0/18", "172.110.0.0/16", "169.254.0.0/16"]},
        },
    }


def test_with_three_clusters_each_hijacks_both_others() -> None:
    graph = run_mesh(raw_plan(clusters=3))
    hijacked = graph["cluster-c-network-macvlan-conf"].inputs["spec"]["coordinator"]["hijackCIDR"]
    assert hijacked == ["10.233.0.0/18", "172.110.0.0/16", "10.243.0.0/18", "172.111.0.0/16", "169.254.0.0/16"]


def test_a_pool_is_replaced_where_spiderpool_changes_nothing_in_place(graph: Graph) -> None:
    # Both have the same name, and the webhook refuses subnets that overlap: the old one goes first.
    for resource in graph.kind("SpiderIPPool"):
        assert sorted(resource.request.replaceOnChanges) == ["spec.ipVersion", "spec.subnet"]
        assert resource.request.deleteBeforeReplaceDefined
        assert resource.request.deleteBeforeReplace


def test_nothing_else_is_replaced_or_kept_by_option(graph: Graph) -> None:
    for resource in graph.resources.values():
        request = resource.request
        assert not request.retainOnDelete
        assert not request.protect
        assert not request.ignoreChanges
        assert not request.deletedWith
        if resource.inputs.get("kind") != "SpiderIPPool":
            # `triggers` of a command replace it in any case, which is why none has any.
            assert set(request.replaceOnChanges) <= {"triggers[*]"}, resource.name
            assert not request.deleteBeforeReplace, resource.name


def test_ranges_are_sorted_and_merged_as_the_webhook_stores_them() -> None:
    # Anything else would be drift at every refresh.
    ips = ["172.110.1.100-172.110.1.200", "172.110.1.99", "172.110.1.1-172.110.1.50", "172.110.1.51"]
    assert pool(ips=ips)["ips"] == ["172.110.1.1-172.110.1.51", "172.110.1.99-172.110.1.200"]


def test_excluded_addresses() -> None:
    spec = pool(excludeIPs=["172.110.1.7", "172.110.1.5-172.110.1.6", "172.110.1.100"])
    assert spec["excludeIPs"] == ["172.110.1.5-172.110.1.7", "172.110.1.100"]
    assert spec["ips"] == POOL["ips"]


def test_a_pool_without_a_gateway_has_none() -> None:
    # The webhook refuses an empty one.
    assert pool(gateway=None) == {
        "ipVersion": 4,
        "subnet": "172.110.0.0/16",
        "ips": ["172.110.1.1-172.110.1.200"],
        "default": False,
    }


def test_routes() -> None:
    routes = [{"dst": "10.6.0.0/16", "gw": "172.110.0.2"}, {"dst": "10.7.0.0/16", "gw": "172.110.0.3"}]
    assert pool(routes=routes)["routes"] == routes


@pytest.mark.parametrize("affinity", ["podAffinity", "namespaceAffinity", "nodeAffinity"])
def test_affinities(affinity: str) -> None:
    selector = {
        "matchLabels": {"app": "shop"},
        "matchExpressions": [
            {"key": "app", "operator": "In", "values": ["shop", "api"]},
            {"key": "canary", "operator": "DoesNotExist"},
        ],
    }
    spec = pool(**{affinity: selector})
    assert spec[affinity] == selector
    assert {"podAffinity", "namespaceAffinity", "nodeAffinity"} & spec.keys() == {affinity}


def test_pools_for_nodes_and_namespaces() -> None:
    spec = pool(nodeName=["rack-1"], namespaceName=["shop", "mail"])
    assert spec["nodeName"] == ["rack-1"]
    assert spec["namespaceName"] == ["shop", "mail"]


def test_several_pools_of_both_families() -> None:
    pools = [
        {"name": "rack-1", "subnet": "172.110.1.0/24", "ips": ["172.110.1.1-172.110.1.20"]},
        {"name": "rack-1-v6", "subnet": "fd00:110:1::/64", "ips": ["fd00:110:1::10-fd00:110:1::20"]},
        {"name": "rack-2", "subnet": "172.110.2.0/24", "ips": ["172.110.2.1-172.110.2.20"], "default": True},
    ]
    both = {"podCIDRv6": "fd00:110::/32", "serviceCIDRv6": "fd00:233::/112"}
    other = {
        "podCIDRv6": "fd00:111::/32",
        "serviceCIDRv6": "fd00:243::/112",
        "pools": [
            {"name": "b", "subnet": "172.111.0.0/16", "ips": ["172.111.1.1-172.111.1.9"]},
            {"name": "b-v6", "subnet": "fd00:111:1::/64", "ips": ["fd00:111:1::10-fd00:111:1::20"]},
        ],
    }
    graph = run_mesh(raw_plan({"clusters": {"cluster-a": both | {"pools": pools}, "cluster-b": other}}))
    versions = {resource.inputs["metadata"]["name"]: resource.inputs["spec"] for resource in graph.kind("SpiderIPPool")}
    assert {name: spec["ipVersion"] for name, spec in versions.items()} == {
        "rack-1": 4,
        "rack-1-v6": 6,
        "rack-2": 4,
        "b": 4,
        "b-v6": 6,
    }
    assert [name for name, spec in versions.items() if spec["default"]] == ["rack-2"]
    spec = graph["cluster-a-network-macvlan-conf"].inputs["spec"]
    assert spec["macvlan"]["ippools"] == {"ipv4": ["rack-1", "rack-2"], "ipv6": ["rack-1-v6"]}
    assert "fd00:111::/32" in spec["coordinator"]["hijackCIDR"]
    assert "fd00:243::/112" in spec["coordinator"]["hijackCIDR"]


def test_ipvlan_has_its_own_section_and_no_other() -> None:
    # Two sections, even with one of them empty, are refused by the webhook.
    spec = network(cniType="ipvlan")
    assert spec["cniType"] == "ipvlan"
    assert spec["ipvlan"] == {"master": ["ens224"], "ippools": {"ipv4": ["cluster-a"]}}
    assert spec.keys() == {"cniType", "enableCoordinator", "ipvlan", "coordinator"}
    assert spec["enableCoordinator"] is True


def test_vlan_and_mtu() -> None:
    assert network(vlanID=100, mtu=1450)["macvlan"] == {
        "master": ["ens224"],
        "vlanID": 100,
        "mtu": 1450,
        "ippools": {"ipv4": ["cluster-a"]},
    }


def test_the_mtu_towards_the_tunnel_is_the_coordinator_s() -> None:
    graph = cluster_a(network={"vethMTU": 1400})
    assert graph["cluster-a-network-macvlan-conf"].inputs["spec"]["coordinator"]["vethMTU"] == 1400
    assert graph["cluster-a-coordinator"].inputs["spec"]["vethMTU"] == 1400
    assert "mtu" not in graph["cluster-a-network-macvlan-conf"].inputs["spec"]["macvlan"]
    assert "vethMTU" not in graph["cluster-b-network-macvlan-conf"].inputs["spec"]["coordinator"]


@pytest.mark.parametrize("options", [{}, {"options": "miimon=100"}])
def test_a_bond_of_two_masters(options: dict[str, str]) -> None:
    bond = {"name": "bond0", "mode": 1} | options
    section = network(master=["ens224", "ens256"], bond=bond)["macvlan"]
    assert section["master"] == ["ens224", "ens256"]
    assert section["bond"] == bond


def test_another_name_and_namespace() -> None:
    graph = cluster_a(network={"name": "underlay", "namespace": "spiderpool"})
    assert graph["cluster-a-network-underlay"].inputs["metadata"] == {"name": "underlay", "namespace": "spiderpool"}
    assert graph["cluster-a-spiderpool"].inputs["namespace"] == "spiderpool"
    assert graph["cluster-a-webhook-certificate"].spec["namespace"] == "spiderpool"


def test_what_the_site_needs_locally_comes_last() -> None:
    spec = network(localCIDR=["169.254.25.10/32"])
    assert spec["coordinator"]["hijackCIDR"] == ["10.243.0.0/18", "172.111.0.0/16", "169.254.25.10/32"]


def full() -> Graph:
    """Everything that the plan can say of a pool and a network."""
    return cluster_a(
        network={"vlanID": 7, "mtu": 1450, "vethMTU": 1400, "master": ["ens224", "ens256"]}
        | {"bond": {"name": "bond0", "mode": 1, "options": "miimon=100"}},
        pools=[
            POOL
            | {
                "excludeIPs": ["172.110.1.9"],
                "routes": [{"dst": "10.6.0.0/16", "gw": "172.110.0.2"}],
                "podAffinity": {"matchLabels": {"app": "shop"}},
                "namespaceAffinity": {"matchLabels": {"team": "shop"}},
                "nodeAffinity": {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["1"]}]},
                "nodeName": ["rack-1"],
                "namespaceName": ["shop"],
            }
        ],
    )


def test_names_on_the_wire() -> None:
    graph = full()
    assert sorted(graph["cluster-a-pool-cluster-a"].inputs["spec"]) == [
        "default",
        "excludeIPs",
        "gateway",
        "ipVersion",
        "ips",
        "namespaceAffinity",
        "namespaceName",
        "nodeAffinity",
        "nodeName",
        "podAffinity",
        "routes",
        "subnet",
    ]
    section = graph["cluster-a-network-macvlan-conf"].inputs["spec"]["macvlan"]
    assert sorted(section) == ["bond", "ippools", "master", "mtu", "vlanID"]
    assert section["bond"] == {"name": "bond0", "mode": 1, "options": "miimon=100"}


@pytest.mark.skipif(not REAL_DIR.is_dir(), reason=f"no checkout of the real definitions in {REAL_DIR}")
@pytest.mark.parametrize("kind", ["SpiderIPPool", "SpiderMultusConfig", "SpiderCoordinator"])
def test_the_real_definitions_know_every_field(kind: str) -> None:
    # A field that a definition does not know is dropped by the API server without a word.
    schemas = {
        document["spec"]["names"]["kind"]: document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for path in REAL_DIR.glob("spiderpool/*.yaml")
        for document in [yaml.safe_load(path.read_text())]
    }
    resources = full().kind(kind)
    assert resources
    for resource in resources:
        assert list(unknown(schemas[kind]["properties"]["spec"], resource.inputs["spec"], "spec")) == []


def unknown(schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    """Paths of the value that the schema does not have, or has with another type or without that choice."""
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    if not isinstance(value, kinds[schema["type"]]) or value not in schema.get("enum", [value]):
        yield path
    if isinstance(value, dict):
        known, free = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            if key in known or free:
                yield from unknown(known.get(key) or free or {}, item, f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    if isinstance(value, list):
        for item in value:
            yield from unknown(schema["items"], item, f"{path}[]")
