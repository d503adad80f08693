"""The stack's README: Pulumi Cloud shows the output `readme`, and fills in outputs where it says `${outputs.…}`."""

from collections.abc import Collection, Iterator

from mesh.access import kubeconfig_variable
from mesh.plan import MeshPlan, derive
from mesh.topology import mermaid

_TEXT = """\
# {title}

{what} of a mesh of {count} clusters ({ids}), which meet at the broker in {broker}. Spiderpool gives pods addresses on
each site's underlay, Submariner tunnels between the gateway nodes.

```mermaid
{topology}
```

| cluster | pod CIDR | Service CIDR | gateway nodes | annotation that puts a pod on the mesh |
|---|---|---|---|---|
{rows}

{live}Other programs read this stack's outputs: `docs/outputs.md`, `examples/consumer`.

```console
python -m mesh check     # the address plan, explained
pulumi preview           # needs no cluster
pulumi up                # needs {variables}
pulumi destroy           # {destroy}
```
"""


def readme(plan: MeshPlan, owned: Collection[str]) -> str:
    """Markdown about the clusters that a stack owns; known in a preview, because only the plan is in it."""
    return _TEXT.format(
        title=", ".join(owned),
        what="One part" if len(owned) < len(plan.clusters) else "All",
        count=len(plan.clusters),
        ids=", ".join(plan.clusters),
        broker=plan.broker.cluster,
        # Of the others only what the tunnel is about: a new pool there is no news here.
        topology=mermaid(plan, pools_of=owned),
        rows="\n".join(_row(plan, cluster_id) for cluster_id in owned),
        live="".join(f"{line}\n\n" for line in _live(plan, owned)),
        variables=", ".join(map(kubeconfig_variable, owned)),
        destroy="after all members have left" if plan.broker.cluster in owned else "leaves the mesh",
    )


def _row(plan: MeshPlan, cluster_id: str) -> str:
    cluster = plan.clusters[cluster_id]
    gateways = ", ".join(gateway.node for gateway in cluster.gateways)
    annotation = f"`{derive.DEFAULT_NETWORK_ANNOTATION}: {derive.default_network(cluster)}`"
    return f"| {' | '.join((cluster_id, cluster.pod_cidr, cluster.service_cidr, gateways, annotation))} |"


def _live(plan: MeshPlan, owned: Collection[str]) -> Iterator[str]:
    """What only the clusters know. Pulumi documents dots and list indices, and cluster IDs may have hyphens."""
    if len(owned) == 1:
        joined = "${outputs.cluster.joined."
        yield (
            f"Joined as {joined}clusterID}}: Submariner {joined}version}}, {joined}cableDriver}} tunnels, "
            "${outputs.cluster.connections.state} at ${outputs.cluster.connections.checkedAt}."
        )
    if plan.broker.cluster in owned:
        yield "The broker's API server, as the members reach it: ${outputs.broker.url}"
