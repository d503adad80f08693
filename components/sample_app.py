"""The app that proves the mesh: pods on the underlay of one cluster behind a Service, exported on request."""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Service

from components.children import Site
from mesh.outputs import SampleAppOutputs
from mesh.plan import derive


class SampleApp(pulumi.ComponentResource):
    """Deployment and Service of the recipe (`test-app`, `test-app-svc`) in one cluster."""

    details: SampleAppOutputs
    """Deployment, Service, namespace, port and, when exported, the name it has in all clusters."""

    def __init__(
        self,
        name: str,
        site: Site,
        *,
        after: Sequence[pulumi.Resource],
        joined: pulumi.Resource,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("multi-cluster-mesh:index:SampleApp", name, None, opts)
        app = site.plan.sample_app
        labels, service_name = derive.app_labels(app), f"{app.name}-svc"
        # Derived: a typo here leaves the pods in ContainerCreating for good.
        annotations = {derive.DEFAULT_NETWORK_ANNOTATION: derive.default_network(site.cluster)}
        if app.roll_out:
            annotations[derive.ROUTES_ANNOTATION] = ",".join(derive.hijack_cidr(site.plan, site.id))
        Deployment(
            f"{site.id}-{app.name}",
            metadata={"name": app.name, "namespace": app.namespace, "labels": labels},
            spec={
                "replicas": app.replicas,
                "selector": {"match_labels": labels},
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": annotations,
                    },
                    "spec": {
                        # Pods on gateway nodes alone would prove nothing about the path of the other nodes' pods.
                        "topology_spread_constraints": [
                            {
                                "max_skew": 1,
                                "topology_key": "kubernetes.io/hostname",
                                "when_unsatisfiable": "ScheduleAnyway",
                                "label_selector": {"match_labels": labels},
                            }
                        ],
                        "containers": [
                            {
                                "name": app.name,
                                "image": app.image,
                                "image_pull_policy": "IfNotPresent",
                                "ports": [{"name": "http", "container_port": app.port, "protocol": "TCP"}],
                            }
                        ],
                    },
                },
            },
            opts=site.options(self, after),
        )
        service = Service(
            f"{site.id}-{service_name}",
            metadata={"name": service_name, "namespace": app.namespace, "labels": labels},
            spec={
                "type": "ClusterIP",
                "ports": [{"port": app.port, "protocol": "TCP", "target_port": app.port}],
                "selector": labels,
            },
            opts=site.options(self, after),
        )
        if app.export:
            self._export(site, service_name, [service, joined])
        self.details = {
            "deployment": app.name,
            "service": service_name,
            "namespace": app.namespace,
            "port": app.port,
            "exportedAs": f"{service_name}.{app.namespace}.svc.clusterset.local" if app.export else None,
        }
        self.register_outputs({"details": self.details})

    def _export(self, site: Site, service_name: str, after: Sequence[pulumi.Resource]) -> None:
        from pulumi_kubernetes.apiextensions import CustomResource

        CustomResource(
            f"{site.id}-export-{service_name}",
            api_version="multicluster.x-k8s.io/v1alpha1",
            kind="ServiceExport",
            metadata={"name": service_name, "namespace": site.plan.sample_app.namespace},
            # The kind exists once the cluster has joined.
            opts=site.options(self, after),
        )
