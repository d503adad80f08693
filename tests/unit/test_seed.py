"""Contract: the plan gives exactly what the recipe (Spiderpool's docs/usage/submariner) has its reader type by hand.

One test per thing that the recipe sets, with the recipe's values; then the recipe's own mistakes, each refused with the
reason and the way out, and each of its traps closed.
"""

import pytest

from mesh.plan import MeshPlan, derive, load_plan, ranges
from tests.unit.plans import changed, problems_of, seed


@pytest.fixture
def plan() -> MeshPlan:
    return load_plan(seed())


@pytest.mark.parametrize(
    ("cluster_id", "ips", "gateway"),
    [
        ("cluster-a", "172.110.1.1-172.110.1.200", "172.110.0.1"),
        ("cluster-b", "172.111.1.1-172.111.1.200", "172.111.0.1"),
    ],
)
def test_pool_has_the_recipes_addresses_and_gateway(plan: MeshPlan, cluster_id: str, ips: str, gateway: str) -> None:
    (pool,) = plan.clusters[cluster_id].pools
    assert (pool.name, pool.default, pool.gateway) == (cluster_id, True, gateway)
    assert ranges.normal_form(pool.ips) == (ips,)
    assert derive.pool_version(pool) == 4
    assert derive.pool_names(plan.clusters[cluster_id], 4) == (cluster_id,)
    assert derive.pool_names(plan.clusters[cluster_id], 6) == ()


@pytest.mark.parametrize(
    ("cluster_id", "recipe"),
    [("cluster-a", ("10.243.0.0/18", "172.111.0.0/16")), ("cluster-b", ("10.233.0.0/18", "172.110.0.0/16"))],
)
def test_hijack_cidr_is_the_recipes_list_and_then_the_local_one(
    plan: MeshPlan, cluster_id: str, recipe: tuple[str, ...]
) -> None:
    """S5: the recipe's list replaces the chart's 169.254.0.0/16, and NodeLocal DNSCache is lost; ours keeps it."""
    assert derive.hijack_cidr(plan, cluster_id) == (*recipe, "169.254.0.0/16")


def test_network_is_macvlan_on_ens224_in_kube_system(plan: MeshPlan) -> None:
    for cluster in plan.clusters.values():
        assert cluster.network.name == "macvlan-conf"
        assert cluster.network.namespace == "kube-system"
        assert cluster.network.cni_type.value == "macvlan"
        assert cluster.network.master == ["ens224"]


def test_broker_is_on_the_first_cluster(plan: MeshPlan) -> None:
    settings = derive.broker_settings(plan)
    assert settings.cluster_id == "cluster-a"
    assert set(settings.flags()) >= {"--components=service-discovery,connectivity", "--globalnet=false"}


@pytest.mark.parametrize(
    ("cluster_id", "pod_cidr", "service_cidr"),
    [("cluster-a", "172.110.0.0/16", "10.233.0.0/18"), ("cluster-b", "172.111.0.0/16", "10.243.0.0/18")],
)
def test_join_names_the_cluster_and_its_underlay(
    plan: MeshPlan, cluster_id: str, pod_cidr: str, service_cidr: str
) -> None:
    flags = derive.join_settings(plan, cluster_id).flags()
    assert flags[:2] == (f"--clusterid={cluster_id}", f"--clustercidr={pod_cidr}")
    # Not in the recipe, but found out by subctl, which fails on Kubernetes 1.33 and later.
    assert f"--servicecidr={service_cidr}" in flags


def test_join_leaves_no_question_open(plan: MeshPlan) -> None:
    """Whatever subctl would prompt for, or take from the binary's defaults, is on the command line."""
    names = {flag.split("=")[0] for flag in derive.join_settings(plan, "cluster-a").flags()}
    assert names >= {
        "--clusterid", "--clustercidr", "--servicecidr", "--label-gateway", "--cable-driver", "--natt", "--nattport",
        "--health-check", "--globalnet", "--version", "--repository",
    }  # fmt: skip


def test_gateway_is_controller_node_1_and_subctl_labels_none(plan: MeshPlan) -> None:
    settings = derive.join_settings(plan, "cluster-a")
    assert settings.gateways == ("controller-node-1",)
    assert "--label-gateway=false" in settings.flags()


def test_tunnel_is_libreswan_without_nat(plan: MeshPlan) -> None:
    """`subctl show all` of the recipe: CABLE DRIVER libreswan, NAT no."""
    assert {"--cable-driver=libreswan", "--natt=false"} <= set(derive.join_settings(plan, "cluster-b").flags())


