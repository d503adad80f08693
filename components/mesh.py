"""The mesh, or the part of it that this program owns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from components.children import Site
from components.connectivity import Connectivity
from components.leak_guard import LeakGuard
from components.sample_app import SampleApp
from components.spiderpool import Spiderpool
from components.step import public, step
from components.submariner import Broker, GatewayNodes, Join
from mesh.access import ClusterAccess
from mesh.outputs import (
    BrokerOutputs,
    ClusterOutputs,
    ConnectionsOutputs,
    DataPathOutputs,
    PlannedOutputs,
)
from mesh.plan import MeshPlan, derive, ranges
from mesh.steps.spec import IdentitySpec, KnownCluster, PreflightSpec, dump


@dataclass(frozen=True)
class MultiClusterMeshArgs:
    """What a mesh is made of.

    Attributes:
        plan: the checked plan of all clusters.
        clusters: the clusters that this program owns, one or more of the plan, and how each is reached.
        broker_info: secret `brokerInfo` output of the broker's stack; needed where the broker's cluster is not owned.
    """

    plan: MeshPlan
    clusters: Mapping[str, ClusterAccess]
    broker_info: pulumi.Input[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.plan.broker.cluster not in self.clusters and self.broker_info is None:
            raise ValueError(
                f"broker_info is needed: {self.plan.broker.cluster} hosts the broker and is not owned here"
            )


class MultiClusterMesh(pulumi.ComponentResource):
    """Clusters of one plan, their underlay networks, and the tunnel between them.

    Clusters of one program are set up side by side; between them only broker-info flows, one way.
    """

    clusters: dict[str, ClusterOutputs]
    """Per owned cluster: its networks, pools, gateway nodes, sample app and what it has joined with.

    A dict of outputs, not an output of a dict, so that a preview shows all that is known before anything runs.
    """

    connections: dict[str, pulumi.Output[ConnectionsOutputs]]
    """Per owned cluster: state of its tunnels to all others, as its gateway said when that was last looked at."""

    data_path: dict[str, pulumi.Output[DataPathOutputs]]
    """Per owned cluster: what traffic has shown, or why none was sent."""

    broker: pulumi.Output[BrokerOutputs] | None
    """URL and options of the broker; None where it is not hosted by an owned cluster."""

    broker_info: pulumi.Output[str] | None
    """Secret; what other stacks join with. None where the broker is not hosted by an owned cluster."""

    def __init__(self, name: str, args: MultiClusterMeshArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("multi-cluster-mesh:index:MultiClusterMesh", name, None, opts)
        plan = args.plan
        preflight = step(
            f"{name}-preflight",
            "preflight",
            dump(
                PreflightSpec(
                    clusters=dict(args.clusters),
                    broker=plan.broker.cluster,
                    version=plan.submariner.version,
                    ignore_requirements=plan.submariner.ignore_requirements,
                )
            ),
            pulumi.ResourceOptions(parent=self),
        )
        sites = [self._site(cluster_id, access, plan) for cluster_id, access in args.clusters.items()]
        child = pulumi.ResourceOptions(parent=self)
        underlays = {site.id: Spiderpool(f"{site.id}-underlay", site, after=preflight, opts=child) for site in sites}
        gateways = {site.id: GatewayNodes(f"{site.id}-gateways", site, after=preflight, opts=child) for site in sites}

        hosts = [site for site in sites if site.id == plan.broker.cluster]
        # Submariner's operator is an ordinary pod: it needs the cluster's network before it can start.
        broker = (
            Broker(f"{hosts[0].id}-broker", hosts[0], after=[underlays[hosts[0].id]], opts=child) if hosts else None
        )
        broker_info: pulumi.Input[str] = broker.broker_info if broker else args.broker_info  # type: ignore[assignment]
        joins = {
            site.id: Join(
                f"{site.id}-membership",
                site,
                broker_info=broker_info,
                after=[underlays[site.id], gateways[site.id], *([broker] if broker else [])],
                opts=child,
            )
            for site in sites
        }
        apps = {
            site.id: SampleApp(
                f"{site.id}-sample-app",
                site,
                after=[underlays[site.id]],
                joined=joins[site.id],
                opts=child,
            )
            for site in sites
            if plan.sample_app.enabled
        }
        guards = [
            LeakGuard(f"{site.id}-leak-guard", site, after=[preflight], opts=child)
            for site in sites
            if plan.leak_guard.enabled
        ]
        proofs = {
            site.id: Connectivity(
                f"{site.id}-connectivity",
                site,
                # All joins of this program: then each cluster's proof covers all of them.
                after=[*joins.values(), *guards, *([apps[site.id]] if site.id in apps else [])],
                opts=child,
            )
            for site in sites
        }
        self.connections = {cluster_id: proof.connections for cluster_id, proof in proofs.items()}
        self.data_path = {cluster_id: proof.data_path for cluster_id, proof in proofs.items()}
        self.broker = broker.details if broker else None
        self.broker_info = broker.broker_info if broker else None
        # Depends on all that a destroy would delete: it goes first, and stops one that is about to hit another cluster.
        step(
            f"{name}-identity",
            "check-identity",
            public(preflight, "clusters").apply(lambda document: dump(_identities(args, document))),
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[
                    *proofs.values(),
                    *guards,
                    *apps.values(),
                    *joins.values(),
                    *gateways.values(),
                    *underlays.values(),
                ],
            ),
            delete="check-destroy",
        )
        self.clusters = {
            site.id: {
                **cluster_facts(plan, site.id),
                "sampleApp": apps[site.id].details if site.id in apps else None,
                "joined": joins[site.id].joined,
                "connections": self.connections[site.id],
                "dataPath": self.data_path[site.id],
            }
            for site in sites
        }
        self.register_outputs(
            {
                "clusters": self.clusters,
                "connections": self.connections,
                "data_path": self.data_path,
                "broker": self.broker,
                "broker_info": self.broker_info,
            }
        )

    def _site(self, cluster_id: str, access: ClusterAccess, plan: MeshPlan) -> Site:
        kubeconfig = access.kubeconfig.get_secret_value() if access.kubeconfig else None
        provider = Provider(
            cluster_id,
            context=access.context,
            # An output of None, not None: for that the SDK takes $KUBECONFIG, so that all clusters would be the one it
            # points at, and its path would be in the state.
            kubeconfig=pulumi.Output.secret(kubeconfig) if kubeconfig else pulumi.Output.from_input(None),
            # Who the cluster is does not depend on how it is reached: moving its API server replaces nothing.
            cluster_identifier=cluster_id,
            # The path of the kubeconfig comes from the cluster's own variable wherever the program runs, so neither it
            # nor anything in it is in the state.
            opts=pulumi.ResourceOptions(parent=self, env_var_mappings={access.variable: "KUBECONFIG"}),
        )
        return Site(cluster_id, plan, access, provider)


def _identities(args: MultiClusterMeshArgs, preflight: dict[str, Any]) -> IdentitySpec:
    seen, host = preflight["clusters"], args.plan.broker.cluster
    return IdentitySpec(
        clusters={
            cluster_id: KnownCluster(access=access, uid=seen[cluster_id]["uid"])
            for cluster_id, access in args.clusters.items()
        },
        broker=host if host in args.clusters else None,
    )


def cluster_facts(plan: MeshPlan, cluster_id: str) -> PlannedOutputs:
    """What the plan alone says of a cluster, as stack output."""
    cluster = plan.clusters[cluster_id]
    return {
        "podCIDR": cluster.pod_cidr,
        "serviceCIDR": cluster.service_cidr,
        "hijackCIDR": list(derive.hijack_cidr(plan, cluster_id)),
        "defaultNetwork": derive.default_network(cluster),
        "gateways": [gateway.node for gateway in cluster.gateways],
        "pools": {
            pool.name: {"subnet": pool.subnet, "ips": list(ranges.normal_form(pool.ips))} for pool in cluster.pools
        },
        "spiderpoolVersion": plan.spiderpool.version if plan.spiderpool.install else None,
    }
