"""Contract: a program of another team puts a workload on the mesh with nothing but the outputs of the mesh's stacks.

Both run in-process here, on real API servers; tests/engine/test_consumer.py does the same with the real CLI.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import project
from lab import standin as stand_in
from lab.standin import faults
from mesh.access import kubeconfig_variable
from tests.conftest import GATEWAY, NODES, ROOT, Lab, crd_dirs
from tests.unit.contract import differences

CONSUMER = ROOT / "examples" / "consumer"
STACKS = ("cluster-a", "cluster-b")
GREETER = {
    "Deployment": "/apis/apps/v1/namespaces/default/deployments/greeter",
    "Service": "/api/v1/namespaces/default/services/greeter",
    "ServiceExport": "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/default/serviceexports/greeter",
}


@dataclass(frozen=True)
class Mesh:
    """A mesh that is up: what its stacks export, and the environment in which they ran."""

    outputs: dict[str, dict[str, Any]]
    env: dict[str, str]


def run(folder: Path, stack: str, outputs: dict[str, Any], env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lab.inprocess", str(folder), stack],
        cwd=folder,
        env={**env, "PYTHONPATH": str(ROOT)},
        input=json.dumps({"references": outputs}),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def outputs_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["outputs"]
    return found


@pytest.fixture(scope="module")
def mesh(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Both stacks of the mesh, brought up."""
    home = tmp_path_factory.mktemp("consumer")
    stand_in.install(home / "bin")
    prepared = project.prepare(home, subctl_version=faults.version().removeprefix("v"), kubernetes_version="v1.36.3")
    env = {
        **os.environ,
        **{kubeconfig_variable(name): str(path) for name, path in lab.kubeconfigs.items()},
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "MESH_PYTHON": sys.executable,
    }
    for name in STACKS:
        lab.api(name).wipe(crd_dirs(), gateways=[], others=NODES)
    found: dict[str, dict[str, Any]] = {}
    for stack in STACKS:
        done = run(prepared.folder, stack, found, env)
        found[f"organization/multi-cluster-mesh/{stack}"] = outputs_of(done)
    yield Mesh(found, env)
    for name in STACKS:
        for path in GREETER.values():
            lab.api(name).delete(path)
        lab.api(name).wipe(crd_dirs(), gateways=[GATEWAY], others=NODES)


def test_the_stacks_export_what_is_written_down(mesh: Mesh) -> None:
    for stack, outputs in mesh.outputs.items():
        assert differences(outputs) == [], stack


@pytest.mark.parametrize(("stack", "cluster", "peer"), [("site-a", *STACKS), ("site-b", *STACKS[::-1])])
def test_the_greeter_is_on_the_mesh(mesh: Mesh, lab: Lab, stack: str, cluster: str, peer: str) -> None:
    outputs = outputs_of(run(CONSUMER, stack, mesh.outputs, mesh.env))
    network = lab.api(cluster).one("/apis/spiderpool.spidernet.io/v2beta1/spidermultusconfigs")["items"][0]["metadata"]
    on_the_mesh = f"{network['namespace']}/{network['name']}"
    assert outputs == {"network": on_the_mesh, "peer": f"{peer}.greeter.default.svc.clusterset.local"}
    template = lab.api(cluster).one(GREETER["Deployment"])["spec"]["template"]
    assert template["metadata"]["annotations"] == {"v1.multus-cni.io/default-network": on_the_mesh}
    assert template["spec"]["containers"][0]["env"] == [{"name": "PEER", "value": outputs["peer"]}]
    assert lab.api(cluster).one(GREETER["Service"])["spec"]["ports"][0]["port"] == 80
    assert lab.api(cluster).get(GREETER["ServiceExport"])


def without(outputs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (outputs | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contractVersion": 0}, "follows contract 0, and we need 1"),
        ({"contractVersion": 2}, "follows contract 2, and we know 1"),
        ({"contractVersion": None}, "has no contractVersion"),
        ({"cluster": None}, "does not own cluster-b: the clusters that it owns are none"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(mesh: Mesh, changes: dict[str, Any], said: str) -> None:
    peer = "organization/multi-cluster-mesh/cluster-b"
    done = run(CONSUMER, "site-a", mesh.outputs | {peer: without(mesh.outputs[peer], **changes)}, mesh.env)
    assert done.returncode == 1
    assert f"stack {peer} {said}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stack_that_does_not_exist_is_named(mesh: Mesh) -> None:
    done = run(CONSUMER, "site-a", {}, mesh.env)
    assert done.returncode == 1
    assert "unknown stack organization/multi-cluster-mesh/cluster-" in done.stderr
