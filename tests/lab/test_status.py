"""`mesh status`, the program itself on real API servers, and its page in a real browser.

What gateways report and what Spiderpool's controllers write is SIMULATED, and pods run nothing.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import standin as stand_in
from lab.project import adapt
from lab.standin import operator
from mesh.access import ClusterAccess, kubeconfig_variable
from mesh.plan import load_plan
from mesh.steps import kube
from tests.conftest import GATEWAY, NODES, ROOT, Lab, crd_dirs
from tests.lab.browser import Browser
from tests.steps import site
from tests.steps.mesh import PLAN, Mesh

A, B = "cluster-a", "cluster-b"


def planned(**changes: Any) -> dict[str, Any]:
    """The shipped plan, its gateways with addresses, so that the health check is on."""
    raw: dict[str, Any] = PLAN.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["clusters"][A]["gateways"] = [{"node": GATEWAY, "address": "172.110.0.11"}]
    raw["clusters"][B]["gateways"] = [{"node": GATEWAY, "address": "172.111.0.11"}]
    return raw | changes


@pytest.fixture(scope="module")
def both(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Both clusters joined, by the stand-in, and in each what Spiderpool's controllers would have written."""
    programs = tmp_path_factory.mktemp("bin")
    stand_in.install(programs)
    plan = load_plan(planned())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        for name, path in lab.kubeconfigs.items():
            lab.api(name).wipe(crd_dirs(), gateways=[GATEWAY], others=NODES)
            patch.setenv(kubeconfig_variable(name), str(path))
        mesh = Mesh(plan=plan)
        assert not mesh.deploy_broker().code
        for name in lab.kubeconfigs:
            assert not mesh.join(name).code
            site.fill(lab.api(name), plan, name)
    return lab


@pytest.fixture
def members(both: Lab) -> Lab:
    """The same, with gateways that have reported just now, and that for longer than any test takes."""
    operator.simulate(both.kubeconfigs)
    for path in both.kubeconfigs.values():
        operator.make_stale(path, seconds=-900)
    return both


class Status:
    """Runs `python -m mesh status` as a person would."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder = folder
        self.kubeconfigs = dict(lab.kubeconfigs)
        self.plan = planned()
        self.code = -1
        self.seconds = 0.0

    def command(self, *options: str) -> list[str]:
        file = self.folder / "plan.yaml"
        file.write_text(yaml.safe_dump(self.plan))
        return [sys.executable, "-m", "mesh", "status", "--plan", str(file), *options]

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("KUBECONFIG")}
        own = {kubeconfig_variable(name): str(path) for name, path in self.kubeconfigs.items()}
        return {**kept, **own, "TMPDIR": str(self.folder), "PYTHONPATH": str(ROOT)}

    def text(self, *options: str) -> str:
        """What it prints, stderr too."""
        started = time.monotonic()
        done = subprocess.run(
            self.command(*options), env=self.environment(), cwd=self.folder, capture_output=True, text=True, check=False
        )
        self.code, self.seconds = done.returncode, time.monotonic() - started
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def document(self, *options: str) -> dict[str, Any]:
        """What it prints with --json; nothing else may stand there."""
        found: dict[str, Any] = json.loads(self.text("--json", *options))
        assert found["exitCode"] == self.code
        return found

    def without(self, cluster_id: str, server: str) -> None:
        """Have a cluster's kubeconfig lead to another server."""
        document = yaml.safe_load(self.kubeconfigs[cluster_id].read_text())
        document["clusters"][0]["cluster"]["server"] = server
        path = self.folder / f"{cluster_id}.yaml"
        path.write_text(yaml.safe_dump(document))
        self.kubeconfigs[cluster_id] = path


@pytest.fixture
def status(members: Lab, tmp_path: Path) -> Status:
    return Status(tmp_path, members)


def test_a_healthy_mesh_ends_with_0(status: Status) -> None:
    text = status.text()
    assert status.code == 0, text
    assert text.startswith("The mesh is healthy")
    assert text.count("connected 1.0 ms") == 2
    for words in (
        "active controller-node-1 192.0.2.11",
        "cluster-a 7 of 200",
        "v1.36",
        "0.24.1",
        "Data path: not checked",
    ):
        assert words in text, words
    assert "What is wrong" not in text
    assert not list(status.folder.glob("multi-cluster-mesh-*/work-*"))


def test_the_document_says_the_same(status: Status) -> None:
    found = status.document()
    assert (found["health"], status.code) == ("healthy", 0)
    assert {(link["cluster"], link["peer"], link["state"], link["proof"]) for link in found["links"]} == {
        (A, B, "connected", "ping"), (B, A, "connected", "ping"),
    }  # fmt: skip
    assert found["clusters"][A]["pools"] == [{"name": A, "total": 200, "allocated": 7}]


