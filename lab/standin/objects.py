"""The objects that subctl makes, as manifests."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

Object = dict[str, Any]

BROKER_NAMESPACE = "submariner-k8s-broker"
OPERATOR_NAMESPACE = "submariner-operator"
OPERATOR = "submariner-operator"
BROKER_ADMIN = "submariner-k8s-broker-admin"
BROKER_CLUSTER_ROLE = "submariner-k8s-broker-cluster"
BROKER_NAME = "submariner-broker"
BROKER_SECRET = "submariner-broker-secret"  # noqa: S105  the name of a Secret
PSK_SECRET = "submariner-ipsec-psk"  # noqa: S105  the name of a Secret
GATEWAY_LABEL = "submariner.io/gateway"
CLEANUP_FINALIZER = "controllers.submariner.io/cleanup"
GLOBALNET_CONFIG = "submariner-globalnet-info"
CLUSTERSET_CONFIG = "submariner-clustersetip-info"

CONNECTIVITY = "connectivity"
SERVICE_DISCOVERY = "service-discovery"

DEFAULT_REPOSITORY = "quay.io/submariner"

OVERRIDABLE = (
    "submariner-operator",
    "submariner-gateway",
    "submariner-routeagent",
    "submariner-globalnet",
    "submariner-lighthouse-agent",
    "submariner-lighthouse-coredns",
    "submariner-nettest",
    "submariner-metrics-proxy",
)

# The CRDs that subctl itself brings along; all others are the operator's business.
SUBCTL_CRDS = ("submariners", "servicediscoveries", "brokers")

_RBAC = "rbac.authorization.k8s.io"
_CRD_DIR = Path(__file__).resolve().parents[1] / "crds"

_ALL = ["create", "get", "list", "watch", "patch", "update", "delete"]
# What every member may do on the broker, and so may whoever holds the broker-info file.
_SHARED_RULES = [
    ("submariner.io", ["clusters", "endpoints"], _ALL),
    ("submariner.io", ["brokers"], ["get", "list"]),
    ("multicluster.x-k8s.io", ["serviceimports", "serviceimports/status"], _ALL),
    ("discovery.k8s.io", ["endpointslices", "endpointslices/restricted"], _ALL),
]
_ADMIN_RULES = [
    *_SHARED_RULES,
    ("", ["serviceaccounts", "secrets", "configmaps"], ["create", "get", "list", "watch", "update", "delete"]),
    (_RBAC, ["rolebindings"], ["create", "get", "list", "delete"]),
]
_MEMBER_RULES = [
    *_SHARED_RULES,
    ("", ["secrets"], ["get", "list", "watch"]),
    ("", ["serviceaccounts"], ["get", "list"]),
]

# Accounts of the pods on a member. Those with a Role have a Role and a ClusterRole, the others only the latter.
_NAMESPACED_COMPONENTS = (
    OPERATOR,
    "submariner-gateway",
    "submariner-routeagent",
    "submariner-globalnet",
    "submariner-diagnose",
)
_CLUSTER_COMPONENTS = ("submariner-lighthouse-agent", "submariner-lighthouse-coredns")


def namespace(name: str, labels: dict[str, str] | None = None) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}


def service_account(name: str, in_namespace: str) -> Object:
    """A ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": in_namespace}}


