"""From a cluster's access to one small kubeconfig: one cluster, one user, one context, nothing relative in it.

subctl takes one file only (a colon list fails) and, for uninstall, the *cluster's name* in it for the cluster's ID
(facts: submariner.md 6), so it is given a file of our own in which that name is the cluster ID.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.access import ClusterAccess
from mesh.steps.errors import StepError, remember
from mesh.steps.spec import is_contents

CONTEXT = "mesh"
_DEFAULT = "~/.kube/config"
_CLUSTER_PATHS = ("certificate-authority",)
_USER_PATHS = ("client-certificate", "client-key", "tokenFile")
_USER_SECRETS = ("token", "password", "client-key-data")
Node = dict[str, Any]


@dataclass(frozen=True)
class Kubeconfig:
    """A kubeconfig with the context `mesh` alone.

    Attributes:
        name: the cluster's ID, and the name of the cluster in it.
        server: URL of the API server.
        source: where it comes from, for messages.
        plugin: name of the program that gives the credentials; empty where none does.
        document: the kubeconfig itself.
    """

    name: str
    server: str
    source: str
    plugin: str
    document: Node

    def text(self) -> str:
        """What to write into a file (JSON is YAML)."""
        return json.dumps(self.document)


def resolve(access: ClusterAccess, name: str) -> Kubeconfig:
    """The kubeconfig of a cluster, found as `mesh.access` says.

    Raises:
        StepError: there is none, it cannot be read, it has not what is asked for.
    """
    source, documents = _read(access, name)
    contexts, clusters, users = (_named(documents, key, key[:-1]) for key in ("contexts", "clusters", "users"))
    current = next((document["current-context"] for document in documents if document.get("current-context")), None)
    wanted = access.context or current
    if not wanted:
        raise StepError(f"{source} has no current context: set mesh:context to one of {_list(contexts)}")
    if wanted not in contexts:
        raise StepError(f"{source} has no context {wanted!r}: set mesh:context to one of {_list(contexts)}")
    context = contexts[wanted]
    cluster, user = clusters.get(str(context.get("cluster"))), users.get(str(context.get("user")), {})
    if not cluster or not cluster.get("server"):
        raise StepError(f"context {wanted!r} of {source} names no cluster with a server: repair that kubeconfig")
    server = str(cluster["server"]).rstrip("/")
    remember(*(str(user[key]) for key in _USER_SECRETS if user.get(key)))
    plugin = user.get("exec") or {}
    remember(*(str(entry.get("value", "")) for entry in plugin.get("env") or []))
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "contexts": [{"name": CONTEXT, "context": {"cluster": name, "user": CONTEXT}}],
        "clusters": [{"name": name, "cluster": cluster | {"server": server}}],
        "users": [{"name": CONTEXT, "user": user}],
    }
    return Kubeconfig(name, server, f"{source}, context {wanted}", str(plugin.get("command") or ""), document)


def _read(access: ClusterAccess, name: str) -> tuple[str, list[Node]]:
    if access.kubeconfig:
        given = access.kubeconfig.get_secret_value()
        if is_contents(given):
            return "mesh:kubeconfig", [_parse(given, Path.cwd(), "mesh:kubeconfig")]
        return "the kubeconfig of mesh:kubeconfig", [_load(given, "mesh:kubeconfig")]
    if own := os.environ.get(access.variable):
        return f"the kubeconfig {own} ({access.variable})", [_load(path, access.variable) for path in _split(own)]
    if not access.context:
        # The current context of the usual kubeconfig may be any cluster.
        raise StepError(
            f"nothing says how to reach {name}: set {access.variable} to the path of its kubeconfig, "
            "or mesh:context to its context in your usual one"
        )
    usual = os.environ.get("KUBECONFIG") or _DEFAULT
    variable = "KUBECONFIG" if os.environ.get("KUBECONFIG") else "the usual place"
    # kubectl leaves out files of a list that do not exist.
    paths = [path for path in _split(usual) if Path(path).expanduser().exists()] or _split(usual)[:1]
    return f"the kubeconfig {usual}", [_load(path, variable) for path in paths]


def _split(paths: str) -> list[str]:
    return [path for path in paths.split(os.pathsep) if path]


def _load(given: str, variable: str) -> Node:
    path = Path(given).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise StepError(f"the kubeconfig {path} ({variable}) cannot be read: {reason}; correct the path") from None
    return _parse(text, path.absolute().parent, f"the kubeconfig {path} ({variable})")


def _parse(text: str, folder: Path, source: str) -> Node:
    import yaml

    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 a SafeLoader
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f" (line {line + 1})" if line is not None else ""
        # The error's own text would show the line, secrets and all.
        raise StepError(f"{source} is not YAML{where}: it is damaged or cut short, get it again") from None
    if not isinstance(document, dict) or not isinstance(document.get("contexts"), list):
        raise StepError(f"{source} is not a kubeconfig: it has no contexts; get it again")
    for key, inner, fields in (("clusters", "cluster", _CLUSTER_PATHS), ("users", "user", _USER_PATHS)):
        for entry in document.get(key) or []:
            _make_absolute(entry.get(inner) or {}, fields, folder)
    return document


def _make_absolute(node: Node, fields: tuple[str, ...], folder: Path) -> None:
    for field in fields:
        if node.get(field):
            node[field] = str(folder / Path(node[field]).expanduser())
    plugin = node.get("exec") or {}
    if os.sep in str(plugin.get("command", "")):
        plugin["command"] = str(folder / plugin["command"])


def _named(documents: list[Node], key: str, inner: str) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for document in documents:  # of two with one name the first wins, as with kubectl
        for entry in document.get(key) or []:
            found.setdefault(entry.get("name"), entry.get(inner) or {})
    return found


def _list(names: dict[str, Node]) -> str:
    return ", ".join(sorted(names)) or "(it has none)"
