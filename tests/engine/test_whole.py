"""Contract: the whole life of a mesh through the real engine, on real API servers.

One mesh for the whole file: each test goes on from where the one before has left it.
"""

import base64
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.conftest import GATEWAY, Lab
from tests.engine.conftest import Workspace, plan_of

POOLS = "/apis/spiderpool.spidernet.io/v2beta1/spiderippools"
NETWORKS = "/apis/spiderpool.spidernet.io/v2beta1/namespaces/kube-system/spidermultusconfigs"
STACKS = ("cluster-a", "cluster-b")


@pytest.fixture(scope="module")
def came_up(site: Workspace) -> "subprocess.CompletedProcess[str]":
    """What `mesh up` of both stacks has printed; without it, nothing below has anything to test."""
    done = site.mesh("up", "--yes", "--init")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def secrets_in_cluster(site: Workspace, lab: Lab) -> list[str]:
    """The broker's token and the pre-shared key, as they are and in base64, read from the clusters."""
    broker = lab.api("cluster-a")
    tokens = [
        secret["data"]["token"]
        for secret in broker.one("/api/v1/namespaces/submariner-k8s-broker/secrets")["items"]
        if secret["type"] == "kubernetes.io/service-account-token"
    ]
    assert tokens
    encoded = [*tokens, base64.b64encode(broker.psk()).decode(), lab.api("cluster-b").joined()["spec"]["ceIPSecPSK"]]
    broker_info = json.loads(site.pulumi("stack", "output", "--json", "--show-secrets", "--stack", "cluster-a").stdout)[
        "brokerInfo"
    ]
    assert len(broker_info) > 100
    plain = [base64.b64decode(text).decode(errors="ignore") for text in encoded]
    return [text for text in (*encoded, *plain, broker_info) if len(text) > 20]


def unchanged(printed: str) -> bool:
    return all(re.search(rf"^{stack} +[1-9]\d* +0 +0 +0 +0 .*no changes", printed, re.MULTILINE) for stack in STACKS)


def test_ctrl_c_during_a_join_leaves_nothing_behind(site: Workspace) -> None:
    env = site.env | {"MESH_STANDIN_HANG": "join"}
    command = [sys.executable, "-m", "mesh", "up", "--yes", "--init"]
    with subprocess.Popen(
        command,
        cwd=site.folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stderr  # noqa: PT018
        lines: Iterator[str] = iter(process.stderr.readline, "")
        told = next((line for line in lines if "create cluster-a-join ..." in line), None)
        assert told, "it ended before the join began"
        time.sleep(2)  # the step has started subctl by then, which hangs
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        assert time.monotonic() - started < 30
    assert process.returncode == 130
    assert re.search(r"^cluster-a .*stopped: half-way", printed, re.MULTILINE), printed
    assert re.search(r"^cluster-b .*not started", printed, re.MULTILINE), printed
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in running.splitlines() if "lab.standin join" in line and str(site.folder.parent) in line]


def test_up_goes_on_from_there(came_up: "subprocess.CompletedProcess[str]", lab: Lab) -> None:
    order = re.findall(r"(cluster-[ab]: (?:started|done after))", came_up.stderr)
    assert order == [f"{stack}: {what}" for stack in STACKS for what in ("started", "done after")]
    for name in STACKS:
        assert lab.api(name).joined()["spec"]["clusterID"] == name
        labels = lab.api(name).one(f"/api/v1/nodes/{GATEWAY}")["metadata"]["labels"]
        assert labels["submariner.io/gateway"] == "true"


