"""Real control planes: made, kept, started again, replaced and removed."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from lab import LabError, clusters
from lab.clusters import ClusterSpec
from lab.toolchain import Toolchain, ensure

pytestmark = pytest.mark.timeout(1800)  # the first of all runs builds the programs
REPO = Path(__file__).parents[2]
ALPHA = ClusterSpec("alpha", "10.233.0.0/18", "172.110.0.0/16", ("controller-node-1", "worker-node-1"))
BETA = ClusterSpec("beta", "10.243.0.0/18", "172.111.0.0/16", ("controller-node-1",))
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.lab.test"},
    "spec": {
        "group": "lab.test",
        "names": {"kind": "Thing", "plural": "things"},
        "scope": "Namespaced",
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


@dataclass
class Lab:
    """Two clusters and what was said while they came up."""

    home: Path
    user_home: Path
    tools: Toolchain
    crds: Path
    said: list[str] = field(default_factory=list)

    def up(self, *specs: ClusterSpec) -> float:
        """Bring clusters up and give the seconds it took."""
        self.said.clear()
        started = time.monotonic()
        found = clusters.up(
            specs or (ALPHA, BETA), home=self.home, tools=self.tools, crd_dirs=[self.crds], progress=self.said.append
        )
        assert all(found[spec.name] == clusters.kubeconfig_path(self.home, spec.name) for spec in specs)
        return time.monotonic() - started

    def pids(self, name: str = "alpha") -> dict[str, int]:
        """Give the process ids of a cluster by program."""
        found = clusters._Cluster(name, self.home, print).processes()
        return {program: pid for pid, program in found.items()}

    def kill(self, name: str = "alpha") -> None:
        """End a cluster as a reboot does."""
        for pid in self.pids(name).values():
            os.kill(pid, signal.SIGKILL)
        while self.pids(name) or not all(map(clusters._is_free, self.ports(name))):
            time.sleep(0.05)

    def ports(self, name: str = "alpha") -> list[int]:
        """Give the ports of a cluster, the API server's first."""
        return list(json.loads((self.home / "clusters" / name / "made.json").read_text())["ports"])

    def api(self, name: str = "alpha") -> client.ApiClient:
        """Give a client, made from the kubeconfig as anyone would."""
        path = str(clusters.kubeconfig_path(self.home, name))
        return config.new_client_from_config(path)


@pytest.fixture(scope="module")
def tools() -> Toolchain:
    try:
        return ensure(print)
    except LabError as error:
        if shutil.which("go") is None:
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="module")
def lab(tools: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    user_home = folder / "user"
    user_home.mkdir()
    (folder / "crds").mkdir()
    (folder / "crds" / "thing.yaml").write_text(yaml.safe_dump(CRD))
    with pytest.MonkeyPatch.context() as patch:
        # What a user may have set must change nothing, and there need be no kubectl.
        patch.setenv("HOME", str(user_home))
        patch.setenv("KWOK_RUNTIME", "docker")
        patch.setenv("KWOK_WORKDIR", str(user_home / "kwok"))
        patch.setenv("KUBECONFIG", str(user_home / "config"))
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        patch.setenv("NO_PROXY", "")
        patch.setenv("PATH", "/nowhere")
        found = Lab(folder / "a home with spaces", user_home, tools, folder / "crds")
        try:
            found.up()
            patch.delenv("HTTPS_PROXY")  # for the clients of the tests
            yield found
        finally:
            clusters.down(found.home, print)


def test_up_makes_what_the_spec_says(lab: Lab) -> None:
    for spec in (ALPHA, BETA):
        path = clusters.kubeconfig_path(lab.home, spec.name)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert yaml.safe_load(path.read_text())["current-context"] == spec.name
        with lab.api(spec.name) as api:
            core = client.CoreV1Api(api)
            nodes: list[Any] = core.list_node().items
            assert tuple(sorted(node.metadata.name for node in nodes)) == spec.nodes
            assert clusters._names(core.list_node(), "Ready") == set(spec.nodes)
            assert len({a.address for node in nodes for a in node.status.addresses}) == 2 * len(nodes)
            service: Any = core.read_namespaced_service("kubernetes", "default")
            assert ip_address(service.spec.cluster_ip) == ip_network(spec.service_cidr)[1]
            core.read_namespace("kube-system")
            custom = client.CustomObjectsApi(api)
            things: Any = custom.list_namespaced_custom_object("lab.test", "v1", "default", "things")
            assert things["items"] == []
            version: Any = client.VersionApi(api).get_code()
            assert version.git_version == lab.tools.kubernetes_version


def test_nothing_is_written_outside_and_nothing_listens_outside(lab: Lab) -> None:
    assert list(lab.user_home.iterdir()) == []
    for port in lab.ports():
        socket.create_connection(("127.0.0.1", port), 1).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), 1)


def test_deployment_becomes_available_with_pods_in_the_pod_range(lab: Lab) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web"}]}}
    body = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    with lab.api() as api:
        apps: Any = client.AppsV1Api(api)
        apps.create_namespaced_deployment("default", body)
        deadline = time.monotonic() + 30
        while not apps.read_namespaced_deployment("web", "default").status.available_replicas:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        pods: Any = client.CoreV1Api(api).list_namespaced_pod("default")
        assert all(ip_address(pod.status.pod_ip) in ip_network(ALPHA.pod_cidr) for pod in pods.items)


def test_second_up_keeps_what_runs(lab: Lab) -> None:
    before = lab.pids()
    assert lab.up() < 10
    assert lab.pids() == before
    assert clusters.running(lab.home) == {n: clusters.kubeconfig_path(lab.home, n) for n in ("alpha", "beta")}


