"""The main cases with the real subctl; skipped, visibly, where there is none. It takes 9 to 14 s per run."""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from mesh.steps.broker_info import BrokerInfo
from tests.conftest import Lab
from tests.steps.mesh import Mesh
from tests.steps.runner import left_over, run

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def real(reached: Lab, real_subctl: str, clean: Lab) -> Mesh:
    return Mesh(version=real_subctl, timeout=120)


def test_a_whole_life(real: Mesh, lab: Lab, scratch: Path, tmp_path: Path) -> None:
    a, b = lab.api("cluster-a"), lab.api("cluster-b")
    preflight = real.preflight_spec().model_copy(update={"ignore_requirements": True})
    assert run("preflight", preflight).result["subctl"] == {"version": real.version, "standIn": False}

    assert real.deploy_broker().result["action"] == "deployed"
    first = real.broker_info
    assert real.deploy_broker().result["action"] == "unchanged"
    assert real.broker_info == first
    assert BrokerInfo.decode(first).psk == a.psk()

    for cluster_id in real.plan.clusters:
        assert real.join(cluster_id).result == real.join(cluster_id).result | {"action": "joined"}
    before = b.joined()["metadata"]
    result = real.join("cluster-b").result
    assert (result["action"], result["warnings"]) == ("unchanged", [])
    assert b.joined()["metadata"] == before
    assert real.join("cluster-b", nat_port=4501, health_check=True).result["action"] == "patched"
    assert b.joined()["metadata"]["uid"] == before["uid"]
    assert real.join("cluster-b").result["action"] == "patched"

    # What it recovers from a member has the same normal form as ours.
    command = ["subctl", "recover-broker-info", "--kubeconfig", str(lab.kubeconfigs["cluster-a"])]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    recovered = BrokerInfo.decode((tmp_path / "broker-info.subm").read_text())
    assert dataclasses.replace(recovered, url=a.server).encode() == first

    assert "cluster-b is still joined" in real.leave("cluster-a").error
    for cluster_id in reversed(real.plan.clusters):
        assert real.leave(cluster_id).result["action"] == "left"
        assert real.leave(cluster_id).result["action"] == "absent"
    assert real.remove_broker().result["action"] == "absent"
    for api in (a, b):
        assert not [name for name in api.names("/api/v1/namespaces") if "submariner" in name]
    assert not left_over(scratch)


def test_its_errors_have_a_hint(real: Mesh, lab: Lab) -> None:
    assert not real.deploy_broker().code
    lab.api("cluster-a").add_member("cluster-b")
    error = real.join("cluster-b").error
    assert 'Detected an existing joined cluster with the same ID "cluster-b"' in error
    assert "delete clusters.submariner.io/<ID>" in error
    error = real.join("cluster-b", image_overrides={"nope": "x"}).error
    assert "invalid image override" in error
    assert "correct submariner.imageOverrides" in error
    assert "cluster-b is still joined" in real.remove_broker().error
    assert real.remove_broker(environment={"MESH_FORCE": "1"}).result["action"] == "removed"
    assert not lab.api("cluster-a").has_namespace("submariner-k8s-broker")
