"""The report as one HTML page that needs nothing else: no script, no font, no image, no request.

The tunnels are drawn as SVG. Half of a line belongs to each of its two clusters and shows what that one says, so that
a tunnel that only one side believes in can be told from one that is down. States differ in dash pattern, too.
"""

import math
from collections.abc import Iterator
from html import escape
from itertools import combinations

from mesh.health.models import Finding, Link, LinkState, Row, State
from mesh.health.report import ClusterReport, Health, MeshReport

CARD_WIDTH, CARD_HEIGHT = 236, 104
MOST_CARDS = 8  # more clusters than that are drawn as dots
_MARGIN = 24
# The worse the later: the state of a pair is the worse one of its two directions.
_SEVERITY = (
    LinkState.CONNECTED,
    LinkState.NOT_CHECKED,
    LinkState.NOT_JOINED,
    LinkState.UNKNOWN,
    LinkState.UNPROVEN,
    LinkState.CONNECTING,
    LinkState.STALE,
    LinkState.MISSING,
    LinkState.ERROR,
)
_STYLE = """\
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1b1f24; --dim: #5c6670; --line: #d5dae0;
  --good: #1a7f4b; --unsure: #9a6700; --bad: #c4232f; --none: #77818c; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1e2329; --text: #e6e9ed; --dim: #9aa5b1;
  --line: #38414b; --good: #4ac184; --unsure: #e0b03c; --bad: #ff7b7b; --none: #8a95a1; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 1.5rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
p { margin: .3rem 0; } .dim { color: var(--dim); }
.healthy, .ok, .connected { --state: var(--good); }
.unknown, .warning, .unproven, .connecting, .partial { --state: var(--unsure); }
.degraded, .failed, .error, .missing, .stale { --state: var(--bad); }
.not-joined, .not-checked, .unread { --state: var(--none); }
.state { color: var(--state); font-weight: 600; }
.figure, .scroll { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow-x: auto; }
svg { display: block; margin: 0 auto; max-width: 100%; height: auto; }
svg text { fill: var(--text); font-size: 13px; } svg .small { font-size: 11.5px; fill: var(--dim); }
svg .name { font-weight: 600; font-size: 15px; } svg .card { fill: var(--card); stroke: var(--state); stroke-width: 2; }
svg .dot { fill: var(--state); } svg .label { fill: var(--card); stroke: var(--line); }
svg .half { stroke: var(--state); stroke-width: 4; fill: none; }
svg.compact .half { stroke-width: 1.5; } svg.compact .connected .half { opacity: .3; }
svg .unproven.half { stroke-dasharray: 12 6; } svg .connecting.half { stroke-dasharray: 3 6; }
svg .error.half, svg .missing.half, svg .stale.half { stroke-dasharray: 9 9; }
svg .not-joined.half, svg .not-checked.half, svg .unknown.half { stroke-dasharray: 2 8; stroke-width: 2; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; color: var(--dim); font-weight: 500; }
th, td { padding: .45rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top; } th { white-space: nowrap; }
tr:last-child > * { border-bottom: 0; } ul { margin: .2rem 0; padding-left: 1.2rem; }
code { font-size: .92em; overflow-wrap: anywhere; } details { margin: .6rem 0; } summary { cursor: pointer; }
"""


