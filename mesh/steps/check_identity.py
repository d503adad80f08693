"""`check-identity`: is each cluster still the one that the preflight saw?

A destroy deletes by name: with a kubeconfig that leads to another site by mistake, it would take that site's pools and
network away. As the resource that depends on all others, this step is the first thing that a destroy runs.
"""

from pathlib import Path
from typing import Any

from mesh.steps import kube
from mesh.steps.errors import StepError, forced
from mesh.steps.spec import IdentitySpec


def run(spec: IdentitySpec, work: Path) -> dict[str, Any]:
    """Compare the clusters' identities (UID of namespace kube-system). Returns `{"clusters": [ID, …]}`.

    Raises:
        StepError: a cluster is another one, or does not answer; every such cluster is named. A cluster that is gone for
            good can be left out with MESH_FORCE=1.
    """
    problems = []
    for cluster_id, known in sorted(spec.clusters.items()):
        try:
            cluster, _ = kube.connect(known.access, cluster_id, work)
            system = cluster.get("Namespace", "kube-system")
        except StepError as error:
            if not forced():
                problems.append(f"{error} (or, if it is gone for good, set MESH_FORCE=1)")
            continue
        if system and system["metadata"]["uid"] != known.uid:
            problems.append(
                f"{known.access.variable} or mesh:context leads to another cluster than the one that was set up as "
                f"{cluster_id}: correct it"
            )
    if problems:
        raise StepError("; ".join(problems))
    return {"clusters": sorted(spec.clusters)}
