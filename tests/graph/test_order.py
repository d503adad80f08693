"""Contract: in one cluster nothing is made before what it needs works; between clusters only the broker is waited for.

Inside one cluster: preflight -> definitions -> release -> coordinator -> synced -> pools -> network -> broker ->
join -> proof. The order of a destroy is the reverse, so these edges also say that pods go before their addresses do.
"""

from itertools import pairwise

import pytest

from tests.graph.harness import PROVIDER, Graph, Registered, raw_plan, run_mesh

FULL = raw_plan(
    {"sampleApp": {"export": True}, "leakGuard": {"enabled": True}, "kubeProxy": {"tcpBeLiberal": True}}, clusters=3
)


@pytest.fixture(scope="module", params=[False, True], ids=["up", "preview"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return run_mesh(FULL, preview=request.param)


def cluster_of(resource: Registered) -> str | None:
    return next((name for name in FULL["clusters"] if f"{resource.name}-".startswith(f"{name}-")), None)


@pytest.mark.parametrize("cluster", FULL["clusters"])
def test_the_order_inside_one_cluster(graph: Graph, cluster: str) -> None:
    order = [
        "mesh-preflight",
        f"{cluster}-spiderpool-crds",
        f"{cluster}-spiderpool",
        f"{cluster}-coordinator",
        f"{cluster}-coordinator-synced",
        f"{cluster}-pool-{cluster}",
        f"{cluster}-network-macvlan-conf",
        *([f"{cluster}-deploy-broker"] if cluster == "cluster-a" else []),
        f"{cluster}-join",
        f"{cluster}-export-test-app-svc",
        f"{cluster}-kube-proxy",
        f"{cluster}-verify",
        "mesh-identity",
    ]
    for earlier, later in pairwise(order):
        assert earlier in graph.awaited(later), f"{later} does not wait for {earlier}"


def test_nothing_that_touches_a_cluster_comes_before_the_preflight(graph: Graph) -> None:
    for resource in graph.resources.values():
        # The certificate is only computed; components and providers do nothing by themselves.
        touches = resource.request.custom and resource.type != PROVIDER and "certificate" not in resource.name
        if touches and resource.name != "mesh-preflight":
            assert "mesh-preflight" in graph.awaited(resource.name), resource.name
    assert graph.awaited("mesh-preflight") == set()


@pytest.mark.parametrize("cluster", FULL["clusters"])
def test_the_release_has_its_certificate_first(graph: Graph, cluster: str) -> None:
    assert f"{cluster}-webhook-certificate" in graph.awaited(f"{cluster}-spiderpool")


@pytest.mark.parametrize("cluster", FULL["clusters"])
def test_gateways_are_labelled_before_the_join(graph: Graph, cluster: str) -> None:
    # Without a labelled node subctl asks for one.
    assert f"{cluster}-gateway-controller-node-1" in graph.awaited(f"{cluster}-join")


@pytest.mark.parametrize("cluster", FULL["clusters"])
def test_pods_come_after_their_network_and_need_no_join(graph: Graph, cluster: str) -> None:
    for name in (f"{cluster}-test-app", f"{cluster}-test-app-svc"):
        awaited = graph.awaited(name)
        assert f"{cluster}-network-macvlan-conf" in awaited
        assert not {f"{cluster}-join", "cluster-a-deploy-broker"} & awaited


@pytest.mark.parametrize("cluster", FULL["clusters"])
def test_the_export_waits_for_its_service_and_for_the_join(graph: Graph, cluster: str) -> None:
    # The kind ServiceExport exists once the cluster has joined.
    assert {f"{cluster}-join", f"{cluster}-test-app-svc"} <= graph.awaited(f"{cluster}-export-test-app-svc")


def test_between_clusters_only_the_broker_is_waited_for(graph: Graph) -> None:
    between = set()
    for resource in graph.resources.values():
        for name in {*resource.depends_on, resource.provider, resource.parent} & graph.resources.keys():
            one, other = cluster_of(resource), cluster_of(graph[name])
            if one and other and one != other:
                between.add((name, resource.name))
    proofs = {edge for edge in between if edge[1].endswith(("-verify", "-kube-proxy"))}
    assert between - proofs == {("cluster-a-deploy-broker", f"{name}-join") for name in ("cluster-b", "cluster-c")}
    # A tunnel has two ends: what proves it waits for all joins, and nothing but the identity waits for a proof.
    assert {("cluster-b-join", "cluster-a-verify"), ("cluster-a-join", "cluster-c-verify")} <= proofs
    assert {name for name in graph.resources if "cluster-b-verify" in graph[name].depends_on} == {"mesh-identity"}


@pytest.mark.parametrize("cluster", FULL["clusters"])
def test_the_proof_waits_for_all_that_traffic_needs(graph: Graph, cluster: str) -> None:
    awaited = graph.awaited(f"{cluster}-verify")
    assert {f"{name}-join" for name in FULL["clusters"]} <= awaited
    assert {f"{cluster}-test-app", f"{cluster}-mesh-leak-guard", f"{cluster}-kube-proxy"} <= awaited
    assert f"{cluster}-join" in graph.awaited(f"{cluster}-kube-proxy")


def test_a_destroy_starts_with_the_identities_of_the_clusters(graph: Graph) -> None:
    # Everything is deleted after what depends on it.
    deleted = {r.name for r in graph.resources.values() if r.request.custom and r.type != PROVIDER}
    assert deleted - graph.awaited("mesh-identity") == {"mesh-identity"}


def test_every_network_waits_for_all_pools_of_its_cluster() -> None:
    pools = [
        {"name": "small", "subnet": "172.110.1.0/24", "ips": ["172.110.1.1-172.110.1.20"], "gateway": "172.110.1.254"},
        {"name": "other", "subnet": "172.110.2.0/24", "ips": ["172.110.2.1-172.110.2.20"], "gateway": "172.110.2.254"},
    ]
    graph = run_mesh(raw_plan({"clusters": {"cluster-a": {"pools": pools}}}))
    assert {"cluster-a-pool-small", "cluster-a-pool-other"} <= graph["cluster-a-network-macvlan-conf"].depends_on


def test_adopted_spiderpool_is_waited_for_by_the_preflight_alone() -> None:
    graph = run_mesh(raw_plan({"spiderpool": {"install": False}}))
    assert graph.awaited("cluster-b-pool-cluster-b") == {"mesh-preflight", "cluster-b"}
    assert "mesh-preflight" in graph.awaited("cluster-a-join")


def test_the_members_of_other_stacks_wait_for_nothing_but_the_info() -> None:
    graph = run_mesh(owned=["cluster-b"], broker_info="info")
    assert "cluster-b-network-macvlan-conf" in graph.awaited("cluster-b-join")
    assert all(cluster_of(graph[name]) in ("cluster-b", None) for name in graph.awaited("cluster-b-join"))
