"""`preflight`: everything that can be wrong with the clusters of this stack, told at once, before anything is made."""

import threading
from pathlib import Path
from typing import Any

from mesh.access import ClusterAccess
from mesh.plan.settings import supports_kubernetes
from mesh.steps import deploy_broker, subctl, submariner
from mesh.steps.activity import doing
from mesh.steps.errors import StepError
from mesh.steps.kube import Cluster, connect
from mesh.steps.spec import PreflightSpec

_NEEDED = (  # verb, API group, resource: a sample of what subctl does, which is cluster-admin in practice
    ("create", "", "namespaces"),
    ("create", "apiextensions.k8s.io", "customresourcedefinitions"),
    ("create", "rbac.authorization.k8s.io", "clusterroles"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("create", "apps", "deployments"),
    ("create", "", "secrets"),
    ("patch", "", "nodes"),
)


class _Check:
    """What was found out about one cluster, in a thread of its own."""

    def __init__(self, name: str, access: ClusterAccess, spec: PreflightSpec, work: Path) -> None:
        self.name = name
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.facts: dict[str, str] = {}
        self._access = access
        self._spec = spec
        self._work = work
        # A daemon: where a credential plugin hangs, the step must be able to end without it.
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            cluster, _ = connect(self._access, self.name, self._work)
            self._look(cluster)
        except StepError as error:
            self.problems.append(str(error))
        except Exception as error:  # noqa: BLE001 in a thread, where nobody else would see it
            self.problems.append(f"{self.name} could not be checked ({type(error).__name__})")

    def _look(self, cluster: Cluster) -> None:
        kubernetes = cluster.version()
        system = cluster.get("Namespace", "kube-system")
        self.facts = {"kubernetes": kubernetes, "uid": system["metadata"]["uid"] if system else ""}
        if not supports_kubernetes(self._spec.version, kubernetes):
            problem = (
                f"Submariner {self._spec.version} does not work on Kubernetes {kubernetes} of {self.name}, which needs "
                "0.21.1 or newer: raise submariner.version"
            )
            (self.warnings if self._spec.ignore_requirements else self.problems).append(problem)
        for namespace in (submariner.OPERATOR_NAMESPACE, submariner.BROKER_NAMESPACE):
            if cluster.namespace_is_going(namespace):
                self.problems.append(
                    f"namespace {namespace} of {self.name} is still Terminating after an uninstall: wait until it is "
                    "gone, and if it hangs remove the finalizers of what is left in it"
                )
        if denied := [
            f"{verb} {resource}" for verb, group, resource in _NEEDED if not _may(cluster, verb, group, resource)
        ]:
            self.problems.append(
                f"permission denied in {self.name}: its credentials may not {', '.join(denied)}; use ones with "
                "cluster-admin rights"
            )
        elif wrong := self._other_cluster(cluster):
            self.problems.append(wrong)

    def _other_cluster(self, cluster: Cluster) -> str:
        """What is wrong where the kubeconfig leads to a cluster of another stack, by what that has left in it.

        Before anything is made: the join would notice as well, but only after this cluster's pools are in the other's.
        """
        if found := submariner.joined(cluster):
            return submariner.joined_as_another(cluster, found)
        if self.name != self._spec.broker and deploy_broker.is_ours(cluster):
            return (
                f"the cluster at {cluster.server} hosts the broker, which is {self._spec.broker} in the plan, and is to"
                f" be {self.name}: correct {self._access.variable} or mesh:context"
            )
        return ""


def run(spec: PreflightSpec, work: Path) -> dict[str, Any]:
    """`clusters` (per ID: `kubernetes`, `uid`), `subctl` (`version`, `standIn`) and `warnings`."""
    checks = [_Check(name, access, spec, work) for name, access in sorted(spec.clusters.items())]
    problems: list[str] = []
    found: dict[str, Any] = {}
    try:
        found = _check_subctl(spec.version, work)
    except StepError as error:
        problems.append(str(error))
    for check in checks:
        with doing(f"waiting for {check.name}"):
            check.thread.join()
        problems += check.problems
    problems += _same_server(checks)
    if problems:
        raise StepError("; ".join(problems))
    return {
        "clusters": {check.name: check.facts for check in checks},
        "subctl": found,
        "warnings": [warning for check in checks for warning in check.warnings],
    }


def _check_subctl(wanted: str, work: Path) -> dict[str, Any]:
    version, stand_in = subctl.version(work)
    if version.split(".")[:2] != wanted.split(".")[:2]:
        raise StepError(
            f"subctl is {version} and submariner.version is {wanted}: install subctl {wanted}, their major and minor "
            "must be the same"
        )
    return {"version": version, "standIn": stand_in}


def _same_server(checks: list[_Check]) -> list[str]:
    """Two IDs that lead to one cluster: the second join would overwrite the first."""
    seen: dict[str, str] = {}
    problems = []
    for check in checks:
        uid = check.facts.get("uid", "")
        if uid and uid in seen:
            problems.append(
                f"{seen[uid]} and {check.name} lead to the same cluster: correct KUBECONFIG_… or mesh:context of one"
            )
        seen.setdefault(uid, check.name)
    return problems


def _may(cluster: Cluster, verb: str, group: str, resource: str) -> bool:
    attributes = {"verb": verb, "group": group, "resource": resource}
    answer = cluster.create("SelfSubjectAccessReview", {"spec": {"resourceAttributes": attributes}})
    return bool(answer and answer["status"].get("allowed"))
