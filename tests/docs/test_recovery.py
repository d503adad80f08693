"""Contract: what the documents say about recovery and operations works, on real API servers through the real CLI.

Each test brings about what a page speaks of, runs the page's own block (`<!-- lab: name -->`), and looks at what has
become of the clusters.
One mesh for the whole file: each test leaves it whole.
"""

import base64
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import Lab
from tests.docs.conftest import run_block
from tests.docs.markdown import LAB, PAGES, Block, blocks
from tests.engine.conftest import Workspace
from tests.steps.api import Api

POOL = "/apis/spiderpool.spidernet.io/v2beta1/spiderippools"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/test-app"
BROKER = "/api/v1/namespaces/submariner-k8s-broker"
STACKS = ("cluster-a", "cluster-b")
BLOCKS = {
    "adopt objects",
    "a cluster leaves",
    "broker lost",
    "dead site",
    "destroy",
    "drift",
    "drift by others",
    "killed",
    "killed, with pulumi alone",
    "new key",
    "site comes back",
    "state lost",
}
TIMEOUT = pytest.mark.timeout(600)


def documented(name: str) -> Block:
    """The block of that name."""
    found = [block for page in PAGES for block in blocks(page) if block.marker == f"{LAB} {name}"]
    assert len(found) == 1, f"{len(found)} blocks are called {name!r}"
    return found[0]


class Documents:
    """Runs blocks of the documents in the workspace."""

    def __init__(self, site: Workspace, python_path: str) -> None:
        self.site = site
        self._python_path = python_path

    def run(self, name: str, **env: str) -> str:
        """Run a block; gives what it printed."""
        done = run_block(documented(name), self.site.folder, self.site.env, self._python_path, **env)
        assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def documents(site: Workspace, python_path: str) -> Documents:
    """A mesh that is up, and what the documents do with it."""
    done = site.mesh("up", "--yes", "--init")
    assert done.returncode == 0, done.stdout + done.stderr
    return Documents(site, python_path)


