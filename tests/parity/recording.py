"""The same life of a mesh with either program, and what it leaves on the API servers after every step."""

from __future__ import annotations

import base64
import json
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.standin import kube, setup
from lab.standin.errors import ApiError
from lab.standin.kube import Cluster
from tests.parity.calls import ONLINE, Result, Tool, fill

VERSION = ("--version", "0.24.1", "--repository", "registry.example/mesh")
# Made by the control plane itself, or named by chance.
_NOT_OURS = {"Event", "Lease", "Pod", "ReplicaSet", "EndpointSlice", "Endpoints", "IPAddress", "APIService"}
_GROUPS = ("/api/v1", "/apis/apps/v1", "/apis/rbac.authorization.k8s.io/v1", "/apis/apiextensions.k8s.io/v1")
_CUSTOM_GROUPS = ("/apis/submariner.io/v1alpha1", "/apis/submariner.io/v1", "/apis/multicluster.x-k8s.io/v1alpha1")
_BROKER = "submariner-k8s-broker"
_OPERATOR = "submariner-operator"

Key = tuple[str, str, str]
Snapshot = dict[Key, Any]


@dataclass
class Recording:
    """Results of the calls, snapshots and files, by name of the step."""

    results: dict[str, Result] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    objects: dict[str, Snapshot] = field(default_factory=dict)
    infos: dict[str, dict[str, Any]] = field(default_factory=dict)
    uids: dict[str, dict[str, str]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


class Recorder:
    """Takes one program through the life of a mesh on two clusters, A with the broker."""

    def __init__(self, tool: Tool, kubeconfigs: Mapping[str, Path], folder: Path) -> None:
        self._tool = tool
        self._folder = folder
        self._paths = dict(zip("ab", kubeconfigs.values(), strict=True))
        self._clusters = {name: kube.from_file(path) for name, path in self._paths.items()}
        self._before: dict[str, Snapshot] = {}
        self.recording = Recording()

    def run(self) -> Recording:
        """Go through all of it, from bare clusters to bare clusters."""
        wipe(self._clusters.values())
        self._before = {name: snapshot(cluster) for name, cluster in self._clusters.items()}
        self._broker()
        self._wrong_calls()
        self._members()
        self._leaving()
        wipe(self._clusters.values())
        self._service_discovery_only()
        wipe(self._clusters.values())
        self._globalnet()
        wipe(self._clusters.values())
        return self.recording

    def _broker(self) -> None:
        home = self._folder / "broker"
        self._call("deploy", "deploy-broker", "--kubeconfig", "{a}", *VERSION, cwd=home)
        self._keep_info("deploy", home)
        self.recording.facts["mode"] = stat.S_IMODE((home / "broker-info.subm").stat().st_mode)
        self._look("deploy", "a")
        self._note_uids("deploy", "a", "Broker", "Deployment", "Secret")
        again = ("deploy-broker", "--kubeconfig", "{a}", *VERSION, "--custom-domains", "mesh.example", "--globalnet")
        self._call("deploy again", *again, cwd=home)
        self._keep_info("deploy again", home)
        self._look("deploy again", "a")
        self._note_uids("deploy again", "a", "Broker", "Deployment", "Secret")
        old = next(
            name for name in sorted(path.name for path in home.iterdir()) if name.startswith("broker-info.subm.")
        )
        self.recording.facts["files"] = sorted(re.sub(r"\d", "9", path.name) for path in home.iterdir())
        keep = ("deploy-broker", "--kubeconfig", "{a}", *VERSION, "--ipsec-psk-from", old)
        self._call("deploy with key", *keep, "--broker-url", "https://broker.example:6443", cwd=home)
        self._keep_info("deploy with key", home)
        lost = ("deploy-broker", "--kubeconfig", "{a}", *VERSION, "--ipsec-psk-from", "nowhere")
        self._call("deploy with lost key", *lost, cwd=self._folder / "lost")
        self.recording.facts["files after lost key"] = sorted(path.name for path in (self._folder / "lost").iterdir())
        self._call("deploy anew", "deploy-broker", "--kubeconfig", "{a}", *VERSION, cwd=home)

    def _wrong_calls(self) -> None:
        for call in ONLINE:
            folder = self._folder / "wrong" / re.sub(r"\W", "-", call.name)
            folder.mkdir(parents=True)
            argv = fill(call, folder, self._places())
            self.recording.results[call.name] = self._tool.run(*argv, cwd=folder, env=call.env, unset=call.unset)
            left = [path.name for path in folder.iterdir() if path.name.startswith("broker-info")]
            self.recording.facts[f"left by {call.name}"] = left
        self._look("wrong calls", "a")
        self._look("wrong calls", "b")
        info = self._info()
        for name, change in (
            ("wrong token", {"ClientToken": {**info["ClientToken"], "data": _wrong_token(info)}}),
            ("wrong CA", {"ClientToken": {**info["ClientToken"], "data": _wrong_ca(info)}}),
            ("no token", {"ClientToken": None}),
        ):
            path = self._folder / f"{name.replace(' ', '-')}.subm"
            path.write_bytes(base64.urlsafe_b64encode(json.dumps({**info, **change}).encode()))
            self._call(name, *_join(str(path), "{b}"), "--clusterid", "cluster-b")

    def _members(self) -> None:
        every_option = (  # noqa: SIM905  thirty strings in quotes would be no list one can read
            "--cable-driver vxlan --nattport 4501 --natt=false --health-check=false --air-gapped --pod-debug "
            "--ipsec-debug --operator-debug --force-udp-encaps --preferred-server --load-balancer "
            "--enable-clusterset-ip --clusterset-ip-cidr 243.1.0.0/20 --globalnet-cidr 242.1.0.0/16 "
            "--coredns-custom-configmap dns/custom --custom-domains one.example,two.example "
            "--image-override submariner-operator=registry.example/own:1 "
            "--http-proxy http://proxy.example --no-proxy 10.0.0.0/8"
        ).split()
        self._call("join", *_join("{info}", "{b}"), "--clusterid", "cluster-b", *every_option)
        self._look("join", "a")
        self._look("join", "b")
        self._note_uids("join", "b", "Submariner", "Secret")
        self._call("join again", *_join("{info}", "{b}"), "--clusterid", "cluster-b")
        self._look("join again", "a")
        self._look("join again", "b")
        self._note_uids("join again", "b", "Submariner", "Secret")
        # The broker's cluster joins with all defaults, its ID that of the kubeconfig's cluster.
        self._call("join broker", *_join("{info}", "{a}"))
        self._look("join broker", "a")
        home = self._folder / "recovered"
        self._call("recover", "recover-broker-info", "--kubeconfig", "{b}", cwd=home)
        self._keep_info("recover", home)

    def _leaving(self) -> None:
        a, b = self._clusters["a"], self._clusters["b"]
        for plural in ("clusters", "endpoints"):  # what the operator's pod would have installed
            setup.ensure_crd(a, plural)
        a.create(_cluster_record("cluster-x"))
        a.create(_endpoint_record("cluster-x"))
        self._call("join with another's ID", *_join("{info}", "{b}"), "--clusterid", "cluster-x")
        self._call("uninstall used broker", "uninstall", "-y", "--kubeconfig", "{a}")
        self._look("uninstall used broker", "a")
        node = next(iter(b.find_all("Node")))["metadata"]["name"]
        b.merge("Node", node, "", {"metadata": {"labels": {"submariner.io/gateway": "true"}}})
        self._call("uninstall", "uninstall", "-y", "--kubeconfig", "{b}")
        self.recording.facts["gateway labels"] = len(b.find_all("Node", labels="submariner.io/gateway"))
        await_gone(b)
        self._look("uninstall", "b")
        self._look("uninstall", "a")
        self._call("uninstall again", "uninstall", "-y", "--kubeconfig", "{b}")
        a.delete("Cluster", "cluster-x", _BROKER)
        a.delete("Endpoint", "cluster-x", _BROKER)
        self._call("uninstall broker", "uninstall", "-y", "--kubeconfig", "{a}")
        await_gone(a)
        self._look("uninstall broker", "a")

    def _service_discovery_only(self) -> None:
        home = self._folder / "discovery"
        deploy = ("deploy-broker", "--kubeconfig", "{a}", *VERSION, "--components", "service-discovery")
        self._call("deploy discovery", *deploy, "--enable-clusterset-ip", cwd=home)
        self._keep_info("deploy discovery", home)
        self._look("deploy discovery", "a")
        file = str(home / "broker-info.subm")
        self._call("join discovery", *_join(file, "{b}"), "--clusterid", "cluster-b")
        self._look("join discovery", "b")
        self._note_uids("join discovery", "b", "ServiceDiscovery", "Secret")
        self._call("join discovery again", *_join(file, "{b}"), "--clusterid", "cluster-b", "--pod-debug")
        self._look("join discovery again", "b")
        self._note_uids("join discovery again", "b", "ServiceDiscovery", "Secret")
        self._call("recover discovery", "recover-broker-info", "--kubeconfig", "{b}")
        self._call("uninstall discovery", "uninstall", "-y", "--kubeconfig", "{b}")
        await_gone(self._clusters["b"])
        self._look("uninstall discovery", "b")
        # No operator has run here, so the kind Endpoint does not exist.
        self._call("uninstall without Endpoints", "uninstall", "-y", "--kubeconfig", "{a}")

    def _globalnet(self) -> None:
        home = self._folder / "globalnet"
        deploy = ("deploy-broker", "--kubeconfig", "{a}", *VERSION, "--components", "connectivity", "--globalnet")
        self._call("deploy globalnet", *deploy, "--globalnet-cluster-size", "5000", cwd=home)
        self._keep_info("deploy globalnet", home)
        self._look("deploy globalnet", "a")
        file = str(home / "broker-info.subm")
        both = ("--globalnet-cidr", "242.7.0.0/16", "--globalnet-cluster-size", "10")
        self._call("global CIDR and size", *_join(file, "{b}"), "--clusterid", "cluster-b", *both)
        self._call("bad global CIDR of a member", *_join(file, "{b}"), "--globalnet-cidr", "x")
        self._call("join globalnet", *_join(file, "{b}"), "--clusterid", "cluster-b")
        self._look("join globalnet", "a")
        self._look("join globalnet", "b")
        taken = ("--clusterid", "cluster-a", "--globalnet-cidr", "242.0.0.0/16")
        self._call("taken global CIDR", *_join(file, "{a}"), *taken)

    def _call(self, step: str, *argv: str, cwd: Path | None = None) -> None:
        folder = cwd or self._folder / "elsewhere"
        folder.mkdir(parents=True, exist_ok=True)
        places = self._places()
        filled = [re.sub(r"\{(\w+)\}", lambda match: places[match.group(1)], word) for word in argv]
        started = time.monotonic()
        self.recording.results[step] = self._tool.run(*filled, cwd=folder)
        self.recording.seconds[step] = time.monotonic() - started

    def _places(self) -> dict[str, str]:
        info = str(self._folder / "broker" / "broker-info.subm")
        return {"info": info, **{name: str(path) for name, path in self._paths.items()}}

    def _info(self) -> dict[str, Any]:
        return decode_info(self._folder / "broker" / "broker-info.subm")

    def _keep_info(self, step: str, folder: Path) -> None:
        self.recording.infos[step] = decode_info(folder / "broker-info.subm")

    def _look(self, step: str, name: str) -> None:
        """Keep what is new or different since before, and mark what is gone."""
        now, before = snapshot(self._clusters[name]), self._before[name]
        changed: Snapshot = {key: value for key, value in now.items() if before.get(key) != value}
        changed |= {key: "gone" for key in before if key not in now}
        self.recording.objects[f"{step}: {name}"] = changed

    def _note_uids(self, step: str, name: str, *kinds: str) -> None:
        cluster = self._clusters[name]
        found = {}
        for kind in kinds:
            for item in cluster.find_all(kind):
                if item["metadata"]["namespace"] in (_BROKER, _OPERATOR):
                    found[f"{kind} {_stable(item['metadata']['name'])}"] = item["metadata"]["uid"]
        self.recording.uids[step] = found


def decode_info(path: Path) -> dict[str, Any]:
    """Read a broker-info file without the code under test."""
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(path.read_bytes()))
    return content