def render(report: MeshReport, refresh: int | None = None) -> str:
    """The page; with `refresh`, the browser reads the file again after so many seconds."""
    body = "\n".join((*_head(report), *_drawing(report), *_matrix(report), *_clusters(report), *_traffic(report)))
    again = f'<meta http-equiv="refresh" content="{refresh}">\n' if refresh else ""
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
{again}<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>Mesh: {report.health}</title>
<style>
{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def worse(one: LinkState, other: LinkState) -> LinkState:
    """The worse of what the two ends of a tunnel say."""
    return max(one, other, key=_SEVERITY.index)


def _head(report: MeshReport) -> Iterator[str]:
    count = len(report.clusters)
    yield f'<h1>The mesh is <span class="state {report.health}">{report.health}</span></h1>'
    yield f'<p class="dim">{count} clusters, looked at {escape(report.taken_at)}</p>'
    if wrong := list(report.wrong()):
        yield f'<ul class="wrong">{"".join(f"<li>{escape(text)}</li>" for text in wrong)}</ul>'


# --- the drawing -----------------------------------------------------------------------------------------------------


def _drawing(report: MeshReport) -> Iterator[str]:
    names = list(report.clusters)
    compact = len(names) > MOST_CARDS
    width, height, places = _layout(names, compact)
    yield '<h2>Tunnels</h2>\n<div class="figure">'
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="Clusters and the tunnels between them"{" class=compact" if compact else ""}>'
    )
    pairs = [_pair(report, *pair, places, compact) for pair in combinations(names, 2)]
    for _, drawn in sorted(pairs, key=lambda pair: pair[0]):  # the worst on top
        yield from drawn
    for name in names:
        cluster = report.clusters[name]
        yield from (_dot(cluster, places[name], width) if compact else _card(cluster, places[name]))
    yield "</svg>\n</div>"
    yield (
        '<p class="dim">Each half of a line shows what the cluster at its end says: solid is connected, long dashes '
        "nothing proves it, short ones down; the number is the round trip of the health check.</p>"
    )


def _layout(names: list[str], compact: bool) -> tuple[int, int, dict[str, tuple[float, float]]]:
    """Width, height, and the centre of each cluster: side by side for two, else on a circle, the first one on top."""
    if len(names) == 2 and not compact:
        width, height = 960, CARD_HEIGHT + 2 * _MARGIN + 40
        across = _MARGIN + CARD_WIDTH / 2
        return width, height, {names[0]: (across, height / 2), names[1]: (width - across, height / 2)}
    # From one to the next: a line of text, or a card and the label of the line between them.
    room = 30 if compact else CARD_WIDTH + 100
    radius = max(210.0, room / (2 * math.sin(math.pi / len(names))))
    side = (150, 40) if compact else (CARD_WIDTH / 2, CARD_HEIGHT / 2)
    width, height = int(2 * (radius + side[0] + _MARGIN)), int(2 * (radius + side[1] + _MARGIN))
    places = {}
    for number, name in enumerate(names):
        angle = 2 * math.pi * number / len(names) - math.pi / 2
        places[name] = (width / 2 + radius * math.cos(angle), height / 2 + radius * math.sin(angle))
    return width, height, places


def _pair(
    report: MeshReport, one: str, other: str, places: dict[str, tuple[float, float]], compact: bool
) -> tuple[int, list[str]]:
    """How bad it is, and its drawing."""
    there, back = report.link(one, other), report.link(other, one)
    state = worse(there.state, back.state)
    (x1, y1), (x2, y2) = places[one], places[other]
    xm, ym = (x1 + x2) / 2, (y1 + y2) / 2
    title = f"{one} to {other}: {_says(there)}\n{other} to {one}: {_says(back)}"
    drawn = [
        f'<g class="link {_css(state)}" data-pair="{escape(one)} {escape(other)}"><title>{escape(title)}</title>',
        f'<line class="half {_css(there.state)}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{xm:.1f}" y2="{ym:.1f}"/>',
        f'<line class="half {_css(back.state)}" x1="{x2:.1f}" y1="{y2:.1f}" x2="{xm:.1f}" y2="{ym:.1f}"/>',
    ]
    if not compact:
        rtt = next((link.rtt_ms for link in (there, back) if link.rtt_ms is not None), None)
        text = f"{rtt:.1f} ms" if state is LinkState.CONNECTED and rtt is not None else state.value
        half = 4 + 3.8 * len(text)
        drawn += [
            f'<rect class="label" x="{xm - half:.1f}" y="{ym - 12:.1f}" width="{2 * half:.1f}" height="24" rx="12"/>',
            f'<text x="{xm:.1f}" y="{ym + 4.5:.1f}" text-anchor="middle">{text}</text>',
        ]
    return _SEVERITY.index(state), [*drawn, "</g>"]


