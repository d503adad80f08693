"""The contract: what a stack of the mesh exports. `components.stack` follows it, docs/outputs.md is generated from it.

Everything is known at preview, as the plan says it, but what is an `Output` here: that is read from a cluster.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, NotRequired, TypedDict

from pulumi import Output

CONTRACT_VERSION = 1
"""Raised when a stable output changes its meaning or goes away; other stacks check it."""


class Stability(StrEnum):
    """What other stacks may rely on."""

    STABLE = "stable"
    FOR_PEOPLE = "for people"


@dataclass(frozen=True)
class Doc:
    """What docs/outputs.md says of one output.

    Attributes:
        text: what it is, in Markdown.
        stability: whether it stays as it is until `contractVersion` is raised.
        secret: whether it is encrypted in the state.
    """

    text: str
    stability: Stability = Stability.STABLE
    secret: bool = False


class PoolOutputs(TypedDict):
    """One pool of addresses."""

    subnet: Annotated[str, Doc("Subnet of the underlay that the addresses are in")]
    ips: Annotated[list[str], Doc("Addresses and ranges that pods take, in normal form")]


class SampleAppOutputs(TypedDict):
    """The app that proves the mesh in this cluster."""

    deployment: Annotated[str, Doc("Name of its Deployment")]
    service: Annotated[str, Doc("Name of its Service")]
    namespace: Annotated[str, Doc("Namespace of both")]
    port: Annotated[int, Doc("Port of the Service")]
    exportedAs: Annotated[str | None, Doc("Its DNS name in all clusters; null where it is not exported")]


class JoinedOutputs(TypedDict):
    """What a cluster has joined with, as read from it afterwards."""

    clusterID: Annotated[str, Doc("Its ID in the mesh")]
    clusterCIDR: Annotated[str, Doc("The pod CIDRs that the others route to it, separated by commas")]
    serviceCIDR: Annotated[str, Doc("The Service CIDRs that the others route to it, separated by commas")]
    cableDriver: Annotated[str, Doc("What carries its tunnels: `libreswan`, `wireguard` or `vxlan`")]
    version: Annotated[str, Doc("Version of its Submariner")]
    healthCheck: Annotated[bool, Doc("Whether its gateways ping those of the others")]


class ConnectionsOutputs(TypedDict):
    """A cluster's tunnels, as its gateway said when that was last looked at: after a change, not at every `up`."""

    state: Annotated[
        str,
        Doc(
            "The worst of its tunnels: `connected`, `unproven` (it would say so whatever happened), `connecting`, "
            "`error`; `alone` before anybody else has joined, `not checked` where the plan says so"
        ),
    ]
    checkedAt: Annotated[str, Doc("When, in UTC (ISO 8601)")]
    note: Annotated[str, Doc("What the state alone does not say", Stability.FOR_PEOPLE)]
    peers: Annotated[
        list[dict[str, Any]],
        Doc("One per other cluster: `peer` (its ID), `state`, `message`, `hint` and more", Stability.FOR_PEOPLE),
    ]


class DataPathOutputs(TypedDict):
    """What traffic from pods of the cluster has shown when it was last sent."""

    state: Annotated[str, Doc("`ok`, `partial` (nothing failed, something was not checked), `failed`, `not checked`")]
    checkedAt: Annotated[str, Doc("When, in UTC (ISO 8601)")]
    note: Annotated[str, Doc("Why nothing was sent, or what could not be", Stability.FOR_PEOPLE)]
    rows: Annotated[
        list[dict[str, Any]],
        Doc("One per check and direction: `check`, `state`, `peer`, `target` and more", Stability.FOR_PEOPLE),
    ]


class PlannedOutputs(TypedDict):
    """What the plan alone says of a cluster."""

    id: NotRequired[Annotated[str, Doc("Its ID in the plan; in `clusters` that is the key instead")]]
    podCIDR: Annotated[str, Doc("The underlay's CIDR: covers the addresses of all pods on the mesh")]
    serviceCIDR: Annotated[str, Doc("The cluster's Service CIDR")]
    hijackCIDR: Annotated[list[str], Doc("What pods reach through their node, and so through the tunnel")]
    defaultNetwork: Annotated[
        str, Doc("Value of the annotation `v1.multus-cni.io/default-network` that puts a pod on the mesh")
    ]
    gateways: Annotated[list[str], Doc("Names of the gateway nodes, the preferred one first")]
    pools: Annotated[dict[str, PoolOutputs], Doc("The cluster's pools, by name")]
    spiderpoolVersion: Annotated[str | None, Doc("Version of its Spiderpool; null where that was there already")]


class ClusterOutputs(PlannedOutputs):
    """One cluster that the stack owns."""

    sampleApp: Annotated[SampleAppOutputs | None, Doc("The sample app; null where it is switched off")]
    joined: Annotated[Output[JoinedOutputs], Doc("What the cluster has joined with")]
    connections: Annotated[Output[ConnectionsOutputs], Doc("State of its tunnels")]
    dataPath: Annotated[Output[DataPathOutputs], Doc("What traffic has shown")]


class BrokerOutputs(TypedDict):
    """The broker, without secrets."""

    clusterID: Annotated[str, Doc("ID of the cluster that hosts it")]
    url: Annotated[str, Doc("Its API server as the members reach it")]
    namespace: Annotated[str, Doc("Its namespace")]
    version: Annotated[str, Doc("Version of Submariner it was deployed with")]
    serviceDiscovery: Annotated[
        bool, Doc("Whether Services can be exported: `<service>.<namespace>.svc.clusterset.local`")
    ]
    globalnet: Annotated[bool, Doc("Whether clusters have global addresses because their own overlap")]
    pskRotation: Annotated[int, Doc("How often the plan has had the IPsec key replaced")]


class StackOutputs(TypedDict):
    """All outputs of a stack."""

    contractVersion: Annotated[int, Doc("Version of this contract; check it first")]
    cluster: NotRequired[Annotated[ClusterOutputs, Doc("The cluster of a stack that owns one (`mesh:cluster`)")]]
    clusters: NotRequired[
        Annotated[
            dict[str, ClusterOutputs],
            Doc("By ID, the clusters of a stack that owns several (`mesh:clusters`); it has no `cluster`"),
        ]
    ]
    broker: NotRequired[Annotated[Output[BrokerOutputs], Doc("Only of the stack that hosts the broker")]]
    brokerInfo: NotRequired[
        Annotated[
            Output[str],
            Doc(
                "Only of the stack that hosts the broker: what members join with (`broker-info.subm`). It has a token "
                "of the broker and the IPsec key in it; no stack but the members' has a use for it",
                secret=True,
            ),
        ]
    ]
    readme: Annotated[
        str, Doc("Markdown with the topology, shown as the stack's README in Pulumi Cloud", Stability.FOR_PEOPLE)
    ]
