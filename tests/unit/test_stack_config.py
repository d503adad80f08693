"""The keys of a stack's config: what is misspelt or no list of IDs is told, wherever it is read."""

from typing import Any

import pytest

from mesh.stack_config import KEYS, StackConfigError, check_keys, owned_clusters


def test_keys_that_there_are_and_those_of_others_pass() -> None:
    check_keys([*(f"mesh:{key}" for key in KEYS), "aws:region", "multi-cluster-mesh:cluster"])


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("mesh:contxt", "did you mean mesh:context?"),
        ("mesh:brokerstack", "did you mean mesh:brokerStack?"),
        ("mesh:kubeConfig", "did you mean mesh:kubeconfig?"),
        ("mesh:Cluster", "did you mean mesh:cluster?"),
        ("mesh:zone", "remove it; there are mesh:plan, mesh:cluster, "),
    ],
)
def test_a_key_that_nobody_reads_is_refused(key: str, instead: str) -> None:
    with pytest.raises(StackConfigError) as refused:
        check_keys(["mesh:cluster", key, "mesh:a"])
    assert f"{key} is no setting: {instead}" in str(refused.value)
    assert "mesh:a is no setting" in str(refused.value)  # all at once


def test_the_clusters_of_a_stack() -> None:
    assert owned_clusters("cluster-a", None) == ("cluster-a",)
    assert owned_clusters(None, ["cluster-b", "cluster-a"]) == ("cluster-b", "cluster-a")
    assert owned_clusters(None, None) == ()


@pytest.mark.parametrize(
    ("cluster", "clusters", "said"),
    [
        ("a", ["a"], "mesh:cluster and mesh:clusters are both set"),
        (None, "a", "mesh:clusters is 'a': write a list"),
        (None, {"a": 1}, "mesh:clusters is {'a': 1}: write a list"),
        (None, [], "mesh:clusters is []: write a list"),
        (None, ["a", 5], "mesh:clusters has 5: write IDs"),
        (None, [["a"]], "mesh:clusters has ['a']: write IDs"),
        (None, ["a", "b", "a"], "mesh:clusters names a more than once"),
        (5, None, "mesh:cluster has 5: write IDs"),
    ],
)
def test_what_is_no_cluster_is_refused(cluster: Any, clusters: Any, said: str) -> None:
    with pytest.raises(StackConfigError) as refused:
        owned_clusters(cluster, clusters)
    assert said in str(refused.value)
