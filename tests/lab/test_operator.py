"""Contract: what `mesh operator` prints is what the Pulumi Kubernetes Operator's own definitions take, field by field.

The definitions are not ours to ship. `MESH_OPERATOR_CRDS` names a folder with them: `deploy/crds` of
pulumi/pulumi-kubernetes-operator, v2.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.fleet.stacks import load
from mesh.operator import Git, Settings, manifests
from tests.conftest import Lab
from tests.steps.api import Api

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "mesh-operator-test"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATHS = {
    "ServiceAccount": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Stack": f"/apis/pulumi.com/v1/namespaces/{NAMESPACE}/stacks",
    "Workspace": f"/apis/auto.pulumi.com/v1alpha1/namespaces/{NAMESPACE}/workspaces",
    "Update": f"/apis/auto.pulumi.com/v1alpha1/namespaces/{NAMESPACE}/updates",
}
GIT = Git("https://git.example/mesh.git", "0fa0c0c12a9b0574d67ee15cd9ea454a66c3cce4", "net", "git-read")
VARIANTS: dict[str, dict[str, Any]] = {
    "commit": {"source": GIT},
    "branch": {"source": Git("https://git.example/mesh.git", "main")},
    "in the image": {"source": "/opt/multi-cluster-mesh"},
    "look only": {"source": GIT, "look_only": True},
    "destroy": {"source": GIT, "destroy": True, "organization": "acme"},
}


FOLDER = os.environ.get("MESH_OPERATOR_CRDS", "")

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="MESH_OPERATOR_CRDS is not set: deploy/crds of pulumi/pulumi-kubernetes-operator"
)


@pytest.fixture(scope="module")
def api(lab: Lab) -> Iterator[Api]:
    """An API server that has the operator's definitions."""
    found = lab.api("cluster-a")
    names = []
    for path in sorted(Path(FOLDER).glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        names.append(definition["metadata"]["name"])
        place = f"{CRDS}/{names[-1]}?fieldManager=test&force=true"
        status, answer = found.call("PATCH", place, definition, "application/apply-patch+yaml")
        assert status in (200, 201), answer
    assert names, f"{FOLDER} has no definitions in it"
    found.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for name in names:
        found.wait(partial(_is_established, found, name))
    yield found
    for name in names:
        found.delete(f"{CRDS}/{name}")
    found.delete(f"/api/v1/namespaces/{NAMESPACE}")


def _is_established(api: Api, name: str) -> bool:
    conditions = api.one(f"{CRDS}/{name}").get("status", {}).get("conditions") or []
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)


def check(api: Api, manifest: dict[str, Any]) -> None:
    """Have the API server look at it, and refuse fields that it does not know."""
    status, answer = api.call("POST", f"{PATHS[manifest['kind']]}?dryRun=All&fieldValidation=Strict", manifest)
    assert status == 201, f"{manifest['kind']}: {answer.get('message')}"


def made(**changes: Any) -> list[dict[str, Any]]:
    fleet = load(ROOT)
    settings: dict[str, Any] = {
        "image": "registry.example/mesh:1",
        "namespace": NAMESPACE,
        "secret": "mesh-pulumi",
        "service_account": "mesh",
        "organization": None,
        "resync_seconds": 3600,
    }
    return manifests(fleet, fleet.stacks, Settings(**settings | changes))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_definitions_take_every_manifest(api: Api, variant: str) -> None:
    found = made(**VARIANTS[variant])
    assert [item["kind"] for item in found] == ["ServiceAccount", "ClusterRoleBinding", "Stack", "Stack"]
    for manifest in found:
        check(api, manifest)


@pytest.mark.parametrize("variant", VARIANTS)
def test_so_do_those_of_what_the_operator_makes_of_them(api: Api, variant: str) -> None:
    for manifest in made(**VARIANTS[variant])[2:]:
        common = {"apiVersion": "auto.pulumi.com/v1alpha1", "metadata": {"name": "made"}}
        check(api, common | {"kind": "Workspace", **manifest["spec"]["workspaceTemplate"]})
        if "updateTemplate" in manifest["spec"]:
            check(api, common | {"kind": "Update", **manifest["spec"]["updateTemplate"]})


def test_a_field_that_is_not_there_would_be_noticed(api: Api) -> None:
    manifest = made(source=GIT)[2]
    for section in (manifest["spec"], manifest["spec"]["workspaceTemplate"]["spec"]):
        section["noSuchField"] = True
        with pytest.raises(AssertionError, match="noSuchField"):
            check(api, manifest)
        del section["noSuchField"]
