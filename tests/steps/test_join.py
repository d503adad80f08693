"""`join`: converges, and touches nothing where there is nothing to do."""

import base64
import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from mesh.plan.models import CableDriver
from mesh.steps.broker_info import BrokerInfo
from tests.conftest import GATEWAY, Lab
from tests.steps.api import BROKER, OPERATOR
from tests.steps.mesh import Mesh
from tests.steps.runner import finish, left_over, run, runs, start, wait_for


def test_create(mesh: Mesh, lab: Lab, standin: Path, scratch: Path) -> None:
    mesh.deploy_broker()
    for cluster_id, hosts in (("cluster-a", True), ("cluster-b", False)):
        result = mesh.join(cluster_id).result
        settings = mesh.join_spec(cluster_id).settings
        assert result == {
            "clusterID": cluster_id,
            "clusterCIDR": settings.cluster_cidr,
            "serviceCIDR": settings.service_cidr,
            "cableDriver": "libreswan",
            "version": mesh.version,
            "healthCheck": settings.health_check,
            "broker": BrokerInfo.decode(mesh.broker_info).host,
            "action": "joined",
            "warnings": [],
        }
        found = lab.api(cluster_id).joined()
        assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "multi-cluster-mesh"
        spec = found["spec"]
        assert (spec["clusterID"], spec["clusterCIDR"]) == (cluster_id, settings.cluster_cidr)
        assert base64.b64decode(spec["ceIPSecPSK"]) == lab.api("cluster-a").psk()
        assert f"cluster-{cluster_id}" in lab.api("cluster-a").names(f"{BROKER}/serviceaccounts")
        assert hosts == lab.api(cluster_id).has_namespace("submariner-k8s-broker")
    assert not left_over(scratch)


def test_nothing_is_touched_where_nothing_has_changed(joined: Mesh, lab: Lab, standin: Path) -> None:
    def state() -> list[Any]:
        found = []
        for name in lab.kubeconfigs:
            api = lab.api(name)
            found += [api.joined()["metadata"], api.one(f"{OPERATOR}/secrets")["metadata"]["resourceVersion"]]
        return [
            (item["uid"], item["resourceVersion"]) if isinstance(item, dict) else None  # the list's moves with others
            for item in found
        ]

    before = state()
    for cluster_id in lab.kubeconfigs:
        result = joined.join(cluster_id).result
        assert (result["action"], result["warnings"]) == ("unchanged", [])
    assert state() == before
    assert not runs(standin)


def test_what_the_resource_takes_in_place_is_patched(joined: Mesh, lab: Lab, standin: Path) -> None:
    api = lab.api("cluster-b")
    changes: dict[str, Any] = {
        "cable_driver": CableDriver.VXLAN,
        "nat_traversal": True,
        "nat_port": 4501,
        "force_udp_encaps": True,
        "preferred_server": True,
        "air_gapped": True,
        "health_check": True,
        "health_check_interval": 3,
        "health_check_max_packet_loss_count": 7,
    }
    before = api.joined()
    assert joined.join("cluster-b", **changes).result["action"] == "patched"
    after = api.joined()
    fields = {
        "cableDriver": "vxlan",
        "natEnabled": True,
        "ceIPSecNATTPort": 4501,
        "ceIPSecForceUDPEncaps": True,
        "ceIPSecPreferredServer": True,
        "airGappedDeployment": True,
        "connectionHealthCheck": {"enabled": True, "intervalSeconds": 3, "maxPacketLossCount": 7},
    }
    assert {name: after["spec"][name] for name in fields} == fields
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert joined.join("cluster-b", **changes).result["action"] == "unchanged"
    # And back, which also means that "false" is written and not left out.
    assert joined.join("cluster-b").result["action"] == "patched"
    assert joined.join("cluster-b").result["action"] == "unchanged"
    assert api.joined()["spec"]["natEnabled"] is False
    assert not runs(standin)


def test_anything_else_is_joined_anew(joined: Mesh, lab: Lab, standin: Path) -> None:
    api = lab.api("cluster-b")
    changes: dict[str, Any] = {
        "cluster_cidr": "172.112.0.0/16",
        "service_cidr": "10.244.0.0/18",
        "version": "0.24.0",
        "repository": "mirror.example/submariner",
        "image_overrides": {"submariner-gateway": "mirror.example/gateway:1"},
    }
    before = api.joined()
    assert joined.join("cluster-b", **changes).result["action"] == "rejoined"
    after = api.joined()
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "multi-cluster-mesh"
    for field in ("clusterCIDR", "serviceCIDR", "version", "repository", "imageOverrides"):
        assert after["spec"][field] != before["spec"].get(field)
    assert joined.join("cluster-b", **changes).result["action"] == "unchanged"
    assert len(runs(standin)) == 1


