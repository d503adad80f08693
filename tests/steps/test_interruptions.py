"""Killed, stopped, hanging: a step run again goes on, the key stays the same, nothing of the first run is left."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.steps.broker_info import BrokerInfo
from mesh.steps.spec import Spec
from tests.conftest import Lab
from tests.steps.api import BROKER
from tests.steps.mesh import Mesh
from tests.steps.runner import Outcome, alive, children, finish, left_over, run, standin_below, start, wait_for

SLOW = {"MESH_STANDIN_SLOW": "60"}


def kill_half_way(step: str, spec: Spec, number: signal.Signals, half_way: Callable[[], object]) -> Outcome:
    """Run a step until half of its objects are there, then kill it; subctl has to end with it."""
    process = start(step, spec, SLOW)
    try:
        wait_for(half_way)
        pids = wait_for(lambda: children(process.pid))
        os.kill(process.pid, number)
        outcome = finish(process, 10)
        wait_for(lambda: not any(alive(pid) for pid in pids), 5)
    finally:
        process.kill()
    return outcome


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_deploy_broker(mesh: Mesh, lab: Lab, scratch: Path, number: signal.Signals) -> None:
    api = lab.api("cluster-a")
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/submariner-k8s-broker/roles"
    outcome = kill_half_way("deploy-broker", mesh.broker_spec(), number, lambda: len(api.names(roles)) == 2)
    if number == signal.SIGKILL:
        assert left_over(scratch)  # nobody was there to remove it
    else:
        assert outcome.error == (
            f"deploy-broker was stopped by {number.name} while waiting for subctl deploy-broker; "
            "run it again, it goes on from where it is."
        )
        assert not left_over(scratch)
    key = api.psk()
    assert mesh.deploy_broker().result["action"] in ("deployed", "updated")
    assert BrokerInfo.decode(mesh.broker_info).psk == api.psk() == key
    assert not left_over(scratch)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_join_and_join_again(joined: Mesh, lab: Lab, scratch: Path, number: signal.Signals) -> None:
    api = lab.api("cluster-b")
    broken = "/api/v1/namespaces/submariner-operator/secrets/submariner-broker-secret"
    api.delete(broken)
    operator = "/apis/apps/v1/namespaces/submariner-operator/deployments/submariner-operator"
    before = api.one(operator)["metadata"]["generation"]
    spec = joined.join_spec("cluster-b", version="0.24.0")
    outcome = kill_half_way("join", spec, number, lambda: api.one(operator)["metadata"]["generation"] > before)
    if number == signal.SIGTERM:
        assert "join was stopped by SIGTERM while waiting for subctl join" in outcome.error
        assert not left_over(scratch)
    assert api.get(broken) is None
    assert joined.join("cluster-b", version="0.24.0").result["action"] == "rejoined"
    assert api.get(broken) is not None
    assert joined.join("cluster-b", version="0.24.0").result["action"] == "unchanged"
    assert not left_over(scratch)


@pytest.mark.usefixtures("brisk")
def test_leave(joined: Mesh, lab: Lab, scratch: Path) -> None:
    api = lab.api("cluster-b")
    kill_half_way("leave", joined.join_spec("cluster-b"), signal.SIGKILL, lambda: api.submariner() is None)
    assert joined.leave("cluster-b").result["action"] == "left"
    assert not api.has_namespace("submariner-operator")
    assert "cluster-cluster-b" not in lab.api("cluster-a").names(f"{BROKER}/serviceaccounts")
    assert not left_over(scratch)


@pytest.mark.parametrize("step", ["join", "deploy-broker"])
def test_a_subctl_that_hangs_is_ended(
    joined: Mesh, standin: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setenv("MESH_STANDIN_HANG", step)
    spec: Spec = (
        joined.join_spec("cluster-b", timeout=6, cluster_cidr="172.112.0.0/16")
        if step == "join"
        else joined.broker_spec(timeout=6, version="0.24.0")
    )
    process = start(step, spec)
    hung = wait_for(lambda: standin_below(process.pid))
    error = finish(process, 30).error
    assert error.startswith(f"{step} failed: subctl {step} did not end within 6 s, its last words were: ")
    assert "raise submariner.stepTimeout" in error
    assert not alive(hung)
    assert not left_over(scratch)


def test_an_api_server_that_does_not_answer_does_not_hold_a_step(
    joined: Mesh, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = tmp_path / "deaf"
    # TEST-NET-1: packets go nowhere.
    text = lab.kubeconfigs["cluster-b"].read_text().replace(lab.api("cluster-b").server, "https://192.0.2.1:6443")
    deaf.write_text(text)
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(deaf))
    error = run("join", joined.join_spec("cluster-b", timeout=3)).error
    assert "did not finish within 3 s" in error or "does not answer" in error
