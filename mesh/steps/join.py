"""`join`: have the cluster joined as the plan says, touching nothing where it is so already.

subctl's join deletes and re-creates the Submariner resource even when nothing has changed, which cuts the tunnel
(facts: submariner.md 3.4). So: read what the cluster has joined with; the same: do nothing; what the resource takes in
place: patch it; anything else: join.
"""

import random
import time
from pathlib import Path
from typing import Any

from mesh.plan.settings import BROKER_INFO_FILE, JoinSettings
from mesh.steps import submariner
from mesh.steps.broker_info import BrokerInfo
from mesh.steps.errors import StepError
from mesh.steps.kube import Cluster, Object, UnreachableError, connect
from mesh.steps.spec import JoinSpec
from mesh.steps.subctl import Subctl
from mesh.steps.submariner import OPERATOR_NAMESPACE, SUBMARINER
from mesh.steps.workdir import slot, write_private

AT_ONCE = 5  # of eight joins at once one fails (facts: submariner.md 5)
TRIES = 3
_ESSENTIAL = {"clusterID", "clusterCIDR", "serviceCIDR", "brokerK8sApiServer"}
PAUSE_SECONDS = 1.0  # before the second try, doubled before the third, and up to half as much again


def run(spec: JoinSpec, work: Path) -> dict[str, Any]:
    """What the cluster has joined with, `action` (joined, rejoined, patched, adopted, unchanged) and `warnings`."""
    settings = spec.settings
    info = BrokerInfo.decode(spec.broker_info.get_secret_value())
    cluster, kubeconfig = connect(spec.access, settings.cluster_id, work)
    _check_which(cluster, info, spec)
    warnings = _check_gateways(cluster, settings)
    cluster.await_settled(OPERATOR_NAMESPACE)

    found = _joined(cluster, info, settings)
    action = _action(cluster, found, info, settings)
    try:
        broker = submariner.broker_of(cluster if spec.hosts_broker else None, info, work)
        if found and not _knows(broker, info, cluster, found):
            action = "rejoined"
    except UnreachableError as error:
        if action in ("joined", "rejoined"):
            raise
        # The tunnels do without the broker; a site that is cut off must still be able to run its stack.
        warnings.append(f"not checked whether the broker still knows {cluster}: {error}")

    if action in ("joined", "rejoined"):
        subctl = Subctl(kubeconfig, work)
        write_private(work / BROKER_INFO_FILE, spec.broker_info.get_secret_value().strip())
        with slot("join", AT_ONCE):
            _join(subctl, cluster, settings)
        warnings += _check_joined(cluster, broker, info, settings)
    if action != "unchanged":
        _label_and_patch(cluster, settings)
    return {
        "clusterID": settings.cluster_id,
        "clusterCIDR": settings.cluster_cidr,
        "serviceCIDR": settings.service_cidr,
        "cableDriver": settings.cable_driver.value,
        "version": settings.version,
        "healthCheck": settings.health_check,
        "broker": info.host,
        "action": action,
        "warnings": warnings,
    }


def _check_which(cluster: Cluster, info: BrokerInfo, spec: JoinSpec) -> None:
    """Refuse where the kubeconfig leads to another cluster than the plan means: two sites, one typo."""
    secret = cluster.get("Secret", info.token_name, info.namespace)
    is_broker = secret is not None and submariner.token_of(secret) == info.token
    variable = spec.access.variable
    if is_broker and not spec.hosts_broker:
        raise StepError(
            f"{cluster.server} is the cluster that hosts the broker, and {cluster} is not to be that one: "
            f"correct {variable} or mesh:context"
        )
    if spec.hosts_broker and not is_broker:
        raise StepError(
            f"{cluster} is to host the broker, and {cluster.server} does not have the broker of this broker info: "
            f"correct {variable} or mesh:context, or deploy the broker again where it has been removed"
        )


def _check_gateways(cluster: Cluster, settings: JoinSettings) -> list[str]:
    """Refuse without the gateway nodes: no gateway would ever start, and subctl would not say so."""
    selector = f"{submariner.GATEWAY_LABEL}=true"
    labelled = {node["metadata"]["name"] for node in cluster.list("Node", labels=selector)}
    unlabelled = [node for node in settings.gateways if node not in labelled]
    if missing := [node for node in unlabelled if not cluster.get("Node", node)]:
        raise StepError(
            f"{cluster} has no node {', '.join(missing)}: correct gateways in the plan (`kubectl get nodes` lists them)"
        )
    if unlabelled:
        raise StepError(
            f"no gateway would start in {cluster}: node {', '.join(unlabelled)} has no label {selector}; the stack "
            f"sets it before the join, by hand it is `kubectl label node {unlabelled[0]} {selector}`"
        )
    others = sorted(labelled - set(settings.gateways))
    return [f"node {', '.join(others)} of {cluster} is a gateway too, which the plan does not say"] if others else []


