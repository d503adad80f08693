"""Does traffic flow? One shell script per probe pod, and what its output means. Nothing is sent from here.

From a pod on a gateway node and from one on another node, because Submariner takes different paths for them, and a test
between gateway nodes alone shows nothing (facts: datapath.md 4). The checks and what they find: datapath.md 9.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mesh.health.models import DataPath, Row, State

TRANSFER_BYTES = 300_000
DEFAULT_MTU = 1400  # what a path over Ethernet carries with any cable driver around it
_IP_AND_ICMP = 28  # headers of a ping
_PINGS, _WAIT, _FETCH = 2, 2, 10  # number, seconds for an answer, seconds for a transfer
SECONDS_PER_TARGET = _PINGS + 2 * _WAIT + 2 * (_FETCH + 5) + 4 * _WAIT
TUNNEL_DEVICE, UNDERLAY_DEVICE = "veth0", "eth0"
_MARK = "### "
_CRASHED = (132, 134, 135, 136, 139)  # 128 + SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV

# The first fetch may meet a server that is just starting anew for its next connection. wget's own -T only where there
# is no timeout: that of Debian's busybox 1.35 crashes.
_PROLOGUE = f"""\
run() {{ echo '{_MARK}'"$1"; shift; "$@" </dev/null 2>&1; echo '{_MARK}rc '"$?"; }}
fetch_once() {{
  if command -v curl >/dev/null; then curl -sS -m {_FETCH} -o /tmp/mesh-probe.out "$1"
  elif command -v timeout >/dev/null; then timeout {_FETCH} wget -q -O /tmp/mesh-probe.out "$1"
  else wget -q -T {_FETCH} -O /tmp/mesh-probe.out "$1"; fi
}}
fetch() {{
  rm -f /tmp/mesh-probe.out
  fetch_once "$1" 2>/dev/null || {{ sleep 1; fetch_once "$1"; }}; code=$?
  [ -f /tmp/mesh-probe.out ] && echo "bytes $(wc -c </tmp/mesh-probe.out)"
  return $code
}}
"""


class Kind(StrEnum):
    """The checks."""

    ROUTE = "route"
    """The pod's route leads to its node, where the tunnel is."""
    NODE_ADDRESS = "node address"
    """The node has an address on the underlay; read off the route."""
    PING = "ping"
    TRANSFER = "transfer"
    """A whole file: finds what small packets do not, such as an MTU that is too large."""
    MTU = "mtu"
    """A packet of full size that must not be cut up."""
    CONTROL = "control"
    """The same ping, forced over the underlay, has to fail: else the others would succeed without a tunnel."""


@dataclass(frozen=True)
class Source:
    """A probe pod that sends.

    Attributes:
        role: `gateway` or `other`, the kind of its node.
        mtu: bytes that its path into the tunnel has to carry.
        pod_cidrs: of its cluster.
    """

    cluster: str
    node: str
    role: str
    mtu: int = DEFAULT_MTU
    pod_cidrs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """What a probe pod sends to.

    Attributes:
        label: for people, such as `pod 172.111.1.1 on worker-node-1`.
        address: an IP address, or the name of a Service.
        port: of a web server; None where there is none.
        size: bytes that `http://<address>:<port>/probe` has; None: any whole answer at `/` will do.
        pings: whether it answers pings. The ClusterIP of a Service does not.
        hops: fewest routers on the way through the tunnel.
    """

    cluster: str
    label: str
    address: str
    port: int | None = None
    size: int | None = None
    pings: bool = False
    hops: int = 0


@dataclass(frozen=True)
class Check:
    """One command and what it is for."""

    kind: Kind
    target: Target
    command: str


@dataclass(frozen=True)
class Ran:
    """What a command has printed, and its exit code; None where it did not get that far."""

    output: str
    code: int | None


def checks(source: Source, targets: Iterable[Target]) -> list[Check]:
    """The checks from one pod to these targets."""
    found = []
    for target in targets:
        is_ip = _is_ip(target.address)
        if is_ip:
            found.append(Check(Kind.ROUTE, target, f"ip route get {target.address}"))
        if target.pings:
            ping = f"ping -c {_PINGS} -W {_WAIT}"
            size = source.mtu - _IP_AND_ICMP
            found.append(Check(Kind.PING, target, f"{ping} {target.address}"))
            found.append(Check(Kind.MTU, target, f"{ping} -M do -s {size} {target.address}"))
            found.append(Check(Kind.CONTROL, target, f"ping -c 1 -W {_WAIT} -I {UNDERLAY_DEVICE} {target.address}"))
        if target.port is not None:
            path = "/" if target.size is None else "/probe"
            found.append(Check(Kind.TRANSFER, target, f"fetch http://{_host(target.address)}:{target.port}{path}"))
    return found


