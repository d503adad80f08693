"""Keeps traffic for a cluster that is gone inside the node, instead of in clear text on the way to the Internet.

Pods hand everything for the other clusters to their node. As long as a peer's endpoint is known, the tunnel takes it;
when the peer has left, has not joined yet, or its gateway has never come up, the node's default route does: measured,
`172.110.1.1 > 172.111.1.1 ICMP echo request` on the WAN (facts: datapath.md 7). An `unreachable` route of the worst
metric is only looked at when Submariner's own is not there; pods then get "Destination Host Unreachable" at once.
"""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apps.v1 import DaemonSet

from components.children import Site
from mesh.health.expect import probe_image, remote_networks

NAME = "mesh-leak-guard"
METRIC = 4_000_000
# Put back every minute: somebody may flush routes. Taken away when the pod is stopped, so that destroy leaves nothing.
SCRIPT = f"""\
each() {{
  failed=0
  for network in $NETWORKS; do
    case $network in *:*) family=-6 ;; *) family=-4 ;; esac
    ip $family route "$1" unreachable "$network" metric {METRIC} || failed=1
  done
  return $failed
}}
trap 'each del; exit 0' TERM INT
while each replace; do sleep 60 & wait $!; done
exit 1
"""


class LeakGuard(pulumi.ComponentResource):
    """A DaemonSet with the right to set routes on every node, and no other."""

    def __init__(
        self,
        name: str,
        site: Site,
        *,
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("multi-cluster-mesh:index:LeakGuard", name, None, opts)
        networks = remote_networks(site.plan, site.id)
        labels = {"app.kubernetes.io/name": NAME}
        DaemonSet(
            f"{site.id}-{NAME}",
            metadata={"name": NAME, "namespace": site.cluster.network.namespace, "labels": labels},
            spec={
                "selector": {"match_labels": labels},
                # One node after the other, the old pod first: it takes its routes away before the new one sets them.
                "update_strategy": {"type": "RollingUpdate", "rolling_update": {"max_unavailable": 1}},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "host_network": True,
                        "automount_service_account_token": False,
                        "priority_class_name": "system-node-critical",
                        "termination_grace_period_seconds": 10,
                        "tolerations": [{"operator": "Exists"}],
                        "containers": [
                            {
                                "name": "guard",
                                "image": site.plan.leak_guard.image or probe_image(site.plan),
                                "image_pull_policy": "IfNotPresent",
                                "command": ["sh", "-c", SCRIPT],
                                "env": [{"name": "NETWORKS", "value": " ".join(networks)}],
                                "security_context": {
                                    "run_as_user": 0,
                                    "read_only_root_filesystem": True,
                                    "allow_privilege_escalation": False,
                                    "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                                },
                                "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}},
                            }
                        ],
                    },
                },
            },
            opts=site.options(self, after),
        )
        self.register_outputs({"networks": list(networks)})
