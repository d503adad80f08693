"""Contract: `mesh operator` turns plan and stack files into manifests with which members follow the broker's stack.

No manifest has a secret in it, a pod gets the kubeconfigs of its own stack's clusters only, and nothing is destroyed
unless that is asked for. tests/lab/test_operator.py holds them against the operator's own definitions.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.fleet.errors import FleetError
from mesh.fleet.stacks import Fleet, Stack, load
from mesh.operator import Git, Settings, manifests, preparation

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0fa0c0c12a9b0574d67ee15cd9ea454a66c3cce4"
GIT = Git("https://git.example/mesh.git", COMMIT)
SETTINGS: dict[str, Any] = {
    "image": "registry.example/mesh:1",
    "source": GIT,
    "namespace": "mesh",
    "secret": "mesh-pulumi",
    "service_account": "mesh",
    "organization": None,
    "resync_seconds": 3600,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the shipped project files, to change."""
    for path in (ROOT / "Pulumi.yaml", *ROOT.glob("Pulumi.*.yaml")):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def fleet(project: Path) -> Fleet:
    return load(project)


def made(fleet: Fleet, *only: str, **changes: Any) -> dict[str, dict[str, Any]]:
    """What is made, by kind or, for Stacks, by name."""
    found = manifests(fleet, fleet.select(only), Settings(**SETTINGS | changes))
    return {item["metadata"]["name"] if item["kind"] == "Stack" else item["kind"]: item for item in found}


def workspace(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["workspaceTemplate"]["spec"]
    return spec


def test_a_stack_for_each_stack_file(fleet: Fleet) -> None:
    found = made(fleet)
    assert list(found) == ["ServiceAccount", "ClusterRoleBinding", "cluster-a", "cluster-b"]
    for name in ("cluster-a", "cluster-b"):
        spec = found[name]["spec"]
        assert found[name]["metadata"]["namespace"] == "mesh"
        assert (spec["stack"], spec["projectRepo"], spec["commit"]) == (name, GIT.repo, COMMIT)
        assert spec["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
        assert workspace(found[name])["image"] == "registry.example/mesh:1"


def test_members_wait_for_the_broker_s_stack(fleet: Fleet) -> None:
    found = made(fleet)
    assert "prerequisites" not in found["cluster-a"]["spec"]
    assert found["cluster-b"]["spec"]["prerequisites"] == [
        {"name": "cluster-a", "requirement": {"succeededWithinDuration": "10m"}}
    ]


def test_a_site_s_own_operator_waits_for_no_stack_that_it_does_not_know(fleet: Fleet) -> None:
    found = made(fleet, "cluster-b")
    assert list(found) == ["ServiceAccount", "ClusterRoleBinding", "cluster-b"]
    assert "prerequisites" not in found["cluster-b"]["spec"]


def test_drift_is_looked_for_and_put_right(fleet: Fleet) -> None:
    spec = made(fleet, resync_seconds=600)["cluster-b"]["spec"]
    assert spec["refresh"] is spec["continueResyncOnCommitMatch"] is True
    assert spec["resyncFrequencySeconds"] == 600


def test_only_looking_changes_nothing_and_has_no_order(fleet: Fleet) -> None:
    for name in ("cluster-a", "cluster-b"):
        spec = made(fleet, look_only=True)[name]["spec"]
        assert spec["preview"] is True
        assert spec["updateTemplate"] == {"spec": {"expectNoChanges": True}}
        assert "prerequisites" not in spec


def test_fields_that_the_operator_ignores_are_not_used(fleet: Fleet) -> None:
    text = yaml.safe_dump_all([*made(fleet).values(), *made(fleet, look_only=True).values()])
    for field in ("expectNoRefreshChanges", "retryOnUpdateConflict", "accessTokenSecret", "envSecrets", "secrets:"):
        assert field not in text


def test_a_deleted_manifest_destroys_only_where_that_is_asked_for(fleet: Fleet) -> None:
    assert "destroyOnFinalize" not in made(fleet)["cluster-b"]["spec"]
    spec = made(fleet, destroy=True)["cluster-b"]["spec"]
    # The delete commands are the project's own scripts: without the project they are not there.
    assert spec["destroyOnFinalize"] is spec["runProgram"] is True


def test_a_pod_gets_the_kubeconfig_of_its_own_cluster_only(fleet: Fleet) -> None:
    found = made(fleet)
    for name, other, variable in (
        ("cluster-a", "cluster-b", "KUBECONFIG_CLUSTER_A"),
        ("cluster-b", "cluster-a", "KUBECONFIG_CLUSTER_B"),
    ):
        (path,) = (ref["literal"]["value"] for ref in found[name]["spec"]["envRefs"].values())
        assert list(found[name]["spec"]["envRefs"]) == [variable]
        pod = workspace(found[name])["podTemplate"]["spec"]
        (mount,) = pod["containers"][0]["volumeMounts"]
        (volume,) = pod["volumes"]
        (source,) = volume["projected"]["sources"]
        assert mount["name"] == volume["name"]
        assert path == f"{mount['mountPath']}/{source['secret']['items'][0]['path']}"
        assert source["secret"]["name"] == f"kubeconfig-{name}"
        assert f"kubeconfig-{other}" not in yaml.safe_dump(found[name])


def test_a_kubeconfig_from_config_is_not_mounted(project: Path) -> None:
    text = "config:\n  mesh:cluster: cluster-b\n  mesh:kubeconfig:\n    secure: v1:abc\n"
    (project / "Pulumi.cluster-b.yaml").write_text(text)
    found = made(load(project))["cluster-b"]
    assert found["spec"]["envRefs"] == {}
    assert "volumes" not in workspace(found)["podTemplate"]["spec"]
    assert "v1:abc" not in yaml.safe_dump(found)


def test_one_stack_for_several_clusters(project: Path) -> None:
    for path in project.glob("Pulumi.cluster-*.yaml"):
        path.unlink()
    (project / "Pulumi.lab.yaml").write_text("config:\n  mesh:clusters: [cluster-a, cluster-b]\n")
    found = made(load(project))["lab"]
    assert set(found["spec"]["envRefs"]) == {"KUBECONFIG_CLUSTER_A", "KUBECONFIG_CLUSTER_B"}
    assert "prerequisites" not in found["spec"]


def test_pulumi_s_environment_is_one_secret(fleet: Fleet) -> None:
    found = made(fleet, secret="site-b")["cluster-b"]
    assert workspace(found)["envFrom"] == [{"secretRef": {"name": "site-b"}}]
    lines = preparation(fleet.stacks, Settings(**SETTINGS))
    assert [line for line in lines if "secret generic mesh-pulumi " in line]
    assert [line for line in lines if "secret generic kubeconfig-cluster-b " in line]
    assert not [line for line in lines if "--from-literal" in line], "what is typed stays in the shell's history"


def test_a_secrets_provider_is_what_the_stack_is_made_with(project: Path) -> None:
    path = project / "Pulumi.cluster-b.yaml"
    path.write_text("secretsprovider: awskms://alias/mesh\n" + path.read_text())
    found = made(load(project))
    assert found["cluster-b"]["spec"]["secretsProvider"] == "awskms://alias/mesh"
    assert "secretsProvider" not in found["cluster-a"]["spec"]


def test_the_time_that_a_join_may_take_is_left_to_a_pod_that_ends(project: Path) -> None:
    plan = yaml.safe_load((project / "Pulumi.yaml").read_text())
    plan["config"]["mesh:plan"]["value"]["submariner"]["stepTimeout"] = 1800
    (project / "Pulumi.yaml").write_text(yaml.safe_dump(plan))
    assert workspace(made(load(project))["cluster-b"])["podTemplate"]["spec"]["terminationGracePeriodSeconds"] > 1800


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Git("https://g/r", COMMIT), {"projectRepo": "https://g/r", "commit": COMMIT}),
        (Git("https://g/r", "main"), {"projectRepo": "https://g/r", "branch": "main"}),
        (Git("https://g/r", "main", "net"), {"projectRepo": "https://g/r", "branch": "main", "repoDir": "net"}),
    ],
)
def test_where_the_project_comes_from(fleet: Fleet, source: Git, expected: dict[str, str]) -> None:
    spec = made(fleet, source=source)["cluster-a"]["spec"]
    fields = ("projectRepo", "commit", "branch", "repoDir", "gitAuth")
    assert {name: spec[name] for name in fields if name in spec} == expected
    assert "local" not in workspace({"spec": spec})


