"""All that follows from a plan, for programs (`mesh check --format json`) and for the report."""

import shlex
from typing import Any

from mesh.access import kubeconfig_variable
from mesh.plan import Cluster, MeshPlan, Pool, derive, ranges, rules
from mesh.plan.settings import BROKER_INFO_FILE, SUBCTL


def summary(plan: MeshPlan) -> dict[str, Any]:
    """The document that `mesh check --format json` prints; keys are a contract, as the stack's outputs are."""
    return {
        "broker": {"cluster": plan.broker.cluster, "kubeconfigVariable": kubeconfig_variable(plan.broker.cluster)},
        "brokerCommand": list(broker_command(plan)),
        "cableDriver": plan.submariner.cable_driver.value,
        "healthCheck": derive.health_check(plan),
        "clusters": {cluster_id: _cluster(plan, cluster_id) for cluster_id in plan.clusters},
        "advice": [{"path": item.path, "what": item.what, "fix": item.fix} for item in rules.advice(plan)],
    }


def broker_command(plan: MeshPlan) -> tuple[str, ...]:
    """What deploys the broker, without access to the cluster and without the secret key."""
    return (SUBCTL, "deploy-broker", *derive.broker_settings(plan).flags())


def join_command(plan: MeshPlan, cluster_id: str) -> tuple[str, ...]:
    """What lets a cluster join, without access to the cluster."""
    return (SUBCTL, "join", BROKER_INFO_FILE, *derive.join_settings(plan, cluster_id).flags())


def shell_lines(command: tuple[str, ...], cluster_id: str) -> str:
    """The command to copy into a shell where the cluster's own variable is set: one flag per line, as it has many."""
    access = f'--kubeconfig "${kubeconfig_variable(cluster_id)}"'
    program, verb, *rest = command
    words = [word for word in rest if not word.startswith("-")]
    flags = [word for word in rest if word.startswith("-")]
    first = " ".join([program, verb, access, *map(shlex.quote, words)])
    return " \\\n  ".join([first, *map(shlex.quote, flags)])


def usable(pool: Pool) -> int:
    """How many addresses of the pool pods can take."""
    return ranges.size(ranges.usable(pool.ips, pool.exclude_ips))


def _cluster(plan: MeshPlan, cluster_id: str) -> dict[str, Any]:
    cluster = plan.clusters[cluster_id]
    return {
        "podCIDR": cluster.pod_cidr,
        "serviceCIDR": cluster.service_cidr,
        "podCIDRv6": cluster.pod_cidr_v6,
        "serviceCIDRv6": cluster.service_cidr_v6,
        "globalnetCIDR": cluster.globalnet_cidr,
        "hijackCIDR": list(derive.hijack_cidr(plan, cluster_id)),
        "defaultNetwork": derive.default_network(cluster),
        "network": cluster.network.model_dump(mode="json", by_alias=True),
        "gateways": [gateway.model_dump(by_alias=True) for gateway in cluster.gateways],
        "pools": _pools(cluster),
        "kubeconfigVariable": kubeconfig_variable(cluster_id),
        "joinCommand": list(join_command(plan, cluster_id)),
    }


def _pools(cluster: Cluster) -> list[dict[str, Any]]:
    return [
        {
            "name": pool.name,
            "default": pool.default,
            "subnet": pool.subnet,
            "ips": list(ranges.normal_form(pool.ips)),
            "excludeIPs": list(ranges.normal_form(pool.exclude_ips)),
            "usable": usable(pool),
            "gateway": pool.gateway,
        }
        for pool in cluster.pools
    ]
