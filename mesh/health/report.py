"""The mesh as a whole: all clusters that could be read, judged together."""

import time
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path

from mesh.access import ClusterAccess
from mesh.health import data_path as traffic
from mesh.health import probes, site, tunnel
from mesh.health.expect import Expected, expected
from mesh.health.models import DataPath, Finding, Link, LinkState, Model, Pool, Reading, State
from mesh.health.parallel import in_parallel
from mesh.health.read import read, timestamp
from mesh.plan import MeshPlan
from mesh.steps.kube import Cluster, connect

READ_SECONDS = 10.0
OFF = "turned off in the plan (verify.{})"


class Health(StrEnum):
    """What the mesh amounts to, with the exit code of `mesh status`."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 degraded, 2 could not tell."""
        return list(Health).index(self)


class GatewayReport(Model):
    """A gateway node and when it reported last."""

    node: str
    ha_status: str
    address: str
    seconds_ago: int | None
    fresh: bool


class ClusterReport(Model):
    """One cluster of the mesh.

    Attributes:
        error: why it could not be read; then nothing else is known of it.
        problem: why it can have no tunnel; hint: what to do about it.
        submariner: version that it has joined with; None where it has not.
    """

    cluster: str
    error: str = ""
    server: str = ""
    kubernetes: str = ""
    submariner: str | None = None
    spiderpool: str | None = None
    gateways: tuple[GatewayReport, ...] = ()
    pools: tuple[Pool, ...] = ()
    problem: str = ""
    hint: str = ""
    findings: tuple[Finding, ...] = ()


class MeshReport(Model):
    """What is known of the mesh.

    Attributes:
        taken_at: when, in UTC.
        links: one per ordered pair of clusters.
        by_hand: what only the nodes can show, per cluster: how to look, and what has to come out.
    """

    taken_at: str
    health: Health
    clusters: dict[str, ClusterReport]
    links: tuple[Link, ...]
    data_path: DataPath
    by_hand: dict[str, tuple[str, ...]]

    @cached_property
    def _by_pair(self) -> dict[tuple[str, str], Link]:
        return {(link.cluster, link.peer): link for link in self.links}

    def link(self, cluster: str, peer: str) -> Link:
        """The tunnel from one cluster to another."""
        return self._by_pair[cluster, peer]

    def findings(self, state: State) -> Iterator[tuple[str, Finding]]:
        """What the sites' checks have shown, of one kind, each with its cluster."""
        for name, cluster in self.clusters.items():
            yield from ((name, finding) for finding in cluster.findings if finding.state is state)

    def wrong(self) -> Iterator[str]:
        """A sentence for everything that makes the mesh less than healthy."""
        for cluster in self.clusters.values():
            if cluster.error:
                yield f"{cluster.cluster} could not be read: {cluster.error}"
            elif cluster.problem:
                yield ": ".join(filter(None, (cluster.problem, cluster.hint)))
        for name, finding in self.findings(State.FAILED):
            yield f"{name}: {finding}"
        for link in self.links:
            # Where the cluster itself has no tunnel at all, that has been said.
            if not link.good and link.state is not LinkState.UNKNOWN and not self.clusters[link.cluster].problem:
                yield f"{link.cluster} to {link}"
        yield from (str(row) for row in self.data_path.rows if row.state is State.FAILED)


class Mesh:
    """The clusters of a plan, as far as they can be reached."""

    def __init__(self, plan: MeshPlan, access: Mapping[str, ClusterAccess], work: Path) -> None:
        self.plan = plan
        self._expected = {cluster_id: expected(plan, cluster_id) for cluster_id in plan.clusters}
        self._access = access
        self._work = work

    def report(self, *, probe: bool = False, run: probes.Runner = probes.run_in_pod) -> MeshReport:
        """Read all clusters at once and judge what they say; with `probe`, send traffic between them too.

        A site that does not answer is left out after some seconds; it is a line of the report and no failure of it.
        """
        found = in_parallel({name: partial(self._read, name) for name in self._expected}, READ_SECONDS)
        readings = {name: result if isinstance(result, Exception) else result[1] for name, result in found.items()}
        if not probe:
            return judge(self.plan, readings, probes.no_traffic("no traffic was sent: --probe does"))
        sites = {
            name: probes.Site(result[0], self._expected[name], result[1].site.nodes, _active(result[1]))
            for name, result in found.items()
            if not isinstance(result, Exception) and result[1].tunnel.membership
        }
        return judge(self.plan, readings, self._traffic(sites, run), asked=True)

    def _traffic(self, sites: Mapping[str, probes.Site], run: probes.Runner) -> DataPath:
        if not self.plan.verify.data_path:
            return probes.no_traffic(OFF.format("dataPath"))
        if self.plan.broker.globalnet:
            return probes.no_traffic(NO_GLOBALNET)
        if len(sites) < 2:
            return probes.no_traffic("fewer than two clusters can be reached and have joined")
        return probes.matrix(sites, run)

    def _read(self, name: str) -> tuple[Cluster, Reading]:
        folder = self._work / name  # what the client library writes into files
        folder.mkdir(exist_ok=True)
        cluster, _ = connect(self._access[name], name, folder)
        return cluster, read(cluster, self._expected[name])


NO_GLOBALNET = "with globalnet, pods answer at other addresses than their own, which probes do not know"


