"""`release-coordinator`: delete the SpiderCoordinator in spite of its finalizer.

Spiderpool's webhook puts a finalizer on the object that no controller of it ever removes, and puts it back while the
object is not being deleted. So: delete first, then take the finalizer off. Without this a destroy hangs for good.
"""

from pathlib import Path
from typing import Any

from mesh.steps import kube
from mesh.steps.coordinator import NAME
from mesh.steps.spec import CoordinatorSpec


def run(spec: CoordinatorSpec, work: Path) -> dict[str, Any]:
    """Delete the object; that it is gone already is fine. Returns `{"action": "deleted" | "absent"}`."""
    cluster, _ = kube.connect(spec.access, spec.cluster_id, work)
    if not cluster.delete("SpiderCoordinator", NAME):
        return {"action": "absent"}
    if cluster.get("SpiderCoordinator", NAME):
        cluster.patch("SpiderCoordinator", NAME, "", {"metadata": {"finalizers": None}})
    return {"action": "deleted"}