def token_secret(account: str, in_namespace: str) -> Object:
    """A Secret for the controller manager to put the account's token in."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "generateName": f"{account}-token-",
            "namespace": in_namespace,
            "annotations": {"kubernetes.io/service-account.name": account, "kubernetes.io/created-by": "subctl"},
        },
        "type": "kubernetes.io/service-account-token",
    }


def secret(name: str, in_namespace: str, data: dict[str, str]) -> Object:
    """An opaque Secret; `data` is base64 already."""
    metadata = {"name": name, "namespace": in_namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


def broker_roles(in_namespace: str) -> list[Object]:
    """The Roles on the broker, and the admin's binding, in subctl's order."""
    return [
        _role(BROKER_ADMIN, in_namespace, _ADMIN_RULES),
        binding(BROKER_ADMIN, BROKER_ADMIN, BROKER_ADMIN, in_namespace),
        _role(BROKER_CLUSTER_ROLE, in_namespace, _MEMBER_RULES),
    ]


def binding(name: str, role: str, account: str, in_namespace: str, account_namespace: str = "") -> Object:
    """A RoleBinding of a Role to a ServiceAccount: of the same namespace, unless another is named."""
    subject = {"kind": "ServiceAccount", "name": account}
    if account_namespace:
        subject["namespace"] = account_namespace
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": in_namespace},
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": role},
        "subjects": [subject],
    }


def component_accounts(in_namespace: str) -> list[Object]:
    """Accounts and roles of Submariner's pods.

    The roles have the real names but grant nothing: the stand-in starts none of the pods that would need them.
    """
    made: list[Object] = []
    for name in (*_NAMESPACED_COMPONENTS, *_CLUSTER_COMPONENTS):
        made.append(service_account(name, in_namespace))
        made.append({"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": []})
        made.append(
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": in_namespace}],
            }
        )
        if name in _NAMESPACED_COMPONENTS:
            made.append(_role(name, in_namespace, []))
            made.append(binding(name, name, name, in_namespace))
    made.append(_role("submariner-metrics-reader", in_namespace, []))
    # For OpenShift's monitoring; subctl binds it everywhere.
    metrics = ("read-submariner-metrics", "submariner-metrics-reader", "prometheus-k8s", in_namespace)
    made.append(binding(*metrics, account_namespace="openshift-monitoring"))
    return made


def operator_deployment(in_namespace: str, image: str, debug: bool, proxy: dict[str, str]) -> Object:
    """The operator's Deployment; `proxy` are the environment variables for it."""
    labels = {"name": OPERATOR}
    container = {
        "name": OPERATOR,
        "image": image,
        "imagePullPolicy": "IfNotPresent" if image.endswith(":local") else "Always",
        "command": [OPERATOR, "-v=3" if debug else "-v=1"],
        "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
        "env": [
            _field("WATCH_NAMESPACE", "metadata.namespace"),
            _field("POD_NAME", "metadata.name"),
            {"name": "OPERATOR_NAME", "value": OPERATOR},
            *({"name": name, "value": value} for name, value in proxy.items() if value),
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": OPERATOR, "namespace": in_namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"serviceAccountName": OPERATOR, "containers": [container]},
            },
        },
    }


def config_map(name: str, in_namespace: str, data: dict[str, str], labels: dict[str, str] | None = None) -> Object:
    """A ConfigMap."""
    metadata = {"name": name, "namespace": in_namespace, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def custom(kind: str, name: str, in_namespace: str, spec: Object) -> Object:
    """A custom resource of Submariner's operator."""
    metadata = {"name": name, "namespace": in_namespace}
    return {"apiVersion": "submariner.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def without_zeros(spec: Object, keep: tuple[str, ...] = ()) -> Object:
    """Leave out what a Go struct with `omitempty` would leave out, except the fields named."""
    return {key: value for key, value in spec.items() if key in keep or value not in (False, "", 0, None, [], {})}


@cache
def crd(plural: str, group: str = "submariner.io") -> Object:
    """One of the lab's own CRDs."""
    import yaml

    text = (_CRD_DIR / f"{group}_{plural}.yaml").read_text("utf-8")
    loaded: Object = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return loaded


def encode(text: str | bytes) -> str:
    """Base64, as in a Secret's data."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def decode(data: str) -> bytes:
    """The reverse of `encode`."""
    return base64.b64decode(data)


def _role(name: str, in_namespace: str, rules: list[tuple[str, list[str], list[str]]]) -> Object:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": in_namespace},
        "rules": [{"apiGroups": [group], "resources": what, "verbs": verbs} for group, what, verbs in rules],
    }


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
