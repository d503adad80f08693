"""The plan as a Mermaid flowchart: `mesh check --format mermaid`, and in the stacks' `readme` output."""

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

from mesh.plan import Cluster, MeshPlan, Pool, ranges

# Mermaid draws at most 500 edges (maxEdges) unless told otherwise.
_MOST_TUNNELS = 300


def mermaid(plan: MeshPlan, pools_of: Collection[str] | None = None) -> str:
    """Sites with what stands in them, the tunnels between their gateways, and who meets whom at the broker.

    `pools_of`: clusters whose pools are drawn; all unless told otherwise.
    """
    ids = list(plan.clusters)
    lines = ["flowchart LR"]
    for number, (cluster_id, cluster) in enumerate(plan.clusters.items()):
        pools = cluster.pools if pools_of is None or cluster_id in pools_of else []
        lines += _site(number, cluster_id, cluster, pools, hosts_broker=cluster_id == plan.broker.cluster)
    lines += _tunnels(plan)
    lines += [f"    c{number}g0 -.->|joins| broker" for number, name in enumerate(ids) if name != plan.broker.cluster]
    return "\n".join(lines)


def _site(
    number: int, cluster_id: str, cluster: Cluster, pools: Sequence[Pool], *, hosts_broker: bool
) -> Iterator[str]:
    yield f"    subgraph c{number}[{_label(f'{cluster_id}: underlay {cluster.pod_cidr}')}]"
    services = [cidr for cidr in (cluster.service_cidr, cluster.service_cidr_v6) if cidr]
    yield f"        c{number}s([{_label('Services ' + ', '.join(services))}])"
    for index, pool in enumerate(pools):
        addresses = ", ".join(ranges.normal_form(pool.ips))
        yield f"        c{number}p{index}[{_label(f'pool {pool.name}', addresses)}]"
    for index, gateway in enumerate(cluster.gateways):
        more = [text for text in (gateway.address, gateway.wan_address and f"WAN {gateway.wan_address}") if text]
        kind = "gateway" if index == 0 else "standby gateway"
        yield f"        c{number}g{index}{{{{{_label(f'{kind} {gateway.node}', *more)}}}}}"
    for index, _ in enumerate(pools):
        yield f"        c{number}p{index} --- c{number}g0"
    if hosts_broker:
        yield f"        broker[({_label('broker')})]"
    yield "    end"


def _tunnels(plan: MeshPlan) -> Iterator[str]:
    driver, count = plan.submariner.cable_driver.value, len(plan.clusters)
    if count * (count - 1) // 2 <= _MOST_TUNNELS:
        for one, other in combinations(range(count), 2):
            yield f"    c{one}g0 <==>|{driver}| c{other}g0"
        return
    tunnels = count * (count - 1) // 2
    yield f"    mesh(({_label(f'{tunnels} {driver} tunnels', 'each site with each other')}))"
    for number in range(count):
        yield f"    c{number}g0 <==>|{driver}| mesh"


def _label(*lines: str) -> str:
    return '"' + "<br/>".join(line.replace('"', "#quot;").replace("<", "#lt;") for line in lines) + '"'