def test_a_private_repository(fleet: Fleet) -> None:
    source = Git("https://g/r", "main", secret="git-read")
    spec = made(fleet, source=source)["cluster-a"]["spec"]
    reference = {"type": "Secret", "secret": {"name": "git-read", "key": "accessToken"}}
    assert spec["gitAuth"] == {"accessToken": reference}
    assert "create secret generic git-read " in preparation(fleet.stacks, Settings(**SETTINGS | {"source": source}))[-1]


def test_the_project_in_the_image(fleet: Fleet) -> None:
    spec = made(fleet, source="/opt/mesh")["cluster-a"]["spec"]
    assert workspace({"spec": spec})["local"] == {"dir": "/opt/mesh"}
    assert not {"projectRepo", "commit", "branch"} & spec.keys()


def test_pulumi_cloud_wants_the_organization_in_the_name(fleet: Fleet) -> None:
    assert made(fleet, organization="acme")["cluster-b"]["spec"]["stack"] == "acme/cluster-b"


@pytest.mark.parametrize("name", ["site_b", "Site-b", "1site", "a" * 43])
def test_a_name_that_no_object_can_have_is_refused(fleet: Fleet, name: str) -> None:
    stack = Stack(name, ("cluster-b",), hosts_broker=False)
    with pytest.raises(FleetError, match=f"Stack {name} can't name an object"):
        manifests(fleet, [stack], Settings(**SETTINGS))


# --- the command


def run(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    import os
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "mesh", "operator", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_what_is_printed_is_yaml_and_the_same_each_time(project: Path) -> None:
    arguments = ("--image", "registry.example/mesh:1", "--git-repo", GIT.repo, "--git-ref", COMMIT)
    code, text, errors = run(*arguments, cwd=project)
    assert code == 0, errors
    assert list(yaml.safe_load_all(text)) == list(made(load(project)).values())
    assert run(*arguments, cwd=project)[1] == text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--image'"),
        (("--image", "x", "--only", "cluster-x"), "there is no such cluster or stack"),
        (("--image", "x", "--look-only", "--destroy-on-delete"), "changes nothing"),
        (("--image", "x", "--resync", "30"), "greater than or equal to 60"),
    ],
)
def test_what_cannot_be_is_one_sentence(project: Path, arguments: tuple[str, ...], said: str) -> None:
    code, text, errors = run(*arguments, cwd=project)
    assert code != 0
    assert text == ""
    assert said in errors
    assert "Traceback" not in errors
