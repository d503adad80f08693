"""One `Stack` per stack of the project, with what its workspace pod needs.

What the operator does with the fields was read in its source (v2, pulumi/pulumi-kubernetes-operator): two that look
useful are accepted and ignored there, `expectNoRefreshChanges` and `retryOnUpdateConflict`.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from mesh.access import kubeconfig_variable
from mesh.fleet.errors import FleetError
from mesh.fleet.stacks import Fleet, Stack

Manifest = dict[str, Any]

BROKER_AGE = "10m"
"""How old the last success of the broker's stack may be when a member goes; older, and the operator runs it first."""

KUBECONFIG_KEY = "kubeconfig"
_VOLUME, _MOUNT = "kubeconfigs", "/var/run/secrets/mesh"
_CONTAINER = "pulumi"  # the operator's name for it in the workspace pod
_LABELS = {"app.kubernetes.io/part-of": "multi-cluster-mesh"}
# The operator's StatefulSet of a workspace is <name>-workspace, and Kubernetes adds a hash of ten in a label of 63.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_GRACE_SECONDS = 60  # for Pulumi to write down what a step has done that was let finish


@dataclass(frozen=True)
class Git:
    """Where the project is fetched from.

    Attributes:
        repo: URL.
        ref: a commit (40 digits), or a branch.
        folder: of the project in it.
        secret: name of a Secret with an `accessToken`, for a repository that is not public.
    """

    repo: str
    ref: str
    folder: str = ""
    secret: str | None = None


@dataclass(frozen=True)
class Settings:
    """What the plan does not say.

    Attributes:
        image: of the workspace pods: pulumi, Python 3.11 or newer, and subctl.
        source: a repository, or the folder of the project in the image.
        namespace: of everything.
        secret: name of the Secret that becomes the environment of Pulumi: backend, passphrase, cloud credentials.
        service_account: of the workspace pods.
        organization: in Pulumi Cloud; unset with every other backend.
        resync_seconds: how often a stack is refreshed and brought up although nothing is new.
        look_only: preview, and fail where something differs, instead of `up`.
        destroy: destroy a stack when its manifest is deleted.
    """

    image: str
    source: Git | str
    namespace: str
    secret: str
    service_account: str
    organization: str | None
    resync_seconds: int
    look_only: bool = False
    destroy: bool = False


def manifests(fleet: Fleet, stacks: Collection[Stack], settings: Settings) -> list[Manifest]:
    """All objects, in an order in which they can be applied.

    Raises:
        FleetError: the name of a stack cannot be that of an object.
    """
    return [*_identity(settings), *(_stack(fleet, stack, stacks, settings) for stack in stacks)]


def preparation(stacks: Collection[Stack], settings: Settings) -> list[str]:
    """Commands for what has to be there before, because it is secret."""
    create = f"kubectl -n {settings.namespace} create secret generic"
    commands = [
        f"{create} {settings.secret} --from-env-file=<file with PULUMI_BACKEND_URL=…, PULUMI_CONFIG_PASSPHRASE=…>"
    ]
    for stack in stacks:
        commands += [
            f"{create} {_kubeconfig_secret(cluster)} --from-file={KUBECONFIG_KEY}=<its kubeconfig>"
            for cluster in _mounted(stack)
        ]
    if isinstance(settings.source, Git) and settings.source.secret:
        commands.append(f"{create} {settings.source.secret} --from-file=accessToken=<file with a read-only token>")
    return commands


def _identity(settings: Settings) -> Iterator[Manifest]:
    """Who the workspace pods are. It may do nothing in this cluster but ask who calls it: it has kubeconfigs."""
    name, namespace = settings.service_account, settings.namespace
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, "labels": _LABELS},
    }
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{namespace}:{name}:system:auth-delegator", "labels": _LABELS},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:auth-delegator",
        },
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }


