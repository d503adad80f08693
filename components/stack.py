"""From a stack's config to the arguments of its mesh, and from the mesh to the stack's outputs."""

from typing import Any

import pulumi
from pulumi.output import UNKNOWN
from pulumi.runtime.config import get_config_env

from components.mesh import MultiClusterMesh, MultiClusterMeshArgs
from components.readme import readme
from mesh.access import ClusterAccess
from mesh.outputs import CONTRACT_VERSION, StackOutputs
from mesh.plan import MeshPlan
from mesh.stack_config import StackConfigError, check_keys, owned_clusters


def mesh_args(config: pulumi.Config, plan: MeshPlan) -> MultiClusterMeshArgs:
    """The part of the plan that this stack owns.

    Config: `mesh:cluster` (one cluster) or `mesh:clusters` (a list, for one stack that drives several); `mesh:context`
    and `mesh:kubeconfig` (with one cluster); `mesh:brokerStack` (name of the broker's stack where it is not the
    cluster's ID in the same project).

    Raises:
        pulumi.RunError: a key of the config does not exist, or a cluster is missing in the config or in the plan.
    """
    try:
        check_keys(get_config_env())
        owned = owned_clusters(config.get("cluster"), _list(config, "clusters"))
    except StackConfigError as error:
        raise pulumi.RunError(str(error)) from None
    if not owned:
        raise pulumi.RunError(
            "mesh:cluster is not set: say which cluster of the plan this stack owns, "
            f"pulumi config set mesh:cluster <{'|'.join(plan.clusters)}>"
        )
    unknown = [cluster_id for cluster_id in owned if cluster_id not in plan.clusters]
    if unknown:
        raise pulumi.RunError(
            f"mesh:cluster is {', '.join(unknown)}, which is no cluster of mesh:plan; "
            f"use one of: {', '.join(plan.clusters)}"
        )
    context, kubeconfig = config.get("context"), config.get("kubeconfig")
    if len(owned) > 1 and (context or kubeconfig):
        raise pulumi.RunError(
            "mesh:context and mesh:kubeconfig are for one cluster; with mesh:clusters, set each cluster's "
            f"variable: {', '.join(ClusterAccess.of(cluster_id).variable for cluster_id in owned)}"
        )
    clusters = {cluster_id: ClusterAccess.of(cluster_id, context, kubeconfig) for cluster_id in owned}
    broker_info = None if plan.broker.cluster in clusters else _broker_info(config, plan)
    return MultiClusterMeshArgs(plan=plan, clusters=clusters, broker_info=broker_info)


def _list(config: pulumi.Config, key: str) -> Any:
    """A list; the text as it is where it is none, as after `pulumi config set mesh:clusters cluster-a`."""
    try:
        return config.get_object(key)
    except pulumi.ConfigTypeError:
        return config.get(key)


def _broker_info(config: pulumi.Config, plan: MeshPlan) -> pulumi.Output[str]:
    name = config.get("brokerStack") or "/".join((pulumi.get_organization(), pulumi.get_project(), plan.broker.cluster))
    reference = pulumi.StackReference("broker", stack_name=name)

    def checked(outputs: dict[str, Any]) -> Any:
        info = outputs.get("brokerInfo")
        if info:
            if not _has_old_key(outputs, plan):
                return str(info)
            pulumi.warn(
                f"submariner.pskRotation is {plan.submariner.psk_rotation} and the broker's stack {name} is not there "
                "yet: once it is, this cluster is cut off until it has joined with the new pre-shared key"
            )
            # So that a preview shows the join that comes with it.
            return UNKNOWN if pulumi.runtime.is_dry_run() else str(info)
        if not outputs:
            reason = f"it has no outputs yet: bring it up first (pulumi up --stack {plan.broker.cluster})"
            if pulumi.runtime.is_dry_run():
                # A pull request that adds the first sites is previewed before any of them exists.
                pulumi.warn(
                    f"the broker's stack {name} has not been brought up; the join is shown with an unknown broker"
                )
                return UNKNOWN
        elif "broker" in outputs:
            # Outputs that cannot be decrypted are left out without a word since Pulumi 3.171.
            reason = (
                "it has one, but it can't be decrypted here: this stack's machine needs access to the secrets provider "
                "or passphrase of that stack"
            )
        else:
            reason = "it does not host the broker: is mesh:brokerStack right, and was it brought up with this plan?"
        raise pulumi.RunError(f"no brokerInfo from the broker's stack {name}: {reason}")

    return pulumi.Output.secret(reference.outputs.apply(checked))


def _has_old_key(outputs: dict[str, Any], plan: MeshPlan) -> bool:
    """Whether the plan wants another pre-shared key than the one in the broker's info."""
    return int((outputs.get("broker") or {}).get("pskRotation", 0)) < plan.submariner.psk_rotation


def export(mesh: MultiClusterMesh, args: MultiClusterMeshArgs) -> None:
    """Export the stack's outputs; docs/outputs.md is their contract."""
    outputs: StackOutputs = {
        "contractVersion": CONTRACT_VERSION,
        "readme": readme(args.plan, args.clusters),
    }
    if len(args.clusters) == 1:
        (cluster_id,) = args.clusters
        outputs["cluster"] = {"id": cluster_id, **mesh.clusters[cluster_id]}
    else:
        outputs["clusters"] = mesh.clusters
    if mesh.broker is not None and mesh.broker_info is not None:
        outputs["broker"] = mesh.broker
        outputs["brokerInfo"] = mesh.broker_info
    for name, value in outputs.items():
        pulumi.export(name, value)