def script(todo: Sequence[Check]) -> str:
    """A script for any POSIX shell that runs the checks and marks where each one's output begins and ends."""
    return _PROLOGUE + "".join(f"run {number} {check.command}\n" for number, check in enumerate(todo))


def parse(output: str, count: int) -> list[Ran]:
    """The output of `script` with that many checks, taken apart."""
    printed: dict[int, list[str]] = {}
    codes: dict[int, int] = {}
    current = -1
    for line in output.splitlines():
        if not line.startswith(_MARK):
            printed.setdefault(current, []).append(line)
            continue
        word, _, rest = line.removeprefix(_MARK).partition(" ")
        if word == "rc":
            codes[current] = int(rest) if rest.isdigit() else 1
        elif word.isdigit():
            current = int(word)
    return [Ran("\n".join(printed.get(number, [])).strip(), codes.get(number)) for number in range(count)]


def judge(source: Source, todo: Sequence[Check], output: str) -> list[Row]:
    """What the output of the script means, one row per check."""
    rows: list[Row] = []
    pending: list[tuple[Check, Ran]] = list(zip(todo, parse(output, len(todo)), strict=True))
    for target in dict.fromkeys(check.target for check in todo):
        of_target = {check.kind: ran for check, ran in pending if check.target == target}
        rows += _judge_target(source, target, of_target)
    return _without_repeated_node_address(rows)


def not_checked(source: Source, todo: Sequence[Check], why: str) -> list[Row]:
    """For checks that could not be made, a row per peer."""
    return [
        Row(
            check="all",
            state=State.NOT_CHECKED,
            cluster=source.cluster,
            node=source.node,
            role=source.role,
            peer=peer,
            target="everything",
            detail=why,
        )
        for peer in dict.fromkeys(check.target.cluster for check in todo)
    ]


def summarise(rows: Iterable[Row], note: str = "") -> DataPath:
    """All rows with hints that only their sum gives, and what they amount to."""
    explained = tuple(_explained(tuple(rows)))
    states = [row.state for row in explained]
    if State.FAILED in states:
        state = "failed"
    elif State.OK not in states:
        state = "not checked"
    else:
        state = "partial" if State.NOT_CHECKED in states else "ok"
    return DataPath(state=state, note=note, rows=explained)


def proves(data_path: DataPath, cluster: str, peer: str) -> bool:
    """Whether traffic has come through the tunnel, and would not have without it: the control is good only then."""
    return any(
        row.check == Kind.CONTROL and row.state is State.OK and (row.cluster, row.peer) == (cluster, peer)
        for row in data_path.rows
    )


# --- one target ------------------------------------------------------------------------------------------------------


def _judge_target(source: Source, target: Target, ran: dict[Kind, Ran]) -> Iterator[Row]:
    if Kind.ROUTE in ran:
        yield from _route(source, target, ran[Kind.ROUTE])
    ping = control = None
    if Kind.PING in ran:
        ping = _ping(source, target, ran[Kind.PING])
        control = _control(source, target, ran[Kind.CONTROL], ping)
        yield _proven(ping, control)
        yield _mtu(source, target, ran[Kind.MTU], ping)
        yield control
    if Kind.TRANSFER in ran:
        yield _proven(_transfer(source, target, ran[Kind.TRANSFER]), control)


def _proven(row: Row, control: Row | None) -> Row:
    """What arrives over the underlay too proves nothing about the tunnel."""
    if row.state is not State.OK or control is None or control.state is not State.WARNING:
        return row
    detail = f"{row.detail}, but the underlay leads there as well"
    return row.model_copy(update={"state": State.NOT_CHECKED, "detail": detail})


