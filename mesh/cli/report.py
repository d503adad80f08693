"""What `mesh check` prints for people."""

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mesh.cli.cells import Ranges
from mesh.cli.output import console
from mesh.cli.summary import broker_command, join_command, shell_lines, usable
from mesh.plan import Cluster, MeshPlan, Network, derive, ranges, rules
from mesh.plan.models import Gateway


def print_report(plan: MeshPlan, source: str) -> None:
    """The address plan, what is derived from it, the commands that will run, and advice."""
    out = console()
    _headline(out, plan, source)
    _title(out, "Clusters")
    out.print(_clusters(plan))
    _title(out, "Pools")
    out.print(_pools(plan))
    _title(out, "What pods reach through their node, and so through the tunnel (hijackCIDR)")
    for cluster_id in plan.clusters:
        _line(out, f"{cluster_id}: {', '.join(derive.hijack_cidr(plan, cluster_id))}")
    _title(out, "Annotation that puts a pod on the network")
    for where, value in _by_value({name: derive.default_network(item) for name, item in plan.clusters.items()}):
        _line(out, f"{derive.DEFAULT_NETWORK_ANNOTATION}: {value}{where}")
    _commands(out, plan)
    if found := rules.advice(plan):
        _title(out, "Advice")
        for item in found:
            _line(out, str(item))
    out.print("\nAs a diagram: python -m mesh check --format mermaid", style="dim")


def _headline(out: Console, plan: MeshPlan, source: str) -> None:
    out.print(f"{source} is sound: {len(plan.clusters)} clusters, the broker on {plan.broker.cluster}.", style="green")
    health = "on" if derive.health_check(plan) else "off"
    out.print(
        f"Submariner {plan.submariner.version}, {plan.submariner.cable_driver.value} tunnels, health check {health}; "
        f"Spiderpool {plan.spiderpool.version}{'' if plan.spiderpool.install else ' (there already)'}"
        f"{'; globalnet ' + plan.broker.globalnet.cidr_range if plan.broker.globalnet else ''}"
    )


def _clusters(plan: MeshPlan) -> Table:
    table = _table("cluster", "pod CIDR", "Service CIDR", "gateways", "network")
    for cluster_id, cluster in plan.clusters.items():
        table.add_row(
            cluster_id,
            _lines(cluster.pod_cidr, cluster.pod_cidr_v6, _global(cluster)),
            _lines(cluster.service_cidr, cluster.service_cidr_v6),
            _lines(*map(_gateway, cluster.gateways)),
            _network(cluster.network),
        )
    return table


def _pools(plan: MeshPlan) -> Table:
    table = _table("cluster", "pool", "addresses", "usable", "subnet")
    for cluster_id, cluster in plan.clusters.items():
        for pool in cluster.pools:
            excluded = (f"not {given}" for given in ranges.normal_form(pool.exclude_ips))
            table.add_row(
                cluster_id,
                _lines(pool.name, "(default)" if pool.default else None),
                Ranges(_lines(*ranges.normal_form(pool.ips), *excluded)),
                str(usable(pool)),
                _lines(pool.subnet, f"gateway {pool.gateway}" if pool.gateway else "no gateway"),
            )
    return table


def _commands(out: Console, plan: MeshPlan) -> None:
    _title(out, "What subctl will run, in this order; the joins side by side")
    broker = plan.broker.cluster
    _command(out, "# with --ipsec-psk-from: the mesh's own key, made once and kept", style="dim")
    _command(out, shell_lines(broker_command(plan), broker))
    for cluster_id, cluster in plan.clusters.items():
        nodes = ", ".join(gateway.node for gateway in cluster.gateways)
        _command(out, f"# {cluster_id}: {nodes} labelled {derive.GATEWAY_LABEL}=true beforehand", style="dim")
        _command(out, shell_lines(join_command(plan, cluster_id), cluster_id))


def _command(out: Console, text: str, style: str = "") -> None:
    # Neither wrapped nor indented, so that it can be copied out of any terminal.
    out.print(text, soft_wrap=True, style=style)


def _gateway(gateway: Gateway) -> str:
    addresses = [gateway.address or "", f"WAN {gateway.wan_address}" if gateway.wan_address else ""]
    return " ".join(filter(None, (gateway.node, *addresses)))


def _global(cluster: Cluster) -> str | None:
    return f"global {cluster.globalnet_cidr}" if cluster.globalnet_cidr else None


def _network(network: Network) -> str:
    parent = ", ".join(network.master)
    vlan = f" VLAN {network.vlan_id}" if network.vlan_id else ""
    return f"{network.name}:\n{network.cni_type.value} on {parent}{vlan}"


def _by_value(values: dict[str, str]) -> Iterable[tuple[str, str]]:
    """Each value once, with the clusters that have it; no clusters where all have the same."""
    for value in dict.fromkeys(values.values()):
        owners = [name for name, other in values.items() if other == value]
        yield "" if len(owners) == len(values) else f"    ({', '.join(owners)})", value


def _lines(*parts: str | None) -> str:
    return "\n".join(part for part in parts if part)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        # In a terminal that is narrower than any of this fits in, text is broken, never cut.
        table.add_column(column, overflow="fold", justify="right" if column == "usable" else "left")
    return table


def _title(out: Console, text: str) -> None:
    out.print(Text(f"\n{text}", style="bold"))


def _line(out: Console, text: str) -> None:
    for line in text.splitlines():
        body = line.lstrip()
        out.print(Padding(Text(body), (0, 0, 0, 2 + len(line) - len(body)), expand=False))