def test_a_broken_tunnel_ends_with_1_and_says_what_to_do(status: Status) -> None:
    operator.break_connection(status.kubeconfigs[A], B, message="Failed to successfully ping the remote endpoint IP")
    text = status.text()
    assert status.code == 1
    assert "cluster-a to cluster-b: error (Failed to successfully ping the remote endpoint IP): open UDP 4500" in text


def test_pods_that_keep_their_old_routes_are_named(status: Status, members: Lab) -> None:
    """SIMULATED: Spiderpool's account of the pool. Pods, the network and when it has changed are real."""
    api = members.api(A)
    networks, pods = f"{site.SPIDERPOOL}/namespaces/kube-system/spidermultusconfigs", "/api/v1/namespaces/default/pods"
    body = {"apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderMultusConfig"}
    spec = {"cniType": "macvlan", "macvlan": {"master": ["ens224"]}, "coordinator": {"hijackCIDR": ["10.243.0.0/18"]}}
    container = {"name": "x", "image": "x"}
    pool = f"{site.SPIDERPOOL}/spiderippools/{A}/status"
    try:
        api.create(networks, body | {"metadata": {"name": "macvlan-conf"}, "spec": spec})
        account = {}
        for number, name in enumerate(("before", "after", "elsewhere")):
            if name == "after":
                time.sleep(1.1)  # timestamps have seconds
                api.patch(f"{networks}/macvlan-conf", {"spec": {"coordinator": {"hijackCIDR": ["172.111.0.0/16"]}}})
            made = api.create(pods, {"metadata": {"name": name}, "spec": {"containers": [container]}})
            if name != "elsewhere":
                uid = made["metadata"]["uid"]
                account[f"172.110.1.{number}"] = {"pod": f"default/{name}", "podUid": uid}
        api.patch(pool, {"status": {"allocatedIPs": json.dumps(account)}})
        time.sleep(1.1)
        note = {"metadata": {"annotations": {"note": "no change of the network"}}}
        api.patch(f"{networks}/macvlan-conf?fieldManager=somebody", note)
        text = status.text()
        assert status.code == 0, text
        told = " ".join(text.split())
        assert "cluster-a: 1 of 2 running pods are older than the last change of kube-system/macvlan-conf (20" in told
        assert "and keep the routes of before: default/before; restart those" in told
    finally:
        api.patch(pool, {"status": {"allocatedIPs": None}})
        api.delete(f"{networks}/macvlan-conf")
        for name in ("before", "after", "elsewhere"):
            api.delete(f"{pods}/{name}")


