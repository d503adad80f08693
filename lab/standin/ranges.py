"""Address ranges that the broker hands out to members: Globalnet's and the clusterset's, each kept in a ConfigMap."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Any

from lab.standin import objects
from lab.standin.errors import ApiError, SubctlError, UnexplainedError
from lab.standin.kube import Cluster, Object, retry_on_conflict
from lab.standin.report import Reporter, wrap, wrapping

CLUSTERSET_BLOCK = 4096  # what a member gets unless it asks for a certain CIDR

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Kind:
    """One of the two kinds of ranges; the texts are subctl's, the keys those in the ConfigMap."""

    title: str  # in the names of steps
    word: str  # in messages
    config_map: str
    enabled: str
    cidr: str
    size: str
    flag: str
    always: bool  # every member gets a range, whether the feature is on or not
    keeps_choice: bool  # after a conflict the range chosen counts as asked for: subctl's way to lose a race


GLOBALNET = Kind(
    title="Globalnet",
    word="global",
    config_map=objects.GLOBALNET_CONFIG,
    enabled="globalnetEnabled",
    cidr="globalnetCidrRange",
    size="globalnetClusterSize",
    flag="globalnet-cidr",
    always=False,
    keeps_choice=True,
)
CLUSTERSET = Kind(
    title="ClustersetIP",
    word="clustersetip",
    config_map=objects.CLUSTERSET_CONFIG,
    enabled="clustersetIPEnabled",
    cidr="clustersetIPCidrRange",
    size="clustersetIPClusterSize",
    flag="clustersetip-cidr",
    always=True,
    keeps_choice=False,
)


@dataclass
class Ranges:
    """What the ConfigMap says."""

    config_map: Object
    enabled: bool
    cidr: str = ""
    size: int = 0
    clusters: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Allocation:
    """What a member asks for and, afterwards, what it has."""

    cluster_id: str
    cidr: str = ""
    size: int = 0
    enabled: bool = False


def config_map(kind: Kind, namespace: str, *, enabled: bool, cidr: str, size: int) -> Object:
    """The ConfigMap as deploy-broker makes it."""
    data = {kind.enabled: "true" if enabled else "false"}
    if enabled or kind.always:
        data |= {kind.cidr: json.dumps(cidr), kind.size: str(size)}
    labels = None if kind.always else {"component": "submariner-globalnet"}
    return objects.config_map(kind.config_map, namespace, data, labels)


def read(kind: Kind, broker: Cluster, namespace: str) -> Ranges:
    """Read the ConfigMap."""
    with wrapping(f"error retrieving {kind.title.lower()} ConfigMap"):
        found = broker.get("ConfigMap", kind.config_map, namespace)
    data = found.get("data") or {}
    try:
        ranges = Ranges(found, enabled=json.loads(data[kind.enabled]))
        if ranges.enabled or kind.always:
            ranges.size, ranges.cidr = json.loads(data[kind.size]), json.loads(data[kind.cidr])
        known = json.loads(data.get("clusterinfo") or "[]")
        ranges.clusters = {item["cluster_id"]: item["global_cidr"] or [] for item in known}
    except (KeyError, ValueError, TypeError) as error:
        raise wrap(error, f"error reading ConfigMap {kind.config_map}") from error
    return ranges


def check_existing(kind: Kind, broker: Cluster, namespace: str) -> None:
    """Refuse a range that an earlier deploy-broker has left and that cannot be used."""
    if broker.find("ConfigMap", kind.config_map, namespace) is None:
        return
    ranges = read(kind, broker, namespace)
    if ranges.enabled or kind.always:
        with wrapping(f"invalid {kind.cidr[0].upper()}{kind.cidr[1:]}"):
            check_cidr(ranges.cidr)


def allocate(kind: Kind, broker: Cluster, namespace: str, wanted: Allocation, report: Reporter) -> None:
    """Give a member its range, the one it had or asks for or else a free one, and write that down on the broker."""
    asked_for = wanted.cidr

    def attempt() -> None:
        report.start(f"Retrieving {kind.title} information from the Broker")
        with report.failing(f"unable to retrieve {kind.title} information"):
            ranges = read(kind, broker, namespace)
        wanted.enabled = ranges.enabled
        with report.failing(f"error validating the {kind.title} configuration"):
            _validate(kind, ranges, wanted, report)
        if ranges.enabled or kind.always:
            with report.failing(f"error assigning {kind.title} IPs"):
                _assign(kind, ranges, wanted, report)
            if ranges.clusters.get(wanted.cluster_id, [""])[0] != wanted.cidr:
                _save(ranges, wanted)
        report.end()

    def _save(ranges: Ranges, wanted: Allocation) -> None:
        report.start(f"Updating the {kind.title} information on the Broker")
        clusters = ranges.clusters | {wanted.cluster_id: [wanted.cidr]}
        known = [{"cluster_id": name, "global_cidr": cidrs} for name, cidrs in clusters.items()]
        data = {**ranges.config_map["data"], "clusterinfo": json.dumps(known, indent="\t")}
        try:
            broker.replace({"apiVersion": "v1", "kind": "ConfigMap", **ranges.config_map, "data": data})
        except ApiError as error:
            if not error.conflict:
                raise report.error(error, f"error updating the {kind.title} ConfigMap") from error
            report.warning(f"Conflict occurred updating the {kind.title} ConfigMap - retrying")
            report.end()
            if not kind.keeps_choice:
                wanted.cidr = asked_for
            raise

    try:
        retry_on_conflict(attempt)
    except ApiError as error:
        # The one way to fail that subctl reports to nobody: its last word is the warning above.
        raise UnexplainedError(f"unable to determine the {kind.word} CIDR: {error}") from error


