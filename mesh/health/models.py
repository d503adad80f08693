"""What is read from a cluster, and what is thought of it. Frozen; as JSON their keys are camelCase."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Base of all."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )

    def document(self) -> dict[str, Any]:
        """As JSON for programs."""
        return self.model_dump(mode="json", by_alias=True)


class State(StrEnum):
    """What a check has shown."""

    OK = "ok"
    WARNING = "warning"
    """Works, or may work, until something else happens."""
    FAILED = "failed"
    NOT_CHECKED = "not checked"
    """Nothing is known. Never the same as ok."""


class LinkState(StrEnum):
    """What one cluster says of its tunnel to another."""

    CONNECTED = "connected"
    UNPROVEN = "unproven"
    """Says connected, and would say so whatever happened."""
    CONNECTING = "connecting"
    ERROR = "error"
    MISSING = "missing"
    """Both have joined, and there is no connection."""
    STALE = "stale"
    """The gateway has stopped reporting; what it said last is worth nothing."""
    NOT_JOINED = "not joined"
    UNKNOWN = "unknown"
    """The cluster could not be read."""
    NOT_CHECKED = "not checked"


# --- what is read ----------------------------------------------------------------------------------------------------


class Endpoint(Model):
    """The end of a tunnel, as its gateway describes it (Endpoint.spec)."""

    cluster_id: str
    hostname: str = ""
    private_ip: str = ""
    public_ip: str = ""
    backend: str = ""
    cable_name: str = ""
    subnets: tuple[str, ...] = ()
    health_check_ip: str = ""


class Connection(Model):
    """One connection of a gateway (Gateway.status.connections)."""

    peer: Endpoint
    status: str
    message: str = ""
    using_ip: str = ""
    using_nat: bool = False
    rtt_ms: float | None = None
    """Average round trip of the health check's pings; None where none has been answered."""


class Gateway(Model):
    """What a gateway reports of itself every five seconds (Gateway.status)."""

    node: str
    ha_status: str
    updated: int | None
    """Unix seconds, by its own clock."""
    version: str = ""
    failure: str = ""
    local: Endpoint
    connections: tuple[Connection, ...] = ()


class GatewayPod(Model):
    """A pod of the DaemonSet submariner-gateway."""

    name: str
    node: str = ""
    phase: str = ""
    waiting: str = ""
    """Why its container does not run, such as `CrashLoopBackOff`."""
    restarts: int = 0
    last_words: str = ""
    """The last lines that it logged before it ended."""


class Membership(Model):
    """What the cluster has joined with (Submariner.spec)."""

    cluster_id: str
    version: str = ""
    cable_driver: str = ""
    health_check: bool = False


class TunnelReading(Model):
    """All that a cluster says of its tunnels."""

    now: int
    """The API server's clock, in Unix seconds."""
    membership: Membership | None
    gateways: tuple[Gateway, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    members: frozenset[str] = frozenset()
    """Clusters that have joined, as far as this one has heard of it; itself included."""
    pods: tuple[GatewayPod, ...] = ()


class Node(Model):
    """A node."""

    name: str
    ready: bool
    gateway: bool
    """Whether it bears the label that makes it a gateway."""
    schedulable: bool = True


class Pool(Model):
    """A SpiderIPPool and how full it is; None where Spiderpool has not counted."""

    name: str
    total: int | None
    allocated: int | None

    @property
    def free(self) -> int | None:
        """Addresses left."""
        return None if self.total is None else self.total - (self.allocated or 0)


class Pod(Model):
    """A pod that has an address of the mesh."""

    name: str
    """Namespace and name."""
    created: int
    """Unix seconds, by the API server's clock."""


class Coordinator(Model):
    """The SpiderCoordinator."""

    phase: str
    reason: str = ""
    service_cidr: tuple[str, ...] = ()


class KubeProxy(Model):
    """What kube-proxy's ConfigMap says."""

    mode: str
    """`iptables` where it says nothing."""
    tcp_be_liberal: bool
    cluster_cidr: str
    masquerade_all: bool


class SiteReading(Model):
    """What a cluster's API shows of what the mesh needs there."""

    kubernetes: str
    spiderpool: str | None
    """Version of the running controller; None where there is none."""
    nodes: tuple[Node, ...]
    pools: tuple[Pool, ...]
    coordinator: Coordinator | None
    network: str | None
    """`spec.config` of the NetworkAttachmentDefinition; None where there is none."""
    kube_proxy: KubeProxy | None
    """None where its configuration is not in the usual ConfigMap."""
    network_changed: int | None = None
    """When the SpiderMultusConfig was changed last, Unix seconds; None where there is none."""
    pods: tuple[Pod, ...] = ()
    """Those that have an address of one of the plan's pools."""


class Reading(Model):
    """One cluster, read whole."""

    server: str
    tunnel: TunnelReading
    site: SiteReading


# --- what is thought of it -------------------------------------------------------------------------------------------


class Link(Model):
    """The tunnel from one cluster to another, as the first one sees it."""

    cluster: str
    peer: str
    state: LinkState
    proof: str = ""
    """What shows that it carries something: `ping`, `handshake` or `traffic`."""
    rtt_ms: float | None = None
    gateway: str = ""
    peer_gateway: str = ""
    address: str = ""
    """Where the peer's gateway is reached."""
    nat: bool = False
    cable_driver: str = ""
    message: str = ""
    hint: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing better can be asked of the tunnel itself."""
        return self.state in (LinkState.CONNECTED, LinkState.UNPROVEN, LinkState.NOT_JOINED, LinkState.NOT_CHECKED)

    def __str__(self) -> str:
        said = f" ({self.message})" if self.message else ""
        return f"{self.peer}: {self.state}{said}" + (f": {self.hint}" if self.hint else "")


class Finding(Model):
    """What one check of a site has shown, and what to do about it."""

    check: str
    state: State
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return self.what + (f"; {self.fix}" if self.fix else "")


class Row(Model):
    """One check of the data path, in one direction."""

    check: str
    state: State
    cluster: str
    node: str
    role: str
    """`gateway` or `other`: what kind of node the pod is on that the traffic comes from."""
    peer: str
    target: str
    detail: str = ""
    hint: str = ""

    def __str__(self) -> str:
        said = f"{self.check} from {self.cluster}/{self.node} to {self.target} of {self.peer}: {self.detail}"
        return said + (f": {self.hint}" if self.hint else "")


class DataPath(Model):
    """What traffic has shown; `note` says why nothing was sent, or what could not be."""

    state: str
    """`ok`, `partial` (nothing failed, something was not checked), `failed` or `not checked`."""
    note: str = ""
    rows: tuple[Row, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether traffic has shown anything."""
        return self.state != "not checked"
