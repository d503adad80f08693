"""The mesh of Pulumi.yaml, as the components would give it to the steps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mesh.access import ClusterAccess
from mesh.plan import MeshPlan, derive, read_plan
from mesh.steps.spec import DeployBrokerSpec, JoinSpec, PreflightSpec
from tests.steps.runner import Outcome, run

PLAN = read_plan(Path(__file__).resolve().parents[2] / "Pulumi.yaml")
BROKER_CLUSTER = PLAN.broker.cluster


@dataclass
class Mesh:
    """Runs steps on the clusters of the plan; keyword arguments change single settings.

    Attributes:
        version: of Submariner.
        broker_info: what `deploy-broker` gave last.
    """

    version: str = PLAN.submariner.version
    broker_info: str = ""
    timeout: int = 60
    plan: MeshPlan = PLAN

    def access(self, cluster_id: str) -> ClusterAccess:
        return ClusterAccess.of(cluster_id)

    def broker_spec(self, *, access: ClusterAccess | None = None, **changes: Any) -> DeployBrokerSpec:
        settings = derive.broker_settings(self.plan).model_copy(
            update={"version": self.version, "timeout": self.timeout} | changes
        )
        return DeployBrokerSpec(access=access or self.access(BROKER_CLUSTER), settings=settings)

    def join_spec(
        self, cluster_id: str, /, *, access: ClusterAccess | None = None, info: str | None = None,
        hosts_broker: bool | None = None, **changes: Any,
    ) -> JoinSpec:  # fmt: skip
        settings = derive.join_settings(self.plan, cluster_id).model_copy(
            update={"version": self.version, "timeout": self.timeout} | changes
        )
        return JoinSpec(
            access=access or self.access(cluster_id),
            settings=settings,
            broker_info=SecretStr(self.broker_info if info is None else info),
            hosts_broker=cluster_id == BROKER_CLUSTER if hosts_broker is None else hosts_broker,
        )

    def preflight_spec(self, **accesses: ClusterAccess) -> PreflightSpec:
        named = {name.replace("_", "-"): access for name, access in accesses.items()}
        clusters = named or {name: self.access(name) for name in self.plan.clusters}
        return PreflightSpec(clusters=clusters, broker=self.plan.broker.cluster, version=self.version)

    def deploy_broker(self, *, environment: dict[str, str] | None = None, **changes: Any) -> Outcome:
        outcome = run("deploy-broker", self.broker_spec(**changes), environment)
        if not outcome.code:
            self.broker_info = outcome.result["brokerInfo"]
        return outcome

    def join(self, cluster_id: str, *, environment: dict[str, str] | None = None, **changes: Any) -> Outcome:
        return run("join", self.join_spec(cluster_id, **changes), environment)

    def leave(self, cluster_id: str, *, environment: dict[str, str] | None = None, **changes: Any) -> Outcome:
        return run("leave", self.join_spec(cluster_id, **changes), environment)

    def remove_broker(self, *, environment: dict[str, str] | None = None, **changes: Any) -> Outcome:
        return run("remove-broker", self.broker_spec(**changes), environment)
