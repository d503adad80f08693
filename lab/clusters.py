"""Local control planes: real API servers, made by kwokctl, with nodes and pods that kwok simulates.

Everything lives below one folder, `home`; nothing else is read or written, `~/.kwok` and `~/.kube` least of all:

    kubeconfig-<name>.yaml    the way in, complete in itself, for its owner alone
    clusters/<name>/          the home of kwokctl, as it is told, for this one cluster
        made.json             written last: without it the cluster is half-made and will be replaced
        .kwok/kwok.yaml       what kwokctl is to make
        .kwok/clusters/lab/   what kwokctl made: bin/ etcd/ logs/ pids/ pki/
"""

import base64
import ipaddress
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client

from lab import LabError, Progress
from lab.files import write_whole
from lab.toolchain import Toolchain

__all__ = ["ClusterSpec", "down", "kubeconfig_path", "running", "up"]

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller")
PORTS = ("kubeApiserverPort", "etcdPort", "etcdPeerPort", "kubeControllerManagerPort", "kubeSchedulerPort",
         "kwokControllerPort")  # fmt: skip
NEEDED_BYTES = 200 << 20  # for one cluster: etcd writes ahead, and without room its last words are a stack trace
READY_SECONDS = 180  # ten clusters that start at once on two cores take their time
APPLY: dict[str, Any] = {  # server-side apply
    "field_manager": "multi-cluster-mesh-lab",
    "force": True,
    "_content_type": "application/apply-patch+yaml",
    "_request_timeout": 30,
}
_SAYING = threading.Lock()
API_ERRORS = (client.ApiException, urllib3.exceptions.HTTPError, OSError)


@dataclass(frozen=True)
class ClusterSpec:
    """What a cluster has to be."""

    name: str
    service_cidr: str
    pod_cidr: str
    nodes: tuple[str, ...]


def up(
    specs: Sequence[ClusterSpec], *, home: Path, tools: Toolchain, crd_dirs: Sequence[Path], progress: Progress
) -> dict[str, Path]:
    """Have every cluster run as its spec says, all at once; give the path of each one's kubeconfig by name.

    A healthy one is kept, one that has stopped is started again with its data, a half-made one is replaced, and so is
    one whose address ranges have changed.
    """
    home = home.resolve()
    _check(specs, home)
    crds = list(_read_crds(crd_dirs))
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    stop = threading.Event()
    clusters = [_Cluster(spec.name, home, progress, stop) for spec in specs]
    ports = iter(_free_ports(len(specs) * len(PORTS)))
    with ThreadPoolExecutor(max_workers=len(specs) or 1) as pool:
        try:
            jobs = [pool.submit(cluster.up, spec, tools, crds, [next(ports) for _ in PORTS])
                    for cluster, spec in zip(clusters, specs, strict=True)]  # fmt: skip
            for job in jobs:
                job.result()
        except BaseException:
            stop.set()  # a failure or Ctrl-C: the others end at their next step and the next run takes over from there
            raise
    return {cluster.name: cluster.kubeconfig for cluster in clusters}


def down(home: Path, progress: Progress) -> None:
    """End every process of every cluster below `home` and remove all that `up` has put there."""
    home = home.resolve()
    clusters = _all(home, progress)
    with ThreadPoolExecutor(max_workers=len(clusters) or 1) as pool:
        list(pool.map(_Cluster.remove, clusters))
    for leftover in home.glob("kubeconfig-*.yaml*"):  # unfinished ones too
        leftover.unlink(missing_ok=True)
    for folder in (home / "clusters", home):
        with suppress(OSError):  # `home` may hold what others have put there
            folder.rmdir()


def running(home: Path) -> dict[str, Path]:
    """Give the kubeconfig of every cluster below `home` that is whole and answers, by name."""
    return {cluster.name: cluster.kubeconfig for cluster in _all(home.resolve(), print) if cluster.healthy()}


def kubeconfig_path(home: Path, name: str) -> Path:
    """Where the kubeconfig of a cluster is."""
    return home / f"kubeconfig-{name}.yaml"


def _all(home: Path, progress: Progress) -> list["_Cluster"]:
    folders = sorted(path for path in (home / "clusters").glob("*") if path.is_dir())
    return [_Cluster(folder.name, home, progress) for folder in folders]


