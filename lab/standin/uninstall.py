"""`subctl uninstall`."""

from __future__ import annotations

import sys

from lab.standin import faults, objects
from lab.standin.errors import ApiError, SubctlError
from lab.standin.flags import Values
from lab.standin.kube import Cluster, poll
from lab.standin.report import Reporter

_DELETION_SECONDS = 150


def uninstall(cluster: Cluster, values: Values, report: Reporter) -> None:
    """Remove Submariner from a cluster, and the broker unless other clusters use it."""
    if not values.switch("yes"):
        # Without an answer subctl takes "no", and counts that as success.
        sys.stdout.write(
            f'? This will completely uninstall Submariner from the cluster "{cluster.name}". '
            "Are you sure you want to continue? (y/N) "
        )
        return
    namespace = values.text("namespace") or objects.OPERATOR_NAMESPACE
    if not _remove_resource(cluster, "Submariner", "submariner", "connectivity", namespace, report):
        _remove_resource(cluster, "ServiceDiscovery", "service-discovery", "service discovery", namespace, report)
    faults.midway()
    broker_gone = _remove_broker(cluster, _broker_namespace(cluster, report), report)
    _remove_cluster_roles(cluster, report, keep_operator=not broker_gone)
    if broker_gone:
        report.start(f'Deleting the Submariner namespace "{namespace}" on cluster "{cluster.name}"')
        with report.failing("Error deleting the Submariner namespace"):
            # Returns while the namespace is still going away, as subctl does.
            _delete_if_there(cluster, "Namespace", namespace)
        _remove_crds(cluster, report)
    _unlabel_gateways(cluster, report)
    report.end()


def _remove_resource(cluster: Cluster, kind: str, name: str, component: str, namespace: str, report: Reporter) -> bool:
    report.start(f'Checking if the {component} component is installed on cluster "{cluster.name}"')
    with report.failing(f"Error retrieving the {kind} resource"):
        found = cluster.find(kind, name, namespace)
    if found is None:
        report.success(f'The {component} component is not installed on cluster "{cluster.name}" - skipping')
        report.end()
        return False
    report.success(f'The {component} component is installed on cluster "{cluster.name}"')
    report.start(f"Deleting the {kind} resource - this may take some time")
    with report.failing(f'Error deleting {kind} resource "{name}"'):
        if not _deleted(cluster, kind, name, namespace):
            _force_deletion(cluster, kind, name, namespace, report)
    report.end()
    return True


def _deleted(cluster: Cluster, kind: str, name: str, namespace: str) -> bool:
    return any(not _delete_if_there(cluster, kind, name, namespace) for _ in poll(_DELETION_SECONDS))


def _force_deletion(cluster: Cluster, kind: str, name: str, namespace: str, report: Reporter) -> None:
    """Take the operator's finalizer off, but only if no operator is there to do so."""
    if cluster.find("Deployment", objects.OPERATOR, namespace) is None:
        state = "deployment does not exist"
    else:
        pods = cluster.find_all("Pod", namespace, labels=f"name={objects.OPERATOR}")
        phase = pods[0]["status"].get("phase", "") if pods else ""
        if phase == "Running":
            raise SubctlError(
                "the Submariner operator pod appears to be running but did not complete deletion of the resource. "
                "Please check the pod logs"
            )
        state = f'pod is not running (status is "{phase}")' if pods else "pod does not exist"
    report.warning(
        f"The Submariner operator {state} so deletion of the resource was not completed - "
        "the resource will be force-deleted"
    )
    found = cluster.find(kind, name, namespace)
    if found is not None:
        kept = [item for item in found["metadata"].get("finalizers", []) if item != objects.CLEANUP_FINALIZER]
        cluster.merge(kind, name, namespace, {"metadata": {"finalizers": kept}})
    if not _deleted(cluster, kind, name, namespace):
        raise SubctlError("timed out waiting for the condition")


def _broker_namespace(cluster: Cluster, report: Reporter) -> str:
    report.start(f'Checking if the broker component is installed on cluster "{cluster.name}"')
    with report.failing("Error listing broker resources"):
        brokers = cluster.find_all("Broker")
    namespace = str(brokers[0]["metadata"]["namespace"]) if brokers else ""
    report.success(
        f'The broker component is installed in namespace "{namespace}"'
        if namespace
        else f'The broker component is not installed on cluster "{cluster.name}"'
    )
    report.end()
    return namespace


def _remove_broker(cluster: Cluster, namespace: str, report: Reporter) -> bool:
    """Tell whether there is no broker any more."""
    if not namespace or cluster.find("Namespace", namespace) is None:
        return True
    report.start(f'Verifying broker namespace "{namespace}" is not in use')
    with report.failing("error retrieving Endpoints"):
        # Where no operator has ever run there is no such kind, and subctl gives up.
        endpoints = cluster.find_all("Endpoint", namespace, must_exist=True)
    # Compared with the kubeconfig's cluster name, not with the ID in the mesh, as in subctl.
    others = [item["spec"]["cluster_id"] for item in endpoints if item["spec"]["cluster_id"] != cluster.name]
    if others:
        report.warning(
            f'Broker namespace "{namespace}" appears to be in use by other clusters ([{" ".join(others)}]) - '
            "keeping the broker components."
        )
        report.end()
        return False
    report.start(f'Deleting the broker namespace "{namespace}"')
    with report.failing("Error deleting the broker namespace"):
        _delete_if_there(cluster, "Namespace", namespace)
    report.end()
    return True


def _remove_cluster_roles(cluster: Cluster, report: Reporter, *, keep_operator: bool) -> None:
    report.start(f'Deleting the Submariner cluster roles and bindings on cluster "{cluster.name}"')
    with report.failing("Error deleting the cluster roles and bindings"):
        for item in cluster.find_all("ClusterRoleBinding"):
            name = item["metadata"]["name"]
            if not name.startswith("submariner-") or (keep_operator and name == objects.OPERATOR):
                continue
            _delete_if_there(cluster, "ClusterRoleBinding", name)
            _delete_if_there(cluster, "ClusterRole", item["roleRef"]["name"])
            report.success(f'Deleted the "{name}" cluster role and binding')
    report.end()


def _remove_crds(cluster: Cluster, report: Reporter) -> None:
    report.start(f'Deleting the Submariner custom resource definitions on cluster "{cluster.name}"')
    with report.failing("Error deleting the CustomResourceDefinitions"):
        for item in cluster.find_all("CustomResourceDefinition"):
            name = item["metadata"]["name"]
            if name.endswith(".submariner.io"):
                _delete_if_there(cluster, "CustomResourceDefinition", name)
                report.success(f'Deleted the "{name}" custom resource definition')
    report.end()


def _unlabel_gateways(cluster: Cluster, report: Reporter) -> None:
    report.start(f'Unlabeling gateway nodes on cluster "{cluster.name}"')
    with report.failing("Error updating the Nodes"):
        for node in cluster.find_all("Node", labels=f"{objects.GATEWAY_LABEL}=true"):
            cluster.merge("Node", node["metadata"]["name"], "", {"metadata": {"labels": {objects.GATEWAY_LABEL: None}}})
    report.end()


def _delete_if_there(cluster: Cluster, kind: str, name: str, namespace: str = "") -> bool:
    """Ask for a deletion, and tell whether there was anything to delete."""
    try:
        cluster.delete(kind, name, namespace)
    except ApiError as error:
        if error.not_found:
            return False
        raise
    return True
