"""Contract: Spiderpool's chart is installed so that an underlay is a cluster's only CNI and an upgrade loses nothing.

What each value prevents: facts/spiderpool.md sections 4 and 11, in short: without `defaultCniCRName` no pod starts,
with the chart's hooks on its objects can't be changed, with `tls.method: auto` every update makes a new authority, with
`cleanup` on an uninstall takes all pools and definitions of the cluster along.

These are the recipe's row "install Spiderpool" and, of its row "prerequisites: clusters without a CNI, Helm, subctl",
the first two; subctl is in tests/steps/test_preflight.py.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.plan import PlanError, load_plan
from tests.graph.harness import RELEASE, UNKNOWN, Graph, Steps, raw_plan, run_mesh


def release(graph: Graph, cluster: str = "cluster-a") -> dict[str, Any]:
    return graph[f"{cluster}-spiderpool"].inputs


def with_spiderpool(**changes: Any) -> Graph:
    return run_mesh(raw_plan({"spiderpool": changes}))


def test_the_release_is_pinned_and_has_fixed_names() -> None:
    """The recipe's rows "install Spiderpool" and "prerequisites", Helm: Pulumi's own, and so none on the machine."""
    graph = run_mesh()
    assert [resource.provider for resource in graph.of_type(RELEASE)] == ["cluster-a", "cluster-b"]
    for cluster in ("cluster-a", "cluster-b"):
        inputs = release(graph, cluster)
        assert inputs["name"] == "spiderpool"
        assert inputs["namespace"] == "kube-system"
        assert inputs["chart"] == "spiderpool"
        assert inputs["version"] == "1.2.2"
        assert inputs["repositoryOpts"] == {"repo": "https://spidernet-io.github.io/spiderpool"}


def test_the_release_waits_until_spiderpool_is_ready_and_runs_no_hooks() -> None:
    inputs = release(run_mesh())
    assert inputs["disableWebhooks"] is True
    assert inputs["skipAwait"] is False
    # A rollback would run the chart's own uninstall.
    assert inputs["atomic"] is False
    # Helm never upgrades definitions; a step does.
    assert inputs["skipCrds"] is True


def test_values_for_a_cluster_whose_only_cni_is_the_underlay() -> None:
    """The recipe's row "prerequisites", clusters without a CNI."""
    steps = Steps()
    graph = run_mesh(steps=steps)
    assert release(graph)["values"] == {
        "multus": {"multusCNI": {"defaultCniCRName": "macvlan-conf"}},
        "plugins": {"installCNI": True},
        "coordinator": {"mode": "auto", "podCIDRType": "none", "hijackCIDR": ["169.254.0.0/16"]},
        "ipam": {"enableIPv4": True, "enableIPv6": False, "spiderSubnet": {"enable": False}},
        "spiderpoolController": {
            "tls": {
                "method": "provided",
                "provided": {
                    "tlsCa": steps.keys["ca"],
                    "tlsCert": steps.keys["certificate"],
                    "tlsKey": steps.keys["key"],
                },
            },
            "cleanup": {"enable": False},
        },
    }


def test_the_default_network_of_the_cluster_is_the_one_that_is_made() -> None:
    graph = run_mesh(raw_plan({"clusters": {"cluster-a": {"network": {"name": "underlay", "localCIDR": []}}}}))
    values = release(graph)["values"]
    assert values["multus"]["multusCNI"]["defaultCniCRName"] == "underlay"
    assert graph["cluster-a-network-underlay"].inputs["metadata"]["name"] == "underlay"
    assert values["coordinator"]["hijackCIDR"] == []


def test_the_keys_are_secret_and_nothing_else_of_the_values_is() -> None:
    # A preview that shows "[secret]" for all values can't be reviewed.
    provided = "values.spiderpoolController.tls.provided"
    graph = run_mesh()
    for resource in graph.of_type(RELEASE):
        assert resource.secrets == {f"{provided}.{name}" for name in ("tlsCa", "tlsCert", "tlsKey")}


