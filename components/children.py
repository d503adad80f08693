"""The one way in which components make their children."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from mesh.access import ClusterAccess
from mesh.plan import Cluster, MeshPlan


@dataclass(frozen=True)
class Site:
    """One cluster of the plan that this program owns, and how it is reached.

    Attributes:
        id: the cluster's ID, which starts the names of all its resources.
        plan: the whole plan.
        access: where its credentials are found; the steps need it.
        provider: its Kubernetes provider. Never the default one, which is whatever cluster a shell happens to point at.
    """

    id: str
    plan: MeshPlan
    access: ClusterAccess
    provider: pulumi.ProviderResource

    @property
    def cluster(self) -> Cluster:
        """The cluster's section of the plan."""
        return self.plan.clusters[self.id]

    def options(
        self, parent: pulumi.Resource, depends_on: Sequence[pulumi.Resource] = (), **others: object
    ) -> pulumi.ResourceOptions:
        """Options of a Kubernetes resource in this cluster; the caller's own options are never merged downwards."""
        return pulumi.ResourceOptions(parent=parent, provider=self.provider, depends_on=list(depends_on), **others)  # type: ignore[arg-type]
