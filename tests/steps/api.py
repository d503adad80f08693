"""A test's own way to an API server, so that nothing is proven by the code under test."""

import base64
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config

Object = dict[str, Any]

OPERATOR = "/api/v1/namespaces/submariner-operator"
BROKER = "/api/v1/namespaces/submariner-k8s-broker"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_CONTENTS = (
    "/apis/apps/v1/deployments", "/apis/apps/v1/replicasets", "/api/v1/pods", "/api/v1/secrets", "/api/v1/configmaps",
    "/api/v1/serviceaccounts", f"{_RBAC}/roles", f"{_RBAC}/rolebindings", "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/coordination.k8s.io/v1/leases", "/api/v1/events", "/apis/submariner.io/v1/clusters",
    "/apis/submariner.io/v1/endpoints", "/apis/submariner.io/v1/gateways", "/apis/submariner.io/v1alpha1/brokers",
    "/apis/submariner.io/v1alpha1/submariners", "/apis/multicluster.x-k8s.io/v1alpha1/serviceimports",
)  # fmt: skip
_OURS = ("submariner.io", "multicluster.x-k8s.io", "spiderpool.spidernet.io")


class Api:
    """One API server; a path is what stands in the URL after the host."""

    def __init__(self, kubeconfig: Path) -> None:
        settings = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=settings)
        settings.proxy = None
        settings.retries = urllib3.Retry(3, redirect=0, raise_on_status=False)
        self.server = settings.host
        self._api = client.ApiClient(settings)

    def call(self, method: str, path: str, body: Any = None, content: str = "application/json") -> tuple[int, Object]:
        """Status and document of an answer."""
        answer = self._api.rest_client.pool_manager.request(
            method,
            f"{self._api.configuration.host}{path}",
            body=json.dumps(body) if body is not None else None,
            headers={"content-type": content, "accept": "application/json"},
            timeout=20,
        )
        is_json = answer.headers.get("content-type", "").startswith("application/json")  # not where a group is missing
        return answer.status, json.loads(answer.data) if is_json else {}

    def get(self, path: str) -> Object | None:
        """An object, or None."""
        status, found = self.call("GET", path)
        assert status in (200, 404), found
        return found if status == 200 else None

    def one(self, path: str) -> Object:
        """An object that has to be there."""
        found = self.get(path)
        assert found is not None, f"{path} does not exist"
        return found

    def names(self, path: str) -> set[str]:
        """Names of the objects in a list."""
        return {item["metadata"]["name"] for item in (self.get(path) or {"items": []})["items"]}

    def versions(self, path: str) -> list[str]:
        """Names of the objects in a list, each with its version."""
        items = (self.get(path) or {"items": []})["items"]
        return sorted(f"{item['metadata']['name']} {item['metadata']['resourceVersion']}" for item in items)

    def create(self, path: str, body: Object) -> Object:
        """Create an object."""
        status, made = self.call("POST", path, body)
        assert status in (200, 201), made
        return made

    def patch(self, path: str, changes: Object) -> Object:
        """Merge changes into an object."""
        status, made = self.call("PATCH", path, changes, "application/merge-patch+json")
        assert status == 200, made
        return made

    def delete(self, path: str) -> None:
        """Delete an object that may not be there."""
        status, answer = self.call("DELETE", path)
        assert status in (200, 202, 404, 409), answer

    # --- what these tests look at over and over

    def submariner(self) -> Object | None:
        """The Submariner resource."""
        return self.get("/apis/submariner.io/v1alpha1/namespaces/submariner-operator/submariners/submariner")

    def joined(self) -> Object:
        """The Submariner resource, which has to be there."""
        found = self.submariner()
        assert found is not None, "not joined"
        return found

    def psk(self) -> bytes:
        """The pre-shared key that is kept beside the broker."""
        return base64.b64decode(self.one(f"{BROKER}/secrets/mesh-ipsec-psk")["data"]["psk"])

    def has_namespace(self, name: str) -> bool:
        """Whether a namespace exists."""
        return self.get(f"/api/v1/namespaces/{name}") is not None

    def add_member(self, cluster_id: str, namespace: str = "submariner-k8s-broker") -> None:
        """What the gateway of a member writes on the broker (the operator does not run here)."""
        base = f"/apis/submariner.io/v1/namespaces/{namespace}"
        common = {"apiVersion": "submariner.io/v1"}
        spec: Object = {"cluster_id": cluster_id, "cluster_cidr": [], "service_cidr": [], "global_cidr": []}
        spec["color_codes"] = []
        self.create(f"{base}/clusters", common | {"kind": "Cluster", "metadata": {"name": cluster_id}, "spec": spec})
        spec = {"cluster_id": cluster_id, "cable_name": f"submariner-cable-{cluster_id}", "hostname": "gateway",
                "backend": "libreswan", "private_ip": "10.6.168.74", "public_ip": "", "nat_enabled": False,
                "subnets": []}  # fmt: skip
        body = common | {"kind": "Endpoint", "metadata": {"name": f"{cluster_id}-cable"}, "spec": spec}
        self.create(f"{base}/endpoints", body)

    def service_account_kubeconfig(self, path: Path, role: str) -> Path:
        """The kubeconfig of a ServiceAccount that has one ClusterRole and no more."""
        name = f"mesh-test-{role}"
        self.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": name}})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        body = {"metadata": {"name": name}, "subjects": [subject], "roleRef": reference}
        self.call("POST", f"{_RBAC}/clusterrolebindings", body)
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        made = self.create(f"/api/v1/namespaces/default/serviceaccounts/{name}/token", request)
        cluster = {"server": self.server, "certificate-authority": self._api.configuration.ssl_ca_cert}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "limited",
            "contexts": [{"name": "limited", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": made["status"]["token"]}}],
        }
        path.write_text(json.dumps(document))
        return path

    # --- from any state to a clean one

    def forget_reports(self) -> None:
        """Remove what gateways and Lighthouse report, which tests write in their place."""
        for kind in ("clusters", "endpoints", "gateways", "routeagents"):
            self._empty("/apis/submariner.io/v1", kind)
        self._empty("/apis/multicluster.x-k8s.io/v1alpha1", "serviceimports")
        self.call("DELETE", "/apis/discovery.k8s.io/v1/namespaces/submariner-k8s-broker/endpointslices")

    def wipe(self, crd_dirs: Sequence[Path], *, gateways: Iterable[str], others: Iterable[str]) -> None:
        """Remove all of Submariner and Spiderpool but the definitions, and label the gateway nodes."""
        new = self.ensure_definitions(crd_dirs)
        for definition in self.one(_CRDS)["items"]:
            spec = definition["spec"]
            if spec["group"].endswith(_OURS) and definition["metadata"]["name"] not in new:
                version = next(version["name"] for version in spec["versions"] if version["storage"])
                self._empty(f"/apis/{spec['group']}/{version}", spec["names"]["plural"])
        going = [name for name in self.names("/api/v1/namespaces") if name.startswith("submariner-")]
        for name in going:
            self.remove_namespace(name)
        for kind in ("clusterrolebindings", "clusterroles"):
            for name in self.names(f"{_RBAC}/{kind}"):
                if name.startswith("submariner-"):
                    self.delete(f"{_RBAC}/{kind}/{name}")
        self.label(gateways, others)
        self.wait(lambda: not any(self.has_namespace(name) for name in going))

    def remove_namespace(self, name: str) -> None:
        """What the controller manager does five seconds after a namespace is deleted, done at once."""
        self.delete(f"/api/v1/namespaces/{name}")
        for path in _CONTENTS:
            group, _, plural = path.rpartition("/")
            self.call("DELETE", f"{group}/namespaces/{name}/{plural}?gracePeriodSeconds=0")
        if found := self.get(f"/api/v1/namespaces/{name}"):
            found["spec"]["finalizers"] = []
            self.call("PUT", f"/api/v1/namespaces/{name}/finalize", found)

    def definitions_are_going(self) -> bool:
        """Whether definitions are being deleted; those that would stay for ever are looked at again.

        The API server gives up on one that is deleted while its storage is being set up, until something in it changes.
        """
        going = [item for item in self.one(_CRDS)["items"] if "deletionTimestamp" in item["metadata"]]
        for item in going:
            conditions = item.get("status", {}).get("conditions") or []
            if any(condition.get("reason") == "InstanceDeletionFailed" for condition in conditions):
                again = {"metadata": {"annotations": {"mesh.test/again": str(time.monotonic())}}}
                self.call("PATCH", f"{_CRDS}/{item['metadata']['name']}", again, "application/merge-patch+json")
        return bool(going)

    def _hurry(self, stop: threading.Event) -> None:
        while not stop.wait(0.1):
            self.definitions_are_going()
            for item in self.one("/api/v1/namespaces")["items"]:
                if item["metadata"]["name"].startswith("submariner-") and "deletionTimestamp" in item["metadata"]:
                    self.remove_namespace(item["metadata"]["name"])

    def label(self, gateways: Iterable[str], others: Iterable[str]) -> None:
        """Have these nodes labelled as gateways, and no others."""
        for node in others:
            value = "true" if node in gateways else None
            self.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": {"submariner.io/gateway": value}}})

    def wait(self, done: Any, seconds: float = 60) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "what the test waits for does not happen"
            time.sleep(0.1)

    def _empty(self, group: str, plural: str) -> None:
        for item in (self.get(f"{group}/{plural}") or {"items": []})["items"]:
            place = item["metadata"].get("namespace")
            path = f"{group}/{f'namespaces/{place}/' if place else ''}{plural}/{item['metadata']['name']}"
            if item["metadata"].get("finalizers"):
                self.patch(path, {"metadata": {"finalizers": None}})
            self.delete(path)

    def ensure_definitions(self, crd_dirs: Sequence[Path]) -> list[str]:
        """Uninstalling removes the definitions of Submariner too; gives the names of those that were made again."""
        self.wait(lambda: not self.definitions_are_going())
        there = self.names(_CRDS)
        made = []
        for path in sorted(path for folder in crd_dirs for path in folder.glob("*.yaml")):
            name = "_".join(path.stem.split("_")[:2])
            if ".".join(reversed(name.split("_"))) in there:
                continue
            for document in yaml.load_all(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                if document and document["kind"] == "CustomResourceDefinition":
                    status, answer = self.call("POST", _CRDS, document)
                    assert status in (201, 409), answer
                    made.append(document["metadata"]["name"])
        for name in made:
            self.wait(lambda name=name: self._is_established(name))
        return made

    def _is_established(self, name: str) -> bool:
        """Whether a definition is served; `conditions` is null in one that has just been made."""
        conditions = self.one(f"{_CRDS}/{name}").get("status", {}).get("conditions") or []
        return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)


@contextmanager
def brisk_namespaces(apis: Sequence[Api]) -> Iterator[None]:
    """Namespaces and definitions that are deleted go at once.

    With namespaces the controller manager waits five seconds, and ten where pods are in them.
    """
    stop = threading.Event()
    threads = [threading.Thread(target=api._hurry, args=[stop]) for api in apis]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
