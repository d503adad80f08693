"""Which kubeconfig a step takes, and what it makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.access import ClusterAccess
from mesh.steps import kubeconfig
from mesh.steps.errors import StepError


def _write(path: Path, *names: str, **user: Any) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": names[0],
        "contexts": [{"name": name, "context": {"cluster": f"c-{name}", "user": f"u-{name}"}} for name in names],
        "clusters": [
            {"name": f"c-{name}", "cluster": {"server": f"https://{name}:6443/", "certificate-authority": "ca.crt"}}
            for name in names
        ],
        "users": [{"name": f"u-{name}", "user": user or {"token": f"token-of-{name}"}} for name in names],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    monkeypatch.delenv("KUBECONFIG_CLUSTER_B", raising=False)


def _resolve(context: str | None = None, given: str | None = None) -> kubeconfig.Kubeconfig:
    return kubeconfig.resolve(ClusterAccess.of("cluster-b", context, given), "cluster-b")


def test_the_clusters_own_variable_wins_with_its_current_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(_write(tmp_path / "own", "two", "three")))
    monkeypatch.setenv("KUBECONFIG", str(_write(tmp_path / "usual", "one")))
    assert _resolve().server == "https://two:6443"


def test_a_context_chooses_in_the_clusters_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(_write(tmp_path / "own", "two", "three")))
    assert _resolve("three").server == "https://three:6443"
    with pytest.raises(StepError, match="no context 'four': set mesh:context to one of three, two"):
        _resolve("four")


def test_the_usual_one_needs_a_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "home" / ".kube" / "config", "one", "two")
    with pytest.raises(StepError, match="set KUBECONFIG_CLUSTER_B to the path"):
        _resolve()
    assert _resolve("two").server == "https://two:6443"
    monkeypatch.setenv("KUBECONFIG", str(_write(tmp_path / "other", "two", "three")))
    assert _resolve("three").server == "https://three:6443"


def test_a_list_of_files_is_one_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _write(tmp_path / "first", "one"), _write(tmp_path / "second", "one", "two")
    second.write_text(second.read_text().replace("https://one", "https://uno"))
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{second}")
    assert _resolve("one").server == "https://one:6443"
    assert _resolve("two").server == "https://two:6443"


def test_config_may_hold_a_path_or_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(_write(tmp_path / "own", "two")))
    path = _write(tmp_path / "given", "three", "four")
    assert _resolve(given=str(path)).server == "https://three:6443"
    assert _resolve("four", path.read_text()).server == "https://four:6443"
    assert _resolve(given=json.dumps(yaml.safe_load(path.read_text()))).server == "https://three:6443"


def test_what_subctl_gets_has_one_context_and_the_cluster_is_named_by_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # subctl's uninstall takes the cluster's name in the kubeconfig for its ID.
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(_write(tmp_path / "own", "two", "three")))
    document = json.loads(_resolve("three").text())
    assert document["current-context"] == "mesh"
    assert document["contexts"] == [{"name": "mesh", "context": {"cluster": "cluster-b", "user": "mesh"}}]
    assert [cluster["name"] for cluster in document["clusters"]] == ["cluster-b"]
    assert document["users"] == [{"name": "mesh", "user": {"token": "token-of-three"}}]


def test_paths_in_it_are_those_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = {"command": "./bin/login", "apiVersion": "client.authentication.k8s.io/v1"}
    path = _write(tmp_path / "own", "two", **{"client-key": "keys/b.key", "client-certificate": "/abs", "exec": plugin})
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(path))
    found = _resolve()
    user = found.document["users"][0]["user"]
    assert user["client-key"] == str(tmp_path / "keys/b.key")
    assert user["client-certificate"] == "/abs"
    assert found.plugin == str(tmp_path / "bin/login")
    assert found.document["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "ca.crt")


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ("users: [{name: u, user: {token: s3cret-value\n", r"not YAML \(line 2\)"),
        ("just a text", "no contexts"),
        ("contexts: []\ncurrent-context: x\n", "no context 'x'"),
        ("contexts: [{name: x, context: {cluster: y}}]\n", "no current context"),
        ("contexts: [{name: x, context: {cluster: y}}]\ncurrent-context: x\n", "no cluster with a server"),
    ],
)
def test_damage_is_told_without_showing_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: str, said: str
) -> None:
    (tmp_path / "own").write_text(contents)
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(tmp_path / "own"))
    with pytest.raises(StepError, match=said) as raised:
        _resolve()
    assert "s3cret" not in str(raised.value)
    assert "KUBECONFIG_CLUSTER_B" in str(raised.value)


def test_a_missing_file_is_told_with_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", str(tmp_path / "nope"))
    with pytest.raises(StepError, match=r"nope \(KUBECONFIG_CLUSTER_B\) cannot be read: No such file"):
        _resolve()