def _check(specs: Sequence[ClusterSpec], home: Path) -> None:
    if "," in str(home):
        raise LabError(f"kwok can't work in {home} because of the comma in its path: give the lab another folder.")
    names = [spec.name for spec in specs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise LabError(f"Two clusters of the lab have the same name: {', '.join(sorted(twice))}.")
    for spec in specs:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", spec.name):
            raise LabError(f"{spec.name!r} can't name a cluster: use lower-case letters, digits and hyphens.")
        try:
            for cidr in (spec.service_cidr, spec.pod_cidr):
                ipaddress.ip_network(cidr)
        except ValueError as error:
            raise LabError(f"{spec.name} has a range that is none: {error}.") from None


def _read_crds(folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for folder in folders:
        if not folder.is_dir():
            raise LabError(f"There is no folder {folder} to take custom resource definitions from.")
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            yield from (doc for doc in yaml.safe_load_all(path.read_text())
                        if doc and doc.get("kind") == "CustomResourceDefinition")  # fmt: skip


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def _free_ports(count: int) -> list[int]:
    """Pick ports that nothing listens on, all different: kwokctl's own choice is the same in two that run side by side.

    They are below the range from which systems give ports to outgoing connections, so that a stopped cluster finds its
    own free when it starts again.
    """
    free = [port for port in random.sample(range(20_000, 32_000), count * 10) if _is_free(port)][:count]
    if len(free) < count:
        raise LabError(f"No {count} free ports were found between 20000 and 32000 on this machine.")
    return free


def _commands() -> Iterator[tuple[int, str]]:
    """Give the process id and command line of every process."""
    if Path("/proc/self/cmdline").exists():
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it may have ended
                yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    else:
        listed = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
        for line in listed.stdout.splitlines():
            pid, _, command = line.strip().partition(" ")
            yield int(pid), command


class _Cluster:
    """One control plane and its folder."""

    def __init__(self, name: str, home: Path, progress: Progress, stop: threading.Event | None = None) -> None:
        self.name = name
        self.folder = home / "clusters" / name
        self.made = self.folder / "made.json"
        self.work = self.folder / ".kwok" / "clusters" / "lab"
        self.pki = [self.work / "pki" / file for file in ("ca.crt", "admin.crt", "admin.key")]
        self.kubeconfig = kubeconfig_path(home, name)
        self.stop = stop or threading.Event()
        self._progress = progress

    def say(self, text: str) -> None:
        """Report progress, one cluster at a time."""
        with _SAYING:
            self._progress(f"{self.name}: {text}")

    # --- what is there

    def processes(self) -> dict[int, str]:
        """Find what runs for this cluster: pid and name of the program.

        kwokctl starts everything, and we start kwokctl, by paths below our folder. kwokctl's own pid files are not to
        be trusted: after a reboot they name other people's processes, and it would kill those.
        """
        mine = f"{self.folder}/"
        return {pid: command[len(mine):].split(" ")[0].rpartition("/")[2]
                for pid, command in _commands() if command.startswith(mine)}  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """Give what `made.json` says; nothing where the cluster is half-made."""
        try:
            found: dict[str, Any] = json.loads(self.made.read_text())
        except (OSError, ValueError):
            return {}
        return found

    def healthy(self) -> bool:
        """Say whether it is whole, all its programs run and the API server is ready."""
        return bool(facts := self.facts()) and self._ready(facts["ports"][0])

    def _ready(self, port: int) -> bool:
        try:
            with self._api(port) as api:
                answer = api.rest_client.pool_manager.request("GET", f"{api.configuration.host}/readyz", timeout=5)
        except API_ERRORS:
            return False
        return bool(answer.status == 200) and set(PROGRAMS) <= set(self.processes().values())

    def _api(self, port: int) -> client.ApiClient:
        settings = client.Configuration(host=f"https://127.0.0.1:{port}")
        settings.ssl_ca_cert, settings.cert_file, settings.key_file = map(str, self.pki)
        settings.proxy = None  # taken from HTTPS_PROXY, which does not lead to this machine
        settings.retries = False  # we ask again ourselves
        return client.ApiClient(settings)

    # --- from there to what is wanted

    def up(self, spec: ClusterSpec, tools: Toolchain, crds: list[dict[str, Any]], ports: list[int]) -> None:
        """Have it run as the spec says."""
        started = time.monotonic()
        if why_not := self._why_not_kept(spec):
            if self.folder.exists():
                self.say(f"{why_not}, replacing it")
                self.remove()
            self._make(spec, tools, ports)
        elif self.healthy():
            self.say("runs already")
        else:
            self.say("has stopped, starting it again")
            self._start(tools)
        try:
            version = self._fill(spec, crds)
        except API_ERRORS as error:
            said = getattr(error, "body", None) or error
            raise LabError(f"{self.name}: its API server did not take the nodes and definitions: {said}") from error
        self.say(f"Kubernetes {version} ready after {time.monotonic() - started:.1f} s")

    def _why_not_kept(self, spec: ClusterSpec) -> str | None:
        if not (facts := self.facts()):
            return "half-made by an earlier run"
        if (facts["service_cidr"], facts["pod_cidr"]) != (spec.service_cidr, spec.pod_cidr):
            return "its address ranges have changed"
        if not all((self.work / "bin" / program).exists() for program in PROGRAMS):
            return "its programs are gone from this machine"
        return None

    def remove(self) -> None:
        """End its processes and remove its files."""
        self.say("removing")
        self._kill()
        self.made.unlink(missing_ok=True)  # first of all: should this be cut short, the rest counts as half-made
        shutil.rmtree(self.folder, ignore_errors=True)
        self.kubeconfig.unlink(missing_ok=True)
        if self.folder.exists():
            raise LabError(f"{self.folder} could not be removed: remove it by hand.")

    def _make(self, spec: ClusterSpec, tools: Toolchain, ports: list[int]) -> None:
        home = self.kubeconfig.parent
        if (free := shutil.disk_usage(home).free) < NEEDED_BYTES:
            raise LabError(
                f"{self.name} takes up to {NEEDED_BYTES >> 20} MiB in {home} and only {free >> 20} MiB are free there: "
                "make room, or point MESH_LAB_HOME at another disk."
            )
        self.say("creating")
        (self.folder / ".kwok").mkdir(parents=True, mode=0o700)
        self.folder.chmod(0o700)
        # kwokctl asks the API server through kubectl, and downloads kubectl where there is none. We ask ourselves.
        kubectl = self.folder / "kubectl"
        kubectl.write_text("#!/bin/sh\nexit 0\n")
        kubectl.chmod(0o700)
        wanted = _kwokctl_config(spec, tools, ports, kubectl)
        (self.folder / ".kwok" / "kwok.yaml").write_text(yaml.safe_dump(wanted))
        self._run("create", tools, ports)
        facts = {"service_cidr": spec.service_cidr, "pod_cidr": spec.pod_cidr, "ports": ports}
        self.made.write_text(json.dumps(facts))

    def _start(self, tools: Toolchain) -> None:
        ports = self.facts()["ports"]
        self._kill()
        shutil.rmtree(self.work / "pids", ignore_errors=True)
        (self.work / "pids").mkdir()
        deadline = time.monotonic() + 3  # a process that has just ended may still hold its ports
        while (taken := [str(port) for port in ports if not _is_free(port)]) and time.monotonic() < deadline:
            time.sleep(0.1)
        if taken:
            raise LabError(
                f"{self.name} can't start again because another program uses its port {', '.join(taken)}: "
                "end that program, or take the lab down and up again."
            )
        self._run("start", tools, ports)

    def _run(self, verb: str, tools: Toolchain, ports: list[int]) -> None:
        """Create or start it, and wait; a program that gave up because another was slow is started again."""
        self._kwokctl(verb, tools)
        self._write_kubeconfig(ports[0])
        starts, next_look = 0, time.monotonic() + 1

        def ready() -> bool:
            nonlocal starts, next_look
            if time.monotonic() > next_look and (ended := set(PROGRAMS) - set(self.processes().values())):
                if (starts := starts + 1) > 5:
                    log = self.work / "logs" / f"{min(ended)}.log"
                    said = log.read_text(errors="replace").strip().rpartition("\n")[2][-400:] if log.exists() else "?"
                    raise LabError(f"{min(ended)} of {self.name} ends as soon as it starts: {said}.")
                self._kwokctl("start", tools)
                next_look = time.monotonic() + 1
            return self._ready(ports[0])

        self._await("the API server", ready)

    def _kwokctl(self, verb: str, tools: Toolchain) -> None:
        """Run kwokctl with nothing of the user's environment, and so nothing of the user's kwok and kubectl."""
        link = self.folder / "kwokctl"  # so that `processes` finds it
        link.unlink(missing_ok=True)
        link.symlink_to(tools.kwokctl)
        # HOME and not KWOK_WORKDIR says where it works: that is cut at its first space, and what is left written to.
        # GOGC is inherited by all programs: less memory for a little more work.
        env = {"HOME": str(self.folder), "PATH": "", "GOGC": "50"}
        command = [str(link), "--name=lab", verb, "cluster"]
        if verb == "create":
            command.append("--kubeconfig=")  # else it writes to ~/.kube/config
        # A session of its own, so that Ctrl-C does not cut it short: it takes seconds.
        try:
            ended = subprocess.run(command, env=env, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
                                   text=True, timeout=READY_SECONDS, start_new_session=True)  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LabError(f"kwokctl did not {verb} {self.name} within {READY_SECONDS} s.") from None
        if ended.returncode:
            reasons = re.findall(r'"err":("(?:[^"\\]|\\.)*")', ended.stderr)  # its log is JSON
            said = json.loads(reasons[-1]) if reasons else ended.stderr.strip()[-400:]
            raise LabError(f"kwokctl could not {verb} {self.name}: {said}.")

    def _await(self, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.stop.is_set():
            with suppress(*API_ERRORS):
                if done():
                    return
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: {what} did not get ready in {READY_SECONDS} s, see {self.work}/logs.")
            time.sleep(0.2)
        raise LabError(f"{self.name}: cut short.")

    def _kill(self) -> None:
        deadline = time.monotonic() + 5
        while found := self.processes():
            gone = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, gone)
            time.sleep(0.1)

    def _write_kubeconfig(self, port: int) -> None:
        """Write a kubeconfig that needs no other file, and in which cluster and context bear the cluster's name."""
        authority, certificate, key = (base64.b64encode(path.read_bytes()).decode() for path in self.pki)
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": authority}
        user = {"client-certificate-data": certificate, "client-key-data": key}
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": self.name,
            "clusters": [{"name": self.name, "cluster": cluster}],
            "users": [{"name": self.name, "user": user}],
            "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": self.name}}],
        }  # fmt: skip
        write_whole(self.kubeconfig, yaml.safe_dump(content))

    def _fill(self, spec: ClusterSpec, crds: list[dict[str, Any]]) -> str:
        """Apply nodes and custom resource definitions, wait until all is as a user expects it; give the version."""
        with self._api(self.facts()["ports"][0]) as api:
            core, extensions = client.CoreV1Api(api), client.ApiextensionsV1Api(api)
            for crd in crds:
                extensions.patch_custom_resource_definition(crd["metadata"]["name"], crd, **APPLY)
            for number, name in enumerate(spec.nodes, start=11):
                core.patch_node(name, _node(name, f"192.0.2.{number}"), **APPLY)
            for name in _names(core.list_node(_request_timeout=30)) - set(spec.nodes):
                core.delete_node(name, _request_timeout=30)

            def settled() -> bool:
                ready = _names(core.list_node(_request_timeout=10), "Ready")
                known = _names(extensions.list_custom_resource_definition(_request_timeout=10), "Established")
                core.read_namespace("kube-system", _request_timeout=10)
                core.read_namespaced_service_account("default", "default", _request_timeout=10)  # pods need it
                established = {crd["metadata"]["name"] for crd in crds} <= known
                return ready == set(spec.nodes) and established and all(_serves(api, crd) for crd in crds)

            self._await("nodes and custom resource definitions", settled)
            return str(client.VersionApi(api).get_code(_request_timeout=10).git_version)


