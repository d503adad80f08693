"""Contract: what a stack's config means, and which outputs other stacks may rely on (docs/outputs.md).

A stack owns `mesh:cluster`, or all of `mesh:clusters`; a member reads `brokerInfo` of the broker's stack, and where
that has none it is told which of the possible reasons it is.
"""

import json
import secrets
from typing import Any

import pulumi
import pytest

from mesh.outputs import CONTRACT_VERSION
from tests.graph.harness import UNKNOWN, Graph, Steps, raw_plan, run_main

BROKER_STACK = "organization/multi-cluster-mesh/cluster-a"
A, B = {"mesh:cluster": "cluster-a"}, {"mesh:cluster": "cluster-b"}
BOTH = {"mesh:clusters": ["cluster-a", "cluster-b"]}
HOST = {"contractVersion": 1, "cluster": {"id": "cluster-a"}, "broker": {"url": "https://10.6.168.73:6443"}}


def member(outputs: dict[str, Any], **options: Any) -> Graph:
    """A run of stack cluster-b, where the broker's stack has these outputs."""
    config = B | options.pop("config", {})
    return run_main(config, stack="cluster-b", references={BROKER_STACK: outputs}, **options)


def test_outputs_of_the_stack_that_hosts_the_broker() -> None:
    steps = Steps()
    graph = run_main(A, steps=steps)
    assert graph.outputs.keys() == {"contractVersion", "readme", "cluster", "broker", "brokerInfo"}
    assert graph.outputs["contractVersion"] == CONTRACT_VERSION == 1
    assert graph.outputs["brokerInfo"] == steps.broker_info
    assert graph.outputs["broker"] == {
        "url": "https://10.6.168.73:6443",
        "version": "0.24.1",
        "serviceDiscovery": True,
    }
    assert graph.outputs["cluster"].keys() == {
        "id",
        "spiderpoolVersion",
        "podCIDR",
        "serviceCIDR",
        "hijackCIDR",
        "defaultNetwork",
        "gateways",
        "pools",
        "sampleApp",
        "joined",
        "connections",
        "dataPath",
    }
    assert graph.outputs["cluster"]["id"] == "cluster-a"
    assert graph.outputs["cluster"]["joined"]["clusterID"] == "cluster-a"
    assert graph.secret_outputs == {"brokerInfo"}


def test_outputs_of_a_member() -> None:
    info = secrets.token_hex(16)
    graph = member(HOST | {"brokerInfo": info})
    assert graph.outputs.keys() == {"contractVersion", "readme", "cluster"}
    assert graph.outputs["cluster"]["id"] == "cluster-b"
    assert graph.outputs["cluster"]["hijackCIDR"] == ["10.233.0.0/18", "172.110.0.0/16", "169.254.0.0/16"]
    assert graph.secret_outputs == frozenset()
    assert info not in json.dumps(graph.outputs)


def test_outputs_of_a_stack_with_several_clusters() -> None:
    graph = run_main(BOTH)
    assert graph.outputs.keys() == {"contractVersion", "readme", "clusters", "broker", "brokerInfo"}
    assert graph.outputs["clusters"].keys() == {"cluster-a", "cluster-b"}
    assert graph.outputs["clusters"]["cluster-a"].keys() == run_main(A).outputs["cluster"].keys() - {"id"}


def test_a_list_of_one_cluster_is_that_cluster() -> None:
    graph = run_main({"mesh:clusters": ["cluster-a"], "mesh:context": "admin@a"})
    assert graph.outputs["cluster"]["id"] == "cluster-a"
    assert graph["cluster-a"].inputs["context"] == "admin@a"


@pytest.mark.parametrize("preview", [False, True])
def test_broker_info_goes_from_stack_to_join_as_a_secret(preview: bool) -> None:
    info = secrets.token_hex(16)
    graph = member(HOST | {"brokerInfo": info}, preview=preview)
    join = graph["cluster-b-join"]
    assert join.spec["broker_info"] == info
    assert join.secrets == {"stdin"}
    for resource in graph.resources.values():
        assert info not in resource.public, resource.name


@pytest.mark.parametrize("has", [0, 1])
def test_a_new_key_is_shown_in_the_preview_of_every_member(has: int) -> None:
    outputs = HOST | {"broker": {"pskRotation": has}, "brokerInfo": "info"}
    rotated = raw_plan({"submariner": {"pskRotation": 1}})
    preview, up = (member(outputs, config={"mesh:plan": rotated}, preview=preview) for preview in (True, False))
    told = (
        "submariner.pskRotation is 1 and the broker's stack organization/multi-cluster-mesh/cluster-a is not there yet"
    )
    for graph in (preview, up):
        assert [text.startswith(told) for _, text in graph.warnings] == [True] * (1 - has)
    assert (preview["cluster-b-join"].inputs["stdin"] is UNKNOWN) == (has == 0)
    assert up["cluster-b-join"].spec["broker_info"] == "info"


def test_the_broker_s_stack_can_be_named() -> None:
    config = B | {"mesh:brokerStack": "acme/network/site-a"}
    references = {"acme/network/site-a": HOST | {"brokerInfo": "info"}}
    graph = run_main(config, stack="site-b", references=references)
    assert graph["cluster-b-join"].spec["broker_info"] == "info"