def test_a_preview_shows_the_values_before_there_is_a_certificate() -> None:
    values = release(run_mesh(preview=True))["values"]
    assert values["multus"]["multusCNI"]["defaultCniCRName"] == "macvlan-conf"
    assert values["spiderpoolController"]["tls"]["provided"]["tlsKey"] is UNKNOWN


def test_each_cluster_has_a_certificate_of_its_own() -> None:
    made = iter(range(10))

    def steps(step: str, spec: dict[str, Any]) -> dict[str, Any]:
        if step == "certificate":
            return dict.fromkeys(("ca", "certificate", "key"), f"{spec['namespace']} {next(made)}")
        return Steps()(step, spec)

    graph = run_mesh(steps=steps)
    keys = {
        release(graph, name)["values"]["spiderpoolController"]["tls"]["provided"]["tlsKey"]
        for name in ("cluster-a", "cluster-b")
    }
    assert len(keys) == 2
    assert graph["cluster-a-webhook-certificate"].spec == {
        "service": "spiderpool-controller",
        "namespace": "kube-system",
    }


def test_ipv6_is_on_where_a_pool_is_ipv6() -> None:
    v6 = {"podCIDRv6": "fd00:110::/32", "serviceCIDRv6": "fd00:233::/112"}
    pools = [
        {"name": "a", "subnet": "172.110.1.0/24", "ips": ["172.110.1.1-172.110.1.20"]},
        {"name": "a-v6", "subnet": "fd00:110:1::/64", "ips": ["fd00:110:1::10-fd00:110:1::20"]},
    ]
    other = {
        "podCIDRv6": "fd00:111::/32",
        "serviceCIDRv6": "fd00:243::/112",
        "pools": [
            {"name": "b", "subnet": "172.111.1.0/24", "ips": ["172.111.1.1-172.111.1.20"]},
            {"name": "b-v6", "subnet": "fd00:111:1::/64", "ips": ["fd00:111:1::10-fd00:111:1::20"]},
        ],
    }
    graph = run_mesh(raw_plan({"clusters": {"cluster-a": v6 | {"pools": pools}, "cluster-b": other}}))
    assert release(graph)["values"]["ipam"] == {
        "enableIPv4": True,
        "enableIPv6": True,
        "spiderSubnet": {"enable": False},
    }


def test_an_image_registry_of_one_s_own() -> None:
    assert release(with_spiderpool(imageRegistry="mirror.site-a/quay"))["values"]["global"] == {
        "imageRegistryOverride": "mirror.site-a/quay"
    }
    assert "global" not in release(run_mesh())["values"]


def test_cni_plugins_that_are_on_the_nodes_already() -> None:
    assert release(with_spiderpool(installCni=False))["values"]["plugins"] == {"installCNI": False}


def test_a_local_chart_has_no_repository() -> None:
    inputs = release(with_spiderpool(chart="charts/spiderpool-1.2.2.tgz", repository=None))
    assert inputs["chart"] == "charts/spiderpool-1.2.2.tgz"
    assert "repositoryOpts" not in inputs
    assert inputs["version"] == "1.2.2"


def test_a_mirror_of_the_repository_and_another_version() -> None:
    graph = with_spiderpool(repository="https://charts.site-a/spiderpool", version="1.2.1")
    assert release(graph)["repositoryOpts"] == {"repo": "https://charts.site-a/spiderpool"}
    assert release(graph)["version"] == "1.2.1"
    definitions = graph["cluster-a-spiderpool-crds"].spec
    assert {key: definitions[key] for key in ("cluster_id", "chart", "version", "repository")} == {
        "cluster_id": "cluster-a",
        "chart": "spiderpool",
        "version": "1.2.1",
        "repository": "https://charts.site-a/spiderpool",
    }


