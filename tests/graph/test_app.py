"""Contract: the app of the recipe, with its annotation derived instead of typed; and the gateways.

Rows are those of the recipe (docs/usage/submariner.md of Spiderpool), whose own annotation names a network that is not
there (`macvlan-confg`).
"""

from typing import Any

import pytest

from tests.graph.harness import Graph, raw_plan, run_mesh


@pytest.fixture(scope="module", params=[False, True], ids=["up", "preview"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return run_mesh(preview=request.param)


def with_app(**changes: Any) -> Graph:
    return run_mesh(raw_plan({"sampleApp": changes}))


@pytest.mark.parametrize("cluster", ["cluster-a", "cluster-b"])
def test_seed_deployment(graph: Graph, cluster: str) -> None:
    deployment = graph[f"{cluster}-test-app"]
    assert deployment.type == "kubernetes:apps/v1:Deployment"
    assert deployment.inputs == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "test-app", "namespace": "default", "labels": {"app": "test-app"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "test-app"}},
            "template": {
                "metadata": {
                    "labels": {"app": "test-app"},
                    "annotations": {"v1.multus-cni.io/default-network": "kube-system/macvlan-conf"},
                },
                "spec": {
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": {"app": "test-app"}},
                        }
                    ],
                    "containers": [
                        {
                            "name": "test-app",
                            "image": "nginx",
                            "imagePullPolicy": "IfNotPresent",
                            "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
                        }
                    ],
                },
            },
        },
    }


@pytest.mark.parametrize("cluster", ["cluster-a", "cluster-b"])
def test_seed_service(graph: Graph, cluster: str) -> None:
    service = graph[f"{cluster}-test-app-svc"]
    assert service.type == "kubernetes:core/v1:Service"
    assert service.inputs == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "test-app-svc", "namespace": "default", "labels": {"app": "test-app"}},
        "spec": {
            "type": "ClusterIP",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "selector": {"app": "test-app"},
        },
    }


def test_the_annotation_names_the_network_that_is_made() -> None:
    raw = raw_plan({"clusters": {"cluster-b": {"network": {"name": "underlay", "namespace": "spiderpool"}}}})
    graph = run_mesh(raw)
    for cluster in ("cluster-a", "cluster-b"):
        made = graph.kind("SpiderMultusConfig")
        names = {f"{m.inputs['metadata']['namespace']}/{m.inputs['metadata']['name']}": m.provider for m in made}
        template = graph[f"{cluster}-test-app"].inputs["spec"]["template"]["metadata"]
        assert names[template["annotations"]["v1.multus-cni.io/default-network"]] == cluster


def test_an_app_of_another_kind() -> None:
    graph = with_app(name="echo", namespace="shop", image="registry.site-a/echo:1", replicas=5, port=8080)
    deployment, service = graph["cluster-b-echo"].inputs, graph["cluster-b-echo-svc"].inputs
    assert deployment["metadata"] == {"name": "echo", "namespace": "shop", "labels": {"app": "echo"}}
    assert deployment["spec"]["replicas"] == 5
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.site-a/echo:1"
    assert container["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    assert service["metadata"] == {"name": "echo-svc", "namespace": "shop", "labels": {"app": "echo"}}
    assert service["spec"]["ports"] == [{"port": 8080, "protocol": "TCP", "targetPort": 8080}]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"] == {"app": "echo"}


def test_the_service_is_exported_on_request() -> None:
    graph = with_app(export=True, namespace="shop")
    for cluster in ("cluster-a", "cluster-b"):
        assert graph[f"{cluster}-export-test-app-svc"].inputs == {
            "apiVersion": "multicluster.x-k8s.io/v1alpha1",
            "kind": "ServiceExport",
            "metadata": {"name": "test-app-svc", "namespace": "shop"},
        }
        details = graph.outputs["clusters"][cluster]["sampleApp"]
        assert details["exportedAs"] == "test-app-svc.shop.svc.clusterset.local"
    assert with_app(export=False).kind("ServiceExport") == []


def test_no_app_where_none_is_wanted() -> None:
    graph = with_app(enabled=False)
    assert not graph.kind("Deployment")
    assert not graph.kind("Service")
    assert not graph.of_type("multi-cluster-mesh:index:SampleApp")
    assert graph.outputs["clusters"]["cluster-a"]["sampleApp"] is None


def test_gateways_are_labelled_by_a_patch_of_their_own(graph: Graph) -> None:
    # A patch owns the label alone, and takes it off when its node leaves the plan.
    patches = graph.of_type("kubernetes:core/v1:NodePatch")
    assert [patch.provider for patch in patches] == ["cluster-a", "cluster-b"]
    for patch in patches:
        assert patch.inputs == {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "controller-node-1", "labels": {"submariner.io/gateway": "true"}},
        }


def test_every_gateway_of_a_cluster_is_labelled_before_it_joins() -> None:
    gateways = ["gw-1", {"node": "gw-2.site-a", "address": "172.110.0.12"}]
    graph = run_mesh(raw_plan({"clusters": {"cluster-a": {"gateways": gateways}}}))
    names = {"cluster-a-gateway-gw-1", "cluster-a-gateway-gw-2.site-a"}
    assert names == {r.name for r in graph.of_type("kubernetes:core/v1:NodePatch") if r.provider == "cluster-a"}
    assert names <= graph.awaited("cluster-a-join")
    assert graph["cluster-a-gateway-gw-2.site-a"].inputs["metadata"]["name"] == "gw-2.site-a"
    assert graph.outputs["clusters"]["cluster-a"]["gateways"] == ["gw-1", "gw-2.site-a"]


@pytest.mark.parametrize("roll_out", [False, True])
def test_a_third_cluster_replaces_running_pods_only_on_request(roll_out: bool) -> None:
    """Pods keep the routes that they started with; whether a new cluster restarts them is the plan's to say."""

    def pods(clusters: int) -> dict[str, Any]:
        raw = raw_plan({"sampleApp": {"rollOut": roll_out}}, clusters=clusters)
        graph = run_mesh(raw, owned=["cluster-a", "cluster-b"])
        template: dict[str, Any] = graph["cluster-a-test-app"].inputs["spec"]["template"]
        return template

    assert (pods(2) != pods(3)) is roll_out
    if roll_out:
        assert "172.112.0.0/16" in pods(3)["metadata"]["annotations"]["multi-cluster-mesh/hijack-cidr"]