def test_a_list_may_be_of_metadata_alone(members: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG_CLUSTER_A", str(members.kubeconfigs[A]))
    cluster, _ = kube.connect(ClusterAccess.of(A), A, tmp_path)
    found = cluster.list("Node", metadata_only=True)
    assert {node["metadata"]["name"] for node in found} == set(NODES)
    assert not any("spec" in node or "status" in node for node in found)


def test_gateways_that_have_stopped_reporting(status: Status) -> None:
    operator.make_stale(status.kubeconfigs[B])
    found = status.document()
    assert (found["health"], status.code) == ("degraded", 1)
    assert "has not reported for 60" in found["clusters"][B]["problem"]
    assert [link["state"] for link in found["links"]] == ["connected", "stale"]


# 203.0.113.1 is nobody's address (RFC 5737): packets to it get lost, as to a site that has burnt down.
@pytest.mark.parametrize("server", ["https://127.0.0.1:9", "https://203.0.113.1:6443"])
def test_a_dead_site_is_one_row_and_holds_nobody_up(status: Status, server: str) -> None:
    status.without(B, server)
    found = status.document()
    assert (found["health"], status.code) == ("degraded", 1)
    assert status.seconds < 25  # ten for the dead site, the rest for a slow machine
    assert found["clusters"][B]["error"]
    assert [link["state"] for link in found["links"]] == ["connected", "unknown"]


def test_no_site_at_all_ends_with_2(status: Status) -> None:
    for name in (A, B):
        status.without(name, "https://127.0.0.1:9")
    text = status.text()
    assert status.code == 2
    assert text.count("could not be read: the API server of") == 2


def test_without_credentials_it_says_which_variable_to_set(status: Status) -> None:
    status.kubeconfigs.clear()
    text = status.text()
    assert status.code == 2
    assert "nothing says how to reach cluster-a: set KUBECONFIG_CLUSTER_A" in text


def test_a_stack_file_s_context_is_the_way_in(status: Status) -> None:
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for path in status.kubeconfigs.values():
        for key, entries in yaml.safe_load(path.read_text()).items():
            if isinstance(entries, list):
                merged[key] += entries
    (status.folder / "config").write_text(yaml.safe_dump(merged))
    for name in (A, B):
        config = {"mesh:cluster": name, "mesh:context": name}
        (status.folder / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": config}))
    project = {"name": "x", "runtime": "python", "config": {"mesh:plan": {"value": status.plan}}}
    (status.folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
    environment = {**status.environment(), "KUBECONFIG": str(status.folder / "config")}
    for name in (A, B):
        del environment[kubeconfig_variable(name)]
    command = [sys.executable, "-m", "mesh", "status", "--json"]
    done = subprocess.run(command, cwd=status.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_bad_plan_is_refused_with_its_mistakes(status: Status) -> None:
    status.plan["clusters"][B]["podCIDR"] = "172.110.0.0/16"
    text = status.text()
    assert status.code == 1
    assert "clusters.cluster-b.podCIDR" in text


def test_the_lab_s_own_plan_is_not_checked_and_never_ok(status: Status) -> None:
    shipped = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]["mesh:plan"]["value"]
    status.plan, adapted = adapt(shipped, "0.24.1", "v1.36.3")
    assert any("verify.tunnel" in text for text in adapted)
    found = status.document()
    assert (found["health"], status.code) == ("unknown", 2)
    assert {link["state"] for link in found["links"]} == {"not checked"}
    path = status.document("--probe")["dataPath"]
    assert (path["state"], path["rows"]) == ("not checked", [])


def test_probes_in_simulated_pods_prove_nothing_and_are_gone_afterwards(status: Status, members: Lab) -> None:
    found = status.document("--probe")
    path = found["dataPath"]
    assert (path["state"], found["health"], status.code) == ("not checked", "unknown", 2)
    assert {(row["cluster"], row["role"]) for row in path["rows"]} == {
        (name, role) for name in (A, B) for role in ("gateway", "other")
    }
    assert all("cannot run a script in pod default/mesh-probe-" in row["detail"] for row in path["rows"])
    for name in (A, B):
        for plural in ("pods", "services"):
            left = members.api(name).names(f"/api/v1/namespaces/default/{plural}")
            members.api(name).wait(lambda left=left: not [each for each in left if each.startswith("mesh-probe-")])


def test_watching_ends_with_ctrl_c_and_the_code_of_the_last_look(status: Status) -> None:
    process = subprocess.Popen(
        status.command("--json", "--watch", "--interval", "1"),
        env=status.environment(), cwd=status.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    looks = [json.loads(process.stdout.readline())]
    operator.break_connection(status.kubeconfigs[A], B)
    while looks[-1]["health"] == "healthy":
        looks.append(json.loads(process.stdout.readline()))
        assert len(looks) < 30
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (1, "")
    assert len(looks) > 1
    assert looks[0]["takenAt"] < looks[-1]["takenAt"]


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all pages."""
    opened = Browser(tmp_path_factory.mktemp("browser"))
    try:
        yield opened
    finally:
        opened.close()


def test_the_page_in_a_browser(status: Status, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "mesh.html"
    status.text("--html", str(file))
    assert status.code == 0
    browser.requests.clear()
    browser.open(file)
    assert browser.run("document.querySelectorAll('svg g.link').length") == 1
    assert browser.run("document.querySelector('svg g.link').getAttribute('class')") == "link connected"
    assert browser.run("document.querySelectorAll('svg g.cluster').length") == 2
    good = browser.run("getComputedStyle(document.querySelector('svg .half')).stroke")

    operator.break_connection(status.kubeconfigs[A], B)
    status.text("--html", str(file))
    assert status.code == 1
    browser.open(file)
    assert browser.run("document.querySelector('svg g.link').getAttribute('class')") == "link error"
    halves = "[...document.querySelectorAll('svg .half')].map(each => getComputedStyle(each).stroke)"
    bad, other = browser.run(halves)
    assert other == good
    assert bad != good
    assert browser.run("getComputedStyle(document.querySelector('svg .half')).strokeDasharray") == "9px, 9px"
    assert "open UDP 4500" in browser.run("document.querySelector('ul.wrong').textContent")

    assert {url.split(":")[0] for url in browser.requests} <= {"file", "data"}
    assert browser.complaints == []


def test_the_page_fits_a_small_screen_and_a_dark_one(status: Status, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "mesh.html"
    status.text("--html", str(file), "--probe")
    browser.open(file)
    browser.call("Emulation.setDeviceMetricsOverride", width=420, height=800, deviceScaleFactor=1, mobile=True)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.call("Emulation.clearDeviceMetricsOverride")
    lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    browser.colour_scheme("dark")
    assert browser.run(lightness) < 60
    browser.colour_scheme("light")
    assert browser.run(lightness) > 200
    assert browser.complaints == []