def test_annotation_is_derived_from_the_network(plan: MeshPlan) -> None:
    """S3: the recipe types `macvlan-confg` for a network named `macvlan-conf`, and no pod starts."""
    assert derive.DEFAULT_NETWORK_ANNOTATION == "v1.multus-cni.io/default-network"
    assert {derive.default_network(cluster) for cluster in plan.clusters.values()} == {"kube-system/macvlan-conf"}
    renamed = load_plan(changed({"clusters.cluster-a.network.name": "underlay"}))
    assert derive.default_network(renamed.clusters["cluster-a"]) == "kube-system/underlay"


def test_annotation_cannot_be_typed() -> None:
    (problem,) = problems_of(changed({"sampleApp.defaultNetwork": "kube-system/macvlan-confg"}))
    assert problem.path == "sampleApp.defaultNetwork"
    assert "derived" in problem.fix


def test_hijack_cidr_cannot_be_typed() -> None:
    (problem,) = problems_of(changed({"clusters.cluster-a.network.hijackCIDR": ["172.111.0.0/16"]}))
    assert problem.path == "clusters.cluster-a.network.hijackCIDR"
    assert "derived" in problem.fix


def test_health_check_is_off_without_gateway_addresses(plan: MeshPlan) -> None:
    """The recipe's troubleshooting: "unable to find CNI Interface on the host", then `--health-check=false`."""
    assert derive.health_check(plan) is False
    assert "--health-check=false" in derive.join_settings(plan, "cluster-a").flags()


def test_health_check_is_on_where_every_gateway_has_an_address() -> None:
    both = {
        "clusters.cluster-a.gateways": [{"node": "controller-node-1", "address": "172.110.0.10"}],
        "clusters.cluster-b.gateways": [{"node": "controller-node-1", "address": "172.111.0.10"}],
    }
    plan = load_plan(changed(both))
    assert derive.health_check(plan) is True
    assert all("--health-check=true" in derive.join_settings(plan, name).flags() for name in plan.clusters)


@pytest.mark.parametrize("without", ["cluster-a", "cluster-b"])
def test_health_check_is_off_everywhere_where_one_gateway_has_no_address(without: str) -> None:
    """One value per mesh: a check on one side only leaves the other side's connection in error."""
    addresses = {"cluster-a": "172.110.0.10", "cluster-b": "172.111.0.10"}
    del addresses[without]
    gateways = {
        f"clusters.{name}.gateways": [{"node": "controller-node-1", "address": address}]
        for name, address in addresses.items()
    }
    plan = load_plan(changed(gateways))
    assert derive.health_check(plan) is False
    assert all("--health-check=false" in derive.join_settings(plan, name).flags() for name in plan.clusters)


def test_health_check_needs_an_ipv4_address() -> None:
    """Submariner looks for an interface with an IPv4 address in the pod CIDR; an IPv6 one is none."""
    six = {
        f"clusters.cluster-{name}.{field}": value
        for name, number in (("a", 1), ("b", 2))
        for field, value in {
            "podCIDRv6": f"fd00:{number}::/64",
            "serviceCIDRv6": f"fd00:{number}:1::/112",
            "pools[1]": {
                "name": "six",
                "subnet": f"fd00:{number}::/64",
                "ips": [f"fd00:{number}::10-fd00:{number}::11"],
            },
            "gateways": [{"node": "controller-node-1", "address": f"fd00:{number}::2"}],
        }.items()
    }
    assert derive.health_check(load_plan(changed(six))) is False


def test_s1_gateway_outside_the_pools_subnet_is_refused() -> None:
    recipe = {"clusters.cluster-a.pools[0].subnet": "172.110.1.0/24"}
    (problem,) = problems_of(changed(recipe))
    assert problem.path == "clusters.cluster-a.pools[0].gateway"
    assert "172.110.0.1 is not inside 172.110.1.0/24" in problem.what
    assert "not pertains to the 'spec.subnet'" in problem.what
    assert "set subnet: 172.110.0.0/16" in problem.fix
    assert "172.110.1.254" in problem.fix


@pytest.mark.parametrize(
    "way_out", [{"subnet": "172.110.0.0/16"}, {"subnet": "172.110.1.0/24", "gateway": "172.110.1.254"}]
)
def test_s1_both_ways_out_are_accepted(way_out: dict[str, str]) -> None:
    load_plan(changed({f"clusters.cluster-a.pools[0].{field}": value for field, value in way_out.items()}))


def test_s2_addresses_outside_the_pools_subnet_are_refused() -> None:
    recipe = {"clusters.cluster-b.pools[0].subnet": "172.111.0.0/24"}
    (problem,) = problems_of(changed(recipe))
    assert problem.path == "clusters.cluster-b.pools[0].ips[0]"
    assert "172.111.1.1-172.111.1.200 is not inside 172.111.0.0/24" in problem.what
    assert "not match base subnet" in problem.what
    assert "set subnet: 172.111.0.0/16" in problem.fix
