"""The lab's own CRDs agree with the real ones wherever they say anything.

The real CRDs are not part of this project. Where a checkout beside it holds them (``$MESH_SHARED/crds``, by default
``../shared/crds``), every CRD in ``lab/crds`` is compared with its counterpart; elsewhere those tests are skipped, and
only what can be told from the lab's files alone is checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OWN_DIR = ROOT / "lab" / "crds"
REAL_DIR = Path(os.environ.get("MESH_SHARED", ROOT.parent / "shared")) / "crds"

# What a schema node may say that changes how the API server treats an object; descriptions and the like do not.
MEANINGFUL = (
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "required",
    "nullable",
    "additionalProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-int-or-string",
)

EXPECTED = {
    "network-attachment-definitions.k8s.cni.cncf.io",
    "spiderippools.spiderpool.spidernet.io",
    "spidermultusconfigs.spiderpool.spidernet.io",
    "spidercoordinators.spiderpool.spidernet.io",
    "brokers.submariner.io",
    "submariners.submariner.io",
    "servicediscoveries.submariner.io",
    "clusters.submariner.io",
    "endpoints.submariner.io",
    "gateways.submariner.io",
    "routeagents.submariner.io",
    "serviceexports.multicluster.x-k8s.io",
    "serviceimports.multicluster.x-k8s.io",
}

Crd = dict[str, Any]


def _load(folder: Path) -> dict[str, Crd]:
    documents = (doc for path in sorted(folder.rglob("*.yaml")) for doc in yaml.safe_load_all(path.read_text("utf-8")))
    return {doc["metadata"]["name"]: doc for doc in documents if doc}


OWN = _load(OWN_DIR)


@pytest.fixture(scope="session")
def real() -> dict[str, Crd]:
    if not REAL_DIR.is_dir():
        pytest.skip(
            f"the real CRDs are not here to compare with: no folder {REAL_DIR} (name its parent by MESH_SHARED)"
        )
    return _load(REAL_DIR)


def _version(crd: Crd, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(version for version in crd["spec"]["versions"] if version["name"] == name)
    return found


def _disagreements(own: dict[str, Any], real: dict[str, Any], path: str) -> Iterator[str]:
    """Where our schema says something that the real one does not say, or says otherwise."""
    for key in MEANINGFUL:
        ours, theirs = own.get(key), real.get(key)
        if key in ("required", "enum"):  # sets, written as lists
            ours, theirs = sorted(ours or [], key=str), sorted(theirs or [], key=str)
        if ours != theirs:
            yield f"{path}: {key} is {ours!r}, in the real one {theirs!r}"
    theirs_properties = real.get("properties", {})
    for name, node in own.get("properties", {}).items():
        if name not in theirs_properties:
            yield f"{path}.{name}: not in the real one"
        else:
            yield from _disagreements(node, theirs_properties[name], f"{path}.{name}")
    if "items" in own:
        yield from _disagreements(own["items"], real.get("items", {}), f"{path}[]")


def test_every_crd_the_lab_needs_is_there() -> None:
    assert set(OWN) == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_is_the_labs_own_and_well_formed(name: str) -> None:
    spec = OWN[name]["spec"]
    assert name == f"{spec['names']['plural']}.{spec['group']}"
    assert [version["storage"] for version in spec["versions"]].count(True) == 1
    # A controller-gen annotation would betray a copy of the real file.
    assert "annotations" not in OWN[name]["metadata"]
    path = OWN_DIR / f"{spec['group']}_{spec['names']['plural']}.yaml"
    assert path.read_text("utf-8").startswith("# The lab's own CRD")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_names_and_versions_are_the_real_ones(name: str, real: dict[str, Crd]) -> None:
    assert name in real, f"{name} does not exist"
    own_spec, real_spec = OWN[name]["spec"], real[name]["spec"]
    assert own_spec["group"] == real_spec["group"]
    assert own_spec["scope"] == real_spec["scope"]
    assert own_spec["names"] == real_spec["names"]
    for version in own_spec["versions"]:
        theirs = _version(real[name], version["name"])
        assert version["served"] is True
        assert (version["served"], version["storage"]) == (theirs["served"], theirs["storage"])
        assert (version.get("subresources") or {}) == (theirs.get("subresources") or {})


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_our_schema_says_the_real_one_says_too(name: str, real: dict[str, Crd]) -> None:
    for version in OWN[name]["spec"]["versions"]:
        theirs = _version(real[name], version["name"])["schema"]["openAPIV3Schema"]
        found = list(_disagreements(version["schema"]["openAPIV3Schema"], theirs, version["name"]))
        assert not found, "\n".join(found)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_fields_the_real_one_requires_are_typed_here(name: str, real: dict[str, Crd]) -> None:
    """A required field that our schema leaves to chance would let a wrong object pass in the lab."""
    for version in OWN[name]["spec"]["versions"]:
        own = version["schema"]["openAPIV3Schema"].get("properties", {})
        theirs = _version(real[name], version["name"])["schema"]["openAPIV3Schema"]["properties"]
        for part in ("spec", "status"):
            missing = set(theirs.get(part, {}).get("required", [])) - set(own.get(part, {}).get("properties", {}))
            assert not missing, f"{part}: {sorted(missing)}"
