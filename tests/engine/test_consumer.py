"""Contract: examples/consumer, a program of another team, uses the mesh's outputs through the real engine.

It has a passphrase of its own, as its stacks should: it needs no secret of the mesh, and gets none.
"""

import json
import secrets
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Lab
from tests.engine.conftest import Workspace
from tests.unit.contract import differences

STACKS = ("cluster-a", "cluster-b")
BROKER_STACK = "organization/multi-cluster-mesh/cluster-a"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/greeter"
EXPORT = "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/default/serviceexports/greeter"
ANNOTATION = "v1.multus-cni.io/default-network"
UP = ("up", "--yes", "--skip-preview", "--color", "never", "--stack")

# What a program would do that needs a secret of the mesh.
READS_SECRET = f"""\
import signal
import mesh_outputs
import pulumi

signal.signal(signal.SIGINT, signal.SIG_DFL)
pulumi.export("length", mesh_outputs.output("{BROKER_STACK}", "brokerInfo").apply(len))
"""


@pytest.fixture(scope="module")
def mesh(site: Workspace) -> Workspace:
    """Both stacks of the mesh, up."""
    done = site.mesh("up", "--yes", "--init")
    assert done.returncode == 0, done.stdout + done.stderr
    return site


def project(mesh: Workspace, folder: Path, program: str | None = None) -> Workspace:
    """A copy of the example's project, with a passphrase of its own, and with another program where one is given."""
    shutil.copytree(ROOT / "examples" / "consumer", folder, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    (folder / ".venv").symlink_to(sys.prefix)
    if program:
        (folder / "Pulumi.yaml").write_text((folder / "Pulumi.yaml").read_text().replace("mesh-consumer", folder.name))
        (folder / "__main__.py").write_text(program)
    passphrase = folder.with_suffix(".passphrase")
    passphrase.write_text(secrets.token_urlsafe(12))
    return Workspace(folder, mesh.env | {"PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase)}, mesh.plugins_used)


@pytest.fixture(scope="module")
def consumer(mesh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The example, up on both sites."""
    found = project(mesh, tmp_path_factory.mktemp("other-team") / "consumer")
    for stack in ("site-a", "site-b"):
        done = found.pulumi("stack", "init", stack)
        assert done.returncode == 0, done.stderr
        done = found.pulumi(*UP, stack)
        assert done.returncode == 0, done.stdout + done.stderr
    return found


def test_the_stacks_export_what_is_written_down(mesh: Workspace) -> None:
    for stack in STACKS:
        shown = mesh.pulumi("stack", "output", "--json", "--show-secrets", "--stack", stack).stdout
        assert differences(json.loads(shown)) == [], stack


def test_the_readme_is_among_them(mesh: Workspace) -> None:
    readme = mesh.outputs("cluster-b")["readme"]
    assert readme.startswith("# cluster-b\n")
    assert "```mermaid" in readme
    assert "${outputs.cluster.joined.version}" in readme


@pytest.mark.parametrize(("stack", "cluster", "peer"), [("site-a", *STACKS), ("site-b", *STACKS[::-1])])
def test_the_greeter_is_on_the_mesh(consumer: Workspace, lab: Lab, stack: str, cluster: str, peer: str) -> None:
    assert consumer.outputs(stack) == {
        "network": "kube-system/macvlan-conf",
        "peer": f"{peer}.greeter.default.svc.clusterset.local",
    }
    template = lab.api(cluster).one(DEPLOYMENT)["spec"]["template"]
    assert template["metadata"]["annotations"][ANNOTATION] == "kube-system/macvlan-conf"
    assert lab.api(cluster).get(EXPORT)


def test_a_second_run_changes_nothing(consumer: Workspace) -> None:
    done = consumer.pulumi("preview", "--expect-no-changes", "--stack", "site-a")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_public_is_not_secret(consumer: Workspace) -> None:
    state = consumer.state("site-a")
    (deployment,) = (
        item for item in json.loads(state)["deployment"]["resources"] if item["type"].endswith("Deployment")
    )
    assert deployment["inputs"]["spec"]["template"]["metadata"]["annotations"] == {
        ANNOTATION: "kube-system/macvlan-conf"
    }


def test_no_secret_of_the_mesh_is_in_its_state_not_even_encrypted(mesh: Workspace, consumer: Workspace) -> None:
    decrypted = consumer.pulumi("stack", "export", "--show-secrets", "--stack", "site-a").stdout
    assert f'"name": "{BROKER_STACK}"' in decrypted
    shown = mesh.pulumi("stack", "output", "brokerInfo", "--show-secrets", "--stack", "cluster-a").stdout.strip()
    assert len(shown) > 100
    assert shown not in decrypted


def test_a_secret_that_cannot_be_decrypted_here(mesh: Workspace, tmp_path: Path) -> None:
    reader = project(mesh, tmp_path / "reader", READS_SECRET)
    assert reader.pulumi("stack", "init", "one").returncode == 0
    done = reader.pulumi(*UP, "one")
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"stack {BROKER_STACK} has no brokerInfo for us" in printed
    assert "can't be decrypted here: this machine needs the passphrase or key of that stack" in printed
    assert "Traceback" not in printed
    # With the passphrase it is there, and stays a secret.
    theirs = {"PULUMI_CONFIG_PASSPHRASE_FILE": mesh.env["PULUMI_CONFIG_PASSPHRASE_FILE"]}
    assert reader.pulumi("stack", "init", "two", **theirs).returncode == 0
    done = reader.pulumi(*UP, "two", **theirs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "length: [secret]" in done.stdout


def test_a_stack_of_an_older_contract(mesh: Workspace, tmp_path: Path) -> None:
    old = project(mesh, tmp_path / "old", "import pulumi\npulumi.export('contractVersion', 0)\n")
    assert old.pulumi("stack", "init", "one").returncode == 0
    done = old.pulumi(*UP, "one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert refusal(mesh, tmp_path / "new", "organization/old/one").endswith(
        "stack organization/old/one follows contract 0, and we need 1: bring it up with a newer mesh"
    )


def test_a_stack_that_is_not_there(mesh: Workspace, tmp_path: Path) -> None:
    said = refusal(mesh, tmp_path / "new", "organization/multi-cluster-mesh/nowhere")
    assert said.endswith('unknown stack "organization/multi-cluster-mesh/nowhere"')


def test_a_stack_that_has_not_been_brought_up(mesh: Workspace, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    empty = project(mesh, tmp_path / "old" / "empty", "")
    assert empty.pulumi("stack", "init", "one").returncode == 0
    said = refusal(mesh, tmp_path / "new", "organization/mesh-consumer/one")
    assert "has no contractVersion: it has not been brought up" in said


def refusal(mesh: Workspace, folder: Path, stack: str) -> str:
    """The reason that a preview of the example gives for not using a stack."""
    found = project(mesh, folder)
    assert found.pulumi("stack", "init", "refused").returncode == 0
    (folder / "Pulumi.refused.yaml").open("a").write(
        f"config: {{mesh-consumer:cluster: cluster-a, mesh-consumer:peer: cluster-b,"
        f" mesh-consumer:meshStack: {stack}, mesh-consumer:peerStack: {stack}}}\n"
    )
    done = found.pulumi("preview", "--color", "never", "--stack", "refused")
    printed = done.stdout + done.stderr
    assert done.returncode != 0, printed
    assert "Traceback" not in printed
    assert found.pulumi("stack", "rm", "--yes", "refused").returncode == 0
    reasons = [line.strip() for line in printed.splitlines() if line.strip().startswith("error:")]
    assert reasons, printed
    return reasons[0]


def test_it_goes_without_touching_the_mesh(consumer: Workspace, lab: Lab) -> None:
    for stack, cluster in (("site-a", "cluster-a"), ("site-b", "cluster-b")):
        done = consumer.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack)
        assert done.returncode == 0, done.stdout + done.stderr
        assert lab.api(cluster).get(DEPLOYMENT) is None
        assert lab.api(cluster).get(EXPORT) is None
        assert lab.api(cluster).joined()["spec"]["clusterID"] == cluster
