"""`subctl export service` and `subctl unexport service`."""

from __future__ import annotations

from lab.standin.errors import ApiError
from lab.standin.flags import Values, parse_bool
from lab.standin.kube import Cluster
from lab.standin.report import Reporter

_CLUSTERSET_IP = "lighthouse.submariner.io/use-clusterset-ip"


def export(cluster: Cluster, name: str, values: Values, report: Reporter) -> None:
    """Make a Service available to the other clusters."""
    namespace = values.text("namespace") or cluster.namespace
    with report.failing(f'Unable to find the Service "{name}" in namespace "{namespace}"'):
        cluster.get("Service", name, namespace)
    metadata: dict[str, object] = {"name": name, "namespace": namespace}
    if values.text("use-clusterset-ip"):
        with report.failing("use-clusterset-ip must be set to true/false"):
            wanted = parse_bool(values.text("use-clusterset-ip"))
        metadata["annotations"] = {_CLUSTERSET_IP: "true" if wanted else "false"}
    try:
        cluster.create({"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceExport", "metadata": metadata})
    except ApiError as error:
        if not error.already_exists:
            raise report.error(error, "Failed to export Service") from error
        report.success("Service already exported")
    else:
        report.success("Service exported successfully")


def unexport(cluster: Cluster, name: str, values: Values, report: Reporter) -> None:
    """Take a Service back from the other clusters."""
    namespace = values.text("namespace") or cluster.namespace
    try:
        cluster.delete("ServiceExport", name, namespace)
    except ApiError as error:
        message = f"Service {namespace}/{name} was not previously exported" if error.not_found else ""
        raise report.error(error, message or "Failed to unexport Service") from error
    report.success("Service successfully unexported")
