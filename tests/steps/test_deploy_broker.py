"""`deploy-broker`: made once, kept, changed only where the plan has changed."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from mesh.plan.settings import GlobalnetSettings
from mesh.steps.broker_info import BrokerInfo
from tests.conftest import Lab
from tests.steps.api import BROKER
from tests.steps.mesh import Mesh
from tests.steps.runner import left_over, run, runs

SECRET = f"{BROKER}/secrets/mesh-ipsec-psk"


def by_hand(lab: Lab, folder: Path, *arguments: str) -> None:
    """Run subctl as a person would, without this project."""
    kubeconfig = lab.kubeconfigs["cluster-a"]
    command = ["subctl", *arguments, "--kubeconfig", str(kubeconfig)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_create_and_create_again(mesh: Mesh, lab: Lab, standin: Path, scratch: Path) -> None:
    api = lab.api("cluster-a")
    result = mesh.deploy_broker().result
    assert result["action"] == "deployed"
    assert result["broker"] == {
        "clusterID": "cluster-a",
        "url": api.server,
        "namespace": "submariner-k8s-broker",
        "version": mesh.version,
        "serviceDiscovery": True,
        "globalnet": False,
        "pskRotation": 0,
    }
    assert "leads each machine to itself" in result["warnings"][0]

    info = BrokerInfo.decode(mesh.broker_info)
    secret = api.one(f"{BROKER}/secrets/{info.token_name}")
    assert base64.b64decode(secret["data"]["token"]).decode() == info.token
    assert base64.b64decode(secret["data"]["ca.crt"]).decode() == info.ca
    assert info.psk == api.psk()
    assert len(info.psk) == 48
    kept = api.one(SECRET)["metadata"]
    assert kept["labels"]["app.kubernetes.io/managed-by"] == "multi-cluster-mesh"
    assert kept["annotations"]["multi-cluster-mesh/psk-rotation"] == "0"

    first, before = mesh.broker_info, api.one(SECRET)["metadata"]["resourceVersion"]
    again = mesh.deploy_broker().result
    assert again["action"] == "unchanged"
    assert again["brokerInfo"] == first
    assert api.one(SECRET)["metadata"]["resourceVersion"] == before
    assert len(runs(standin)) == 1
    assert not left_over(scratch)


def test_what_is_missing_is_made_again_with_the_same_key(joined: Mesh, lab: Lab, standin: Path) -> None:
    api, before = lab.api("cluster-a"), joined.broker_info
    api.delete("/apis/submariner.io/v1alpha1/namespaces/submariner-k8s-broker/brokers/submariner-broker")
    assert joined.deploy_broker().result["action"] == "deployed"
    assert joined.broker_info == before
    api.delete("/apis/apps/v1/namespaces/submariner-operator/deployments/submariner-operator")
    assert joined.deploy_broker().result["action"] == "updated"
    assert joined.broker_info == before
    api.delete(f"{BROKER}/secrets/{BrokerInfo.decode(before).token_name}")
    assert joined.deploy_broker().result["action"] == "updated"
    assert BrokerInfo.decode(joined.broker_info).psk == BrokerInfo.decode(before).psk
    assert len(runs(standin)) == 3


def test_another_version_is_deployed_with_the_same_key(joined: Mesh, lab: Lab, standin: Path) -> None:
    before = joined.broker_info
    assert joined.deploy_broker(version="0.24.0").result["action"] == "updated"
    assert joined.broker_info == before
    path = "/apis/apps/v1/namespaces/submariner-operator/deployments/submariner-operator"
    image = lab.api("cluster-a").one(path)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "quay.io/submariner/submariner-operator:0.24.0"
    assert "--version=0.24.0" in runs(standin)[0]["argv"]
    assert any(argument.startswith("--ipsec-psk-from=") for argument in runs(standin)[0]["argv"])
    assert joined.deploy_broker(version="0.24.0").result["action"] == "unchanged"


def test_a_url_changes_the_broker_info_alone(joined: Mesh, standin: Path) -> None:
    result = joined.deploy_broker(url="https://10.6.168.10:6443").result
    assert (result["action"], result["warnings"]) == ("unchanged", [])
    assert BrokerInfo.decode(joined.broker_info).url == "https://10.6.168.10:6443"
    assert not runs(standin)


def test_without_service_discovery(joined: Mesh, lab: Lab) -> None:
    assert joined.deploy_broker(service_discovery=False).result["action"] == "updated"
    info = BrokerInfo.decode(joined.broker_info)
    assert (info.components, info.service_discovery) == (("connectivity",), False)
    assert joined.deploy_broker().result["action"] == "updated"


def test_a_new_key_only_when_the_counter_rises(joined: Mesh, lab: Lab, standin: Path) -> None:
    api = lab.api("cluster-a")
    counter = int(api.one(SECRET)["metadata"]["annotations"]["multi-cluster-mesh/psk-rotation"])
    old = api.psk()
    result = joined.deploy_broker(psk_rotation=counter + 1).result
    assert result["action"] == "rotated"
    assert "tunnels are down until every cluster has joined again" in result["warnings"][0]
    new = BrokerInfo.decode(joined.broker_info).psk
    assert new == api.psk() != old
    assert not runs(standin)  # the broker itself knows no key

    again = joined.deploy_broker(psk_rotation=counter + 1).result
    assert again["action"] == "unchanged"
    assert BrokerInfo.decode(again["brokerInfo"]).psk == new

    error = joined.deploy_broker(psk_rotation=counter).error
    assert f"submariner.pskRotation is {counter} and the broker in cluster-a is at {counter + 1}" in error
    assert api.psk() == new


def test_what_a_live_broker_ignores_is_refused(mesh: Mesh, lab: Lab, standin: Path) -> None:
    on = GlobalnetSettings(cidr_range="242.0.0.0/8", cluster_size=60000)  # subctl makes 65536 of it
    assert mesh.deploy_broker(globalnet=on).result["action"] == "deployed"
    assert mesh.deploy_broker(globalnet=on).result["action"] == "unchanged"
    for wanted, said in (
        (None, "has globalnet 242.0.0.0/8 of 65536 and the plan wants no globalnet, which a live broker ignores"),
        (on.model_copy(update={"cidr_range": "243.0.0.0/8"}), "wants globalnet 243.0.0.0/8 of 65536"),
        (on.model_copy(update={"cluster_size": 65537}), "wants globalnet 242.0.0.0/8 of 131072"),
    ):
        assert said in mesh.deploy_broker(globalnet=wanted).error
    # What counts is the ConfigMap that join reads, not the Broker resource, which follows every run of subctl.
    path = f"{BROKER}/configmaps/submariner-globalnet-info"
    lab.api("cluster-a").patch(path, {"data": {"globalnetEnabled": "false"}})
    assert "has no globalnet and the plan wants globalnet 242.0.0.0/8" in mesh.deploy_broker(globalnet=on).error
    assert len(runs(standin)) == 1


def test_a_lost_key_is_taken_from_the_local_member(joined: Mesh, lab: Lab, standin: Path) -> None:
    api, before = lab.api("cluster-a"), joined.broker_info
    api.delete(SECRET)
    joined.deploy_broker()
    assert joined.broker_info == before
    assert api.psk() == BrokerInfo.decode(before).psk


def test_a_lost_broker_is_made_anew_with_the_key_of_the_local_member(joined: Mesh, lab: Lab) -> None:
    api, before = lab.api("cluster-a"), BrokerInfo.decode(joined.broker_info)
    api.remove_namespace("submariner-k8s-broker")
    api.wait(lambda: not api.has_namespace("submariner-k8s-broker"))
    assert joined.deploy_broker().result["action"] == "deployed"
    after = BrokerInfo.decode(joined.broker_info)
    assert (after.psk, api.psk()) == (before.psk, before.psk)
    assert after.token != before.token


def test_a_lost_key_of_members_elsewhere_is_never_replaced_in_silence(mesh: Mesh, lab: Lab) -> None:
    api = lab.api("cluster-a")
    assert not mesh.deploy_broker().code
    assert not mesh.join("cluster-b").code
    before = mesh.broker_info
    psk = api.one(SECRET)["data"]["psk"]
    api.delete(SECRET)
    error = mesh.deploy_broker().error
    assert "cluster-b have joined with it: run `subctl recover-broker-info` on one of them" in error
    # What it says to do, done:
    api.create(f"{BROKER}/secrets", {"metadata": {"name": "mesh-ipsec-psk"}, "data": {"psk": psk}})
    assert mesh.deploy_broker(psk_rotation=2).result["action"] == "updated"
    assert mesh.broker_info == before
    assert mesh.deploy_broker(psk_rotation=2).result["action"] == "unchanged"


def test_a_broker_of_others_is_taken_over_only_when_told(mesh: Mesh, lab: Lab, tmp_path: Path) -> None:
    by_hand(lab, tmp_path, "deploy-broker", f"--version={mesh.version}")
    error = mesh.deploy_broker().error
    assert "cluster-a has a Submariner that this project did not install" in error
    assert "set submariner.adopt" in error
    assert lab.api("cluster-a").get(SECRET) is None

    by_hand(lab, tmp_path, "join", "broker-info.subm", "--clusterid=cluster-a", "--clustercidr=172.110.0.0/16",
            "--servicecidr=10.233.0.0/18", "--label-gateway=false", f"--version={mesh.version}")  # fmt: skip
    theirs = BrokerInfo.decode((tmp_path / "broker-info.subm").read_text())
    assert "set submariner.adopt" in mesh.deploy_broker().error
    assert mesh.deploy_broker(adopt=True).result["action"] == "updated"
    ours = BrokerInfo.decode(mesh.broker_info)
    assert (ours.psk, ours.token) == (theirs.psk, theirs.token)
    assert mesh.deploy_broker().result["action"] == "unchanged"
    # And the member that has joined by hand is one of ours now, without a new join.
    before = lab.api("cluster-a").joined()["metadata"]["uid"]
    assert mesh.join("cluster-a").result["action"] == "patched"
    assert lab.api("cluster-a").joined()["metadata"]["uid"] == before


def test_a_broker_in_another_namespace_is_refused(mesh: Mesh, lab: Lab, tmp_path: Path) -> None:
    api = lab.api("cluster-a")
    api.create("/api/v1/namespaces", {"metadata": {"name": "submariner-elsewhere"}})
    body = {"apiVersion": "submariner.io/v1alpha1", "kind": "Broker", "metadata": {"name": "theirs"}, "spec": {}}
    api.create("/apis/submariner.io/v1alpha1/namespaces/submariner-elsewhere/brokers", body)
    assert "cluster-a has a broker in namespace submariner-elsewhere" in mesh.deploy_broker().error
    assert not api.has_namespace("submariner-k8s-broker")


def test_a_submariner_of_another_mesh_is_not_touched(mesh: Mesh, lab: Lab, standin: Path) -> None:
    api = lab.api("cluster-a")
    api.create("/api/v1/namespaces", {"metadata": {"name": "submariner-operator"}})
    spec = {"broker": "k8s", "brokerK8sApiServer": "10.0.0.1:6443", "brokerK8sRemoteNamespace": "submariner-k8s-broker",
            "ceIPSecDebug": False, "clusterCIDR": "10.1.0.0/16", "clusterID": "theirs", "debug": False,
            "namespace": "submariner-operator", "natEnabled": False, "serviceCIDR": "10.2.0.0/16"}  # fmt: skip
    body = {"apiVersion": "submariner.io/v1alpha1", "kind": "Submariner", "metadata": {"name": "submariner"}}
    api.create("/apis/submariner.io/v1alpha1/namespaces/submariner-operator/submariners", body | {"spec": spec})
    assert "it has joined another broker as theirs" in mesh.deploy_broker().error
    assert not runs(standin)


def test_permission_denied_is_told(mesh: Mesh, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = lab.api("cluster-a").service_account_kubeconfig(tmp_path / "limited", "view")
    monkeypatch.setenv("KUBECONFIG_CLUSTER_A", str(limited))
    error = mesh.deploy_broker().error
    assert error.startswith("deploy-broker failed: permission denied in cluster-a: cannot ")
    assert json.loads(limited.read_text())["users"][0]["user"]["token"] not in error


def test_a_dead_api_server_is_told_at_once(
    mesh: Mesh, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.write_text(
        lab.kubeconfigs["cluster-a"].read_text().replace(lab.api("cluster-a").server, "https://127.0.0.1:9")
    )
    monkeypatch.setenv("KUBECONFIG_CLUSTER_A", str(closed))
    for step in ("deploy-broker", "remove-broker"):
        error = run(step, mesh.broker_spec()).error
        assert "the API server of cluster-a at https://127.0.0.1:9 does not answer (Connection refused)" in error
        assert f"{closed} (KUBECONFIG_CLUSTER_A)" in error