def _card(cluster: ClusterReport, place: tuple[float, float]) -> Iterator[str]:
    x, y = place[0] - CARD_WIDTH / 2, place[1] - CARD_HEIGHT / 2
    lines = _card_lines(cluster)
    yield f'<g class="cluster {_cluster_css(cluster)}" data-cluster="{escape(cluster.cluster)}">'
    yield f"<title>{escape(cluster.error or cluster.problem or cluster.cluster)}</title>"
    yield f'<rect class="card" x="{x:.1f}" y="{y:.1f}" width="{CARD_WIDTH}" height="{CARD_HEIGHT}" rx="10"/>'
    yield f'<text class="name" x="{x + 14:.1f}" y="{y + 26:.1f}">{escape(_short(cluster.cluster, 26))}</text>'
    for number, line in enumerate(lines):
        yield f'<text class="small" x="{x + 14:.1f}" y="{y + 48 + 18 * number:.1f}">{escape(_short(line, 36))}</text>'
    yield "</g>"


def _card_lines(cluster: ClusterReport) -> list[str]:
    if cluster.error:
        return ["could not be read"]
    active = [gateway for gateway in cluster.gateways if gateway.ha_status == "active"]
    standby = len(cluster.gateways) - len(active)
    gateway = active[0].node + (f" (+{standby} standby)" if standby else "") if active else "no active gateway"
    used = ", ".join(_usage(pool.allocated, pool.total) for pool in cluster.pools) or "no pools"
    return [gateway, f"Submariner {cluster.submariner or 'not joined'}", f"addresses: {used}"]


def _dot(cluster: ClusterReport, place: tuple[float, float], width: int) -> Iterator[str]:
    (x, y), aside = place, place[0] - width / 2
    # Outside of the circle, where no line crosses the name.
    anchor = "middle" if abs(aside) < 1 else "start" if aside > 0 else "end"
    shift, drop = {"middle": (0, -14.0 if y < width / 3 else 24.0), "start": (14, 4.5), "end": (-14, 4.5)}[anchor]
    name = escape(_short(cluster.cluster, 20))
    yield f'<g class="cluster {_cluster_css(cluster)}" data-cluster="{escape(cluster.cluster)}">'
    yield f"<title>{escape(cluster.error or cluster.problem or cluster.cluster)}</title>"
    yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="8"/>'
    yield f'<text x="{x + shift:.1f}" y="{y + drop:.1f}" text-anchor="{anchor}">{name}</text>'
    yield "</g>"


# --- the tables ------------------------------------------------------------------------------------------------------


def _matrix(report: MeshReport) -> Iterator[str]:
    names = list(report.clusters)
    yield '<h2>Who is connected to whom</h2>\n<div class="scroll"><table class="matrix">'
    yield f"<tr><th>as seen by</th>{''.join(f'<th>{escape(name)}</th>' for name in names)}</tr>"
    for one in names:
        cells = "".join("<td></td>" if one == other else _cell(report.link(one, other)) for other in names)
        yield f"<tr><th>{escape(one)}</th>{cells}</tr>"
    yield "</table></div>"


def _cell(link: Link) -> str:
    details = [f"{link.rtt_ms:.2f} ms" if link.rtt_ms is not None else "", link.address, link.cable_driver]
    return (
        f'<td title="{escape(_says(link))}"><span class="state {_css(link.state)}">{link.state}</span>'
        f'<br><span class="dim">{escape(" · ".join(filter(None, details)))}</span></td>'
    )


