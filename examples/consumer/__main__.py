"""A greeter on the mesh: it takes an address of the site's underlay, and talks to the greeter of another site.

All it knows of the mesh it reads from the outputs of the mesh's own stacks.
"""

import signal

import mesh_outputs
import pulumi
from pulumi_kubernetes import Provider
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Service

NAME, NAMESPACE, PORT = "greeter", "default", 80


def main() -> None:
    """Deployment and Service, the export where it is wanted, and the name of the other side."""
    config = pulumi.Config()
    cluster_id, peer_id = config.require("cluster"), config.require("peer")
    cluster = mesh_outputs.cluster(config.require("meshStack"), cluster_id)
    peer = mesh_outputs.cluster(config.require("peerStack"), peer_id)
    # A Service that is exported under one name by several clusters answers from any of them; so, from this one.
    peer_name = peer["joined"]["clusterID"].apply(lambda joined: f"{joined}.{NAME}.{NAMESPACE}.svc.clusterset.local")

    in_cluster = pulumi.ResourceOptions(provider=_provider(cluster_id))
    labels = {"app": NAME}
    Deployment(
        NAME,
        metadata={"name": NAME, "namespace": NAMESPACE},
        spec={
            "selector": {"match_labels": labels},
            "template": {
                "metadata": {
                    "labels": labels,
                    # This, and nothing else, puts the pods on the mesh.
                    "annotations": {"v1.multus-cni.io/default-network": cluster["defaultNetwork"]},
                },
                "spec": {
                    "containers": [
                        {
                            "name": NAME,
                            "image": "nginx",
                            "ports": [{"container_port": PORT}],
                            "env": [{"name": "PEER", "value": peer_name}],
                        }
                    ]
                },
            },
        },
        opts=in_cluster,
    )
    service = Service(
        NAME,
        metadata={"name": NAME, "namespace": NAMESPACE},
        spec={"selector": labels, "ports": [{"port": PORT}]},
        opts=in_cluster,
    )
    if config.get_bool("export"):
        CustomResource(
            NAME,
            api_version="multicluster.x-k8s.io/v1alpha1",
            kind="ServiceExport",
            metadata={"name": NAME, "namespace": NAMESPACE},
            opts=pulumi.ResourceOptions.merge(in_cluster, pulumi.ResourceOptions(depends_on=[service])),
        )
    pulumi.export("network", cluster["defaultNetwork"])
    pulumi.export("peer", peer_name)


def _provider(cluster_id: str) -> Provider:
    variable = "KUBECONFIG_" + cluster_id.upper().replace("-", "_")
    return Provider(
        cluster_id,
        cluster_identifier=cluster_id,
        # An output of None, not None: for that the SDK takes $KUBECONFIG, which may be any cluster, into the state.
        kubeconfig=pulumi.Output.from_input(None),
        opts=pulumi.ResourceOptions(env_var_mappings={variable: "KUBECONFIG"}),
    )


# The engine ends a program that it gives up on with SIGINT; a traceback would bury the reason that it printed.
signal.signal(signal.SIGINT, signal.SIG_DFL)
main()