def _names(listed: Any, condition: str = "") -> set[str]:
    """Give the names of what is listed, or of those for which a condition is true."""
    return {
        item.metadata.name
        for item in listed.items
        if not condition
        or any(c.type == condition and c.status == "True" for c in (item.status and item.status.conditions) or ())
    }


def _serves(api: client.ApiClient, crd: dict[str, Any]) -> bool:
    """Say whether the objects of a definition can be listed.

    An established one may still be setting up its storage, and now and then one deleted meanwhile stays for ever.
    """
    spec = crd["spec"]
    version = next(version["name"] for version in spec["versions"] if version["served"])
    path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}?limit=1"
    answer = api.rest_client.pool_manager.request("GET", f"{api.configuration.host}{path}", timeout=10)
    return bool(answer.status == 200)


def _node(name: str, address: str) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    addresses = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"addresses": addresses}}


def _kwokctl_config(spec: ClusterSpec, tools: Toolchain, ports: list[int], kubectl: Path) -> dict[str, Any]:
    """Say to kwokctl what to make. What has a local path here would otherwise be downloaded."""
    pods = ipaddress.ip_network(spec.pod_cidr)
    extra = {
        "etcd": {"unsafe-no-fsync": "true"},  # the lab's data need not outlive a power cut
        # The addresses of this machine must not matter, and it may have none but 127.0.0.1, which can't be advertised.
        "kube-apiserver": {"service-cluster-ip-range": spec.service_cidr, "advertise-address": "192.0.2.1"},
        "kwok-controller": {"cidr": f"{pods[1]}/{pods.prefixlen}"},  # where simulated pods get their addresses from
    }
    return {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokctlConfiguration",
        "options": {
            "runtime": "binary",
            "bindAddress": "127.0.0.1",  # the default is every address, for etcd too, which asks no one who they are
            "kubeVersion": tools.kubernetes_version,
            "disableQPSLimits": True,
            "nodeLeaseDurationSeconds": 40,
            "etcdBinary": str(tools.etcd),
            "kubeApiserverBinary": str(tools.kube_apiserver),
            "kubeControllerManagerBinary": str(tools.kube_controller_manager),
            "kubeSchedulerBinary": str(tools.kube_scheduler),
            "kwokControllerBinary": str(tools.kwok),
            "kubectlBinary": str(kubectl),
            **dict(zip(PORTS, ports, strict=True)),
        },
        "componentsPatches": [
            {"name": name, "extraArgs": [{"key": key, "value": value, "override": False}]}
            for name, args in extra.items()
            for key, value in args.items()
        ],
    }
