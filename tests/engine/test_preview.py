"""Contract: a preview needs nothing but the pulumi CLI, and a bad plan is refused before anything has started."""

import re
from pathlib import Path

import pytest

from lab import standin
from tests.conftest import Lab
from tests.engine.conftest import Workspace

BAD = ("gateway: 172.111.0.1", "gateway: 172.120.0.1"), ("serviceCIDR: 10.243.0.0/18", "serviceCIDR: 10.233.0.0/20")


def test_preview_on_a_machine_with_no_cluster_and_no_subctl(workspace: Workspace) -> None:
    done = workspace.mesh("preview", "--init")
    assert done.returncode == 0, done.stderr
    for stack in ("cluster-a", "cluster-b"):
        assert re.search(rf"^{stack} +0 +0 +1\d +0 +0 .*would change", done.stdout, re.MULTILINE), done.stdout
        assert workspace.resources(stack) == []
    assert "join cluster-b-join" in done.stdout
    assert "broker cluster-a-deploy-broker" in done.stdout
    # The member can be previewed before its broker exists, and says so.
    assert "organization/multi-cluster-mesh/cluster-a has not been brought up" in done.stdout


def test_preview_with_a_cluster_that_does_not_answer(workspace: Workspace, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: none}}]\n"
    )
    variables = {"KUBECONFIG_CLUSTER_A": str(kubeconfig), "KUBECONFIG_CLUSTER_B": str(kubeconfig)}
    done = workspace.mesh("preview", "--summary", "markdown", **variables)
    assert done.returncode == 0, done.stderr
    assert "### Mesh: changes in 2 of 2 stacks" in done.stdout


@pytest.mark.parametrize("command", [["mesh", "preview"], ["mesh", "up", "--yes"], ["pulumi", "preview"]])
def test_bad_plan_is_refused_before_any_plugin_starts(workspace: Workspace, command: list[str]) -> None:
    workspace.plugins_used.unlink(missing_ok=True)
    program, *arguments = command
    with workspace.edited(*BAD):
        if program == "mesh":
            done = workspace.mesh(*arguments)
            assert done.returncode == 1
        else:
            done = workspace.pulumi(*arguments, "--stack", "cluster-b")
            assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "clusters.cluster-b.pools[0].gateway" in said  # all mistakes at once
    assert "clusters.cluster-b.serviceCIDR" in said
    assert "Traceback" not in said
    if workspace.watches_plugins:
        assert not workspace.plugins_used.exists(), workspace.plugins_used.read_text()


def test_misspelt_key_of_a_stack_is_refused(workspace: Workspace) -> None:
    """Also by plain pulumi, which alone ignores what a program does not ask for."""
    stack_file = workspace.folder / "Pulumi.cluster-a.yaml"
    text = stack_file.read_text()
    assert "  mesh:cluster: cluster-a\n" in text
    workspace.pulumi("stack", "init", "cluster-a", "--no-select")  # unless another test has
    try:
        stack_file.write_text(text.replace("  mesh:cluster:", "  mesh:contxt: admin@a\n  mesh:cluster:"))
        for done in (workspace.mesh("preview"), workspace.pulumi("preview", "--stack", "cluster-a")):
            assert done.returncode != 0
            assert "mesh:contxt is no setting: did you mean mesh:context?" in done.stdout + done.stderr
            assert "Traceback" not in done.stdout + done.stderr
    finally:
        stack_file.write_text(text)


def test_stack_that_the_backend_does_not_have_is_told_with_what_to_do(workspace: Workspace) -> None:
    extra = workspace.folder / "Pulumi.lab.yaml"
    stack_a = workspace.folder / "Pulumi.cluster-a.yaml"
    text = stack_a.read_text()
    try:
        extra.write_text("config:\n  mesh:cluster: cluster-a\n")
        stack_a.unlink()
        done = workspace.mesh("preview")
    finally:
        extra.unlink()
        stack_a.write_text(text)
    assert done.returncode == 1
    assert "pulumi stack init lab" in done.stderr
    assert "--init" in done.stderr


def test_wrong_passphrase_is_a_sentence(workspace: Workspace) -> None:
    done = workspace.mesh(
        "preview", "--only", "cluster-b", PULUMI_CONFIG_PASSPHRASE_FILE="", PULUMI_CONFIG_PASSPHRASE="no"
    )
    assert done.returncode == 1
    assert "incorrect passphrase" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_member_without_its_broker_says_what_to_do(workspace: Workspace, lab: Lab, tmp_path: Path) -> None:
    standin.install(tmp_path)
    variables = {
        "KUBECONFIG_CLUSTER_B": str(lab.kubeconfigs["cluster-b"]),
        "PATH": f"{tmp_path}:{workspace.env['PATH']}",
    }
    done = workspace.mesh("up", "--yes", "--only", "cluster-b", **variables)
    assert done.returncode == 1
    assert "no brokerInfo from the broker's stack organization/multi-cluster-mesh/cluster-a" in done.stdout
    assert "pulumi up --stack cluster-a" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr + workspace.logs()
    assert workspace.mesh("destroy", "--yes", "--only", "cluster-b", **variables).returncode == 0
