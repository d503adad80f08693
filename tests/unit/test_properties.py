"""Contract: whatever sound plan of however many clusters, what is derived from it is complete, symmetric and stable.

Nothing anywhere may assume two clusters, and the same plan must always give the same text: a difference is a change
that Pulumi would make.
"""

import ipaddress
import json
import random
from itertools import permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mesh.cli.schema import plan_schema
from mesh.cli.summary import summary
from mesh.plan import MeshPlan, PlanError, derive, load_plan, ranges
from mesh.topology import mermaid
from tests.unit.strategies import plans

# Drawing up to fifty clusters takes a while; the usual hundred examples would find no more.
thorough = settings(max_examples=40)
SCHEMA = Draft202012Validator(plan_schema())


def seen_by_others(plan: MeshPlan, cluster_id: str) -> list[str]:
    """What the other clusters send into the tunnel for this one, from its own fields alone."""
    cluster = plan.clusters[cluster_id]
    if plan.broker.globalnet:
        assert cluster.globalnet_cidr
        return [cluster.globalnet_cidr]
    given = (cluster.service_cidr, cluster.pod_cidr, cluster.service_cidr_v6, cluster.pod_cidr_v6)
    return [cidr for cidr in given if cidr]


@thorough
@given(plans())
def test_each_cluster_hijacks_all_of_every_other_and_nothing_else(raw: dict[str, Any]) -> None:
    plan = load_plan(raw)
    for one, other in permutations(plan.clusters, 2):
        assert set(seen_by_others(plan, other)) <= set(derive.hijack_cidr(plan, one))
    for cluster_id, cluster in plan.clusters.items():
        remote = [cidr for other in plan.clusters if other != cluster_id for cidr in seen_by_others(plan, other)]
        assert derive.hijack_cidr(plan, cluster_id) == (*remote, *cluster.network.local_cidr)


@thorough
@given(plans())
def test_hijack_cidr_is_unique_in_normal_form_and_never_its_own(raw: dict[str, Any]) -> None:
    plan = load_plan(raw)
    for cluster_id, cluster in plan.clusters.items():
        hijacked = derive.hijack_cidr(plan, cluster_id)
        assert len(set(hijacked)) == len(hijacked)
        for text in hijacked:
            network = ipaddress.ip_network(text)  # strict: host bits are an error
            assert str(network) == text
            # Of its own, only Services may be in it, and only where the plan says so (NodeLocal DNSCache).
            own = [cluster.pod_cidr, cluster.pod_cidr_v6]
            own += [] if text in cluster.network.local_cidr else [cluster.service_cidr, cluster.service_cidr_v6]
            assert not any(network.overlaps(ipaddress.ip_network(cidr)) for cidr in own if cidr)


@thorough
@given(plans(most=4), st.data())
def test_local_cidr_is_refused_exactly_where_it_covers_pods_or_what_is_derived(
    raw: dict[str, Any], data: st.DataObject
) -> None:
    plan = load_plan(raw)
    name = data.draw(st.sampled_from(list(plan.clusters)))
    second, third = data.draw(st.integers(1, len(plan.clusters))), data.draw(st.integers(0, 255))
    local = ipaddress.ip_network(f"10.{second}.{third}.0/{data.draw(st.integers(14, 32))}", strict=False)
    raw["clusters"][name]["network"]["localCIDR"] = [str(local)]
    taken = [plan.clusters[name].pod_cidr]
    taken += [cidr for other in plan.clusters if other != name for cidr in seen_by_others(plan, other)]
    refused = any(local.overlaps(ipaddress.ip_network(cidr)) for cidr in taken)
    try:
        load_plan(raw)
    except PlanError as error:
        assert refused, error  # noqa: PT017
    else:
        assert not refused, local


