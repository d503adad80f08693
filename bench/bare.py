"""What a preview is compared with: the same resources by plain calls of the SDKs, without this project.

`bench.bare_project` copies this file as the `__main__.py` of a project of its own, beside a `resources.json` with what
the project's stack has. No components, no plan, no checks; other names, because both exist in the same clusters.
"""

import json
from pathlib import Path
from typing import Any

import pulumi
from pulumi_command import local
from pulumi_kubernetes import Provider
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.apps.v1 import DaemonSet, Deployment
from pulumi_kubernetes.core.v1 import NodePatch, Service

TYPED: dict[str, Any] = {
    "kubernetes:apps/v1:DaemonSet": DaemonSet,
    "kubernetes:apps/v1:Deployment": Deployment,
    "kubernetes:core/v1:NodePatch": NodePatch,
    "kubernetes:core/v1:Service": Service,
}
NOTHING = "cat >/dev/null; echo '{}'"  # neither a preview nor a run without changes runs it


def main() -> None:
    """Declare everything in `resources.json`, which lists what is depended on first."""
    made: dict[str, Any] = {}
    for resource in json.loads(Path("resources.json").read_text()):
        name, kind, inputs = resource["name"], resource["type"], resource["inputs"]
        depends_on = [made[other] for other in resource["depends_on"]]
        if kind == "pulumi:providers:kubernetes":
            variable = "KUBECONFIG_" + name.upper().replace("-", "_")
            opts = pulumi.ResourceOptions(env_var_mappings={variable: "KUBECONFIG"})
            made[name] = Provider(name, kubeconfig=pulumi.Output.from_input(None), cluster_identifier=name, opts=opts)
        elif kind == "command:local:Command":
            made[name] = local.Command(
                name,
                create=NOTHING,
                update=NOTHING,
                delete=NOTHING,
                stdin=pulumi.Output.secret(inputs["stdin"]),
                logging=local.Logging.NONE,
                opts=pulumi.ResourceOptions(
                    depends_on=depends_on, additional_secret_outputs=["stdin", "stdout", "stderr"]
                ),
            )
        else:
            opts = pulumi.ResourceOptions(provider=made[resource["provider"]], depends_on=depends_on)
            if kind in TYPED:
                made[name] = TYPED[kind](name, metadata=inputs["metadata"], spec=inputs.get("spec"), opts=opts)
            else:
                made[name] = CustomResource(
                    name,
                    api_version=inputs["apiVersion"],
                    kind=inputs["kind"],
                    metadata=inputs["metadata"],
                    spec=inputs.get("spec"),
                    opts=opts,
                )


if __name__ == "__main__":
    main()