def test_the_broker_s_stack_has_the_name_of_its_cluster() -> None:
    raw = raw_plan({"broker": {"cluster": "cluster-b"}})
    references = {"organization/multi-cluster-mesh/cluster-b": HOST | {"brokerInfo": "info"}}
    graph = run_main(A | {"mesh:plan": raw}, references=references)
    assert graph["cluster-a-join"].spec["broker_info"] == "info"


def test_the_stack_of_the_broker_reads_no_other() -> None:
    run_main(A, references={})
    run_main(BOTH, references={})


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({}, "it has no outputs yet: bring it up first (pulumi up --stack cluster-a)"),
        (HOST, "it has one, but it can't be decrypted here"),
        (
            {"contractVersion": 1, "cluster": {"id": "cluster-c"}},
            "it does not host the broker: is mesh:brokerStack right",
        ),
        (HOST | {"brokerInfo": ""}, "it has one, but it can't be decrypted here"),
    ],
    ids=["not up yet", "not decryptable", "not the broker's", "empty"],
)
def test_a_missing_broker_info_says_why(outputs: dict[str, Any], reason: str) -> None:
    with pytest.raises(pulumi.RunError) as error:
        member(outputs)
    assert f"no brokerInfo from the broker's stack {BROKER_STACK}: {reason}" in str(error.value)


def test_a_preview_before_anything_is_up_warns_and_goes_on() -> None:
    # A pull request that adds the first sites.
    graph = member({}, preview=True)
    assert [text for _, text in graph.warnings] == [
        f"the broker's stack {BROKER_STACK} has not been brought up; the join is shown with an unknown broker"
    ]
    assert graph["cluster-b-join"].inputs["stdin"] is UNKNOWN
    assert graph["cluster-b-join"].secrets == {"stdin"}
    assert graph.outputs["cluster"]["joined"] is UNKNOWN


@pytest.mark.parametrize("outputs", [HOST, {"contractVersion": 1, "cluster": {"id": "cluster-c"}}])
def test_a_preview_refuses_what_will_not_get_better(outputs: dict[str, Any]) -> None:
    with pytest.raises(pulumi.RunError, match="no brokerInfo from the broker's stack"):
        member(outputs, preview=True)


def test_an_unknown_cluster_is_refused_with_those_there_are() -> None:
    with pytest.raises(pulumi.RunError) as error:
        run_main({"mesh:cluster": "cluster-x"})
    assert str(error.value) == (
        "mesh:cluster is cluster-x, which is no cluster of mesh:plan; use one of: cluster-a, cluster-b"
    )
    with pytest.raises(pulumi.RunError, match="mesh:cluster is cluster-x, cluster-y, which"):
        run_main({"mesh:clusters": ["cluster-a", "cluster-x", "cluster-y"]})


def test_a_stack_that_owns_nothing_is_told_which_key_to_set() -> None:
    said = r"mesh:cluster is not set: .*pulumi config set mesh:cluster <cluster-a\|cluster-b>"
    with pytest.raises(pulumi.RunError, match=said):
        run_main({})


def test_a_misspelt_key_of_the_config_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(A | {"mesh:contxt": "admin@a"}))  # as the engine hands it on
    with pytest.raises(pulumi.RunError, match=r"mesh:contxt is no setting: did you mean mesh:context\?"):
        run_main(A)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (A | {"mesh:clusters": ["cluster-b"]}, "mesh:cluster and mesh:clusters are both set"),
        ({"mesh:clusters": ["cluster-a", 5]}, "mesh:clusters has 5"),
        ({"mesh:clusters": {"cluster-a": 1}}, "mesh:clusters is {'cluster-a': 1}"),
        ({"mesh:clusters": "cluster-a"}, "mesh:clusters is 'cluster-a': write a list of cluster IDs"),
    ],
)
def test_what_is_no_list_of_clusters_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError) as refused:
        run_main(config)
    assert said in str(refused.value)


@pytest.mark.parametrize("key", ["mesh:context", "mesh:kubeconfig"])
def test_one_kubeconfig_is_not_taken_for_several_clusters(key: str) -> None:
    with pytest.raises(pulumi.RunError) as error:
        run_main(BOTH | {key: "something"})
    assert "are for one cluster" in str(error.value)
    assert "KUBECONFIG_CLUSTER_A, KUBECONFIG_CLUSTER_B" in str(error.value)
    assert "something" not in str(error.value)


def test_context_and_kubeconfig_of_one_cluster() -> None:
    graph = run_main(A | {"mesh:context": "admin@a", "mesh:kubeconfig": "/etc/mesh/a.conf"})
    assert graph["cluster-a"].inputs == {
        "clusterIdentifier": "cluster-a",
        "context": "admin@a",
        "kubeconfig": "/etc/mesh/a.conf",
    }
    assert graph["cluster-a"].secrets == {"kubeconfig"}
    assert graph["cluster-a-join"].spec["access"] == {
        "variable": "KUBECONFIG_CLUSTER_A",
        "context": "admin@a",
        "kubeconfig": "/etc/mesh/a.conf",
    }
