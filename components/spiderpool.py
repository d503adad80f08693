"""Pods on the underlay of one cluster: Spiderpool itself, its pools, and the network that pods name."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_command import local
from pulumi_kubernetes.apiextensions import CustomResource

from components.children import Site
from components.step import result, step
from mesh.plan import Cluster, Pool, derive, ranges

API_VERSION = "spiderpool.spidernet.io/v2beta1"
RELEASE = "spiderpool"


class Spiderpool(pulumi.ComponentResource):
    """Spiderpool in one cluster (or what adopts one that is there), its SpiderIPPools and its SpiderMultusConfig."""

    def __init__(
        self, name: str, site: Site, *, after: pulumi.Resource, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("multi-cluster-mesh:index:Spiderpool", name, None, opts)
        ready = self._install(site, after) if site.plan.spiderpool.install else after
        self.pools = [self._pool(site, pool, ready) for pool in site.cluster.pools]
        self.network = self._network(site, self.pools)
        self.register_outputs({"default_network": derive.default_network(site.cluster)})

    def _install(self, site: Site, after: pulumi.Resource) -> pulumi.Resource:
        from pulumi_kubernetes.helm import v3 as helm  # slow to import, and only where the chart is installed

        from mesh.steps.spec import CertificateSpec, ChartSpec, CoordinatorSpec, dump

        spiderpool, network = site.plan.spiderpool, site.cluster.network
        certificate = step(
            f"{site.id}-webhook-certificate",
            "certificate",
            dump(CertificateSpec(namespace=network.namespace)),
            pulumi.ResourceOptions(parent=self),
        )
        definitions = step(
            f"{site.id}-spiderpool-crds",
            "spiderpool-crds",
            dump(
                ChartSpec(
                    cluster_id=site.id,
                    access=site.access,
                    chart=spiderpool.chart,
                    version=spiderpool.version,
                    repository=spiderpool.repository,
                )
            ),
            # No delete: with the definitions all pools and networks of the cluster would go.
            pulumi.ResourceOptions(parent=self, depends_on=[after]),
        )
        release = helm.Release(
            f"{site.id}-spiderpool",
            name=RELEASE,
            namespace=network.namespace,
            chart=spiderpool.chart,
            version=spiderpool.version,
            repository_opts=helm.RepositoryOptsArgs(repo=spiderpool.repository) if spiderpool.repository else None,
            values=chart_values(site, certificate_parts(certificate)),
            # The chart's hook job would create a SpiderCoordinator and a SpiderMultusConfig of our names, which the
            # webhook then does not let us change (spiderpool issue 2700). Both are ours, below.
            disable_webhooks=True,
            # Helm installs a chart's CRDs once and never upgrades them; the step above does both.
            skip_crds=True,
            atomic=False,
            skip_await=False,
            opts=site.options(self, [definitions]),
        )
        coordinator = CustomResource(
            f"{site.id}-coordinator",
            api_version=API_VERSION,
            kind="SpiderCoordinator",
            metadata={"name": "default"},
            spec=derive.coordinator_spec(network),
            opts=site.options(self, [release]),
        )
        # Waits until Spiderpool has read the cluster's own CIDRs; at destroy it lets go of the object, which carries a
        # finalizer that no controller ever removes.
        return step(
            f"{site.id}-coordinator-synced",
            "coordinator",
            dump(CoordinatorSpec(cluster_id=site.id, access=site.access, service_cidr=site.cluster.service_cidr)),
            pulumi.ResourceOptions(parent=self, depends_on=[coordinator]),
            delete="release-coordinator",
        )

    def _pool(self, site: Site, pool: Pool, ready: pulumi.Resource) -> CustomResource:
        return CustomResource(
            f"{site.id}-pool-{pool.name}",
            api_version=API_VERSION,
            kind="SpiderIPPool",
            metadata={"name": pool.name},
            spec=pool_spec(pool),
            # Spiderpool never changes these in place, and the new pool has the old one's name.
            opts=site.options(
                self, [ready], delete_before_replace=True, replace_on_changes=["spec.subnet", "spec.ipVersion"]
            ),
        )

    def _network(self, site: Site, pools: list[CustomResource]) -> CustomResource:
        network = site.cluster.network
        return CustomResource(
            f"{site.id}-network-{network.name}",
            api_version=API_VERSION,
            kind="SpiderMultusConfig",
            metadata={"name": network.name, "namespace": network.namespace},
            spec=network_spec(site.cluster, derive.hijack_cidr(site.plan, site.id)),
            opts=site.options(self, pools),
        )


def pool_spec(pool: Pool) -> dict[str, Any]:
    """`spec` of the SpiderIPPool, in the form in which the webhook stores it."""
    spec: dict[str, Any] = {
        "ipVersion": derive.pool_version(pool),
        "subnet": pool.subnet,
        "ips": list(ranges.normal_form(pool.ips)),
        "default": pool.default,
    }
    optional: dict[str, Any] = {
        "excludeIPs": list(ranges.normal_form(pool.exclude_ips)),
        "gateway": pool.gateway,
        "routes": [{"dst": route.dst, "gw": route.gw} for route in pool.routes],
        "namespaceName": list(pool.namespace_name),
        "nodeName": list(pool.node_name),
    }
    for key, affinity in (
        ("podAffinity", pool.pod_affinity),
        ("namespaceAffinity", pool.namespace_affinity),
        ("nodeAffinity", pool.node_affinity),
    ):
        optional[key] = affinity.model_dump(by_alias=True, exclude_defaults=True) if affinity else None
    return spec | {key: value for key, value in optional.items() if value}


def network_spec(cluster: Cluster, hijack_cidr: tuple[str, ...]) -> dict[str, Any]:
    """`spec` of the SpiderMultusConfig."""
    network = cluster.network
    interface: dict[str, Any] = {"master": list(network.master)}
    if network.vlan_id:
        interface["vlanID"] = network.vlan_id
    if network.mtu is not None:
        interface["mtu"] = network.mtu
    if network.bond:
        interface["bond"] = network.bond.model_dump(by_alias=True, exclude_none=True)
    pools = {"ipv4": list(derive.pool_names(cluster, 4)), "ipv6": list(derive.pool_names(cluster, 6))}
    interface["ippools"] = {family: names for family, names in pools.items() if names}
    return {
        "cniType": network.cni_type.value,
        # Explicit, because a config that Spiderpool's own set-up job made has it off, and then hijackCIDR is ignored.
        "enableCoordinator": True,
        network.cni_type.value: interface,
        "coordinator": {"mode": "auto", "hijackCIDR": list(hijack_cidr)} | derive.veth_mtu(network),
    }


def certificate_parts(certificate: local.Command) -> dict[str, pulumi.Input[str]]:
    """Base64 PEM `ca`, `certificate` and `key` of the webhook, one secret each: were the chart's values one secret as a
    whole, no preview would show what changes in them.
    """
    document = result(certificate)

    def part(name: str) -> pulumi.Output[str]:
        return document.apply(lambda parts: str(parts[name]))

    return {name: part(name) for name in ("ca", "certificate", "key")}


def chart_values(site: Site, keys: Mapping[str, pulumi.Input[str]]) -> dict[str, Any]:
    """Values of the chart; the plan's own win.

    `keys`: what `certificate_parts` gives.
    """
    provided = {"tlsCa": keys["ca"], "tlsCert": keys["certificate"], "tlsKey": keys["key"]}
    values = _merged(derive.chart_values(site.plan, site.id), {"spiderpoolController": {"tls": {"provided": provided}}})
    return _merged(values, site.plan.spiderpool.values)


def _merged(base: dict[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        ours = merged.get(key)
        merged[key] = _merged(ours, value) if isinstance(ours, dict) and isinstance(value, Mapping) else value
    return merged