def _clusters(report: MeshReport) -> Iterator[str]:
    yield '<h2>Clusters</h2>\n<div class="scroll"><table class="clusters">'
    columns = ("cluster", "API server", "Submariner, Spiderpool", "gateways", "pools", "findings")
    yield f"<tr>{''.join(f'<th>{column}</th>' for column in columns)}</tr>"
    for cluster in report.clusters.values():
        if cluster.error:
            yield (
                f'<tr><th>{escape(cluster.cluster)}</th><td colspan="5"><span class="state failed">could not be read'
                f"</span><br>{escape(cluster.error)}</td></tr>"
            )
            continue
        gateways = "".join(
            f'<li><span class="state {"ok" if gateway.fresh else "failed"}">{escape(gateway.ha_status)}</span> '
            f"{escape(gateway.node)} {escape(gateway.address)}, {_ago(gateway.seconds_ago)}</li>"
            for gateway in cluster.gateways
        )
        pools = "".join(f"<li>{escape(pool.name)}: {_usage(pool.allocated, pool.total)}</li>" for pool in cluster.pools)
        good = [finding for finding in cluster.findings if finding.state is State.OK]
        others = "".join(_finding(finding) for finding in cluster.findings if finding.state is not State.OK)
        findings = f"<ul>{others}</ul>" if others else ""
        if good:
            listed = "".join(map(_finding, good))
            findings += f"<details><summary>{len(good)} in order</summary><ul>{listed}</ul></details>"
        versions = f"{escape(cluster.submariner or 'not joined')}<br>{escape(cluster.spiderpool or 'none found')}"
        yield (
            f"<tr><th>{escape(cluster.cluster)}</th><td>{escape(cluster.server)}<br>{escape(cluster.kubernetes)}</td>"
            f"<td>{versions}</td><td><ul>{gateways}</ul></td><td><ul>{pools}</ul></td><td>{findings}</td></tr>"
        )
    yield "</table></div>"
    yield "<details><summary>What only the nodes can show</summary>"
    for name, lines in report.by_hand.items():
        yield f"<p>{escape(name)}</p><ul>{''.join(f'<li>{_code(line)}</li>' for line in lines)}</ul>"
    yield "</details>"


def _finding(finding: Finding) -> str:
    fix = f'<br><span class="dim">{escape(finding.fix)}</span>' if finding.fix else ""
    return f'<li><span class="state {_css(finding.state)}">{finding.state}</span> {escape(finding.what)}{fix}</li>'


def _traffic(report: MeshReport) -> Iterator[str]:
    path = report.data_path
    yield f'<h2>Data path: <span class="state {_css(path.state)}">{escape(path.state)}</span></h2>'
    if path.note:
        yield f'<p class="dim">{escape(path.note)}</p>'
    if path.rows:
        columns = "".join(f"<th>{column}</th>" for column in ("from", "to", "check", "result", ""))
        yield f'<div class="scroll"><table class="traffic"><tr>{columns}</tr>'
        yield from map(_row, path.rows)
        yield "</table></div>"


def _row(row: Row) -> str:
    place = f"{row.cluster}/{row.node} ({row.role})" if row.node else row.cluster
    detail = escape(row.detail) + (f'<br><span class="dim">{escape(row.hint)}</span>' if row.hint else "")
    return (
        f"<tr><td>{escape(place)}</td><td>{escape(f'{row.peer} {row.target}'.strip())}</td><td>{escape(row.check)}</td>"
        f'<td><span class="state {_css(row.state)}">{row.state}</span></td><td>{detail}</td></tr>'
    )


# --- words -----------------------------------------------------------------------------------------------------------


def _says(link: Link) -> str:
    said = ": ".join(filter(None, (link.message, link.hint)))
    return link.state + (f" ({link.proof})" if link.proof else "") + (f": {said}" if said else "")


def _css(state: State | LinkState | Health | str) -> str:
    return str(state).replace(" ", "-")


def _cluster_css(cluster: ClusterReport) -> str:
    if cluster.error:
        return "unread"
    states = {finding.state for finding in cluster.findings}
    return "failed" if cluster.problem or State.FAILED in states else "warning" if State.WARNING in states else "ok"


def _usage(allocated: int | None, total: int | None) -> str:
    return "not counted" if total is None else f"{allocated or 0} of {total}"


def _ago(seconds: int | None) -> str:
    return "never reported" if seconds is None else f"{seconds} s ago"


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _code(line: str) -> str:
    """Escaped, what stands between backticks as code."""
    parts = escape(line).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
