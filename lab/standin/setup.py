"""What deploy-broker and join have in common: accounts with tokens, and the operator on a cluster."""

from __future__ import annotations

from collections.abc import Sequence

from lab.standin import faults, objects
from lab.standin.errors import ApiError, SubctlError
from lab.standin.flags import Values
from lab.standin.kube import Cluster, Object, poll
from lab.standin.report import Reporter, wrapping

_TOKEN_SECONDS = 8  # subctl waits between 4 and 8
_OPERATOR_SECONDS = 600


def ensure_namespace(cluster: Cluster, name: str, labels: dict[str, str] | None = None) -> None:
    """Create a namespace, or add the labels to the one there is."""
    with wrapping("error creating Namespace"):
        if cluster.find("Namespace", name) is None:
            cluster.create(objects.namespace(name, labels))
        elif labels:
            cluster.merge("Namespace", name, "", {"metadata": {"labels": labels}})


def find_token_secret(cluster: Cluster, namespace: str, account: str) -> Object | None:
    """Return the Secret with the token of an account."""
    for secret in cluster.find_all("Secret", namespace, fields="type=kubernetes.io/service-account-token"):
        annotations = secret["metadata"].get("annotations") or {}
        if annotations.get("kubernetes.io/service-account.name") == account:
            return secret
    return None


def ensure_token_secret(cluster: Cluster, namespace: str, account: str) -> Object:
    """Return the Secret with the token of an account, waiting for the controller manager to fill it."""
    with wrapping(f'error ensuring token secret for service account "{account}"'):
        secret = find_token_secret(cluster, namespace, account)
        if secret is None:
            secret = cluster.create(objects.token_secret(account, namespace))
    name = secret["metadata"]["name"]
    for _ in poll(_TOKEN_SECONDS, 0.03):
        if (secret.get("data") or {}).get("token"):
            return secret
        secret = cluster.get("Secret", name, namespace)
    raise SubctlError(f'the token was not generated for secret "{name}"')


def operator_image(values: Values, overrides: dict[str, str]) -> str:
    """Return the operator's image."""
    repository, version = repository_and_version(values)
    path = objects.OPERATOR if repository == "local" else f"{repository}/{objects.OPERATOR}"
    return overrides.get(objects.OPERATOR) or f"{path}:{version}"


def repository_and_version(values: Values) -> tuple[str, str]:
    """Return where images come from and which; by default those of the version that the stand-in claims."""
    version = values.text("version") or faults.version().removeprefix("v")
    return values.text("repository") or objects.DEFAULT_REPOSITORY, version


def image_overrides(pairs: Sequence[str]) -> dict[str, str]:
    """Read the values of --image-override."""
    overrides = {}
    for pair in pairs:
        component, equals, image = pair.partition("=")
        if not equals:
            raise SubctlError(f"invalid override {pair} provided. Please use `a=b` syntax")
        if component not in objects.OVERRIDABLE:
            valid = " ".join(f'"{name}"' for name in objects.OVERRIDABLE)
            raise SubctlError(
                f'invalid image override component "{component}" provided. Valid components are [{valid}]'
            )
        overrides[component] = image
    return overrides


def install_operator(cluster: Cluster, values: Values, overrides: dict[str, str], report: Reporter) -> None:
    """Install the operator with everything it needs, and wait until it is available."""
    namespace = objects.OPERATOR_NAMESPACE
    crds_created = [ensure_crd(cluster, plural) for plural in objects.SUBCTL_CRDS]
    if any(crds_created):
        report.success("Created operator CRDs")
    ensure_namespace(cluster, namespace, {"pod-security.kubernetes.io/enforce": "privileged"})
    report.success(f"Created operator namespace: {namespace}")
    with wrapping("error provisioning the service accounts and roles"):
        accounts_created = _ensure_accounts(cluster, namespace)
    if accounts_created:
        report.success("Created operator service account and role")
    proxy = {name.upper().replace("-", "_"): values.text(name) for name in ("http-proxy", "https-proxy", "no-proxy")}
    image = operator_image(values, overrides)
    deployment = objects.operator_deployment(namespace, image, values.switch("operator-debug"), proxy)
    with wrapping("error creating/updating Deployment"):
        created = cluster.ensure(deployment)
    _await_available(cluster, namespace)
    if created:
        report.success("Deployed the operator successfully")


def _ensure_accounts(cluster: Cluster, namespace: str) -> bool:
    """Create or repair the accounts and roles of Submariner's pods, and tell whether any is new."""
    wanted = objects.component_accounts(namespace)
    kinds = dict.fromkeys(item["kind"] for item in wanted)
    there = {(kind, item["metadata"]["name"]): item for kind in kinds for item in cluster.find_all(kind, namespace)}
    created = False
    for item in wanted:
        existing = there.get((item["kind"], item["metadata"]["name"]))
        content = [key for key in item if key in ("rules", "roleRef", "subjects")]
        if existing is None or any((existing.get(key) or []) != item[key] for key in content):
            created = cluster.ensure(item) or created
    return created


def _await_available(cluster: Cluster, namespace: str) -> None:
    for _ in poll(_OPERATOR_SECONDS, 0.2):
        # A Deployment that somebody deletes meanwhile is waited for, too: subctl does not notice either.
        deployment = cluster.find("Deployment", objects.OPERATOR, namespace) or {}
        conditions = (deployment.get("status") or {}).get("conditions") or []
        if any(item["type"] == "Available" and item["status"] == "True" for item in conditions):
            return
    raise SubctlError("error awaiting Deployment ready: context deadline exceeded")


def ensure_crd(cluster: Cluster, plural: str, group: str = "submariner.io") -> bool:
    """Create a CRD where there is none; unlike subctl, leave the one there is alone, which may be the real one."""
    crd = objects.crd(plural, group)
    name = crd["metadata"]["name"]
    with wrapping(f"error provisioning the {crd['spec']['names']['kind']} CRD"):
        if cluster.find("CustomResourceDefinition", name) is not None:
            return False
        try:
            cluster.create(crd)
        except ApiError as error:
            if not error.already_exists:
                raise
        for _ in poll(10, 0.05):
            found = cluster.get("CustomResourceDefinition", name)
            conditions = (found.get("status") or {}).get("conditions") or []
            if any(item["type"] == "Established" and item["status"] == "True" for item in conditions):
                return True
        raise SubctlError("timed out waiting for it to be established")
