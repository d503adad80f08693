"""`verify`: wait until the tunnels to all clusters that have joined are up, look at what they need, send traffic.

Whoever has not joined yet is no error: the stacks come up one after the other, and the last one proves them all. Only
this cluster's API is asked, because a stack of an isolated site reaches no other.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mesh.health import data_path, probes, report, site, tunnel
from mesh.health.data_path import Target
from mesh.health.expect import Expected
from mesh.health.models import DataPath, Finding, Gateway, Link, LinkState, Row, State, TunnelReading
from mesh.health.read import first_address, read_site, read_tunnel, remote_services
from mesh.health.tunnel import TunnelReport
from mesh.steps import kube
from mesh.steps.activity import doing
from mesh.steps.errors import StepError
from mesh.steps.kube import Cluster
from mesh.steps.spec import VerifySpec

POLL_SECONDS = 2.0
SETTLE_SECONDS = 10.0  # a gateway that has just started hears of the others only after a moment
SITE_SECONDS = 30  # for Spiderpool's controller to do what the stack has just asked of it
MATRIX = "python -m mesh status --probe"


def run(spec: VerifySpec, work: Path) -> dict[str, Any]:
    """`connections`, `dataPath` and `warnings`.

    Raises:
        StepError: a tunnel is not up in time, the site lacks something, or traffic does not get through.
    """
    expected = spec.settings
    cluster, _ = kube.connect(spec.access, expected.cluster_id, work)
    with doing("waiting for the tunnels"):
        proof = _Proof(cluster, expected)
        proof.wait()
    with doing("sending traffic"):
        traffic = _traffic(cluster, expected, proof)
    failed = [row for row in traffic.rows if row.state is State.FAILED and row.peer not in expected.may_be_down]
    if failed:
        raise StepError(f"traffic does not get through: {_some(failed)}")
    links = [report.proven_by(link, traffic) for link in proof.links]
    return {
        "connections": _connections(links, proof.note),
        "dataPath": {"checkedAt": report.now(), **traffic.document()},
        "warnings": [
            *(str(finding) for finding in proof.findings if finding.state is State.WARNING),
            *(str(row) for row in traffic.rows if row.state is State.WARNING),
            *(_unproven(link) for link in links if link.state is LinkState.UNPROVEN),
        ],
    }


class _Proof:
    """What the cluster says, read again until it is good."""

    def __init__(self, cluster: Cluster, expected: Expected) -> None:
        self._cluster = cluster
        self._expected = expected
        self._first_report: dict[str, int | None] = {}
        self.reading: TunnelReading | None = None
        self.tunnels: TunnelReport | None = None
        self.findings: Sequence[Finding] = ()

    @property
    def links(self) -> list[Link]:
        """The tunnels to all other clusters of the plan."""
        if self.tunnels is None:
            return [report.off(self._expected.cluster_id, peer.cluster_id) for peer in self._expected.peers]
        return list(self.tunnels.links)

    @property
    def note(self) -> str:
        """What the links alone do not say."""
        if self.tunnels is None:
            return report.OFF.format("tunnel")
        return "" if self.tunnels.joined else "nobody else has joined yet"

    def wait(self) -> None:
        """Return when all is good.

        Raises:
            StepError: it is not in time.
        """
        if not self._expected.tunnel and not self._expected.site:
            return
        started, limit = time.monotonic(), self._expected.tunnel_timeout if self._expected.tunnel else SITE_SECONDS
        good_since: float | None = None
        while True:
            self._look()
            wrong = self._wrong()
            good_since = None if wrong else good_since or time.monotonic()
            if good_since is not None and (self._complete() or time.monotonic() - good_since >= SETTLE_SECONDS):
                return
            if wrong and time.monotonic() - started >= limit:
                raise StepError(
                    f"{self._expected.cluster_id} is not well connected after {limit} s: {'; '.join(wrong)}"
                )
            time.sleep(POLL_SECONDS)

    def _look(self) -> None:
        if self._expected.tunnel:
            self.reading = read_tunnel(self._cluster)
            self.tunnels = tunnel.judge(self._expected, self.reading, is_fresh=self._is_fresh)
        if self._expected.site:
            self.findings = site.judge(self._expected, read_site(self._cluster, self._expected))

    def _is_fresh(self, gateway: Gateway) -> bool:
        """Whether it has reported since we began to look: more certain than the age by two clocks."""
        first = self._first_report.setdefault(gateway.node, gateway.updated)
        return gateway.updated is not None and gateway.updated != first

    def _wrong(self) -> list[str]:
        wrong = [str(finding) for finding in self.findings if finding.state is State.FAILED]
        if self.tunnels is None:
            return wrong
        if self.tunnels.problem:
            return [": ".join(filter(None, (self.tunnels.problem, self.tunnels.hint))), *wrong]
        required = [link for link in self.tunnels.links if link.peer not in self._expected.may_be_down]
        return [*(str(link) for link in required if not link.good), *wrong]

    def _complete(self) -> bool:
        """Whether nobody is missing who might still turn up."""
        return self.tunnels is None or all(link.state is not LinkState.NOT_JOINED for link in self.tunnels.links)


def _traffic(cluster: Cluster, expected: Expected, proof: _Proof) -> DataPath:
    if not expected.data_path:
        return probes.no_traffic(report.OFF.format("dataPath"))
    if expected.globalnet:
        return probes.no_traffic(report.NO_GLOBALNET)
    if proof.reading is None:
        return probes.no_traffic(f"the tunnel was not looked at ({report.OFF.format('tunnel')})")
    up = [link.peer for link in proof.links if link.state in (LinkState.CONNECTED, LinkState.UNPROVEN)]
    if not up:
        return probes.no_traffic("no other cluster is connected yet")
    targets = _targets(cluster, expected, proof.reading, up)
    nodes = read_site(cluster, expected).nodes
    place = probes.Site(cluster, expected, nodes, proof.tunnels.gateway if proof.tunnels else "")
    if not place.chosen:
        return probes.no_traffic(f"no node of {cluster} can run a probe pod: none is Ready and schedulable")
    with probes.running({expected.cluster_id: place}) as started:
        pods = started[expected.cluster_id]
        if isinstance(pods, StepError):
            return probes.no_traffic(str(pods))
        rows = probes.send(pods, {expected.cluster_id: targets}, probes.run_in_pod, expected.probe_timeout)
    rows += probes.untested(place)
    rows += [_no_server(expected.cluster_id, peer) for peer in up if not _has_server(targets, peer)]
    return data_path.summarise(rows, f"pods of the other clusters are not known inside a stack: {MATRIX} tries all")


def _targets(cluster: Cluster, expected: Expected, reading: TunnelReading, peers: Sequence[str]) -> list[Target]:
    """What a stack can know of the other clusters: their gateways, and the Services that they export."""
    services = remote_services(cluster, expected)
    found: list[Target] = []
    for peer_id in peers:
        peer = expected.peer(peer_id)
        addresses = [each.health_check_ip for each in reading.endpoints if each.cluster_id == peer_id]
        if address := next(filter(None, addresses), ""):
            found.append(Target(peer_id, f"gateway {address}", address, pings=True, hops=1))
        elif peer:
            cidr = peer.pod_cidrs[0]
            found.append(Target(peer_id, f"network {cidr}", first_address(cidr)))
        if expected.app and peer_id in services:
            address, port = services[peer_id]
            found.append(Target(peer_id, f"Service {expected.app.service} ({address})", address, port))
            found.append(probes.app_by_name(expected.app, peer_id))
    return found


def _has_server(targets: Sequence[Target], peer: str) -> bool:
    return any(target.cluster == peer and target.port is not None for target in targets)


def _no_server(cluster_id: str, peer: str) -> Row:
    return Row(
        check=data_path.Kind.TRANSFER,
        state=State.NOT_CHECKED,
        cluster=cluster_id,
        node="",
        role="",
        peer=peer,
        target="a web server",
        detail=f"it exports no Service (sampleApp.export) that could be asked; {MATRIX} has servers of its own",
    )


def _connections(links: Sequence[Link], note: str) -> dict[str, Any]:
    states = {link.state for link in links} - {LinkState.NOT_JOINED}
    order = (LinkState.NOT_CHECKED, LinkState.ERROR, LinkState.CONNECTING, LinkState.UNPROVEN, LinkState.CONNECTED)
    return {
        "state": next((state.value for state in order if state in states), "alone" if not states else "error"),
        "checkedAt": report.now(),
        "peers": [link.document() for link in links],
        "note": note,
    }


def _unproven(link: Link) -> str:
    return f"nothing proves the tunnel to {link.peer}: {link.message}; {link.hint}"


def _some(rows: Sequence[Row]) -> str:
    more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
    return "; ".join(map(str, rows[:3])) + more
