"""Fixtures of the steps' tests."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import GATEWAY, NODES, Lab, crd_dirs
from tests.steps.api import BROKER, OPERATOR, brisk_namespaces
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


@pytest.fixture
def brisk(reached: Lab) -> Iterator[None]:
    """Namespaces that are deleted go at once."""
    with brisk_namespaces([reached.api(name) for name in reached.kubeconfigs]):
        yield


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
            reached.api(name).ensure_definitions(crd_dirs())  # uninstalling takes them away
            reached.api(name).forget_reports()
            reached.api(name).label([GATEWAY], NODES)  # and these too
        if not _set_up(mesh):
            request.getfixturevalue("clean")
            assert _set_up(mesh)
        _known.clear()
        _known[_state(reached)] = mesh.broker_info
    standin.unlink(missing_ok=True)
    return mesh


def _set_up(mesh: Mesh) -> bool:
    if mesh.deploy_broker().code:
        return False
    with ThreadPoolExecutor() as pool:
        return not any(outcome.code for outcome in pool.map(mesh.join, mesh.plan.clusters))


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
