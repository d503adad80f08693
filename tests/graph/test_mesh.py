"""Contract: a mesh owns one, several or all clusters of a plan; what it gives out is in two forms, public and secret.

broker-info has the broker's token and the tunnels' pre-shared key in it: it is secret from the step that makes it to
the output and to the steps that use it. Everything else that is given out holds no secret and is readable as it is.
"""

import json
from dataclasses import FrozenInstanceError

import pulumi
import pytest

from components.children import Site
from components.mesh import MultiClusterMesh, MultiClusterMeshArgs, cluster_facts
from mesh.access import ClusterAccess
from mesh.plan import load_plan
from tests.graph.harness import NOW, UNKNOWN, Steps, raw_plan, run, run_mesh

OWNED = {
    "the broker's cluster": ["cluster-a"],
    "a member": ["cluster-b"],
    "all three": ["cluster-a", "cluster-b", "cluster-c"],
    "two members": ["cluster-c", "cluster-b"],
}


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("which", OWNED)
def test_a_mesh_touches_the_clusters_it_owns_and_no_other(which: str, preview: bool) -> None:
    owned = OWNED[which]
    graph = run_mesh(raw_plan(clusters=3), owned=owned, broker_info="info", preview=preview)
    providers = {resource.provider for resource in graph.of_type("kubernetes:")}
    assert providers == set(owned)
    assert sorted(graph.outputs["clusters"]) == sorted(owned)
    assert graph["mesh-preflight"].spec["clusters"].keys() == set(owned)
    assert {name for name in graph.resources if name.endswith("-join")} == {f"{name}-join" for name in owned}
    for cluster in raw_plan(clusters=3)["clusters"].keys() - set(owned):
        assert not [name for name in graph.resources if name.startswith(cluster)]


@pytest.mark.parametrize("which", OWNED)
def test_there_is_a_broker_where_its_cluster_is_owned(which: str) -> None:
    steps, owned = Steps(), OWNED[which]
    graph = run_mesh(raw_plan(clusters=3), owned=owned, broker_info="info", steps=steps)
    if "cluster-a" in owned:
        assert "cluster-a-deploy-broker" in graph
        assert graph.outputs["brokerInfo"] == steps.broker_info
        assert graph.outputs["broker"]["url"] == "https://10.6.168.73:6443"
    else:
        assert "deploy-broker" not in steps.ran
        assert graph.outputs.get("brokerInfo") is None
        assert graph.outputs.get("broker") is None
    # Its own broker goes before one that is given.
    expected = steps.broker_info if "cluster-a" in owned else "info"
    assert {graph[f"{name}-join"].spec["broker_info"] for name in owned} == {expected}


def test_the_broker_can_be_hosted_anywhere() -> None:
    graph = run_mesh(raw_plan({"broker": {"cluster": "cluster-b"}}))
    assert graph["cluster-b-deploy-broker"].spec["access"]["variable"] == "KUBECONFIG_CLUSTER_B"
    assert graph["cluster-b-deploy-broker"].spec["settings"]["cluster_id"] == "cluster-b"
    assert graph["cluster-b-join"].spec["hosts_broker"] is True
    assert graph["cluster-a-join"].spec["hosts_broker"] is False
    assert "cluster-a-deploy-broker" not in graph


def test_a_member_without_broker_info_is_refused() -> None:
    plan = load_plan(raw_plan())
    with pytest.raises(ValueError, match=r"broker_info is needed: cluster-a hosts the broker and is not owned here$"):
        MultiClusterMeshArgs(plan=plan, clusters={"cluster-b": ClusterAccess.of("cluster-b")})
    MultiClusterMeshArgs(plan=plan, clusters={"cluster-a": ClusterAccess.of("cluster-a")})


def test_arguments_stay_as_they_were_checked() -> None:
    args = MultiClusterMeshArgs(plan=load_plan(raw_plan()), clusters={"cluster-a": ClusterAccess.of("cluster-a")})
    with pytest.raises(FrozenInstanceError):
        args.clusters = {}  # type: ignore[misc]
    site = Site("cluster-a", args.plan, args.clusters["cluster-a"], None)  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        site.id = "cluster-b"  # type: ignore[misc]


def test_broker_info_is_not_in_what_the_arguments_print() -> None:
    args = MultiClusterMeshArgs(
        plan=load_plan(raw_plan()),
        clusters={"cluster-b": ClusterAccess.of("cluster-b", kubeconfig="the-kubeconfig")},
        broker_info="the-token",
    )
    assert "the-token" not in repr(args)
    assert "the-kubeconfig" not in repr(args)


@pytest.mark.parametrize("given", ["plain", "secret"])
def test_broker_info_that_is_given_becomes_secret(given: str) -> None:
    def program() -> None:
        plan = load_plan(raw_plan())
        info: pulumi.Input[str] = "the-token" if given == "plain" else pulumi.Output.secret("the-token")
        clusters = {"cluster-b": ClusterAccess.of("cluster-b")}
        MultiClusterMesh("mesh", MultiClusterMeshArgs(plan=plan, clusters=clusters, broker_info=info))

    join = run(program)["cluster-b-join"]
    assert join.spec["broker_info"] == "the-token"
    assert join.secrets == {"stdin"}


