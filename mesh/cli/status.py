"""`mesh status`: how the mesh is now, read from all clusters at once."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from mesh.access import ClusterAccess
from mesh.cli.output import CommandError, console
from mesh.cli.project import PROJECT_FILE, PlanFile, plan_file
from mesh.fleet import stacks
from mesh.fleet.errors import FleetError
from mesh.health.models import Link, LinkState, Row, State
from mesh.health.report import ClusterReport, Health, Mesh, MeshReport
from mesh.plan import MeshPlan, read_plan
from mesh.steps.errors import StepError
from mesh.steps.workdir import work_dir

_COLOURS = {
    Health.HEALTHY: "green", Health.DEGRADED: "red", Health.UNKNOWN: "yellow",
    State.OK: "green", State.WARNING: "yellow", State.FAILED: "red", State.NOT_CHECKED: "bright_black",
    LinkState.CONNECTED: "green", LinkState.UNPROVEN: "yellow", LinkState.CONNECTING: "yellow",
    LinkState.NOT_JOINED: "bright_black", LinkState.NOT_CHECKED: "bright_black", LinkState.UNKNOWN: "bright_black",
}  # fmt: skip


def command(
    plan: PlanFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs; with --watch one line per look.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Time between two looks.")] = 10,
    probe: Annotated[
        bool, typer.Option("--probe", help="Send traffic between all clusters, from probe pods that go afterwards.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page that needs nothing else, too.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is in order, too.")] = False,
) -> None:
    """Show how the mesh is: tunnels, gateways, pools, and what the sites lack.

    Every cluster of the plan is read, the way its stack reaches it: KUBECONFIG_<CLUSTER>, or mesh:context of its stack
    file. One that does not answer within ten seconds is a line of the report. Nothing is changed; --probe makes pods
    for a minute or two.

    Exit code: 0 healthy, 1 degraded, 2 could not tell.
    """
    path = plan_file(plan)
    checked = read_plan(path)
    logging.disable()  # libraries report what stands in the report already
    health = Health.UNKNOWN
    try:
        with work_dir() as work:
            mesh = Mesh(checked, access_of(checked, path), work)
            for report in _looks(mesh, interval if watch else None, probe=probe):
                health = report.health
                if html:
                    _write(html, report, int(interval) if watch else None)
                if as_json:
                    typer.echo(json.dumps(document(report), ensure_ascii=False, indent=None if watch else 2))
                else:
                    _print(console(), report, everything=everything, clear=watch)
    except StepError as error:
        raise CommandError(f"{error}.") from None
    except KeyboardInterrupt:
        pass  # how --watch ends
    raise typer.Exit(health.exit_code)


def access_of(plan: MeshPlan, path: Path) -> dict[str, ClusterAccess]:
    """How each cluster is reached: as its stack file says, else by its own environment variable."""
    found = {cluster_id: ClusterAccess.of(cluster_id) for cluster_id in plan.clusters}
    try:
        known = stacks.load(path.parent).stacks if path.name == PROJECT_FILE else ()
    except FleetError:
        return found  # which stacks there are is not the question here
    for stack in known:
        context, kubeconfig = stack.config.get("mesh:context"), stack.config.get("mesh:kubeconfig")
        for cluster_id in stack.clusters:
            # An encrypted kubeconfig is a mapping, which only pulumi can read.
            given = kubeconfig if isinstance(kubeconfig, str) else None
            found[cluster_id] = ClusterAccess.of(cluster_id, context, given)
    return found


def document(report: MeshReport) -> dict[str, object]:
    """The report for programs."""
    return {**report.document(), "exitCode": report.health.exit_code}


def _looks(mesh: Mesh, interval: float | None, *, probe: bool) -> Iterator[MeshReport]:
    while True:
        started = time.monotonic()
        yield mesh.report(probe=probe)
        if interval is None:
            return
        time.sleep(max(0.0, interval - (time.monotonic() - started)))


def _write(path: Path, report: MeshReport, refresh: int | None) -> None:
    from mesh.health.page import render

    # A browser that reads it again must never see half of it.
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(render(report, refresh), encoding="utf-8")
    unfinished.replace(path)


def _print(out: Console, report: MeshReport, *, everything: bool, clear: bool) -> None:
    if clear and out.is_terminal:
        out.clear()
    out.print(
        Text.assemble(
            ("The mesh is ", "bold"),
            (report.health, f"bold {_COLOURS[report.health]}"),
            (f"  {report.taken_at}", "dim"),
        )
    )
    _section(out, "Tunnels, as the cluster on the left sees them", _matrix(report))
    _section(out, "Clusters", _clusters(report))
    wrong = list(report.wrong())
    _section(out, "What is wrong", _list(wrong, "red"), show=bool(wrong))
    for state, title in (
        (State.WARNING, "What may go wrong"),
        (State.NOT_CHECKED, "Not checked"),
        (State.OK, "In order"),
    ):
        found = [f"{name}: {finding}" for name, finding in report.findings(state)]
        shown = bool(found) and (everything or state is not State.OK)
        _section(out, title, _list(found, _COLOURS[state]), show=shown)
    _print_traffic(out, report, everything=everything)
    if everything:
        lines = [f"{name}: {line}" for name, each in report.by_hand.items() for line in each]
        _section(out, "What only the nodes can show", _list(lines, ""))


def _print_traffic(out: Console, report: MeshReport, *, everything: bool) -> None:
    path = report.data_path
    rows = [row for row in path.rows if everything or row.state is not State.OK]
    count = sum(row.state is State.OK for row in path.rows)
    said = f"Data path: {path.state}" + (f", {count} of {len(path.rows)} checks ok" if path.rows else "")
    out.print(Text(f"\n{said}", style="bold"))
    if path.note:
        out.print(Text(f"  {path.note}", style="dim"), soft_wrap=True)
    if rows:
        table = _table("from", "to", "check", "result", "")
        for row in rows:
            table.add_row(_place(row), f"{row.peer} {row.target}", row.check, _coloured(row.state), _detail(row))
        out.print(table)


def _matrix(report: MeshReport) -> Table:
    names = list(report.clusters)
    table = _table("", *names)
    for one in names:
        table.add_row(one, *(Text("·", "dim") if one == other else _cell(report.link(one, other)) for other in names))
    return table


def _cell(link: Link) -> Text:
    rtt = f" {link.rtt_ms:.1f} ms" if link.rtt_ms is not None and link.state is LinkState.CONNECTED else ""
    return Text(f"{link.state}{rtt}", _COLOURS.get(link.state, "red"))


def _clusters(report: MeshReport) -> Table:
    table = _table("cluster", "API server", "Kubernetes", "Submariner", "Spiderpool", "gateways", "addresses in use")
    for cluster in report.clusters.values():
        if cluster.error:
            table.add_row(cluster.cluster, Text("could not be read", "red"))
            continue
        used = [f"{pool.name} {pool.allocated or 0} of {pool.total or '?'}" for pool in cluster.pools]
        table.add_row(
            cluster.cluster,
            cluster.server,
            cluster.kubernetes,
            cluster.submariner or "not joined",
            cluster.spiderpool or "none found",
            _gateways(cluster),
            "\n".join(used),
        )
    return table


def _gateways(cluster: ClusterReport) -> Text:
    text = Text()
    for number, gateway in enumerate(cluster.gateways):
        ago = "never reported" if gateway.seconds_ago is None else f"{gateway.seconds_ago} s ago"
        colour = "red" if not gateway.fresh else "green" if gateway.ha_status == "active" else ""
        text.append("\n" if number else "")
        text.append(gateway.ha_status, colour)
        text.append(f" {gateway.node} {gateway.address}, {ago}")
    return text if cluster.gateways else Text("none", "bright_black")


def _place(row: Row) -> str:
    return f"{row.cluster}/{row.node} ({row.role})" if row.node else row.cluster


def _detail(row: Row) -> str:
    return row.detail + (f": {row.hint}" if row.hint else "")


def _coloured(state: State) -> Text:
    return Text(state, _COLOURS[state])


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _list(lines: list[str], colour: str) -> Group:
    return Group(*(Text.assemble(("  - ", colour), line) for line in lines))


def _section(out: Console, title: str, content: RenderableType, *, show: bool = True) -> None:
    if show:
        out.print(Text(f"\n{title}", style="bold"))
        out.print(content)
