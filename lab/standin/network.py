"""Discovery of a cluster's pod and service CIDR, as far as subctl's "generic" one goes.

The CNI plugins that subctl knows by name (OpenShift, OVN, Calico, Flannel, …) are not looked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.standin.errors import ApiError, SubctlError
from lab.standin.kube import Cluster
from lab.standin.report import Reporter


@dataclass(frozen=True)
class Network:
    """What was found; empty where nothing was."""

    pod_cidr: str = ""
    service_cidr: str = ""


def discover(cluster: Cluster, report: Reporter) -> Network:
    """Find out what can be found out; a failure is only a warning."""
    report.start("Discovering network details")
    network = Network()
    try:
        network = Network(_pod_cidr(cluster), _service_cidr(cluster))
        if network == Network():
            report.warning("No network details discovered")
    except SubctlError as error:
        report.warning(f"Unable to discover network details: {error}")
    report.end()
    if network != Network():
        print("        Network plugin:  generic")
        print(f"        Service CIDRs:   [{network.service_cidr}]")
        print(f"        Cluster CIDRs:   [{network.pod_cidr}]")
    return network


def _pod_cidr(cluster: Cluster) -> str:
    for component in ("kube-controller-manager", "kube-proxy"):
        found = _parameter(cluster, component, "--cluster-cidr")
        if found:
            return found
    nodes = cluster.find_all("Node")
    # Every node has a range of its own: only that of a single node says something about the cluster.
    return str(nodes[0]["spec"].get("podCIDR", "")) if len(nodes) == 1 else ""


def _service_cidr(cluster: Cluster) -> str:
    found = _parameter(cluster, "kube-apiserver", "--service-cluster-ip-range")
    if found:
        return found
    impossible = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "invalid-svc", "namespace": "default"},
        "spec": {"clusterIP": "1.1.1.1", "ports": [{"port": 443, "targetPort": 443}]},
    }
    prefix = "could not determine the service IP range via service creation - "
    try:
        cluster.create(impossible)  # no dry run: it is refused in other words
    except ApiError as error:
        # Kubernetes named the range in its refusal until 1.32.
        match = re.search(r"valid IPs is (.*)$", str(error))
        if match:
            return match.group(1)
        quoted = str(error).replace('"', '\\"')
        raise SubctlError(f'{prefix}the expected error was not returned. The actual error was "{quoted}"') from error
    cluster.delete("Service", "invalid-svc", "default")
    raise SubctlError(f"{prefix}expected a specific error but none was returned")


def _parameter(cluster: Cluster, component: str, name: str) -> str:
    for pod in cluster.find_all("Pod", labels=f"component={component}"):
        for container in pod["spec"]["containers"]:
            # Also in one string: /bin/sh -c "exec kube-apiserver --flag=value"
            for word in " ".join([*container.get("command", []), *container.get("args", [])]).split():
                if word.startswith(f"{name}="):
                    return str(word.partition("=")[2])
    return ""
