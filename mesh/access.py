"""How a cluster's API server is reached, without anything secret ending up in state.

In order: kubeconfig contents or path from the stack's config (`mesh:kubeconfig`), the cluster's own environment
variable (`KUBECONFIG_CLUSTER_A` for cluster-a), the usual kubeconfig with a named context (`mesh:context`). The current
context of the usual kubeconfig is never used silently: with two sites it is one typo away from the wrong cluster.
"""

from pydantic import BaseModel, ConfigDict, SecretStr


def kubeconfig_variable(cluster_id: str) -> str:
    """Environment variable that holds the path of the cluster's kubeconfig."""
    return "KUBECONFIG_" + cluster_id.upper().replace("-", "_")


class ClusterAccess(BaseModel):
    """Where one cluster's credentials are found; only `kubeconfig` may be secret.

    Attributes:
        variable: environment variable with the path of a kubeconfig, read where the program and the steps run.
        context: context to use in it; unset means the file's current context.
        kubeconfig: path or contents of a kubeconfig, for those who keep it in config.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variable: str
    context: str | None = None
    kubeconfig: SecretStr | None = None

    @classmethod
    def of(cls, cluster_id: str, context: str | None = None, kubeconfig: str | None = None) -> "ClusterAccess":
        """Access to a cluster of the plan."""
        secret = SecretStr(kubeconfig) if kubeconfig is not None else None
        return cls(variable=kubeconfig_variable(cluster_id), context=context, kubeconfig=secret)