def _joined(cluster: Cluster, info: BrokerInfo, settings: JoinSettings) -> Object | None:
    """What the cluster has joined with; refuses to take over what is not ours."""
    found = submariner.joined(cluster)
    if not found or found["metadata"].get("deletionTimestamp"):  # subctl waits until it is gone
        return None
    if another := submariner.joined_as_another(cluster, found):
        raise StepError(another)
    own = submariner.credentials(cluster, found)
    if not (submariner.is_ours(found) or settings.adopt or submariner.is_member_of(found, own, info)):
        raise StepError(
            f"{cluster} has a Submariner that this project did not install, joined to the broker "
            f"{found['spec'].get('brokerK8sApiServer')}: set submariner.adopt to take it over, or uninstall it first"
        )
    return found


def _action(cluster: Cluster, found: Object | None, info: BrokerInfo, settings: JoinSettings) -> str:
    """What it takes to have the cluster joined as it should be."""
    if not found:
        return "joined"
    own = submariner.credentials(cluster, found)
    if (
        not own.complete
        or (own.psk, own.ca) != (info.psk, info.ca)
        or submariner.differences(found, submariner.fixed_part(settings, info))
        or not cluster.get("Deployment", submariner.OPERATOR, OPERATOR_NAMESPACE)
    ):
        return "rejoined"
    if submariner.differences(found, submariner.patchable_part(settings)):
        return "patched"
    return "unchanged" if submariner.is_ours(found) else "adopted"


def _knows(broker: Cluster, info: BrokerInfo, cluster: Cluster, found: Object) -> bool:
    """Whether the token that the cluster has is the one that the broker has for it."""
    account = submariner.account(found["spec"]["clusterID"])
    known = submariner.token(broker, info.namespace, account)
    return bool(known) and known == submariner.credentials(cluster, found).token


def _join(subctl: Subctl, cluster: Cluster, settings: JoinSettings) -> None:
    for attempt in range(1, TRIES + 1):
        result = subctl.run("join", BROKER_INFO_FILE, *settings.flags())
        if not result.code:
            return
        if not result.conflict or attempt == TRIES:
            raise result.explain(f"join in {cluster}")
        pause = PAUSE_SECONDS * 2 ** (attempt - 1)
        time.sleep(pause * random.uniform(1, 1.5))  # noqa: S311 so that those in conflict do not meet again


def _check_joined(cluster: Cluster, broker: Cluster, info: BrokerInfo, settings: JoinSettings) -> list[str]:
    """subctl's exit code proves nothing: look at what it should have made."""
    found = submariner.joined(cluster)
    differing = submariner.differences(found, submariner.fixed_part(settings, info)) if found else {}
    if not found or _ESSENTIAL & differing.keys():
        raise StepError(
            f"subctl join in {cluster} ended without an error but the Submariner resource "
            f"{'has other values for ' + ', '.join(differing) if found else 'does not exist'}: run it again, and look "
            f"at `kubectl -n {OPERATOR_NAMESPACE} get submariners.submariner.io` for what else changes it"
        )
    account = submariner.account(settings.cluster_id)
    if not submariner.token(broker, info.namespace, account):
        raise StepError(
            f"subctl join in {cluster} ended without an error but the broker has no ServiceAccount {account} with a "
            "token: run it again"
        )
    if differing:
        return [
            f"this subctl writes {', '.join(differing)} in a form that is not known here: it works, but {cluster} "
            "will join anew whenever the plan changes, which cuts its tunnels for a minute"
        ]
    return []


def _label_and_patch(cluster: Cluster, settings: JoinSettings) -> None:
    """Mark the resource as ours, and have it say what it takes in place."""
    changes: Object = {"metadata": {"labels": submariner.OURS}}
    found = submariner.joined(cluster)
    if found and (spec := submariner.differences(found, submariner.patchable_part(settings))):
        changes["spec"] = spec
    cluster.patch("Submariner", SUBMARINER, OPERATOR_NAMESPACE, changes)