def test_up_follows_the_list_of_nodes(lab: Lab) -> None:
    for nodes in (("controller-node-1", "worker-node-2"), ALPHA.nodes):
        lab.up(replace(ALPHA, nodes=nodes))
        with lab.api() as api:
            found: list[Any] = client.CoreV1Api(api).list_node().items
            assert tuple(sorted(node.metadata.name for node in found)) == nodes


def test_killed_api_server_is_started_again_with_its_data(lab: Lab) -> None:
    os.kill(lab.pids()["kube-apiserver"], signal.SIGKILL)
    assert "alpha" not in clusters.running(lab.home)
    lab.up()
    assert "alpha: has stopped, starting it again" in lab.said
    assert "beta: runs already" in lab.said
    with lab.api() as api:
        client.AppsV1Api(api).read_namespaced_deployment("web", "default")


def test_stale_pid_files_end_no_one_else(lab: Lab) -> None:
    lab.kill()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        for path in (lab.home / "clusters" / "alpha" / ".kwok" / "clusters" / "lab" / "pids").iterdir():
            path.write_text(str(bystander.pid))
        lab.up()
        assert bystander.poll() is None
        bystander.kill()
    assert "alpha" in clusters.running(lab.home)


def test_port_taken_meanwhile_is_named(lab: Lab) -> None:
    port = lab.ports()[0]
    lab.kill()
    sentence = rf"^alpha can't start again because another program uses its port {port}: .*\.$"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(LabError, match=sentence):
        lab.up()
    lab.up()


def test_other_address_ranges_make_another_cluster(lab: Lab) -> None:
    lab.up(replace(BETA, service_cidr="10.99.0.0/24"))
    assert "beta: its address ranges have changed, replacing it" in lab.said
    with lab.api("beta") as api:
        service: Any = client.CoreV1Api(api).read_namespaced_service("kubernetes", "default")
        assert service.spec.cluster_ip == "10.99.0.1"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_run_cut_short_is_taken_over(lab: Lab, how: signal.Signals) -> None:
    code = (
        "import signal, sys; from pathlib import Path; from lab import clusters, toolchain\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a background job\n"
        "spec = clusters.ClusterSpec('cut', '10.50.0.0/24', '172.50.0.0/16', ('n',))\n"
        "tools = toolchain.ensure(print)\n"
        "clusters.up([spec], home=Path(sys.argv[1]), tools=tools, crd_dirs=[], progress=lambda s: print(s, flush=True))"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(lab.tools.etcd.parents[4])}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lab.home)],
        cwd=REPO,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as run:
        assert run.stdout
        assert run.stdout.readline() == b"cut: creating\n"
        time.sleep(1)
        run.send_signal(how)
    assert clusters.running(lab.home).keys() == {"alpha", "beta"}
    lab.up(ClusterSpec("cut", "10.50.0.0/24", "172.50.0.0/16", ("n",)))
    assert lab.said[0] == "cut: half-made by an earlier run, replacing it"
    clusters._Cluster("cut", lab.home, print).remove()


def test_program_that_can_t_run_is_one_sentence(lab: Lab, tmp_path: Path) -> None:
    broken = tmp_path / "kube-scheduler"
    broken.write_text("#!/bin/sh\n[ $1 = --version ] && echo 'Kubernetes v1.36.3' || echo 'first\nno such flag'\n")
    broken.chmod(0o700)
    lab.tools, tools = replace(lab.tools, kube_scheduler=broken), lab.tools
    with pytest.raises(LabError, match=r"^kube-scheduler of bad ends as soon as it starts: no such flag\.$"):
        lab.up(replace(BETA, name="bad"))
    lab.tools = tools
    clusters._Cluster("bad", lab.home, print).remove()


def test_down_leaves_nothing(lab: Lab) -> None:
    pids = [*lab.pids("alpha").values(), *lab.pids("beta").values()]
    assert len(pids) == 10
    clusters.down(lab.home, print)
    assert not lab.home.exists()
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)
    clusters.down(lab.home, print)  # twice is no mistake
    assert clusters.running(lab.home) == {}


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        ([ALPHA, ALPHA], "have the same name: alpha"),
        ([replace(ALPHA, name="Upper")], "'Upper' can't name a cluster"),
        ([replace(ALPHA, name="../up")], "can't name a cluster"),
        ([replace(ALPHA, name="")], "can't name a cluster"),
        ([replace(ALPHA, pod_cidr="10.0.0.0/33")], "alpha has a range that is none: '10.0.0.0/33'"),
    ],
)
def test_bad_specs_are_refused(specs: list[ClusterSpec], sentence: str, tmp_path: Path) -> None:
    tools = Toolchain(*[tmp_path] * 6)
    with pytest.raises(LabError, match=sentence):
        clusters.up(specs, home=tmp_path, tools=tools, crd_dirs=[], progress=print)


def test_missing_crd_folder_is_named(tmp_path: Path) -> None:
    tools = Toolchain(*[tmp_path] * 6)
    with pytest.raises(LabError, match="There is no folder"):
        clusters.up([ALPHA], home=tmp_path, tools=tools, crd_dirs=[tmp_path / "none"], progress=print)


def test_disk_without_room_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "NEEDED_BYTES", 1 << 80)
    tools = Toolchain(*[tmp_path] * 6)
    with pytest.raises(LabError, match=rf"MiB in {tmp_path} and only \d+ MiB are free there: make room, or point"):
        clusters.up([ALPHA], home=tmp_path, tools=tools, crd_dirs=[], progress=print)
    assert list(tmp_path.iterdir()) == []


def test_home_with_a_comma_is_refused(tmp_path: Path) -> None:
    tools = Toolchain(*[tmp_path] * 6)
    with pytest.raises(LabError, match="the comma"):
        clusters.up([ALPHA], home=tmp_path / "a,b", tools=tools, crd_dirs=[], progress=print)