@thorough
@given(plans(), st.randoms(use_true_random=False))
def test_order_of_keys_does_not_matter_order_of_clusters_does(raw: dict[str, Any], chance: random.Random) -> None:
    plan = load_plan(raw)
    shuffled = _shuffled(raw, chance, keep="clusters")
    assert load_plan(shuffled) == plan
    assert json.dumps(summary(load_plan(shuffled))) == json.dumps(summary(plan))
    assert mermaid(load_plan(shuffled)) == mermaid(plan)
    backwards = load_plan(raw | {"clusters": dict(reversed(raw["clusters"].items()))})
    assert list(backwards.clusters) == list(reversed(plan.clusters))
    for cluster_id in plan.clusters:
        assert sorted(derive.hijack_cidr(backwards, cluster_id)) == sorted(derive.hijack_cidr(plan, cluster_id))
        assert derive.join_settings(backwards, cluster_id) == derive.join_settings(plan, cluster_id)


@thorough
@given(plans())
def test_plan_survives_json(raw: dict[str, Any]) -> None:
    """The way into a stack's config and back."""
    plan = load_plan(raw)
    for dumped in (plan.model_dump(by_alias=True), plan.model_dump(mode="json", by_alias=True)):
        assert load_plan(dumped) == plan
    assert load_plan(json.loads(plan.model_dump_json(by_alias=True))) == plan


@thorough
@given(plans())
def test_editors_accept_what_the_check_accepts(raw: dict[str, Any]) -> None:
    assert list(SCHEMA.iter_errors(raw)) == []
    assert list(SCHEMA.iter_errors(load_plan(raw).model_dump(mode="json", by_alias=True))) == []


@thorough
@given(plans())
def test_join_says_what_the_cluster_has_and_nothing_of_the_others(raw: dict[str, Any]) -> None:
    plan = load_plan(raw)
    for cluster_id, cluster in plan.clusters.items():
        flags = dict(flag.partition("=")[::2] for flag in derive.join_settings(plan, cluster_id).flags())
        assert flags["--clusterid"] == cluster_id
        assert flags["--clustercidr"].split(",") == [cidr for cidr in (cluster.pod_cidr, cluster.pod_cidr_v6) if cidr]
        services = [cidr for cidr in (cluster.service_cidr, cluster.service_cidr_v6) if cidr]
        assert flags["--servicecidr"].split(",") == services
        assert flags.get("--globalnet-cidr") == cluster.globalnet_cidr
        assert flags["--globalnet"] == ("true" if plan.broker.globalnet else "false")
        alone = " ".join(flags.values())
        for other in plan.clusters:
            if other != cluster_id:
                assert not any(cidr in alone.replace(",", " ").split() for cidr in seen_by_others(plan, other))


@thorough
@given(plans())
def test_health_check_is_one_value_for_the_mesh(raw: dict[str, Any]) -> None:
    plan = load_plan(raw)
    everywhere = all(gateway.address for cluster in plan.clusters.values() for gateway in cluster.gateways)
    assert derive.health_check(plan) == everywhere
    assert {derive.join_settings(plan, name).health_check for name in plan.clusters} == {everywhere}


@thorough
@given(plans(most=4))
def test_pools_have_the_addresses_that_are_counted(raw: dict[str, Any]) -> None:
    plan = load_plan(raw)
    for cluster_id, cluster in plan.clusters.items():
        listed = summary(plan)["clusters"][cluster_id]["pools"]
        for pool, shown in zip(cluster.pools, listed, strict=True):
            single = {
                int(start) + offset
                for start, end in ranges.merge(shown["ips"])
                for offset in range(int(end) - int(start) + 1)
            } - {int(start) for start, _ in ranges.merge(shown["excludeIPs"])}
            assert shown["usable"] == len(single)
            assert shown["name"] == pool.name


def _shuffled(value: Any, chance: random.Random, keep: str = "") -> Any:
    """The same with keys in another order, except those of the section that is named."""
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {
            key: {name: _shuffled(item, chance) for name, item in value[key].items()}
            if key == keep
            else _shuffled(value[key], chance)
            for key in keys
        }
    return [_shuffled(item, chance) for item in value] if isinstance(value, list) else value