def judge(
    plan: MeshPlan, readings: Mapping[str, Reading | Exception], data_path: DataPath, *, asked: bool = False
) -> MeshReport:
    """What the readings mean.

    Args:
        plan: what was promised.
        readings: per cluster what it says, or why it could not be read.
        data_path: what traffic has shown.
        asked: whether somebody wanted traffic sent; where none could be, they are not to be told that all is well.
    """
    members = {
        name
        for name, reading in readings.items()
        if isinstance(reading, Reading) and reading.tunnel.membership and reading.tunnel.membership.cluster_id == name
    }
    clusters: dict[str, ClusterReport] = {}
    links: list[Link] = []
    for name in plan.clusters:
        wanted, reading = expected(plan, name), readings[name]
        if isinstance(reading, Exception):
            clusters[name] = ClusterReport(cluster=name, error=str(reading) or type(reading).__name__)
            links += [Link(cluster=name, peer=peer.cluster_id, state=LinkState.UNKNOWN) for peer in wanted.peers]
            continue
        tunnels = tunnel.judge(wanted, reading.tunnel, members)
        clusters[name] = _cluster(wanted, reading, tunnels)
        links += _links(wanted, tunnels, data_path)
    return MeshReport(
        taken_at=now(),
        health=_health(plan, clusters, links, data_path, asked=asked),
        clusters=clusters,
        links=tuple(links),
        data_path=data_path,
        by_hand={name: site.by_hand(expected(plan, name)) for name in plan.clusters},
    )


def now() -> str:
    """The time in UTC, as people and programs read it."""
    return timestamp(time.time())


def proven_by(link: Link, data_path: DataPath) -> Link:
    """The link, connected where it could not say so credibly and traffic has come through."""
    if link.state is LinkState.UNPROVEN and traffic.proves(data_path, link.cluster, link.peer):
        changes = {"state": LinkState.CONNECTED, "proof": "traffic", "message": "", "hint": ""}
        return link.model_copy(update=changes)
    return link


def off(cluster: str, peer: str) -> Link:
    """A tunnel that the plan says not to look at."""
    return Link(cluster=cluster, peer=peer, state=LinkState.NOT_CHECKED, message=OFF.format("tunnel"))


def _links(wanted: Expected, tunnels: tunnel.TunnelReport, data_path: DataPath) -> list[Link]:
    if not wanted.tunnel:
        return [off(wanted.cluster_id, peer.cluster_id) for peer in wanted.peers]
    return [proven_by(link, data_path) for link in tunnels.links]


def _cluster(wanted: Expected, reading: Reading, tunnels: tunnel.TunnelReport) -> ClusterReport:
    membership = reading.tunnel.membership
    return ClusterReport(
        cluster=wanted.cluster_id,
        server=reading.server,
        kubernetes=reading.site.kubernetes,
        submariner=membership.version if membership else None,
        spiderpool=reading.site.spiderpool,
        gateways=tuple(
            GatewayReport(
                node=gateway.node,
                ha_status=gateway.ha_status,
                address=gateway.local.private_ip,
                seconds_ago=int(tunnel.age(gateway, reading.tunnel)) if gateway.updated is not None else None,
                fresh=tunnel.age(gateway, reading.tunnel) <= tunnel.FRESH_SECONDS,
            )
            for gateway in reading.tunnel.gateways
        ),
        pools=reading.site.pools,
        problem=tunnels.problem if wanted.tunnel or not membership else "",
        hint=tunnels.hint if wanted.tunnel or not membership else "",
        findings=(*findings(wanted, reading), *_members(wanted, tunnels)),
    )


def findings(wanted: Expected, reading: Reading) -> tuple[Finding, ...]:
    """What the site lacks, as far as the plan wants that looked at."""
    if not wanted.site:
        return (
            Finding(check="site", state=State.NOT_CHECKED, what=f"Spiderpool and kube-proxy: {OFF.format('site')}"),
        )
    return site.judge(wanted, reading.site)


def _members(wanted: Expected, tunnels: tunnel.TunnelReport) -> list[Finding]:
    found = [
        Finding(
            check="members",
            state=State.WARNING,
            what=f"{stranger} has joined and is not in the plan",
            fix="add it to the plan, or let it leave",
        )
        for stranger in tunnels.strangers
    ]
    if wanted.tunnel and tunnels.gateway and len(wanted.gateways) > 1 and not tunnels.standby:
        what = f"no gateway stands by for {tunnels.gateway}, though the plan names {len(wanted.gateways)}"
        found.append(Finding(check="gateways", state=State.WARNING, what=what, fix="are their pods running?"))
    return found


def _health(
    plan: MeshPlan, clusters: Mapping[str, ClusterReport], links: list[Link], data_path: DataPath, *, asked: bool
) -> Health:
    excused = set(plan.verify.may_be_down)
    if all(cluster.error for cluster in clusters.values()):
        return Health.UNKNOWN
    required = [link for link in links if not {link.cluster, link.peer} & excused]
    bad = (
        any(row.state is State.FAILED and not {row.cluster, row.peer} & excused for row in data_path.rows)
        or any((cluster.error or cluster.problem) and name not in excused for name, cluster in clusters.items())
        or any(finding.state is State.FAILED for cluster in clusters.values() for finding in cluster.findings)
        or any(not link.good and link.state is not LinkState.UNKNOWN for link in required)
    )
    if bad:
        return Health.DEGRADED
    certain = all(link.state is LinkState.CONNECTED for link in required) and (data_path.answered or not asked)
    return Health.HEALTHY if certain else Health.UNKNOWN


def _active(reading: Reading) -> str:
    return next((gateway.node for gateway in reading.tunnel.gateways if gateway.ha_status == "active"), "")
