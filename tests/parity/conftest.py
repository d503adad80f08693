"""The two programs, and two clusters that they may empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.standin import install, kube
from tests.conftest import Lab, crd_dirs
from tests.parity.calls import Tool, find_real
from tests.parity.recording import wipe


@pytest.fixture(scope="session")
def kubeconfigs(lab: Lab) -> dict[str, Path]:
    """Two clusters to be emptied: the broker's and a member's."""
    return lab.kubeconfigs


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """The stand-in, by its launcher."""
    return Tool("stand-in", install(tmp_path_factory.mktemp("bin")))


@pytest.fixture(scope="session")
def real() -> Tool:
    """The real one."""
    path = find_real()
    if path is None:
        pytest.skip("no real subctl on PATH to compare with")
    return Tool("real", path)


@pytest.fixture(scope="package")
def restored_clusters(kubeconfigs: dict[str, Path]) -> Iterator[None]:
    """Give the clusters back as they were: with the definitions in them that uninstall takes away."""
    yield
    clusters = [kube.from_file(path) for path in kubeconfigs.values()]
    wipe(clusters)
    files = [path for folder in crd_dirs() for path in sorted(folder.glob("*.yaml"))]
    for crd in (document for path in files for document in yaml.safe_load_all(path.read_text("utf-8")) if document):
        for cluster in clusters:
            if cluster.find(crd["kind"], crd["metadata"]["name"]) is None:
                cluster.create(crd)
