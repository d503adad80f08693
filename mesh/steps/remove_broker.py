"""`remove-broker`: remove the broker, once nobody is joined to it any more. Removing it twice is no error."""

from pathlib import Path
from typing import Any

from mesh.steps import submariner
from mesh.steps.deploy_broker import is_ours
from mesh.steps.errors import StepError, forced
from mesh.steps.kube import Cluster, UnreachableError, connect
from mesh.steps.kubeconfig import Kubeconfig
from mesh.steps.spec import DeployBrokerSpec
from mesh.steps.subctl import Subctl
from mesh.steps.submariner import BROKER, BROKER_NAMESPACE, OPERATOR_NAMESPACE


def run(spec: DeployBrokerSpec, work: Path) -> dict[str, Any]:
    """`clusterID`, `action` (removed, absent, or forgotten where the cluster is gone) and `warnings`."""
    cluster_id = spec.settings.cluster_id
    try:
        cluster, kubeconfig = connect(spec.access, cluster_id, work)
        return {"clusterID": cluster_id, "action": _remove(cluster, kubeconfig, spec, work), "warnings": []}
    except UnreachableError as error:
        if not forced():
            raise StepError(f"{error}; if {cluster_id} is gone for good, MESH_FORCE=1 forgets its broker") from None
        return {"clusterID": cluster_id, "action": "forgotten", "warnings": [f"{cluster_id} was not cleaned: {error}"]}


def _remove(cluster: Cluster, kubeconfig: Kubeconfig, spec: DeployBrokerSpec, work: Path) -> str:
    cluster.version()  # is it there at all?
    cluster.await_settled(BROKER_NAMESPACE, OPERATOR_NAMESPACE)
    joined = submariner.joined(cluster)
    namespaces = [BROKER_NAMESPACE] if joined else [BROKER_NAMESPACE, OPERATOR_NAMESPACE]
    there = [namespace for namespace in namespaces if cluster.get("Namespace", namespace)]
    if not there:
        return "absent"
    if BROKER_NAMESPACE in there and not is_ours(cluster) and not spec.settings.adopt:
        raise StepError(
            f"the broker in {cluster} was not deployed by this project: remove it by hand (`subctl uninstall`)"
        )
    if not forced():
        submariner.refuse_members(cluster, but=[])
    # Before subctl, which would keep a broker that is in use; without one it removes all that is Submariner's.
    cluster.delete("Broker", BROKER, BROKER_NAMESPACE)
    cluster.delete("Namespace", BROKER_NAMESPACE)
    if not joined:
        # It knows the roles and definitions of its version; with a member still joined it would uninstall that too.
        result = Subctl(kubeconfig, work).run("uninstall", "--yes", f"--namespace={OPERATOR_NAMESPACE}")
        if result.code:
            raise result.explain(f"uninstall in {cluster}")
        cluster.delete("Namespace", OPERATOR_NAMESPACE)  # normally it is going already
    for namespace in namespaces:
        cluster.await_gone(namespace)
    return "removed"
