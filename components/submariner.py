"""The tunnel of one cluster: its gateway labels, the broker where it is hosted here, and the join."""

from typing import cast

import pulumi
from pulumi_command import local
from pulumi_kubernetes.core.v1 import NodePatch
from pydantic import SecretStr

from components.children import Site
from components.step import public, result, step
from mesh.outputs import BrokerOutputs, JoinedOutputs
from mesh.plan import derive
from mesh.steps.spec import DeployBrokerSpec, JoinSpec, dump

JOINED = tuple(JoinedOutputs.__annotations__)
"""What the output `joined` has of the join's document."""


class Broker(pulumi.ComponentResource):
    """Submariner's broker, where clusters find each other."""

    broker_info: pulumi.Output[str]
    """What `subctl` writes to broker-info.subm, in normal form: broker token and IPsec PSK. Secret."""

    details: pulumi.Output[BrokerOutputs]
    """URL, version and options of the broker, without secrets."""

    def __init__(
        self, name: str, site: Site, *, after: list[pulumi.Resource], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("multi-cluster-mesh:index:Broker", name, None, opts)
        spec = DeployBrokerSpec(access=site.access, settings=derive.broker_settings(site.plan))
        self.command = step(
            f"{site.id}-deploy-broker",
            "deploy-broker",
            dump(spec),
            pulumi.ResourceOptions(parent=self, depends_on=after),
            delete="remove-broker",
        )
        self.broker_info = result(self.command).apply(lambda document: str(document.get("brokerInfo", "")))
        self.details = public(self.command, "broker").apply(lambda document: document["broker"])
        self.register_outputs({"broker_info": self.broker_info, "details": self.details})


class GatewayNodes(pulumi.ComponentResource):
    """The label that makes nodes gateways; a node that leaves the plan loses it."""

    def __init__(
        self, name: str, site: Site, *, after: pulumi.Resource, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("multi-cluster-mesh:index:GatewayNodes", name, None, opts)
        self.labels = [
            NodePatch(
                f"{site.id}-gateway-{gateway.node}",
                metadata={"name": gateway.node, "labels": {derive.GATEWAY_LABEL: "true"}},
                opts=site.options(self, [after]),
            )
            for gateway in site.cluster.gateways
        ]
        self.register_outputs({"nodes": [gateway.node for gateway in site.cluster.gateways]})


class Join(pulumi.ComponentResource):
    """One cluster's membership in the mesh."""

    joined: pulumi.Output[JoinedOutputs]
    """What the cluster has joined with, as read from it afterwards."""

    command: local.Command

    def __init__(
        self,
        name: str,
        site: Site,
        *,
        broker_info: pulumi.Input[str],
        after: list[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("multi-cluster-mesh:index:Join", name, None, opts)
        settings = derive.join_settings(site.plan, site.id)
        hosts_broker = site.plan.broker.cluster == site.id

        def spec(info: str) -> str:
            return dump(
                JoinSpec(access=site.access, settings=settings, broker_info=SecretStr(info), hosts_broker=hosts_broker)
            )

        self.command = step(
            f"{site.id}-join",
            "join",
            pulumi.Output.secret(broker_info).apply(spec),
            pulumi.ResourceOptions(parent=self, depends_on=after),
            delete="leave",
        )
        self.joined = cast("pulumi.Output[JoinedOutputs]", public(self.command, *JOINED))
        self.register_outputs({"joined": self.joined})