def test_a_new_key_is_joined_anew(joined: Mesh, lab: Lab) -> None:
    rotation = 1 + int(
        lab.api("cluster-a").one(f"{BROKER}/secrets/mesh-ipsec-psk")["metadata"]["annotations"][
            "multi-cluster-mesh/psk-rotation"
        ]
    )
    assert joined.deploy_broker(psk_rotation=rotation).result["action"] == "rotated"
    assert joined.join("cluster-b").result["action"] == "rejoined"
    assert base64.b64decode(lab.api("cluster-b").joined()["spec"]["ceIPSecPSK"]) == lab.api("cluster-a").psk()
    assert joined.join("cluster-b").result["action"] == "unchanged"


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ("cluster-b", f"{OPERATOR}/secrets/submariner-ipsec-psk"),
        ("cluster-b", f"{OPERATOR}/secrets/submariner-broker-secret"),
        ("cluster-b", "/apis/apps/v1/namespaces/submariner-operator/deployments/submariner-operator"),
        ("cluster-b", "/apis/submariner.io/v1alpha1/namespaces/submariner-operator/submariners/submariner"),
        ("cluster-a", f"{BROKER}/serviceaccounts/cluster-cluster-b"),
    ],
)
def test_what_somebody_has_deleted_is_made_again(joined: Mesh, lab: Lab, where: str, path: str) -> None:
    lab.api(where).delete(path)
    if "serviceaccounts" in path:  # and its token is not worth anything any more
        lab.api(where).wait(
            lambda: not any("cluster-cluster-b" in name for name in lab.api(where).names(f"{BROKER}/secrets"))
        )
    assert joined.join("cluster-b").result["action"] in ("joined", "rejoined")
    assert lab.api(where).get(path) is not None


def test_a_site_that_is_cut_off_from_the_broker_can_still_run_its_stack(joined: Mesh, lab: Lab, standin: Path) -> None:
    away = dataclasses.replace(BrokerInfo.decode(joined.broker_info), url="https://127.0.0.1:9").encode()
    lab.api("cluster-b").patch(
        "/apis/submariner.io/v1alpha1/namespaces/submariner-operator/submariners/submariner",
        {"spec": {"brokerK8sApiServer": "127.0.0.1:9"}},
    )
    result = joined.join("cluster-b", info=away, air_gapped=True).result
    assert result["action"] == "patched"
    assert "not checked whether the broker still knows cluster-b" in result["warnings"][0]
    error = joined.join("cluster-b", info=away, cluster_cidr="172.112.0.0/16").error
    assert "the API server of the broker at https://127.0.0.1:9 does not answer" in error
    assert not runs(standin)