def check_cidr(text: str) -> None:
    """Refuse what is no CIDR, and those that cannot be handed out."""
    address, _ = _cidr(text)
    for forbidden, what in (
        (address.is_unspecified, "unspecified"),
        (address.is_loopback, "in loopback range"),
        (address.is_link_local, "in link-local range"),
        (address in ipaddress.ip_network("224.0.0.0/24"), "in link-local multicast range"),
    ):
        if forbidden:
            raise SubctlError(f"{text} can't be {what}")


def valid_size(cidr: str, size: int) -> int:
    """Round a number of addresses up to a power of two that at least two clusters can have."""
    available = _cidr(cidr)[1].num_addresses
    rounded = 1 << (size - 1).bit_length() if size else 0
    if rounded > available // 2:
        raise SubctlError(f"cluster size {size}, should be <= {available // 2}")
    if not rounded:
        raise SubctlError("cluster size must be > 0")
    return rounded


def _validate(kind: Kind, ranges: Ranges, wanted: Allocation, report: Reporter) -> None:
    report.start(f"Validating {kind.title} configuration")
    try:
        usable = ranges.enabled or kind.always
        if usable and wanted.size and wanted.size != ranges.size:
            with report.failing("invalid cluster size"):
                ranges.size = valid_size(ranges.cidr, wanted.size)
        if not kind.always and wanted.cidr and wanted.size:
            report.failure("Only one of cluster size and global CIDR can be specified")
            raise SubctlError("only one of cluster size and global CIDR can be specified")
        if wanted.cidr:
            with wrapping(f"specified {kind.flag} is invalid"):
                check_cidr(wanted.cidr)
        if not usable and (wanted.cidr or wanted.size):
            what = "global CIDR" if wanted.cidr else "cluster size"
            report.warning(f"Globalnet is not enabled on the Broker - ignoring the specified {what}")
            wanted.cidr = ""
    finally:
        report.end()


def _assign(kind: Kind, ranges: Ranges, wanted: Allocation, report: Reporter) -> None:
    report.start(f"Assigning {kind.title} IPs")
    had = next(iter(ranges.clusters.get(wanted.cluster_id) or []), "")
    if had and wanted.cidr:
        report.warning(
            f"A pre-configured {kind.word} CIDR {had} was detected - not using the specified CIDR {wanted.cidr}"
        )
        wanted.cidr = had
    elif had:
        report.success(f"Using pre-configured {kind.word} CIDR {had}")
        wanted.cidr = had
    elif wanted.cidr:
        with report.failing(f"error validating overlapping {kind.word} CIDRs {wanted.cidr}"):
            _refuse_overlap(ranges, wanted)
        report.success(f"Using specified {kind.word} CIDR {wanted.cidr}")
    else:
        with report.failing(f"unable to allocate {kind.word} CIDR"):
            wanted.cidr = _first_free(ranges)
        report.success(f"Allocated {kind.word} CIDR {wanted.cidr}")
    report.end()


def _refuse_overlap(ranges: Ranges, wanted: Allocation) -> None:
    network = _cidr(wanted.cidr)[1]
    for name, cidrs in ranges.clusters.items():
        if name != wanted.cluster_id and any(network.overlaps(_cidr(cidr)[1]) for cidr in cidrs):
            raise SubctlError(f'invalid CIDR "{wanted.cidr}" overlaps with cluster "{name}"')


def _first_free(ranges: Ranges) -> str:
    supernet = _cidr(ranges.cidr)[1]
    taken = [_cidr(cidr)[1] for cidrs in ranges.clusters.values() for cidr in cidrs]
    block = supernet.max_prefixlen - (ranges.size - 1).bit_length()
    if block > supernet.prefixlen:
        for candidate in supernet.subnets(new_prefix=block):
            if not any(candidate.overlaps(other) for other in taken):
                return str(candidate)
    raise SubctlError(f'no more allocations available in "{supernet}"')


def _cidr(text: str) -> tuple[Any, Any]:
    """Return address and network of a CIDR as Go's net.ParseCIDR does: host bits are fine, a bare address is not."""
    try:
        if not re.fullmatch(r"[^/]+/\d+", text):
            raise ValueError
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise SubctlError(f"invalid CIDR address: {text}") from None
    network: _Network = interface.network
    return interface.ip, network