def _stack(fleet: Fleet, stack: Stack, stacks: Collection[Stack], settings: Settings) -> Manifest:
    spec: Manifest = {
        "stack": f"{settings.organization}/{stack.name}" if settings.organization else stack.name,
        "serviceAccountName": settings.service_account,
        **_source(settings),
        "envRefs": {
            kubeconfig_variable(cluster): {"type": "Literal", "literal": {"value": f"{_MOUNT}/{cluster}"}}
            for cluster in _mounted(stack)
        },
        "refresh": True,
        "continueResyncOnCommitMatch": True,
        "resyncFrequencySeconds": settings.resync_seconds,
    }
    if provider := stack.settings.get("secretsprovider"):
        spec["secretsProvider"] = provider
    hosts = [other.name for other in stacks if other.hosts_broker]
    if settings.look_only:
        # Looking has no order. The Stack's own expectNoRefreshChanges does nothing in v2; the Update's field does.
        spec |= {"preview": True, "updateTemplate": {"spec": {"expectNoChanges": True}}}
    elif not stack.hosts_broker and hosts:
        requirement = {"succeededWithinDuration": BROKER_AGE}
        spec["prerequisites"] = [{"name": name, "requirement": requirement} for name in hosts]
    if settings.destroy:
        # Without runProgram, the operator destroys in a folder without the project, where `leave` is not to be found.
        spec |= {"destroyOnFinalize": True, "runProgram": True}
    spec["workspaceTemplate"] = {"spec": _workspace(fleet, stack, settings)}
    return {
        "apiVersion": "pulumi.com/v1",
        "kind": "Stack",
        "metadata": {"name": _object_name(stack), "namespace": settings.namespace, "labels": _LABELS},
        "spec": spec,
    }


def _source(settings: Settings) -> Manifest:
    git = settings.source
    if not isinstance(git, Git):
        return {}
    found: Manifest = {"projectRepo": git.repo, ("commit" if _COMMIT.fullmatch(git.ref) else "branch"): git.ref}
    if git.folder:
        found["repoDir"] = git.folder
    if git.secret:
        reference = {"type": "Secret", "secret": {"name": git.secret, "key": "accessToken"}}
        found["gitAuth"] = {"accessToken": reference}
    return found


def _workspace(fleet: Fleet, stack: Stack, settings: Settings) -> Manifest:
    mounted = _mounted(stack)
    pod: Manifest = {
        # A join that is cut short is repeated by the next run, but the stack stays locked until `pulumi cancel`.
        "terminationGracePeriodSeconds": fleet.plan.submariner.step_timeout + _GRACE_SECONDS,
    }
    if mounted:
        mount = {"name": _VOLUME, "mountPath": _MOUNT, "readOnly": True}
        pod["containers"] = [{"name": _CONTAINER, "volumeMounts": [mount]}]
        sources = [
            {"secret": {"name": _kubeconfig_secret(cluster), "items": [{"key": KUBECONFIG_KEY, "path": cluster}]}}
            for cluster in mounted
        ]
        pod["volumes"] = [{"name": _VOLUME, "projected": {"sources": sources}}]
    workspace: Manifest = {
        "image": settings.image,
        "securityProfile": "restricted",
        "envFrom": [{"secretRef": {"name": settings.secret}}],
        # Of one run with one cluster: CLI 115 MiB, program 130 MiB, command plugin 80 MiB, Kubernetes plugin 93 MiB.
        "resources": {"requests": {"cpu": "250m", "memory": f"{384 + 128 * len(stack.clusters)}Mi"}},
        "podTemplate": {"spec": pod},
    }
    if not isinstance(settings.source, Git):
        workspace["local"] = {"dir": settings.source}
    return workspace


def _mounted(stack: Stack) -> tuple[str, ...]:
    """Clusters whose kubeconfig comes from a Secret; that of `mesh:kubeconfig` is in the stack file already."""
    return () if "mesh:kubeconfig" in stack.config else stack.clusters


def _kubeconfig_secret(cluster: str) -> str:
    return f"kubeconfig-{cluster}"


def _object_name(stack: Stack) -> str:
    if not _NAME.fullmatch(stack.name):
        raise FleetError(
            f"Stack {stack.name} can't name an object of the operator: 1 to 42 lower-case letters, digits and hyphens, "
            "the first one a letter"
        )
    return stack.name