def _join(file: str, kubeconfig: str) -> tuple[str, ...]:
    cidrs = ("--clustercidr", "172.111.0.0/16", "--servicecidr", "10.243.0.0/18")
    return ("join", file, "--kubeconfig", kubeconfig, "--label-gateway=false", *cidrs, *VERSION)


def _wrong_token(info: dict[str, Any]) -> dict[str, str]:
    return {**info["ClientToken"]["data"], "token": base64.b64encode(b"wrong").decode()}


def _wrong_ca(info: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in info["ClientToken"]["data"].items() if key != "ca.crt"}


def _cluster_record(cluster_id: str) -> dict[str, Any]:
    spec = {"cluster_id": cluster_id, "cluster_cidr": [], "service_cidr": [], "global_cidr": []}
    metadata = {"name": cluster_id, "namespace": _BROKER}
    return {"apiVersion": "submariner.io/v1", "kind": "Cluster", "metadata": metadata, "spec": spec}


def _endpoint_record(cluster_id: str) -> dict[str, Any]:
    spec: dict[str, Any] = dict.fromkeys(("backend", "cable_name", "hostname", "private_ip", "public_ip"), "x")
    spec |= {"cluster_id": cluster_id, "nat_enabled": False, "subnets": []}
    metadata = {"name": cluster_id, "namespace": _BROKER}
    return {"apiVersion": "submariner.io/v1", "kind": "Endpoint", "metadata": metadata, "spec": spec}