@pytest.mark.usefixtures("came_up")
def test_second_up_changes_nothing(site: Workspace) -> None:
    done = site.mesh("up", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert unchanged(done.stdout), done.stdout


@pytest.mark.usefixtures("came_up")
def test_refresh_finds_nothing(site: Workspace) -> None:
    done = site.mesh("refresh", "--expect-no-changes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert unchanged(done.stdout), done.stdout


@pytest.mark.usefixtures("came_up")
def test_drift_is_reported_until_somebody_deals_with_it(site: Workspace, lab: Lab) -> None:
    pool = f"{POOLS}/cluster-b"
    before = lab.api("cluster-b").one(pool)["spec"]["ips"]
    lab.api("cluster-b").patch(pool, {"spec": {"ips": ["172.111.1.1-172.111.1.9"]}})
    try:
        for _ in range(2):
            done = site.mesh("refresh", "--expect-no-changes", "--only", "cluster-b")
            assert done.returncode == 2
            assert "spec.ips[0]: 172.111.1.1-172.111.1.200 -> 172.111.1.1-172.111.1.9" in done.stdout
    finally:
        lab.api("cluster-b").patch(pool, {"spec": {"ips": before}})


@pytest.mark.usefixtures("came_up")
def test_edited_addresses_change_exactly_what_follows_from_them(site: Workspace) -> None:
    """A Service CIDR: its own cluster's join, and the way of the others' pods to it. A pool: itself."""
    with site.edited(("10.233.0.0/18", "10.233.0.0/19"), ("172.111.1.1-172.111.1.200", "172.111.1.1-172.111.1.150")):
        done = site.mesh("preview")
    assert done.returncode == 0, done.stderr
    changes = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ") and "warning" not in line]
    assert changes == [
        "~ update: join cluster-a-join",
        "stdin",
        "~ update: cluster-a-verify",
        "stdin",
        "~ update: pool cluster-b-pool-cluster-b",
        "spec.ips[0]: 172.111.1.1-172.111.1.200 -> 172.111.1.1-172.111.1.150",
        "~ update: cluster-b-network-macvlan-conf",
        "spec.coordinator.hijackCIDR[0]: 10.233.0.0/18 -> 10.233.0.0/19",
        "~ update: cluster-b-verify",
        "stdin",
    ], done.stdout


@pytest.mark.usefixtures("came_up")
def test_loss_of_a_pool_is_refused_unless_allowed(site: Workspace) -> None:
    with site.edited(("name: cluster-b", "name: other")):
        for arguments, code in (([], 2), (["--allow-replace"], 0)):
            done = site.mesh("preview", "--summary", "markdown", "--only", "cluster-b", *arguments)
            assert done.returncode == code
            assert "> - cluster-b: delete of pool cluster-b-pool-cluster-b" in done.stdout
            assert "- `-` delete **pool** `cluster-b-pool-cluster-b` (SpiderIPPool)" in done.stdout


@pytest.mark.usefixtures("came_up")
def test_outputs_are_what_other_stacks_read(site: Workspace, lab: Lab) -> None:
    plan = plan_of(site)
    for name, other in (STACKS, STACKS[::-1]):
        outputs = site.outputs(name)
        cluster, planned, far = outputs["cluster"], plan["clusters"][name], plan["clusters"][other]
        assert outputs["contractVersion"] == 1
        assert cluster["id"] == name
        assert cluster["podCIDR"] == planned["podCIDR"]
        assert cluster["serviceCIDR"] == planned["serviceCIDR"]
        assert cluster["hijackCIDR"] == [far["serviceCIDR"], far["podCIDR"], "169.254.0.0/16"]
        assert cluster["defaultNetwork"] == "kube-system/macvlan-conf"
        assert cluster["joined"]["clusterID"] == name
        assert cluster["joined"]["version"] == plan["submariner"]["version"]
    assert site.outputs("cluster-a")["brokerInfo"] == "[secret]"
    assert site.outputs("cluster-a")["broker"]["url"] == lab.api("cluster-a").server
    assert site.outputs("cluster-a")["broker"]["pskRotation"] == 0
    assert "brokerInfo" not in site.outputs("cluster-b")


@pytest.mark.usefixtures("came_up")
def test_no_secret_in_clear_in_state_preview_or_logs(site: Workspace, secrets_in_cluster: list[str]) -> None:
    with site.edited(("10.243.0.0/18", "10.243.0.0/19")):  # so that every step's spec is in a diff
        preview = site.mesh("preview", "--summary", "markdown")
    assert "cluster-b-join" in preview.stdout
    places = {
        "state of cluster-a": site.state("cluster-a"),
        "state of cluster-b": site.state("cluster-b"),
        "preview": preview.stdout + preview.stderr,
        "logs": site.logs(),
        "outputs": json.dumps([site.outputs(name) for name in STACKS]),
    }
    assert "cluster-a-join" in places["logs"]
    for place, text in places.items():
        for secret in secrets_in_cluster:
            assert secret not in text, f"in clear in {place}: {secret[:4]}…"
        assert "PRIVATE KEY" not in text, place
        assert "kubeconfig-cluster" not in text, place  # nor the path of a machine


@pytest.mark.usefixtures("came_up")
def test_destroy_leaves_nothing(site: Workspace, lab: Lab) -> None:
    done = site.mesh("destroy", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    order = [name for line in done.stderr.splitlines() for name in re.findall(r"(cluster-[ab]): started", line)]
    assert order == ["cluster-b", "cluster-a"]
    for name in STACKS:
        assert site.resources(name) == []
        api = lab.api(name)
        assert api.names(POOLS) == set()
        assert api.names(NETWORKS) == set()
        assert not [space for space in api.names("/api/v1/namespaces") if space.startswith("submariner-")]
        assert not [
            role for role in api.names("/apis/rbac.authorization.k8s.io/v1/clusterroles") if "submariner" in role
        ]
        assert "submariner.io/gateway" not in api.one(f"/api/v1/nodes/{GATEWAY}")["metadata"]["labels"]
        assert "test-app" not in api.names("/apis/apps/v1/namespaces/default/deployments")
        assert "test-app-svc" not in api.names("/api/v1/namespaces/default/services")