@pytest.mark.parametrize("install", [True, False])
@pytest.mark.parametrize("owned", [None, ["cluster-a"]])
def test_no_secret_of_a_step_shows_up_anywhere(owned: list[str] | None, install: bool) -> None:
    steps = Steps()
    raw = raw_plan({"spiderpool": {"install": install}, "sampleApp": {"export": True}})
    graph = run_mesh(raw, owned=owned, steps=steps)
    used = "".join(json.dumps(resource.inputs) for resource in graph.resources.values())
    assert steps.broker_info in used, "the test looks for something that is not there"
    assert (steps.keys["key"] in used) is install
    for secret in steps.secrets:
        for resource in graph.resources.values():
            assert secret not in resource.public, resource.name
        assert secret not in graph.public_outputs()
    # What the steps say beyond what is asked of them goes nowhere at all.
    assert steps.stray not in json.dumps(graph.outputs)
    assert graph.secret_outputs == {"brokerInfo"}


def test_what_components_give_out_is_secret_where_it_has_to_be() -> None:
    graph = run_mesh()
    assert graph.secret_component_outputs["mesh"] == {"broker_info"}
    assert graph.secret_component_outputs["cluster-a-broker"] == {"broker_info"}
    rest = {
        name: paths for name, paths in graph.secret_component_outputs.items() if paths and name.startswith("cluster-b")
    }
    assert rest == {}


def test_outputs_of_a_cluster() -> None:
    outputs = run_mesh(raw_plan({"clusters": {"cluster-a": {"gateways": ["gw-1", "gw-2"]}}})).outputs["clusters"]
    assert outputs["cluster-a"] == {
        "podCIDR": "172.110.0.0/16",
        "serviceCIDR": "10.233.0.0/18",
        "hijackCIDR": ["10.243.0.0/18", "172.111.0.0/16", "169.254.0.0/16"],
        "defaultNetwork": "kube-system/macvlan-conf",
        "gateways": ["gw-1", "gw-2"],
        "pools": {"cluster-a": {"subnet": "172.110.0.0/16", "ips": ["172.110.1.1-172.110.1.200"]}},
        "spiderpoolVersion": "1.2.2",
        "sampleApp": {
            "deployment": "test-app",
            "service": "test-app-svc",
            "namespace": "default",
            "port": 80,
            "exportedAs": None,
        },
        "joined": {
            "clusterID": "cluster-a",
            "clusterCIDR": "172.110.0.0/16",
            "serviceCIDR": "10.233.0.0/18",
            "cableDriver": "libreswan",
            "version": "0.24.1",
            "healthCheck": False,
        },
        "connections": {"state": "connected", "checkedAt": NOW, "note": "", "peers": []},
        "dataPath": {"state": "ok", "checkedAt": NOW, "note": "", "rows": []},
    }
    assert outputs["cluster-b"]["hijackCIDR"] == ["10.233.0.0/18", "172.110.0.0/16", "169.254.0.0/16"]


def test_a_preview_shows_all_but_what_only_a_run_can_tell() -> None:
    known, preview = run_mesh().outputs, run_mesh(preview=True).outputs
    assert preview["brokerInfo"] is UNKNOWN
    assert preview["broker"] is UNKNOWN
    for name, cluster in preview["clusters"].items():
        assert cluster == known["clusters"][name] | dict.fromkeys(("joined", "connections", "dataPath"), UNKNOWN)


def test_secrets_stay_secret_in_a_preview() -> None:
    preview = run_mesh(preview=True)
    assert preview.secret_outputs == {"brokerInfo"}
    assert all(command.secrets == {"stdin"} for command in preview.commands)


def test_facts_of_a_cluster_need_no_engine() -> None:
    raw = raw_plan({"clusters": {"cluster-a": {"pools": [{"name": "p", "subnet": "172.110.1.0/24", "ips": []}]}}})
    raw["clusters"]["cluster-a"]["pools"][0]["ips"] = ["172.110.1.9", "172.110.1.1-172.110.1.8"]
    facts = cluster_facts(load_plan(raw), "cluster-a")
    assert facts["pools"] == {"p": {"subnet": "172.110.1.0/24", "ips": ["172.110.1.1-172.110.1.9"]}}
    assert "joined" not in facts
    assert facts["spiderpoolVersion"] == "1.2.2"
    adopted = load_plan(raw_plan({"spiderpool": {"install": False}}))
    assert cluster_facts(adopted, "cluster-a")["spiderpoolVersion"] is None


@pytest.mark.parametrize("preview", [False, True])
def test_eight_clusters_of_one_program(preview: bool) -> None:
    graph = run_mesh(raw_plan(clusters=8), preview=preview)
    assert len(graph.outputs["clusters"]) == 8
    assert len([name for name in graph.resources if name.endswith("-join")]) == 8
    hijacked = graph["cluster-b-network-macvlan-conf"].inputs["spec"]["coordinator"]["hijackCIDR"]
    assert len(hijacked) == 2 * 7 + 1
