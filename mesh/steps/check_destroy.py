"""`check-destroy`: may all that the stack has be taken away?

As the delete of the resource that depends on all others, this is the first thing that a destroy does: one that is
refused later would have taken half of the site away before.
"""

from pathlib import Path
from typing import Any

from mesh.steps import check_identity, kube, submariner
from mesh.steps.errors import forced
from mesh.steps.spec import IdentitySpec


def run(spec: IdentitySpec, work: Path) -> dict[str, Any]:
    """Like `check-identity`, and refuse to take away a broker that clusters of other stacks have joined.

    Raises:
        StepError: as `check-identity`; or somebody is still joined, and MESH_FORCE=1 is not set.
    """
    checked = check_identity.run(spec, work)
    if spec.broker and not forced():
        cluster, _ = kube.connect(spec.clusters[spec.broker].access, spec.broker, work)
        submariner.refuse_members(cluster, but=spec.clusters)
    return checked
