"""Contract: what belongs to a cluster is made there, whatever cluster the shell of whoever runs `pulumi` points at.

Every Kubernetes resource names the provider of its own cluster; nothing of a kubeconfig, neither path nor contents, is
in any input unless `mesh:kubeconfig` puts it there, and then it is secret.
"""

import secrets

import pytest

from mesh.access import ClusterAccess
from tests.graph.harness import COMPONENT, PROVIDER, Graph, raw_plan, run_mesh

EVERYTHING = {"leakGuard": {"enabled": True}, "kubeProxy": {"tcpBeLiberal": True}, "sampleApp": {"export": True}}
PLANS = {
    "the shipped plan": raw_plan(),
    "adopted Spiderpool, exported app": raw_plan({"spiderpool": {"install": False}, "sampleApp": {"export": True}}),
    "three clusters, with all there is": raw_plan(EVERYTHING, clusters=3),
}


AT_THE_TOP = {"mesh-preflight", "mesh-identity"}


@pytest.fixture(scope="module", params=[(name, preview) for name in PLANS for preview in (False, True)], ids=str)
def graph(request: pytest.FixtureRequest) -> Graph:
    name, preview = request.param
    return run_mesh(PLANS[name], preview=preview)


def test_every_kubernetes_resource_has_the_provider_of_its_own_cluster(graph: Graph) -> None:
    kubernetes = graph.of_type("kubernetes:")
    assert len(kubernetes) >= 2 * 5
    for resource in kubernetes:
        assert resource.provider, f"{resource.name} would go to the default provider"
        assert graph[resource.provider].type == PROVIDER
        assert resource.name.startswith(f"{resource.provider}-"), resource.name


def test_every_resource_stands_in_a_component_of_the_mesh(graph: Graph) -> None:
    for resource in graph.resources.values():
        chain = graph.chain(resource.name)
        assert chain[-1] == "mesh", chain
        if resource.type.startswith(COMPONENT) or resource.name in AT_THE_TOP | graph.outputs["clusters"].keys():
            assert chain[1:] in ([], ["mesh"])
        else:
            component = graph[chain[1]]
            assert component.type.startswith(COMPONENT)
            assert len(chain) == 3, chain
            assert component.name[: len("cluster-a")] == resource.name[: len("cluster-a")]


def test_components_are_one_of_each_kind_per_cluster(graph: Graph) -> None:
    kinds: dict[str, list[str]] = {}
    for resource in graph.of_type(COMPONENT):
        kinds.setdefault(resource.type.removeprefix(COMPONENT), []).append(resource.name)
    clusters = sorted(graph.outputs["clusters"])
    guards = {"LeakGuard": [f"{name}-leak-guard" for name in clusters]} if graph.kind("DaemonSet") else {}
    assert {kind: sorted(names) for kind, names in kinds.items()} == {
        "MultiClusterMesh": ["mesh"],
        "Broker": ["cluster-a-broker"],
        "Spiderpool": [f"{name}-underlay" for name in clusters],
        "GatewayNodes": [f"{name}-gateways" for name in clusters],
        "Join": [f"{name}-membership" for name in clusters],
        "SampleApp": [f"{name}-sample-app" for name in clusters],
        "Connectivity": [f"{name}-connectivity" for name in clusters],
        **guards,
    }


def test_a_component_shows_what_it_made(graph: Graph) -> None:
    outputs = graph.component_outputs
    assert outputs["cluster-b-underlay"] == {"default_network": "kube-system/macvlan-conf"}
    assert outputs["cluster-b-gateways"] == {"nodes": ["controller-node-1"]}
    assert outputs["cluster-b-sample-app"]["details"] == graph.outputs["clusters"]["cluster-b"]["sampleApp"]
    assert outputs["cluster-b-membership"]["joined"] == graph.outputs["clusters"]["cluster-b"]["joined"]
    assert outputs["cluster-a-broker"]["details"] == graph.outputs["broker"]
    proof = {key: graph.outputs["clusters"]["cluster-b"][key] for key in ("connections", "dataPath")}
    assert outputs["cluster-b-connectivity"] == {"connections": proof["connections"], "data_path": proof["dataPath"]}
    assert outputs["mesh"]["connections"]["cluster-b"] == proof["connections"]
    assert outputs["mesh"]["data_path"]["cluster-b"] == proof["dataPath"]
    assert outputs["mesh"]["clusters"] == graph.outputs["clusters"]
    assert outputs["mesh"]["broker"] == graph.outputs["broker"]