def test_a_conflict_on_the_broker_is_tried_again(
    joined: Mesh, standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_STANDIN_FAIL_ONCE", str(tmp_path / "failed"))
    assert joined.join("cluster-b", cluster_cidr="172.112.0.0/16").result["action"] == "rejoined"
    assert [run["rc"] for run in runs(standin)] == [1, 0]


def test_another_error_is_not_tried_again(joined: Mesh, lab: Lab, standin: Path) -> None:
    # The broker knows the ID of a cluster that has been rebuilt: ours has no record of its own.
    lab.api("cluster-a").add_member("cluster-b")
    try:
        error = joined.join("cluster-b", cluster_cidr="172.112.0.0/16").error
        assert 'Detected an existing joined cluster with the same ID "cluster-b"' in error
        assert "delete clusters.submariner.io/<ID>" in error
        assert len(runs(standin)) == 1
    finally:
        for kind, name in (("clusters", "cluster-b"), ("endpoints", "cluster-b-cable")):
            lab.api("cluster-a").delete(f"/apis/submariner.io/v1/namespaces/submariner-k8s-broker/{kind}/{name}")


# --- refusals


def test_gateway_nodes_must_exist_and_be_labelled(joined: Mesh, lab: Lab, standin: Path) -> None:
    error = joined.join("cluster-b", gateways=("nope-1", GATEWAY, "nope-2")).error
    assert "cluster-b has no node nope-1, nope-2: correct gateways in the plan" in error
    error = joined.join("cluster-b", gateways=("worker-node-1",)).error
    assert "node worker-node-1 has no label submariner.io/gateway=true" in error
    lab.api("cluster-b").patch(
        "/api/v1/nodes/worker-node-1", {"metadata": {"labels": {"submariner.io/gateway": "true"}}}
    )
    try:
        assert "worker-node-1 of cluster-b is a gateway too" in joined.join("cluster-b").result["warnings"][0]
    finally:
        body = {"metadata": {"labels": {"submariner.io/gateway": None}}}
        lab.api("cluster-b").patch("/api/v1/nodes/worker-node-1", body)
    assert not runs(standin)


def test_the_wrong_cluster_is_never_joined(
    joined: Mesh, lab: Lab, standin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(lab.kubeconfigs["cluster-a"]))
    error = joined.join("cluster-b").error
    assert "is the cluster that hosts the broker, and cluster-b is not to be that one" in error
    assert "correct KUBECONFIG_CLUSTER_B or mesh:context" in error
    monkeypatch.setenv("KUBECONFIG_CLUSTER_A", str(lab.kubeconfigs["cluster-b"]))
    assert "does not have the broker of this broker info" in joined.join("cluster-a").error
    monkeypatch.setenv("KUBECONFIG_CLUSTER_C", str(lab.kubeconfigs["cluster-b"]))
    access = joined.access("cluster-c")
    renamed: dict[str, Any] = {"cluster_id": "cluster-c"}
    error = run("join", joined.join_spec("cluster-b", access=access, **renamed)).error
    assert "has already joined as cluster-b and is to join as cluster-c" in error
    assert "already joined as" in run("join", joined.join_spec("cluster-b", access=access, adopt=True, **renamed)).error
    assert not runs(standin)


def test_a_submariner_of_others_is_taken_over_only_when_told(joined: Mesh, lab: Lab) -> None:
    api = lab.api("cluster-b")
    path = "/apis/submariner.io/v1alpha1/namespaces/submariner-operator/submariners/submariner"
    unlabelled = {"metadata": {"labels": None}}
    # Joined by hand, just as we would: ours from now on, without touching the tunnel.
    api.patch(path, unlabelled)
    before = api.joined()["metadata"]["uid"]
    assert joined.join("cluster-b").result["action"] == "adopted"
    assert api.joined()["metadata"]["uid"] == before
    # Joined to somebody else's broker.
    api.patch(path, unlabelled | {"spec": {"brokerK8sApiServer": "10.0.0.1:6443"}})
    error = joined.join("cluster-b").error
    assert "did not install, joined to the broker 10.0.0.1:6443: set submariner.adopt" in error
    assert joined.join("cluster-b", adopt=True).result["action"] == "rejoined"
    assert joined.join("cluster-b").result["action"] == "unchanged"


def test_a_broker_info_that_is_none_is_refused(joined: Mesh, standin: Path) -> None:
    whole = joined.broker_info
    for info, said in (
        ("", "the broker info is empty"),
        (whole[: len(whole) // 2], "cut short"),
        (whole[:-5], "cut short"),
        (base64.urlsafe_b64encode(b"{}").decode(), "no valid brokerurl, clienttoken.data.token"),
    ):
        error = joined.join("cluster-b", info=info).error
        assert said in error
        assert BrokerInfo.decode(whole).token not in error
    assert not runs(standin)


def test_a_broker_info_of_an_older_broker_is_told(joined: Mesh) -> None:
    info = BrokerInfo.decode(joined.broker_info)
    stale = dataclasses.replace(info, token=info.token[:-8] + "AAAAAAAA", token_name="gone", psk=b"x" * 48).encode()
    error = joined.join("cluster-b", info=stale).error
    assert "the broker does not accept our credentials (401 Unauthorized)" in error


def test_permission_denied_is_told(joined: Mesh, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = lab.api("cluster-b").service_account_kubeconfig(tmp_path / "limited", "view")
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(limited))
    error = joined.join("cluster-b").error
    assert error.startswith("join failed: permission denied in cluster-b: cannot read Secret")
    assert "cluster-admin" in error


def test_subctl_has_to_be_there(joined: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    without = [part for part in os.environ["PATH"].split(":") if not (Path(part) / "subctl").exists()]
    monkeypatch.setenv("PATH", ":".join(without))
    assert joined.join("cluster-b").result["action"] == "unchanged"  # nothing to run it for
    assert "subctl is not on PATH" in joined.join("cluster-b", cluster_cidr="172.112.0.0/16").error


def test_it_waits_for_an_uninstall_to_end(mesh: Mesh, lab: Lab) -> None:
    mesh.deploy_broker()
    api = lab.api("cluster-b")
    api.create("/api/v1/namespaces", {"metadata": {"name": "submariner-operator"}})
    api.create(f"{OPERATOR}/configmaps", {"metadata": {"name": "stuck", "finalizers": ["mesh.test/stuck"]}})
    api.delete("/api/v1/namespaces/submariner-operator")
    hasty = run("join", mesh.join_spec("cluster-b", timeout=2)).error
    assert "did not finish within 2 s while waiting for namespace submariner-operator of cluster-b to vanish" in hasty
    step = start("join", mesh.join_spec("cluster-b"))
    assert step.poll() is None
    api.patch(f"{OPERATOR}/configmaps/stuck", {"metadata": {"finalizers": None}})
    assert finish(step).result["action"] == "joined"
    wait_for(lambda: api.has_namespace("submariner-operator"))
