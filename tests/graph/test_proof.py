"""Contract: each cluster is proved against what the plan promises of it, and no other cluster is taken for it.

The leak guard keeps traffic for a peer that is gone inside the node; the identity step is the first thing that a
destroy runs, because a destroy deletes by name.
"""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.leak_guard import METRIC, SCRIPT
from mesh.health.expect import expected, remote_networks
from mesh.plan import load_plan
from tests.graph.harness import UNKNOWN, Steps, raw_plan, run_mesh, uid

GUARDED = raw_plan({"leakGuard": {"enabled": True}}, clusters=3)


def test_the_proof_is_told_what_the_plan_promises_of_the_cluster() -> None:
    raw = raw_plan({"verify": {"tunnelTimeout": 77}, "sampleApp": {"export": True}}, clusters=3)
    graph, plan = run_mesh(raw), load_plan(raw)
    for cluster in plan.clusters:
        assert graph[f"{cluster}-verify"].spec == {
            "access": graph[f"{cluster}-join"].spec["access"],
            "settings": expected(plan, cluster).model_dump(mode="json"),
        }
    assert graph["cluster-b-verify"].spec["settings"]["tunnel_timeout"] == 77


def test_outputs_of_the_proof_are_readable() -> None:
    graph = run_mesh()
    assert graph.outputs["clusters"]["cluster-a"]["connections"]["state"] == "connected"
    assert graph.outputs["clusters"]["cluster-a"]["dataPath"]["state"] == "ok"
    assert not any("connections" in path or "dataPath" in path for path in graph.secret_outputs)


def test_kube_proxy_is_touched_on_request_only_and_never_back() -> None:
    assert not [command for command in run_mesh().commands if "kube-proxy" in command.name]
    graph = run_mesh(raw_plan({"kubeProxy": {"tcpBeLiberal": True}}))
    assert graph["cluster-b-kube-proxy"].spec["cluster_id"] == "cluster-b"
    assert graph["cluster-b-kube-proxy"].spec["access"]["variable"] == "KUBECONFIG_CLUSTER_B"
    assert "delete" not in graph["cluster-b-kube-proxy"].inputs


def test_the_identity_is_that_of_the_preflight() -> None:
    steps = Steps()
    identity = run_mesh(raw_plan(clusters=3), owned=["cluster-a", "cluster-c"], steps=steps)["mesh-identity"]
    assert identity.spec == {
        "clusters": {
            name: {
                "access": {"variable": f"KUBECONFIG_CLUSTER_{name[-1].upper()}", "context": None, "kubeconfig": None},
                "uid": uid(name),
            }
            for name in ("cluster-a", "cluster-c")
        },
        "broker": "cluster-a",
    }
    assert run_mesh(owned=["cluster-b"], broker_info="x")["mesh-identity"].spec["broker"] is None
    assert run_mesh(preview=True)["mesh-identity"].inputs["stdin"] is UNKNOWN


def test_there_is_no_leak_guard_unless_it_is_wanted() -> None:
    assert run_mesh().kind("DaemonSet") == []


@pytest.mark.parametrize("preview", [False, True])
def test_the_leak_guard_of_a_cluster(preview: bool) -> None:
    graph, plan = run_mesh(GUARDED, preview=preview), load_plan(GUARDED)
    guards = graph.kind("DaemonSet")
    assert [guard.provider for guard in guards] == ["cluster-a", "cluster-b", "cluster-c"]
    for guard in guards:
        assert guard.inputs["metadata"] == {
            "name": "mesh-leak-guard",
            "namespace": "kube-system",
            "labels": {"app.kubernetes.io/name": "mesh-leak-guard"},
        }
        spec = guard.inputs["spec"]
        labels = {"app.kubernetes.io/name": "mesh-leak-guard"}
        assert spec["selector"] == {"matchLabels": labels}
        assert spec["template"]["metadata"] == {"labels": labels}
        assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
        pod = dict(spec["template"]["spec"])
        (container,) = pod.pop("containers")
        # On every node, whatever its taints, before the node's other pods, without any right in the cluster.
        assert pod == {
            "hostNetwork": True,
            "automountServiceAccountToken": False,
            "priorityClassName": "system-node-critical",
            "terminationGracePeriodSeconds": 10,
            "tolerations": [{"operator": "Exists"}],
        }
        networks = " ".join(remote_networks(plan, guard.provider))
        assert container == {
            "name": "guard",
            "image": "quay.io/submariner/nettest:0.24.1",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", SCRIPT],
            "env": [{"name": "NETWORKS", "value": networks}],
            "securityContext": {
                "runAsUser": 0,
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            },
            "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}},
        }
        assert graph.component_outputs[f"{guard.provider}-leak-guard"] == {"networks": networks.split()}
    assert "169.254.0.0/16" not in str(graph["cluster-a-mesh-leak-guard"].inputs), "that is the node's own"


def test_images_of_the_leak_guard() -> None:
    def image(changes: dict[str, Any]) -> str:
        raw = raw_plan({"leakGuard": {"enabled": True}} | changes)
        pod = run_mesh(raw)["cluster-a-mesh-leak-guard"].inputs["spec"]["template"]["spec"]
        return str(pod["containers"][0]["image"])

    assert (
        image({"submariner": {"repository": "mirror.site-a/submariner"}}) == "mirror.site-a/submariner/nettest:0.24.1"
    )
    assert image({"verify": {"image": "mirror.site-a/probe:1"}}) == "mirror.site-a/probe:1"
    assert image({"leakGuard": {"enabled": True, "image": "mirror.site-a/ip:2"}}) == "mirror.site-a/ip:2"


def test_the_leak_guard_sets_its_routes_again_and_takes_them_away_when_it_is_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name, text in (("ip", f'echo "$@" >> {log}'), ("sleep", "exec /bin/sleep 0.05")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "NETWORKS": "172.111.0.0/16 fd00:111::/48"}
    process = subprocess.Popen(["sh", "-c", SCRIPT], env=env)
    try:
        replaced = [
            f"-4 route replace unreachable 172.111.0.0/16 metric {METRIC}",
            f"-6 route replace unreachable fd00:111::/48 metric {METRIC}",
        ]
        while not log.exists() or log.read_text().splitlines().count(replaced[1]) < 2:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    lines = log.read_text().splitlines()
    assert lines[:2] == replaced
    assert lines[-2:] == [line.replace("replace", "del") for line in replaced]


def test_the_leak_guard_ends_with_an_error_where_a_route_cannot_be_set(tmp_path: Path) -> None:
    (tmp_path / "ip").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "ip").chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "NETWORKS": "172.111.0.0/16"}
    assert subprocess.run(["sh", "-c", SCRIPT], env=env, check=False, timeout=10).returncode == 1
