"""`leave` and `remove-broker`: nothing stays behind, nobody is cut off in silence, twice is no error."""

import dataclasses
from pathlib import Path

import pytest

from mesh.steps.broker_info import BrokerInfo
from tests.conftest import Lab
from tests.steps.api import BROKER, OPERATOR, Api
from tests.steps.mesh import Mesh
from tests.steps.runner import left_over, runs

pytestmark = pytest.mark.usefixtures("brisk")
SUBMARINER = "/apis/submariner.io/v1alpha1/namespaces/submariner-operator/submariners/submariner"
FORCE = {"MESH_FORCE": "1"}


def on_broker(api: Api, cluster_id: str) -> set[str]:
    """What the broker has of a cluster."""
    group = "/apis/submariner.io/v1/namespaces/submariner-k8s-broker"
    lists = {
        f"{group}/clusters", f"{group}/endpoints", f"{BROKER}/serviceaccounts", f"{BROKER}/secrets",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/submariner-k8s-broker/rolebindings",
        "/apis/discovery.k8s.io/v1/namespaces/submariner-k8s-broker/endpointslices",
        "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/submariner-k8s-broker/serviceimports",
    }  # fmt: skip
    return {f"{path.split('/')[-1]}/{name}" for path in lists for name in api.names(path) if cluster_id in name}


def add_exports(api: Api, cluster_id: str) -> None:
    """What Lighthouse writes on the broker for a Service that a cluster exports."""
    labels = {"multicluster.kubernetes.io/source-cluster": cluster_id}
    metadata = {"name": f"web-{cluster_id}", "labels": labels}
    body = {"metadata": metadata, "addressType": "IPv4", "endpoints": [], "ports": []}
    api.create("/apis/discovery.k8s.io/v1/namespaces/submariner-k8s-broker/endpointslices", body)
    kind = {"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport"}
    spec = {"type": "ClusterSetIP", "ports": [], "ips": []}
    path = "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/submariner-k8s-broker/serviceimports"
    api.create(path, kind | {"metadata": metadata, "spec": spec})