def nothing_to_do(site: Workspace) -> bool:
    done = site.mesh("up", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [re.search(rf"^{stack} +[1-9]\d* +0 +0 +0 +0 .*no changes", done.stdout, re.MULTILINE) for stack in STACKS]
    return all(rows)


def uids(lab: Lab) -> list[str]:
    """Whoever joins anew gets another one."""
    return [lab.api(name).joined()["metadata"]["uid"] for name in STACKS]


def members(lab: Lab) -> set[str]:
    accounts = lab.api("cluster-a").names(f"{BROKER}/serviceaccounts")
    return {name for name in accounts if name.startswith("cluster-")}


def shrink_pool(lab: Lab, manager: str) -> None:
    changes = {"spec": {"ips": ["172.111.1.1-172.111.1.9"]}}
    lab.api("cluster-b").patch(f"{POOL}/cluster-b?fieldManager={manager}", changes)


def pool_is_as_planned(lab: Lab) -> bool:
    ips: list[str] = lab.api("cluster-b").one(f"{POOL}/cluster-b")["spec"]["ips"]
    return ips == ["172.111.1.1-172.111.1.200"]


@TIMEOUT
def test_drift_is_undone(documents: Documents, lab: Lab) -> None:
    shrink_pool(lab, "kubectl-patch")
    assert documents.site.mesh("refresh", "--expect-no-changes").returncode == 2
    documents.run("drift")
    assert pool_is_as_planned(lab)
    assert documents.site.mesh("refresh", "--expect-no-changes").returncode == 0


@TIMEOUT
def test_drift_by_others_is_undone(documents: Documents, lab: Lab) -> None:
    shrink_pool(lab, "somebody-else")
    assert documents.site.mesh("refresh", "--yes").returncode == 0
    refused = documents.site.mesh("up", "--yes")
    assert "field conflict detected" in refused.stdout
    documents.run("drift by others")
    assert pool_is_as_planned(lab)


@TIMEOUT
def test_new_key_reaches_all(documents: Documents, lab: Lab) -> None:
    before = lab.api("cluster-a").psk()
    documents.site.change_plan(lambda plan: plan["submariner"].update(pskRotation=1))
    documents.run("new key")
    after = lab.api("cluster-a").psk()
    assert after != before
    assert {base64.b64decode(lab.api(name).joined()["spec"]["ceIPSecPSK"]) for name in STACKS} == {after}


@TIMEOUT
def test_lost_broker_is_made_anew_and_all_join_it(documents: Documents, lab: Lab) -> None:
    broker, before = lab.api("cluster-a"), uids(lab)
    key = broker.psk()
    broker.delete(BROKER)
    broker.wait(lambda: not broker.has_namespace("submariner-k8s-broker"))
    assert nothing_to_do(documents.site), "the page says that `up` does not see it"
    documents.site.change_plan(lambda plan: plan["submariner"].update(stepTimeout=901))
    documents.run("broker lost")
    assert members(lab) == {"cluster-cluster-a", "cluster-cluster-b"}
    assert not set(uids(lab)) & set(before)
    assert broker.psk() == key, "with another one, whoever has not joined again yet would be cut off"


@TIMEOUT
def test_lost_state_is_made_anew_without_joining_again(documents: Documents, lab: Lab) -> None:
    before = uids(lab)
    for stack in STACKS:
        removed = documents.site.pulumi("stack", "rm", "--force", "--preserve-config", "--yes", stack)
        assert removed.returncode == 0, removed.stderr
    documents.run("state lost")
    assert uids(lab) == before
    assert nothing_to_do(documents.site)


@TIMEOUT
def test_objects_that_are_there_are_adopted(documents: Documents, lab: Lab) -> None:
    refused = _forget_everything(documents.site).mesh("up", "--yes")
    assert refused.returncode == 1
    assert "already exists" in refused.stdout
    before = uids(lab)
    documents.run("adopt objects")
    assert uids(lab) == before


def _forget_everything(site: Workspace) -> Workspace:
    for stack in STACKS:
        done = site.pulumi("state", "delete", "--all", "--yes", "--stack", stack)
        assert done.returncode == 0, done.stderr
    return site


@TIMEOUT
def test_a_cluster_leaves(documents: Documents, lab: Lab) -> None:
    documents.run("a cluster leaves")
    assert not lab.api("cluster-b").has_namespace("submariner-operator")
    assert members(lab) == {"cluster-cluster-a"}


@TIMEOUT
@pytest.mark.parametrize("block", ["killed, with pulumi alone", "killed"])
def test_killed_up_is_made_up_for(documents: Documents, lab: Lab, block: str) -> None:
    """Killed while it joins, when the sample app is made too: the cluster has left before."""
    site = documents.site
    if lab.api("cluster-b").submariner():
        documents.run("a cluster leaves")
    _kill_while_joining(site, lab.api("cluster-b"))
    pending = json.loads(site.state("cluster-b"))["deployment"]["pending_operations"]
    assert pending
    locked = site.pulumi("up", "--yes", "--skip-preview", "--stack", "cluster-b")
    assert "the stack is currently locked by 1 lock(s)" in locked.stdout + locked.stderr
    documents.run(block)
    assert lab.api("cluster-b").joined()["spec"]["clusterID"] == "cluster-b"
    assert "pending_operations" not in site.state("cluster-b")
    assert nothing_to_do(site)


def _kill_while_joining(site: Workspace, api: Api) -> None:
    command = ["pulumi", "--non-interactive", "up", "--yes", "--skip-preview", "--stack", "cluster-b"]
    with subprocess.Popen(
        command,
        cwd=site.folder,
        env=site.env | {"MESH_STANDIN_SLOW": "3"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        joining = any("cluster-b-join creating" in line for line in process.stdout)
        # What exists has been written down as pending before; its pods take a moment until they are ready.
        api.wait(lambda: api.get(DEPLOYMENT) is not None)
        os.kill(process.pid, signal.SIGKILL)
        assert joining, "it ended before the join began"


@TIMEOUT
def test_dead_site_is_given_up_and_comes_back(documents: Documents, lab: Lab, tmp_path: Path) -> None:
    site = documents.site
    kubeconfig = yaml.safe_load(Path(site.env["KUBECONFIG_CLUSTER_B"]).read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    dead = tmp_path / "dead"
    dead.write_text(yaml.safe_dump(kubeconfig))
    refused = site.mesh("destroy", "--only", "cluster-b", "--yes", KUBECONFIG_CLUSTER_B=str(dead))
    assert refused.returncode == 1
    told = documents.run("dead site", KUBECONFIG_CLUSTER_B=str(dead))
    assert "warning: cluster-b was not cleaned: the API server of cluster-b at https://127.0.0.1:1" in told
    assert site.resources("cluster-b") == []
    assert members(lab) == {"cluster-cluster-a"}
    assert lab.api("cluster-b").joined(), "nobody could reach it"

    before = uids(lab)
    documents.run("site comes back")
    assert members(lab) == {"cluster-cluster-a", "cluster-cluster-b"}
    assert uids(lab)[0] == before[0]
    assert uids(lab)[1] != before[1]


@TIMEOUT
def test_all_is_taken_down(documents: Documents, lab: Lab) -> None:
    documents.run("destroy")
    for name in STACKS:
        assert documents.site.resources(name) == []
        for namespace in ("submariner-operator", "submariner-k8s-broker"):
            assert not lab.api(name).has_namespace(namespace)
