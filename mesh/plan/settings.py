"""What a cluster's Submariner needs to know, derived from the plan: the spec of the subctl steps and subctl's flags.

These models are the one definition that the components (which fill them), the steps (which act on them) and
`mesh check` (which prints the commands) share. They hold no secret and nothing of other clusters' details, so a change
elsewhere in the plan does not touch a cluster's join.
"""

from pydantic import BaseModel, ConfigDict

from mesh.plan.models import CableDriver
from mesh.plan.types import version_tuple

SUBCTL = "subctl"
BROKER_INFO_FILE = "broker-info.subm"


class Settings(BaseModel):
    """Base: frozen, no unknown keys; field names are the JSON keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GlobalnetSettings(Settings):
    """The mesh-wide address range of globalnet and how many addresses a cluster gets of it."""

    cidr_range: str
    cluster_size: int


class BrokerSettings(Settings):
    """How the broker is deployed."""

    cluster_id: str
    url: str | None
    service_discovery: bool
    globalnet: GlobalnetSettings | None
    version: str
    repository: str
    psk_rotation: int
    ignore_requirements: bool
    adopt: bool
    timeout: int

    def flags(self) -> tuple[str, ...]:
        """Arguments of `subctl deploy-broker`, all explicit: a flag left out falls back to the binary's own default."""
        components = "service-discovery,connectivity" if self.service_discovery else "connectivity"
        flags = [f"--components={components}", f"--globalnet={_bool(self.globalnet is not None)}"]
        if self.globalnet:
            flags += [
                f"--globalnet-cidr-range={self.globalnet.cidr_range}",
                f"--globalnet-cluster-size={self.globalnet.cluster_size}",
            ]
        if self.url:
            flags.append(f"--broker-url={self.url}")
        return (*flags, f"--version={self.version}", f"--repository={self.repository}")


class JoinSettings(Settings):
    """How one cluster joins the broker."""

    cluster_id: str
    cluster_cidr: str
    service_cidr: str
    cable_driver: CableDriver
    nat_traversal: bool
    nat_port: int
    force_udp_encaps: bool
    preferred_server: bool
    health_check: bool
    health_check_interval: int
    health_check_max_packet_loss_count: int
    air_gapped: bool
    globalnet_cidr: str | None
    gateways: tuple[str, ...]
    version: str
    repository: str
    image_overrides: dict[str, str]
    ignore_requirements: bool
    adopt: bool
    timeout: int

    def flags(self) -> tuple[str, ...]:
        """Arguments of `subctl join`, with every answer it would otherwise prompt for."""
        flags = [
            f"--clusterid={self.cluster_id}",
            f"--clustercidr={self.cluster_cidr}",
            f"--servicecidr={self.service_cidr}",
            # Gateways are labelled beforehand, declaratively; subctl would prompt or pick one.
            "--label-gateway=false",
            f"--cable-driver={self.cable_driver.value}",
            f"--natt={_bool(self.nat_traversal)}",
            f"--nattport={self.nat_port}",
            f"--health-check={_bool(self.health_check)}",
            f"--health-check-interval={self.health_check_interval}",
            f"--health-check-max-packet-loss-count={self.health_check_max_packet_loss_count}",
            f"--globalnet={_bool(self.globalnet_cidr is not None)}",
        ]
        if self.globalnet_cidr:
            # Without it parallel joins race for the same range on the broker (facts/submariner.md section 5).
            flags.append(f"--globalnet-cidr={self.globalnet_cidr}")
        flags += [
            name
            for name, given in (
                ("--force-udp-encaps", self.force_udp_encaps),
                ("--preferred-server", self.preferred_server),
                ("--air-gapped", self.air_gapped),
                ("--ignore-requirements", self.ignore_requirements),
            )
            if given
        ]
        flags += [f"--image-override={component}={image}" for component, image in sorted(self.image_overrides.items())]
        return (*flags, f"--version={self.version}", f"--repository={self.repository}")


def supports_kubernetes(submariner: str, kubernetes: str) -> bool:
    """Whether that Submariner works on that Kubernetes.

    From Kubernetes 1.33 on, the discovery of the Service CIDR before 0.21.1 fails in a loop (submariner-operator
    #3627, backported to 0.20.2).
    """
    if version_tuple(kubernetes)[:2] < (1, 33):
        return True
    version = version_tuple(submariner)
    return version >= (0, 21, 1) or (0, 20, 2) <= version < (0, 21, 0)


def _bool(value: bool) -> str:
    return "true" if value else "false"