def test_a_whole_life(joined: Mesh, lab: Lab, standin: Path, scratch: Path) -> None:
    a, b = lab.api("cluster-a"), lab.api("cluster-b")
    for name in ("cluster-a", "cluster-b"):
        a.add_member(name)
    add_exports(a, "cluster-b")

    # Nobody is cut off in silence.
    error = joined.leave("cluster-a").error
    assert "cluster-b is still joined to the broker in cluster-a: leave first there" in error
    error = joined.remove_broker().error
    assert "cluster-a, cluster-b are still joined to the broker in cluster-a" in error
    assert a.submariner()
    assert not runs(standin)

    # The member goes, with all that the broker has of it and nothing of the others.
    result = joined.leave("cluster-b").result
    assert result == {"clusterID": "cluster-b", "action": "left", "warnings": []}
    assert not b.has_namespace("submariner-operator")
    assert not any(
        name.endswith(".submariner.io") for name in b.names("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    )
    assert on_broker(a, "cluster-b") == set()
    assert len(on_broker(a, "cluster-a")) >= 4
    assert runs(standin)[0]["argv"][:2] == ["uninstall", "--yes"]
    assert joined.leave("cluster-b").result["action"] == "absent"

    # The broker's own cluster, then the broker; each twice.
    assert "cluster-a is still joined" in joined.remove_broker().error
    assert joined.leave("cluster-a").result["action"] == "left"
    assert joined.leave("cluster-a").result == {"clusterID": "cluster-a", "action": "absent", "warnings": []}
    assert joined.remove_broker().result["action"] == "absent"  # uninstall takes the last member's broker along
    assert not a.has_namespace("submariner-k8s-broker")
    assert not a.has_namespace("submariner-operator")
    assert not [name for name in a.names("/apis/rbac.authorization.k8s.io/v1/clusterroles") if "submariner" in name]
    assert not left_over(scratch)


def test_a_broker_that_nobody_has_joined_is_removed(mesh: Mesh, lab: Lab) -> None:
    api = lab.api("cluster-a")
    mesh.deploy_broker()
    assert mesh.leave("cluster-a").result["action"] == "absent"  # it has never joined, and the broker stays
    assert api.has_namespace("submariner-k8s-broker")
    assert mesh.remove_broker().result == {"clusterID": "cluster-a", "action": "removed", "warnings": []}
    assert not api.has_namespace("submariner-k8s-broker")
    assert not api.has_namespace("submariner-operator")
    assert mesh.remove_broker().result["action"] == "absent"
    # A half-made one: our Secret is all there is.
    api.create("/api/v1/namespaces", {"metadata": {"name": "submariner-k8s-broker"}})
    assert "was not deployed by this project" in mesh.remove_broker().error
    api.create(f"{BROKER}/secrets", {"metadata": {"name": "mesh-ipsec-psk"}, "data": {"psk": "eA=="}})
    assert mesh.remove_broker().result["action"] == "removed"
    assert not api.has_namespace("submariner-k8s-broker")


def test_force_cuts_the_others_off(joined: Mesh, lab: Lab) -> None:
    api = lab.api("cluster-a")
    api.add_member("cluster-b")
    assert joined.leave("cluster-a", environment=FORCE).result["action"] == "left"
    assert api.submariner() is None
    assert api.has_namespace("submariner-k8s-broker")  # subctl keeps a broker that has others' endpoints
    assert on_broker(api, "cluster-a") == set()
    assert "cluster-b is still joined" in joined.remove_broker().error
    assert joined.remove_broker(environment=FORCE).result["action"] == "removed"
    assert not api.has_namespace("submariner-k8s-broker")
    assert not api.has_namespace("submariner-operator")


def test_a_broker_that_is_gone_does_not_hold_a_member(joined: Mesh, lab: Lab) -> None:
    away = dataclasses.replace(BrokerInfo.decode(joined.broker_info), url="https://127.0.0.1:9").encode()
    result = joined.leave("cluster-b", info=away).result
    assert result["action"] == "left"
    assert "what the broker has of cluster-b was not removed" in result["warnings"][0]
    assert "https://127.0.0.1:9 does not answer" in result["warnings"][0]
    assert not lab.api("cluster-b").has_namespace("submariner-operator")
    # Later, with the broker back: only its side is left to clean.
    assert joined.leave("cluster-b", info="damaged").result["warnings"][0].startswith("the broker was not cleaned: ")
    assert on_broker(lab.api("cluster-a"), "cluster-b")
    assert joined.leave("cluster-b").result == {"clusterID": "cluster-b", "action": "absent", "warnings": []}
    assert not on_broker(lab.api("cluster-a"), "cluster-b")


def test_a_cluster_that_is_gone_leaves_on_the_brokers_side_when_forced(
    joined: Mesh, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = lab.api("cluster-a")
    closed = tmp_path / "closed"
    closed.write_text(
        lab.kubeconfigs["cluster-b"].read_text().replace(lab.api("cluster-b").server, "https://127.0.0.1:9")
    )
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(closed))
    error = joined.leave("cluster-b").error
    assert "API server of cluster-b at https://127.0.0.1:9 does not answer" in error
    assert "MESH_FORCE=1 has it leave on the broker's side only" in error
    assert on_broker(api, "cluster-b")
    result = joined.leave("cluster-b", environment=FORCE).result
    assert result["action"] == "forgotten"
    assert "cluster-b was not cleaned" in result["warnings"][0]
    assert not on_broker(api, "cluster-b")

    monkeypatch.setenv("KUBECONFIG_CLUSTER_A", str(closed))
    assert "MESH_FORCE=1 forgets its broker" in joined.remove_broker().error
    assert joined.remove_broker(environment=FORCE).result["action"] == "forgotten"


def test_what_is_not_ours_is_not_uninstalled(joined: Mesh, lab: Lab, standin: Path) -> None:
    api = lab.api("cluster-b")
    api.patch(SUBMARINER, {"spec": {"clusterID": "theirs"}})
    error = joined.leave("cluster-b").error
    assert "has joined as theirs, not as cluster-b: correct KUBECONFIG_CLUSTER_B" in error
    api.patch(
        SUBMARINER, {"metadata": {"labels": None}, "spec": {"clusterID": "cluster-b", "brokerK8sApiServer": "x:1"}}
    )
    assert "this project did not install, joined to the broker x:1" in joined.leave("cluster-b").error
    assert "joined as theirs" not in joined.leave("cluster-b").error

    api.patch(SUBMARINER, {"metadata": {"labels": {"app.kubernetes.io/managed-by": "multi-cluster-mesh"}}})
    api.create("/api/v1/namespaces", {"metadata": {"name": "submariner-theirs"}})
    body = {"apiVersion": "submariner.io/v1alpha1", "kind": "Broker", "metadata": {"name": "theirs"}, "spec": {}}
    api.create("/apis/submariner.io/v1alpha1/namespaces/submariner-theirs/brokers", body)
    assert (
        "cluster-b hosts a broker that the plan does not have there (namespace submariner-theirs)"
        in joined.leave("cluster-b").error
    )
    assert not runs(standin)


def test_a_half_made_installation_is_removed(mesh: Mesh, lab: Lab) -> None:
    mesh.deploy_broker()
    api = lab.api("cluster-b")
    api.create("/api/v1/namespaces", {"metadata": {"name": "submariner-operator"}})
    api.create(f"{OPERATOR}/configmaps", {"metadata": {"name": "something"}})
    assert mesh.leave("cluster-b").result["action"] == "left"
    assert not api.has_namespace("submariner-operator")


def test_an_operator_that_does_not_clean_up_is_told(joined: Mesh, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    api = lab.api("cluster-b")
    api.patch(SUBMARINER, {"metadata": {"finalizers": ["controllers.submariner.io/cleanup"]}})
    monkeypatch.setenv("MESH_STANDIN_WAIT", "1")
    try:
        error = joined.leave("cluster-b").error
        assert "operator pod appears to be running but did not complete deletion" in error
        assert "logs deployment/submariner-operator" in error
    finally:
        api.patch(SUBMARINER, {"metadata": {"finalizers": None}})
