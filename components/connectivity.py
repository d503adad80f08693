"""The proof that one cluster is connected: its tunnels, what they need in its nodes, and traffic through them."""

from collections.abc import Sequence

import pulumi

from components.children import Site
from components.step import public, step
from mesh.health.expect import expected
from mesh.outputs import ConnectionsOutputs, DataPathOutputs
from mesh.steps.spec import KubeProxySpec, VerifySpec, dump


class Connectivity(pulumi.ComponentResource):
    """Waits until the cluster is connected with all that have joined, and fails with what is wrong otherwise.

    It is looked at when something has changed that bears on it, not at every `up`: the outputs say when that was, and
    `python -m mesh status` says how it is now.
    """

    connections: pulumi.Output[ConnectionsOutputs]
    """State, time, and per other cluster what the gateway says of the tunnel to it."""

    data_path: pulumi.Output[DataPathOutputs]
    """State, time, and one row per check and direction; `not checked` where nothing was sent, and why."""

    def __init__(
        self,
        name: str,
        site: Site,
        *,
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("multi-cluster-mesh:index:Connectivity", name, None, opts)
        waits = list(after)
        if site.plan.kube_proxy.tcp_be_liberal:
            waits.append(
                step(
                    f"{site.id}-kube-proxy",
                    "kube-proxy",
                    dump(KubeProxySpec(cluster_id=site.id, access=site.access)),
                    # No delete: taking it back would cut connections that have come to rely on it.
                    pulumi.ResourceOptions(parent=self, depends_on=list(after)),
                )
            )
        command = step(
            f"{site.id}-verify",
            "verify",
            dump(VerifySpec(access=site.access, settings=expected(site.plan, site.id))),
            pulumi.ResourceOptions(parent=self, depends_on=waits),
        )
        told = public(command, "connections", "dataPath")
        self.connections = told.apply(lambda document: document["connections"])
        self.data_path = told.apply(lambda document: document["dataPath"])
        self.register_outputs({"connections": self.connections, "data_path": self.data_path})