def test_values_of_the_plan_win_and_leave_the_rest() -> None:
    values: dict[str, Any] = {
        "plugins": {"installCNI": False, "installRdmaCNI": False},
        "spiderpoolController": {"replicas": 2, "cleanup": {"enable": True}},
        "ipam": {"spiderSubnet": {"enable": True}},
        "rdma": {"shared": [1, 2]},
    }
    merged = release(with_spiderpool(values=values))["values"]
    assert merged["plugins"] == {"installCNI": False, "installRdmaCNI": False}
    assert merged["spiderpoolController"]["replicas"] == 2
    assert merged["spiderpoolController"]["cleanup"] == {"enable": True}
    assert merged["spiderpoolController"]["tls"]["method"] == "provided"
    assert merged["ipam"] == {"enableIPv4": True, "enableIPv6": False, "spiderSubnet": {"enable": True}}
    assert merged["coordinator"] == {"mode": "auto", "podCIDRType": "none", "hijackCIDR": ["169.254.0.0/16"]}
    assert merged["rdma"] == {"shared": [1, 2]}
    assert merged["multus"] == {"multusCNI": {"defaultCniCRName": "macvlan-conf"}}


def test_no_section_and_no_value_of_ours_can_be_taken_away() -> None:
    """Whatever a release gets by itself, null in the plan's values is refused for it, up to the whole."""

    def places(values: dict[str, Any]) -> Iterator[tuple[str, ...]]:
        for key, value in values.items():
            yield (key,)
            yield from ((key, *below) for below in places(value)) if isinstance(value, dict) else ()

    mirrored = with_spiderpool(imageRegistry="mirror.site-a/quay")
    ours = [path for path in places(release(mirrored)["values"]) if path[-1] not in ("tlsCa", "tlsCert", "tlsKey")]
    assert len(ours) > 15
    for path in ours:
        values: Any = None
        for key in reversed(path):
            values = {key: values}
        with pytest.raises(PlanError, match=re.escape(f"spiderpool.values.{'.'.join(path)}: null would take away")):
            load_plan(raw_plan({"spiderpool": {"imageRegistry": "mirror.site-a/quay", "values": values}}))


def test_the_coordinator_is_the_one_object_of_its_name() -> None:
    graph = run_mesh()
    coordinators = graph.kind("SpiderCoordinator")
    assert [resource.provider for resource in coordinators] == ["cluster-a", "cluster-b"]
    for resource in coordinators:
        assert resource.inputs == {
            "apiVersion": "spiderpool.spidernet.io/v2beta1",
            "kind": "SpiderCoordinator",
            "metadata": {"name": "default"},
            "spec": {"mode": "auto", "podCIDRType": "none", "hijackCIDR": ["169.254.0.0/16"]},
        }


def test_the_wait_for_the_coordinator_knows_what_to_expect_and_lets_go_of_it() -> None:
    graph = run_mesh()
    synced = graph["cluster-b-coordinator-synced"]
    assert synced.spec["cluster_id"] == "cluster-b"
    assert synced.spec["service_cidr"] == "10.243.0.0/18"
    # Its finalizer is removed by no controller: a destroy would hang.
    assert synced.inputs["delete"].endswith(" release-coordinator")


@pytest.mark.parametrize("preview", [False, True])
def test_adopted_spiderpool_is_not_touched(preview: bool) -> None:
    steps = Steps()
    graph = run_mesh(raw_plan({"spiderpool": {"install": False}}), preview=preview, steps=steps)
    assert graph.of_type(RELEASE) == []
    assert graph.kind("SpiderCoordinator") == []
    assert not {"certificate", "coordinator", "spiderpool-crds"} & set(steps.ran)
    assert "spiderpool" not in json.dumps([command.inputs["create"] for command in graph.commands])
    assert {resource.name for resource in graph.kind("SpiderIPPool")} == {
        "cluster-a-pool-cluster-a",
        "cluster-b-pool-cluster-b",
    }