def _route(source: Source, target: Target, ran: Ran) -> Iterator[Row]:
    device = re.search(r"\bdev (\S+)", ran.output)
    if ran.code != 0 or not device:
        yield _broken(source, target, Kind.ROUTE, ran)
        return
    hop = re.search(r"\bvia (\S+)", ran.output)
    via = f"via {hop[1]} " if hop else ""
    if device[1] != TUNNEL_DEVICE:
        yield _row(
            source,
            target,
            Kind.ROUTE,
            State.FAILED,
            f"leads {via}to {device[1]}, not into the node",
            "hijackCIDR lacks that network, or the pod is older than the change: bring the stack up, restart the pods",
        )
        return
    yield _row(source, target, Kind.ROUTE, State.OK, f"{via}dev {device[1]}")
    if hop and source.pod_cidrs:
        inside = any(_contains(cidr, hop[1]) for cidr in source.pod_cidrs)
        state = State.OK if inside else State.WARNING
        hint = f"give it one inside {', '.join(source.pod_cidrs)}: Services of the own cluster fail without it"
        detail = hop[1] if inside else f"{source.node} has no address on the underlay (its pods use {hop[1]})"
        yield _row(source, target, Kind.NODE_ADDRESS, state, detail, "" if inside else hint)


def _ping(source: Source, target: Target, ran: Ran) -> Row:
    received = _received(ran)
    if received is None:
        return _broken(source, target, Kind.PING, ran)
    if not received:
        return _row(source, target, Kind.PING, State.FAILED, _reason(ran) or "no answer")
    ttl = re.search(r"\bttl=(\d+)", ran.output, re.IGNORECASE)
    average = re.search(r"= [\d.]+/([\d.]+)/", ran.output)
    detail = (f"{average[1]} ms" if average else "answered") + (f", ttl {ttl[1]}" if ttl else "")
    if ttl and _hops(int(ttl[1])) < target.hops:
        return _row(
            source,
            target,
            Kind.PING,
            State.FAILED,
            f"{detail}: answered from nearer than the other side of the tunnel",
            "the same address is in use here, or the sites share a network segment",
        )
    return _row(source, target, Kind.PING, State.OK, detail)


def _mtu(source: Source, target: Target, ran: Ran, ping: Row) -> Row:
    if ping.state is State.FAILED:
        return _row(source, target, Kind.MTU, State.NOT_CHECKED, "small pings fail already")
    if _received(ran):
        return _row(source, target, Kind.MTU, State.OK, f"{source.mtu} B pass whole")
    told = re.search(r"mtu ?= ?(\d+)", ran.output)
    if told:
        return _row(
            source,
            target,
            Kind.MTU,
            State.WARNING,
            f"{source.mtu} B do not pass, and the path says so: it carries {told[1]} B",
            f"set network.vethMTU: {told[1]}; until then TCP works because its segments are cut to size",
        )
    if _received(ran) is None:
        return _broken(source, target, Kind.MTU, ran)
    return _row(
        source,
        target,
        Kind.MTU,
        State.FAILED,
        f"packets of {source.mtu} B vanish without a word, small ones pass",
        "something between the gateways carries less than their interfaces say: set network.vethMTU to what it "
        "carries, less what the tunnel adds (50 for vxlan, more for IPsec)",
    )


def _control(source: Source, target: Target, ran: Ran, ping: Row) -> Row:
    received = _received(ran)
    if ping.state is not State.OK:
        return _row(source, target, Kind.CONTROL, State.NOT_CHECKED, "nothing to compare it with")
    if received:
        return _row(
            source,
            target,
            Kind.CONTROL,
            State.WARNING,
            f"answers over {UNDERLAY_DEVICE} as well",
            "the underlays are not isolated from each other, so that traffic proves nothing about the tunnel",
        )
    if received is None and not _reason(ran):
        return _broken(source, target, Kind.CONTROL, ran)
    return _row(source, target, Kind.CONTROL, State.OK, f"no answer over {UNDERLAY_DEVICE}, as it has to be")


def _transfer(source: Source, target: Target, ran: Ran) -> Row:
    told = re.search(r"^bytes (\d+)$", ran.output, re.MULTILINE)
    got = int(told[1]) if told else 0
    if ran.code == 0 and told and (target.size is None or got == target.size):
        return _row(source, target, Kind.TRANSFER, State.OK, f"{got} B, complete")
    if ran.code in (None, *_CRASHED) or "not found" in ran.output:
        return _broken(source, target, Kind.TRANSFER, ran)
    if got and target.size:
        return _row(
            source,
            target,
            Kind.TRANSFER,
            State.FAILED,
            f"stopped after {got} of {target.size} B",
            "small packets pass and large ones do not: set network.vethMTU lower in one of the two clusters",
        )
    said = ran.output.splitlines()[-1] if ran.output else ""
    return _row(source, target, Kind.TRANSFER, State.FAILED, _reason(ran) or said or f"exit code {ran.code}")


