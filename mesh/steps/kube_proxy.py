"""`kube-proxy`: set `conntrack.tcpBeLiberal` in kube-proxy's configuration and have it read that.

Without it kube-proxy drops packets of connections that a node has seen only half of, which those of pods outside the
gateway nodes are: they go out through the tunnel and come back over the underlay (facts: datapath.md 4). In its file
one line changes; everything else stays as it is, byte for byte.

It is never undone by itself: taking it back restarts kube-proxy on every node and cuts such connections, and somebody
else may have come to rely on it.
"""

import hashlib
import re
import time
from pathlib import Path
from typing import Any

import yaml

from mesh.health.read import KUBE_PROXY, KUBE_PROXY_CONFIG, KUBE_PROXY_NAMESPACE
from mesh.health.site import TCP_LIBERAL_SINCE
from mesh.plan.types import version_tuple
from mesh.steps import kube
from mesh.steps.activity import doing
from mesh.steps.errors import StepError
from mesh.steps.kube import Cluster, Object
from mesh.steps.spec import KubeProxySpec

ANNOTATION = "multi-cluster-mesh/kube-proxy-config"
POLL_SECONDS = 1.0
_BY_HAND = "set conntrack.tcpBeLiberal: true (--conntrack-tcp-be-liberal) where this cluster configures kube-proxy"
_SECTION = re.compile(r"^conntrack:(?P<value>[ \t]*[^\s#][^\n#]*?)?(?P<comment>[ \t]+#[^\n]*)?[ \t]*$", re.MULTILINE)
_FIELD = re.compile(r"^(?P<head>[ \t]+tcpBeLiberal:[ \t]*)[^\s#]*", re.MULTILINE)


def run(spec: KubeProxySpec, work: Path) -> dict[str, Any]:
    """`tcpBeLiberal`, `action` (changed, restarted, unchanged) and `warnings`.

    Raises:
        StepError: kube-proxy cannot be configured so, or does not come back.
    """
    cluster, _ = kube.connect(spec.access, spec.cluster_id, work)
    kubernetes = cluster.version()
    if version_tuple(kubernetes) < TCP_LIBERAL_SINCE:
        raise StepError(f"kube-proxy of Kubernetes {kubernetes} has no conntrack.tcpBeLiberal: 1.29 has")
    config_map = cluster.get("ConfigMap", KUBE_PROXY, KUBE_PROXY_NAMESPACE)
    text = ((config_map or {}).get("data") or {}).get(KUBE_PROXY_CONFIG)
    if not config_map or not text:
        raise StepError(
            f"{cluster} has no ConfigMap {KUBE_PROXY_NAMESPACE}/{KUBE_PROXY} with {KUBE_PROXY_CONFIG}: {_BY_HAND}"
        )
    wanted, changed = liberal(text), False
    mark = (config_map["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    if wanted != text:
        mark, changed = hashlib.sha256(wanted.encode()).hexdigest()[:16], True
        changes: Object = {
            # Whoever changes it at the same time makes this fail, instead of losing their change.
            "metadata": {
                "resourceVersion": config_map["metadata"]["resourceVersion"],
                "annotations": {ANNOTATION: mark},
            },
            "data": {KUBE_PROXY_CONFIG: wanted},
        }
        cluster.patch("ConfigMap", KUBE_PROXY, KUBE_PROXY_NAMESPACE, changes)
    restarted = _restart(cluster, mark)
    with doing("waiting for kube-proxy to restart on every node"):
        _await_rollout(cluster, spec.timeout)
    action = "changed" if changed else "restarted" if restarted else "unchanged"
    return {"tcpBeLiberal": True, "action": action, "warnings": []}


def liberal(text: str) -> str:
    """The configuration with `conntrack.tcpBeLiberal: true`, and not one byte different otherwise.

    Raises:
        StepError: it is written in a way that cannot be changed like that.
    """
    before = _parse(text)
    if (before.get("conntrack") or {}).get("tcpBeLiberal") is True:
        return text
    changed = _edit(text)
    after = _parse(changed)
    # The proof of the pudding: the same document but for this one field.
    if after != before | {"conntrack": (before.get("conntrack") or {}) | {"tcpBeLiberal": True}}:
        raise StepError(f"kube-proxy's configuration is written in an unusual way: {_BY_HAND}")
    return changed


def _edit(text: str) -> str:
    section = _SECTION.search(text)
    if section is None:
        return f"{text}{'' if text.endswith(chr(10)) else chr(10)}conntrack:\n  tcpBeLiberal: true\n"
    start, end = section.start(), section.end()
    if section["value"]:  # conntrack: {} or null; anything longer is refused by the comparison
        return f"{text[:start]}conntrack:{section['comment'] or ''}\n  tcpBeLiberal: true{text[end:]}"
    following = re.search(r"^[^\s#-]", text[end:], re.MULTILINE)
    stop = end + following.start() if following else len(text)
    body = text[end:stop]
    if field := _FIELD.search(body):
        body = f"{body[: field.start()]}{field['head'].rstrip()} true{body[field.end() :]}"
    else:
        indent = re.search(r"^([ \t]+)\S", body, re.MULTILINE)
        body = f"\n{indent[1] if indent else '  '}tcpBeLiberal: true{body}"
    return f"{text[:end]}{body}{text[stop:]}"


def _parse(text: str) -> dict[str, Any]:
    try:
        root, parsed = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError:
        root = parsed = None
    keys = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    # PyYAML keeps the last of two equal keys; kube-proxy refuses to start with them.
    sound = isinstance(parsed, dict) and len(keys) == len(set(keys)) and isinstance(parsed.get("conntrack") or {}, dict)
    if not sound:
        where = f"{KUBE_PROXY_CONFIG} of ConfigMap {KUBE_PROXY_NAMESPACE}/{KUBE_PROXY}"
        raise StepError(f"{where} is not YAML as expected: {_BY_HAND}")
    found: dict[str, Any] = parsed
    return found


def _restart(cluster: Cluster, mark: str) -> bool:
    """Have every pod read what we have changed, unless they have started since; says whether that was necessary.

    The mark is on both, so that a run that was killed in between is made up for; without one, nothing is ours.
    """
    found = cluster.get("DaemonSet", KUBE_PROXY, KUBE_PROXY_NAMESPACE)
    if found is None:
        raise StepError(f"{cluster} has no DaemonSet {KUBE_PROXY_NAMESPACE}/{KUBE_PROXY}: restart kube-proxy yourself")
    annotations = (found["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    if annotations.get(ANNOTATION, "") == mark or not mark:
        return False
    template: Object = {"metadata": {"annotations": {ANNOTATION: mark}}}
    cluster.patch("DaemonSet", KUBE_PROXY, KUBE_PROXY_NAMESPACE, {"spec": {"template": template}})
    return True


def _await_rollout(cluster: Cluster, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = cluster.get("DaemonSet", KUBE_PROXY, KUBE_PROXY_NAMESPACE) or {"metadata": {}}
        status = found.get("status") or {}
        wanted = status.get("desiredNumberScheduled", 0)
        seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        done = min(status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0))
        if seen and done >= wanted:
            return
        if time.monotonic() > deadline:
            raise StepError(
                f"kube-proxy of {cluster} has restarted on {done} of {wanted} nodes after {seconds:g} s: see its pods "
                f"in {KUBE_PROXY_NAMESPACE}"
            )
        time.sleep(POLL_SECONDS)
