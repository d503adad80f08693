"""Fixtures of the steps' tests."""

from pathlib import Path

import pytest

from tests.conftest import GATEWAY, NODES, Lab
from tests.steps.api import BROKER, OPERATOR
from tests.steps.mesh import Mesh


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder for the steps of one test, so that what they leave there is seen."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    for variable in ("KUBECONFIG", "MESH_FORCE"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def reached(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Both clusters, each with its own variable set."""
    for name, path in lab.kubeconfigs.items():
        monkeypatch.setenv("KUBECONFIG_" + name.upper().replace("-", "_"), str(path))
    return lab


@pytest.fixture
def mesh(reached: Lab, clean: Lab, standin: Path) -> Mesh:
    """Two empty clusters and the stand-in."""
    return Mesh()


_known: dict[str, str] = {}
"""What both clusters looked like when they were joined as the plan says, and their broker info: not done twice."""


@pytest.fixture
def joined(reached: Lab, standin: Path, request: pytest.FixtureRequest) -> Mesh:
    """Both clusters joined as the plan says.

    Steps converge, so what the test before has left is taken over where it can be, and wiped where it cannot.
    """
    mesh = Mesh(broker_info=_known.get(_state(reached), ""))
    if not mesh.broker_info:
        for name in reached.kubeconfigs:
            reached.api(name).forget_reports()
            reached.api(name).label([GATEWAY], NODES)  # uninstalling takes the labels off
        outcomes = [mesh.deploy_broker(), *(mesh.join(cluster_id) for cluster_id in mesh.plan.clusters)]
        if any(outcome.code for outcome in outcomes):
            request.getfixturevalue("clean")
            assert not mesh.deploy_broker().code
            for cluster_id in mesh.plan.clusters:
                assert not mesh.join(cluster_id).code
        _known.clear()
        _known[_state(reached)] = mesh.broker_info
    standin.unlink(missing_ok=True)
    return mesh


def _state(lab: Lab) -> str:
    """Versions of all that a test may have changed."""
    found: list[object] = []
    for name in lab.kubeconfigs:
        api = lab.api(name)
        for path in (BROKER, OPERATOR):
            for kind in ("secrets", "serviceaccounts", "configmaps"):
                found.append(api.versions(f"{path}/{kind}"))
        for kind in ("submariners", "brokers"):
            found.append(api.versions(f"/apis/submariner.io/v1alpha1/{kind}"))
        for kind in ("clusters", "endpoints"):
            found.append(api.versions(f"/apis/submariner.io/v1/{kind}"))
        found.append(api.versions("/api/v1/nodes?labelSelector=submariner.io/gateway") != [])
        found.append(api.names("/apis/apps/v1/namespaces/submariner-operator/deployments"))
        found.append(sorted(item for item in api.names("/api/v1/namespaces") if item.startswith("submariner-")))
    return repr(found)