# --- API servers ------------------------------------------------------------------------------------------------------


def snapshot(cluster: Cluster) -> Snapshot:
    """Return every object by kind, namespace and name, with what is essential of it."""
    found: Snapshot = {}
    for group in (*_GROUPS, *_CUSTOM_GROUPS):
        try:
            resources = cluster.call("GET", group)["resources"]
        except ApiError as error:
            if error.not_found:
                continue
            raise
        for resource in resources:
            if "/" in resource["name"] or "list" not in resource["verbs"] or resource["kind"] in _NOT_OURS:
                continue
            for item in cluster.call("GET", f"{group}/{resource['name']}")["items"]:
                metadata = item["metadata"]
                key = (resource["kind"], metadata.get("namespace", ""), _stable(metadata["name"]))
                found[key] = _essence(resource["kind"], item)
    return found


def _stable(name: str) -> str:
    """Give names with a random end a fixed one."""
    return re.sub(r"-token-[a-z0-9]{5}$", "-token-*", name)


def _essence(kind: str, item: dict[str, Any]) -> Any:
    """Return what both programs have to agree on."""
    if kind == "Secret":
        # What is in it differs from run to run; that something is in it must not.
        return {"type": item["type"], "keys": {key: bool(value) for key, value in (item.get("data") or {}).items()}}
    if kind == "ConfigMap":
        return item.get("data") if item["metadata"]["name"].startswith("submariner") else "present"
    if kind in ("Submariner", "ServiceDiscovery", "Broker", "Cluster", "Endpoint"):
        return _without_secrets(item["spec"])
    if kind in ("RoleBinding", "ClusterRoleBinding"):
        return {"roleRef": item["roleRef"], "subjects": item.get("subjects")}
    if kind == "Role" and item["metadata"]["namespace"] == _BROKER:
        # The rights that a member's token gives; the pods' own roles are empty in the stand-in.
        return sorted(json.dumps(_by_verb(rule), sort_keys=True) for rule in item["rules"])
    if kind == "Deployment":
        return item["spec"]["template"]["spec"]["containers"]
    if kind == "Namespace":
        return item["metadata"].get("labels")
    return "present"


