"""`preflight`: what is wrong is told before anything is made, and all at once.

Of the recipe's row "prerequisites: clusters without a CNI, Helm, subctl" subctl is looked for here; the rest is in
tests/graph/test_release.py.
"""

import os
from pathlib import Path

import pytest

from mesh.access import ClusterAccess
from tests.conftest import Lab
from tests.steps.mesh import Mesh
from tests.steps.runner import run

pytestmark = pytest.mark.usefixtures("scratch")


@pytest.fixture
def mesh(reached: Lab, standin: Path) -> Mesh:
    return Mesh()


def test_it_says_what_it_has_found(mesh: Mesh, lab: Lab) -> None:
    result = run("preflight", mesh.preflight_spec()).result
    assert result["subctl"] == {"version": mesh.version, "standIn": True}
    assert set(result["clusters"]) == set(lab.kubeconfigs)
    for name, facts in result["clusters"].items():
        assert facts["kubernetes"].startswith("v1.")
        assert facts["uid"] == lab.api(name).one("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert result["warnings"] == []


def test_everything_wrong_is_told_at_once(
    mesh: Mesh, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = lab.api("cluster-b").service_account_kubeconfig(tmp_path / "limited", "view")
    closed = tmp_path / "closed"
    closed.write_text(
        lab.kubeconfigs["cluster-a"].read_text().replace(lab.api("cluster-a").server, "https://127.0.0.1:9")
    )
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(limited))
    monkeypatch.setenv("KUBECONFIG_CLUSTER_C", str(closed))
    monkeypatch.setenv("KUBECONFIG_CLUSTER_D", str(tmp_path / "missing"))
    monkeypatch.setenv("MESH_STANDIN_VERSION", "0.23.0")
    accesses = {f"cluster_{letter}": ClusterAccess.of(f"cluster-{letter}") for letter in "abcde"}
    error = run("preflight", mesh.preflight_spec(**accesses)).error
    for said in (
        f"subctl is 0.23.0 and submariner.version is {mesh.version}",
        "permission denied in cluster-b: its credentials may not create namespaces, create customresourcedefinitions",
        "API server of cluster-c at https://127.0.0.1:9 does not answer (Connection refused)",
        "missing (KUBECONFIG_CLUSTER_D) cannot be read",
        "set KUBECONFIG_CLUSTER_E to the path of its kubeconfig",
    ):
        assert said in error
    assert "cluster-a " not in error


def test_two_ids_must_not_lead_to_one_cluster(mesh: Mesh, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(lab.kubeconfigs["cluster-a"]))
    error = run("preflight", mesh.preflight_spec()).error
    assert "cluster-a and cluster-b lead to the same cluster" in error


@pytest.mark.parametrize("joined", ["cluster-b", "cluster-a", None])
def test_the_cluster_of_another_stack_is_refused(
    mesh: Mesh, clean: Lab, joined: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kubeconfig is one stack's by mistake, which the stack alone cannot see by comparing its own clusters."""
    assert mesh.deploy_broker().result["action"] == "deployed"
    if joined:
        assert mesh.join(joined).result["action"] == "joined"
    there = joined or "cluster-a"
    other = "cluster-a" if there == "cluster-b" else "cluster-b"
    assert run("preflight", mesh.preflight_spec()).result  # as it should be
    monkeypatch.setenv(ClusterAccess.of(other).variable, str(clean.kubeconfigs[there]))
    spec = mesh.preflight_spec(**{other: ClusterAccess.of(other)})
    error = run("preflight", spec).error
    server = clean.api(there).server
    if joined:
        assert f"the cluster at {server} has already joined as {there} and is to join as {other}: correct" in error
    else:
        said = f"the cluster at {server} hosts the broker, which is cluster-a in the plan, and is to be cluster-b: "
        assert said + "correct KUBECONFIG_CLUSTER_B or mesh:context" in error


def test_subctl_has_to_be_there(mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe's row "prerequisites", subctl."""
    monkeypatch.setenv("MESH_PYTHON", os.sys.executable)  # type: ignore[attr-defined]
    without = [part for part in os.environ["PATH"].split(":") if not (Path(part) / "subctl").exists()]
    monkeypatch.setenv("PATH", ":".join(without))
    assert "subctl is not on PATH: get the release" in run("preflight", mesh.preflight_spec()).error


def test_an_old_submariner_on_a_new_kubernetes_is_refused_or_warned_of(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_STANDIN_VERSION", "0.19.2")
    spec = mesh.preflight_spec().model_copy(update={"version": "0.19.0"})
    error = run("preflight", spec).error
    assert "Submariner 0.19.0 does not work on Kubernetes v1." in error
    assert "needs 0.21.1 or newer" in error
    assert "subctl" not in error  # the patch release may differ
    warnings = run("preflight", spec.model_copy(update={"ignore_requirements": True})).result["warnings"]
    assert len(warnings) == 2


def test_a_namespace_that_is_still_going_is_told(mesh: Mesh, clean: Lab) -> None:
    api = clean.api("cluster-b")
    api.create("/api/v1/namespaces", {"metadata": {"name": "submariner-operator"}})
    maps = "/api/v1/namespaces/submariner-operator/configmaps"
    api.create(maps, {"metadata": {"name": "stuck", "finalizers": ["mesh.test/stuck"]}})
    api.delete("/api/v1/namespaces/submariner-operator")
    try:
        error = run("preflight", mesh.preflight_spec()).error
        assert "namespace submariner-operator of cluster-b is still Terminating" in error
    finally:
        api.patch(f"{maps}/stuck", {"metadata": {"finalizers": None}})
