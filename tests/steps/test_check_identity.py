"""`check-identity`, `check-destroy`: a destroy never starts on another cluster, nor on a broker that others need."""

import pytest

from mesh.access import ClusterAccess
from mesh.steps.spec import IdentitySpec, KnownCluster
from tests.conftest import Lab
from tests.steps.mesh import Mesh
from tests.steps.runner import run

A, B = "cluster-a", "cluster-b"


def seen(lab: Lab) -> IdentitySpec:
    """What the preflight would have noted of both clusters."""
    return IdentitySpec(
        clusters={
            name: KnownCluster(
                access=ClusterAccess.of(name),
                uid=lab.api(name).one("/api/v1/namespaces/kube-system")["metadata"]["uid"],
            )
            for name in (A, B)
        }
    )


def test_the_same_clusters_pass(reached: Lab) -> None:
    assert run("check-identity", seen(reached)).result == {"clusters": [A, B]}


def test_another_cluster_is_refused(reached: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = seen(reached)
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(reached.kubeconfigs[A]))
    error = run("check-identity", spec).error
    assert "KUBECONFIG_CLUSTER_B" in error
    assert "another cluster" in error
    assert "KUBECONFIG_CLUSTER_A" not in error
    assert "another cluster" in run("check-identity", spec, {"MESH_FORCE": "1"}).error, "that is never wanted"


def test_no_credentials_are_refused(reached: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = seen(reached)
    monkeypatch.delenv("KUBECONFIG_CLUSTER_B")
    assert "KUBECONFIG_CLUSTER_B" in run("check-identity", spec).error


def test_a_dead_site_can_be_forced(reached: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = seen(reached)
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", "/nowhere/kubeconfig")
    assert "MESH_FORCE=1" in run("check-identity", spec).error
    assert run("check-identity", spec, {"MESH_FORCE": "1"}).result == {"clusters": [A, B]}


def test_a_destroy_of_a_broker_that_others_have_joined_is_refused(joined: Mesh, lab: Lab) -> None:
    both = seen(lab)
    alone = both.model_copy(update={"clusters": {A: both.clusters[A]}, "broker": A})
    error = run("check-destroy", alone).error
    assert "cluster-b is still joined to the broker in cluster-a: leave first there" in error
    assert run("check-destroy", alone, {"MESH_FORCE": "1"}).result == {"clusters": [A]}
    assert run("check-destroy", both.model_copy(update={"broker": A})).result == {"clusters": [A, B]}, "all go at once"
    member = both.model_copy(update={"clusters": {B: both.clusters[B]}})
    assert run("check-destroy", member).result == {"clusters": [B]}
    assert joined.leave(B).result["action"] == "left"
    assert run("check-destroy", alone).result == {"clusters": [A]}
