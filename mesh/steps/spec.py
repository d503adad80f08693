"""What each step is told: the JSON on its stdin.

The settings are those of `mesh.plan.settings`, the access is that of `mesh.access`; nothing is defined twice.
"""

import json
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr

from mesh.access import ClusterAccess
from mesh.health.expect import Expected
from mesh.plan.settings import BrokerSettings, JoinSettings
from mesh.plan.types import Cidr, ClusterId, DnsLabel, HttpsUrl, Version


class Spec(BaseModel):
    """Base: frozen, no unknown keys; field names are the JSON keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PreflightSpec(Spec):
    """`preflight`: can the clusters that this stack owns be worked on at all?

    Attributes:
        clusters: how each cluster is reached, by cluster ID.
        broker: ID of the cluster that hosts the broker, be it one of these or not.
        version: of Submariner, and so in major and minor of subctl.
        ignore_requirements: a Kubernetes that Submariner does not support gives a warning only.
    """

    clusters: dict[ClusterId, ClusterAccess]
    broker: ClusterId
    version: Version
    ignore_requirements: bool = False


class KnownCluster(Spec):
    """A cluster that the preflight has seen.

    Attributes:
        access: how it is reached.
        uid: UID of its namespace kube-system, which no two clusters share.
    """

    access: ClusterAccess
    uid: str


class IdentitySpec(Spec):
    """`check-identity` and `check-destroy`.

    Attributes:
        clusters: what the preflight saw, by cluster ID.
        broker: the one among them that hosts the broker; None where none does.
    """

    clusters: dict[ClusterId, KnownCluster]
    broker: ClusterId | None = None


class CertificateSpec(Spec):
    """`certificate`: a certificate authority and a server certificate for the webhooks of Spiderpool.

    Attributes:
        service: the Service that the API server calls.
        namespace: its namespace.
    """

    service: DnsLabel = "spiderpool-controller"
    namespace: DnsLabel


class DeployBrokerSpec(Spec):
    """`deploy-broker` and `remove-broker`.

    Attributes:
        access: how the cluster that hosts the broker is reached.
        settings: how the broker is deployed.
    """

    access: ClusterAccess
    settings: BrokerSettings


class JoinSpec(Spec):
    """`join` and `leave`.

    Attributes:
        access: how the cluster is reached.
        settings: how it joins.
        broker_info: contents of broker-info.subm, as `deploy-broker` gives them.
        hosts_broker: whether this cluster is the one that hosts the broker.
    """

    access: ClusterAccess
    settings: JoinSettings
    broker_info: SecretStr
    hosts_broker: bool


def dump(spec: Spec) -> str:
    """The spec as the step reads it, secrets in clear, the same text for equal specs whatever the order of keys."""
    return json.dumps(_reveal(spec.model_dump()), sort_keys=True, separators=(",", ":"))


def is_contents(kubeconfig: str) -> bool:
    """Whether `mesh:kubeconfig` is a kubeconfig itself; otherwise it is the path of one."""
    return "\n" in kubeconfig or kubeconfig.lstrip().startswith("{")


def secrets_of(value: Any) -> list[str]:
    """Every secret in a spec, in clear; a path is none, and hidden it would make an error hard to read."""
    if isinstance(value, ClusterAccess) and value.kubeconfig and not is_contents(value.kubeconfig.get_secret_value()):
        return []
    if isinstance(value, SecretStr):
        return [value.get_secret_value()]
    if isinstance(value, BaseModel):
        return [secret for _, field in value for secret in secrets_of(field)]
    if isinstance(value, dict):
        return [secret for field in value.values() for secret in secrets_of(field)]
    return []


def _reveal(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _reveal(field) for key, field in value.items()}
    if isinstance(value, list | tuple):
        return [_reveal(item) for item in value]
    return value


class CoordinatorSpec(Spec):
    """`coordinator` and `release-coordinator`.

    Attributes:
        cluster_id: the cluster.
        access: how it is reached.
        service_cidr: the Service CIDR that Spiderpool should have found.
        timeout: seconds to wait for it.
    """

    cluster_id: ClusterId
    access: ClusterAccess
    service_cidr: Cidr
    timeout: int = 300


class ChartSpec(Spec):
    """`spiderpool-crds`.

    Attributes:
        cluster_id: the cluster.
        access: how it is reached.
        chart: name in the repository, or path of a chart's folder or archive.
        version: of the chart.
        repository: URL of the chart repository; None for a path.
        timeout: seconds to download it and to apply what it has.
    """

    cluster_id: ClusterId
    access: ClusterAccess
    chart: str
    version: Version
    repository: HttpsUrl | None
    timeout: int = 180


class VerifySpec(Spec):
    """`verify`.

    Attributes:
        access: how the cluster is reached.
        settings: what the plan promises of it.
    """

    access: ClusterAccess
    settings: Expected

    @property
    def timeout(self) -> int:
        """Seconds that the whole proof may take."""
        return self.settings.timeout


class KubeProxySpec(Spec):
    """`kube-proxy`.

    Attributes:
        cluster_id: the cluster.
        access: how it is reached.
        timeout: seconds to wait until kube-proxy has restarted on every node.
    """

    cluster_id: ClusterId
    access: ClusterAccess
    timeout: int = 600