def test_a_provider_reads_the_variable_of_its_cluster(graph: Graph) -> None:
    providers = {resource.name: resource for resource in graph.of_type(PROVIDER)}
    assert sorted(providers) == sorted(graph.outputs["clusters"])
    for name, provider in providers.items():
        variable = "KUBECONFIG_" + name.upper().replace("-", "_")
        assert dict(provider.request.envVarMappings) == {variable: "KUBECONFIG"}


def test_a_provider_says_nothing_of_how_its_cluster_is_reached(graph: Graph) -> None:
    # The identifier is the cluster's ID, so that a moved API server replaces nothing.
    for provider in graph.of_type(PROVIDER):
        assert provider.inputs == {"clusterIdentifier": provider.name}


@pytest.mark.parametrize("preview", [False, True])
def test_the_kubeconfig_of_the_shell_stays_out(monkeypatch: pytest.MonkeyPatch, preview: bool) -> None:
    # The SDK takes $KUBECONFIG for an unset kubeconfig: all clusters would be the one that it points at.
    path = f"/home/{secrets.token_hex(8)}/.kube/config"
    for variable in ("KUBECONFIG", "KUBECONFIG_CLUSTER_A", "KUBECONFIG_CLUSTER_B"):
        monkeypatch.setenv(variable, path)
    graph = run_mesh(preview=preview)
    for resource in graph.resources.values():
        assert path not in str(resource.inputs), resource.name
    assert path not in str(graph.outputs)


def test_a_context_is_used_as_it_is_and_is_no_secret() -> None:
    access = {"cluster-a": ClusterAccess.of("cluster-a", context="admin@a")}
    graph = run_mesh(access=access)
    assert graph["cluster-a"].inputs == {"clusterIdentifier": "cluster-a", "context": "admin@a"}
    assert graph["cluster-b"].inputs == {"clusterIdentifier": "cluster-b"}
    assert graph["cluster-a-join"].spec["access"]["context"] == "admin@a"


def test_a_kubeconfig_from_config_is_secret_everywhere() -> None:
    contents = f"apiVersion: v1\nkind: Config\nusers: [{{user: {{token: {secrets.token_hex(16)}}}}}]\n"
    graph = run_mesh(access={"cluster-a": ClusterAccess.of("cluster-a", kubeconfig=contents)})
    provider = graph["cluster-a"]
    assert provider.inputs["kubeconfig"] == contents
    assert provider.secrets == {"kubeconfig"}
    token = contents.split("token: ")[1].split("}")[0]
    used = [resource.name for resource in graph.resources.values() if token in str(resource.inputs)]
    assert {"cluster-a", "cluster-a-join", "cluster-a-deploy-broker", "mesh-preflight"} <= set(used)
    assert "cluster-b-join" not in used
    for resource in graph.resources.values():
        assert token not in resource.public, resource.name
    assert token not in graph.public_outputs()


def test_the_steps_are_told_the_variable_of_their_cluster() -> None:
    graph = run_mesh()
    for command in graph.commands:
        for name in ("cluster-a", "cluster-b"):
            if command.name.startswith(name) and "certificate" not in command.name:
                variable = "KUBECONFIG_" + name.upper().replace("-", "_")
                assert command.spec["access"] == {"variable": variable, "context": None, "kubeconfig": None}
    assert graph["mesh-preflight"].spec["clusters"].keys() == {"cluster-a", "cluster-b"}
