"""What the tests share: two real API servers, and subctl or its stand-in on PATH.

The control planes are made by `lab.clusters` at the first test that needs them and taken down at the end. For quick
development `MESH_TEST_LAB` names a folder with `kubeconfig-cluster-a.yaml` and `kubeconfig-cluster-b.yaml` of running
ones, which the tests then use, and empty, instead.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import LabError, clusters, toolchain
from lab import standin as stand_in
from tests.steps.api import Api

COLD_SECONDS = 1800  # to build the control planes' programs, once per machine
ROOT = Path(__file__).resolve().parents[1]
SERVICE_CIDRS = {"cluster-a": "10.233.0.0/18", "cluster-b": "10.243.0.0/18"}
POD_CIDRS = {"cluster-a": "172.110.0.0/16", "cluster-b": "172.111.0.0/16"}
NODES = ("controller-node-1", "worker-node-1")
GATEWAY = NODES[0]


@dataclass(frozen=True)
class Lab:
    """Two running clusters: the kubeconfig of each, by cluster ID."""

    kubeconfigs: dict[str, Path]

    def api(self, cluster_id: str) -> Api:
        """Plain access to a cluster, for what a test has to prepare and to look at."""
        return Api(self.kubeconfigs[cluster_id])


def pytest_sessionstart(session: pytest.Session) -> None:
    """Build the control planes before the workers start, where there are several: else their tests wait for it."""
    config = session.config
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        with suppress(LabError):  # the tests that need them say so
            toolchain.ensure(lambda line: reporter.write(f"{line}\n", flush=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test that needs the control planes the time to build them, where there is one worker."""
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(COLD_SECONDS))
            return


def crd_dirs() -> list[Path]:
    """Folders with the definitions: the real ones where they are at hand, else the lab's own."""
    shared = Path(os.environ.get("MESH_SHARED") or ROOT.parent / "shared") / "crds"
    folders = sorted(path for path in shared.glob("*") if path.is_dir())
    return folders or [ROOT / "lab" / "crds"]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Both clusters, running."""
    if running := os.environ.get("MESH_TEST_LAB"):
        yield Lab({name: clusters.kubeconfig_path(Path(running), name) for name in SERVICE_CIDRS})
        return
    home = tmp_path_factory.mktemp("lab")
    specs = [clusters.ClusterSpec(name, SERVICE_CIDRS[name], POD_CIDRS[name], NODES) for name in SERVICE_CIDRS]
    try:
        tools = toolchain.ensure(print)
        found = clusters.up(specs, home=home, tools=tools, crd_dirs=crd_dirs(), progress=print)
    except LabError as error:
        clusters.down(home, print)
        pytest.skip(f"no local control planes: {error}")
    try:
        yield Lab(found)
    finally:
        clusters.down(home, print)


@pytest.fixture
def clean(lab: Lab) -> Lab:
    """The clusters without anything of Submariner or Spiderpool in them but the definitions; gateway nodes labelled."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: lab.api(name).wipe(crd_dirs(), gateways=[GATEWAY], others=NODES), lab.kubeconfigs))
    return lab


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in first on PATH; gives the file in which it logs its runs."""
    log = tmp_path / "subctl-runs.jsonl"
    stand_in.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MESH_STANDIN_LOG", str(log))
    return log


@pytest.fixture
def real_subctl() -> str:
    """The version of the real subctl on PATH."""
    program = shutil.which("subctl")
    if not program:
        pytest.skip("no subctl on PATH: these tests need the real one")
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    if stand_in.is_standin(said):
        pytest.skip("the subctl on PATH is the stand-in: these tests need the real one")
    return said.split("version: v")[1].split()[0]
