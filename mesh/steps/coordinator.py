"""`coordinator`: wait until Spiderpool has read the cluster's own CIDRs, and compare them with the plan.

Until the SpiderCoordinator is Synced, every pod start on the underlay fails (`spidercoordinator: default no ready`,
cmd/spiderpool-agent/cmd/coordinator.go). Spiderpool reads the CIDRs from kubeadm's ConfigMap or from the flags of a
kube-controller-manager pod (pkg/coordinatormanager/coordinator_informer.go); on clusters that have neither it never
becomes Synced.
"""

import time
from pathlib import Path
from typing import Any

from mesh.steps import kube
from mesh.steps.activity import doing
from mesh.steps.errors import StepError
from mesh.steps.spec import CoordinatorSpec

NAME = "default"
POLL_SECONDS = 1.0
_REMEDY = (
    "where the cluster has neither kubeadm's ConfigMap nor a kube-controller-manager pod, create ConfigMap "
    "kube-system/kubeadm-config with podSubnet and serviceSubnet, one key per line"
)


def run(spec: CoordinatorSpec, work: Path) -> dict[str, Any]:
    """Wait until the coordinator is Synced.

    Returns:
        `{phase, serviceCIDR: [...], warnings: [...]}`.

    Raises:
        StepError: it is not Synced within the spec's time-out, or the Service CIDR it found is not the plan's.
    """
    cluster, _ = kube.connect(spec.access, spec.cluster_id, work)
    deadline = time.monotonic() + spec.timeout
    status: dict[str, Any] = {}
    with doing("waiting for Spiderpool to read the cluster's own CIDRs"):
        while True:
            status = (cluster.get("SpiderCoordinator", NAME) or {}).get("status") or {}
            if status.get("phase") == "Synced" and status.get("serviceCIDR"):
                break
            if time.monotonic() > deadline:
                reason = status.get("reason") or status.get("phase") or "no status: does spiderpool-controller run?"
                raise StepError(f"the SpiderCoordinator is not Synced after {spec.timeout} s ({reason}): {_REMEDY}")
            time.sleep(POLL_SECONDS)
    found = [str(cidr) for cidr in status["serviceCIDR"]]
    if spec.service_cidr not in found:
        raise StepError(
            f"the cluster's Service CIDR is {', '.join(found)}, but the plan says {spec.service_cidr}: correct "
            "serviceCIDR in the plan, or other clusters would send the wrong addresses here"
        )
    return {"phase": "Synced", "serviceCIDR": found, "warnings": []}