def _by_verb(rule: dict[str, Any]) -> dict[str, Any]:
    return {key: sorted(value) for key, value in rule.items()}


def _without_secrets(spec: dict[str, Any]) -> dict[str, Any]:
    secret = ("ceIPSecPSK", "brokerK8sApiServerToken", "brokerK8sCA")
    return {key: bool(value) if key in secret else value for key, value in spec.items()}


def wipe(clusters: Any) -> None:
    """Remove every trace of Submariner from the clusters, with neither of the two programs."""
    for cluster in clusters:
        for kind in ("Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"):
            for item in cluster.find_all(kind):
                name = item["metadata"]["name"]
                if name.startswith("submariner") or name.endswith((".submariner.io", ".multicluster.x-k8s.io")):
                    _delete(cluster, kind, name)
        for node in cluster.find_all("Node", labels="submariner.io/gateway"):
            cluster.merge(
                "Node", node["metadata"]["name"], "", {"metadata": {"labels": {"submariner.io/gateway": None}}}
            )
    for cluster in clusters:
        await_gone(cluster)


def _delete(cluster: Cluster, kind: str, name: str) -> None:
    try:
        cluster.delete(kind, name)
    except ApiError as error:
        if not error.not_found:
            raise


def await_gone(cluster: Cluster, seconds: float = 120) -> None:
    """Wait until Submariner's namespaces and CRDs, which go away by and by, are gone: those that are going."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        items = cluster.find_all("Namespace") + cluster.find_all("CustomResourceDefinition")
        if not any("deletionTimestamp" in item["metadata"] for item in items):
            return
        time.sleep(0.2)
    raise TimeoutError("what was deleted is still there")