def _broken(source: Source, target: Target, kind: Kind, ran: Ran) -> Row:
    """A row for a command that could not do its work here, which says nothing about the network."""
    said = ran.output.splitlines()[0] if ran.output else "no output"
    if ran.code is None:
        said = "did not end"
    elif ran.code in _CRASHED:
        said = f"the image's program crashed (exit code {ran.code})"
    elif re.search(r"not found", ran.output):
        said = f"the image has no such program ({said})"
    elif re.search(r"permission denied|not permitted", ran.output, re.IGNORECASE):
        said = "pods of this cluster may not ping (NET_RAW)"
    elif re.search(r"unrecognized option|invalid option|invalid argument|bad value|Usage:", ran.output):
        said = f"the image's program cannot do that ({said})"
    elif re.search(r"[Uu]nreachable|No route to host", ran.output):
        # An answer, and a bad one: nothing leads there, or the leak guard stands in the way.
        return _row(source, target, kind, State.FAILED, said, "no route leads there: is the peer's tunnel up?")
    return _row(source, target, kind, State.NOT_CHECKED, said)


def _received(ran: Ran) -> int | None:
    """Answers to a ping; None where it did not come to sending any."""
    found = re.search(r"(\d+) packets transmitted, (\d+) (?:packets )?received", ran.output)
    return int(found[2]) if found else None


def _reason(ran: Ran) -> str:
    """What the network or the kernel answered instead."""
    found = re.search(
        r"Destination \S+ Unreachable|Network (?:is )?unreachable|No route to host|Time to live exceeded|"
        r"Connection refused|timed out|Operation timed out[^\n]*|Could not resolve host[^\n]*|bad address[^\n]*",
        ran.output,
        re.IGNORECASE,
    )
    return found[0] if found else ""


def _hops(ttl: int) -> int:
    """Routers that an answer has passed: senders start with 64, 128 or 255."""
    return next(start for start in (64, 128, 255) if ttl <= start) - ttl


# --- all rows together -----------------------------------------------------------------------------------------------


def _without_repeated_node_address(rows: Iterable[Row]) -> list[Row]:
    kept: list[Row] = []
    seen = False
    for row in rows:
        if row.check == Kind.NODE_ADDRESS:
            if seen:
                continue
            seen = True
        kept.append(row)
    return kept


def _explained(rows: tuple[Row, ...]) -> Iterator[Row]:
    for row in rows:
        if row.state is not State.FAILED or row.hint:
            yield row
            continue
        yield row.model_copy(update={"hint": _hint(row, rows)})


def _hint(row: Row, rows: tuple[Row, ...]) -> str:
    """What pattern a failure is part of."""
    same = [each for each in rows if (each.cluster, each.peer) == (row.cluster, row.peer)]
    traffic = [each for each in same if each.check in (Kind.PING, Kind.TRANSFER)]
    from_gateway = [each for each in traffic if each.role == "gateway"]
    works = any(each.state is State.OK for each in from_gateway)
    pings = any(each.check == Kind.PING and each.state is State.OK for each in traffic if each.target == row.target)
    if row.check == Kind.TRANSFER and pings:
        return (
            "pings pass and TCP does not: kube-proxy drops packets of half-seen connections (set "
            "kubeProxy.tcpBeLiberal: true), or the server is not there"
        )
    if works:
        return (
            "only gateway nodes get through: open UDP 4800 between the nodes of each cluster, set "
            "kubeProxy.tcpBeLiberal: true, and see that no node's FORWARD policy is DROP"
        )
    return (
        "nothing gets through: is the tunnel connected in both clusters, and the FORWARD policy of the gateway nodes "
        "ACCEPT?"
    )


def _row(source: Source, target: Target, kind: Kind, state: State, detail: str, hint: str = "") -> Row:
    return Row(
        check=kind,
        state=state,
        cluster=source.cluster,
        node=source.node,
        role=source.role,
        peer=target.cluster,
        target=target.label,
        detail=detail,
        hint=hint,
    )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _contains(cidr: str, address: str) -> bool:
    return _is_ip(address) and ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


def named(target: Target, name: str) -> Target:
    """The same target, by a name in the DNS of the whole mesh."""
    return replace(target, address=name, label=name, pings=False)
