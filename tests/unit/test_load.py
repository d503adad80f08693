"""Contract: a plan is read strictly, and everything wrong with it is told in one run, whatever kind of wrong it is.

Structural mistakes hide neither each other nor what the rules say of the sound rest, and no rule complains of what is
only the consequence of a structural mistake. Files that are no plan end in a sentence.
"""

import copy
import datetime
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.plan import PlanError, Problem, load_plan, read_plan
from tests.unit.plans import REMOVED, changed, problems_of, seed
from tests.unit.strategies import plans

A, B = "clusters.cluster-a", "clusters.cluster-b"
ROOT = Path(__file__).resolve().parents[2]


def paths(raw: Any) -> list[str]:
    """Where the mistakes are."""
    return [problem.path for problem in problems_of(raw)]


def read_problems(path: Path) -> tuple[Problem, ...]:
    """The mistakes that a file is refused with."""
    with pytest.raises(PlanError) as caught:
        read_plan(path)
    assert caught.value.source == str(path)
    return caught.value.problems


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a YAML file and give its path."""

    def written(text: str, name: str = "plan.yaml") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return written


# --- all at once -----------------------------------------------------------------------------------------------------


def test_rule_mistakes_are_told_together() -> None:
    assert paths(
        changed(
            {
                "broker.cluster": "cluster-c",
                f"{A}.pools[0].gateway": "172.111.0.1",
                f"{B}.serviceCIDR": "10.233.0.0/18",
                f"{B}.network.master": ["e1", "e2"],
            }
        )
    ) == ["broker.cluster", f"{A}.pools[0].gateway", f"{B}.network.bond", f"{B}.serviceCIDR"]


def test_structural_mistakes_are_told_together() -> None:
    assert paths(
        changed(
            {
                "broker": REMOVED,
                "submariner.natPort": "4500",
                "extra": 1,
                f"{A}.podCIDR": "172.110.0.0",
                f"{B}.gateways": [],
            }
        )
    ) == ["broker", "submariner.natPort", f"{A}.podCIDR", f"{B}.gateways", "extra"]


@pytest.mark.parametrize(
    "mistake",
    [
        {f"{A}.podCIDR": "172.110.0.0/99"},
        {f"{A}.podCIDR": REMOVED},
        {f"{A}.pools": []},
        {f"{A}.pools": REMOVED},
        {f"{A}.pools": "cluster-a"},
        {f"{A}.pools[0]": "cluster-a"},
        {f"{A}.pools[0].subnet": "172.110.0.0"},
        {f"{A}.pools[0].subnet": REMOVED},
        {f"{A}.pools[0].ips": "172.110.1.1"},
        {f"{A}.pools[0].ips": ["172.110.1.9-172.110.1.1"]},
        {f"{A}.pools[0].excludeIPs": [None]},
        {f"{A}.pools[0].name": "Cluster A"},
        {f"{A}.pools[0].routes": [{"dst": "10.0.0.0/8"}]},
        {f"{A}.pools[0].routes": [{"dst": "10.0.0.0/99", "gw": "172.110.0.1"}]},
        {f"{A}.pools[0].podAffinity": {"matchLabels": {1: "x"}}},
        {f"{A}.pools[0].podAffinity": {"matchExpressions": ["x"]}},
        {f"{A}.pools[0].podAffinity": {"matchExpressions": [{"key": "a", "operator": "In", "values": [1]}]}},
        {f"{A}.gateways": []},
        {f"{A}.gateways": ["Bad_Name"]},
        {f"{A}.gateways": [{"address": "172.110.0.9"}]},
        {f"{A}.gateways": [{"node": "n1", "address": "here"}]},
        {f"{A}.gateways": [5]},
        {f"{A}.nodes": [{"name": "n1"}]},
        {f"{A}.nodes": [{"name": "n1", "address": "172.110.0.300"}]},
        {f"{A}.network": REMOVED},
        {f"{A}.network": "macvlan-conf"},
        {f"{A}.network.master": "ens224"},
        {f"{A}.network.master": []},
        {f"{A}.network.bond": {"mode": 1}},
        {f"{A}.network.bond": {"name": "bond0", "mode": "1"}},
        {f"{A}.network.localCIDR": ["169.254.25.10"]},
        {f"{A}.nodeCIDR": ["10.6.0.1/16"]},
        {f"{A}.globalnetCIDR": "242"},
        {"broker": REMOVED},
        {"broker": None},
        {"broker": "cluster-a"},
        {"broker.cluster": 5},
        {"broker.globalnet": {"clusterSize": "many"}},
        {"broker.url": "https://"},
        {"submariner": REMOVED},
        {"submariner.version": 0.24},
        {"submariner.cableDriver": ["libreswan"]},
        {"submariner.healthCheck": {"enabled": "no"}},
        {"spiderpool": None},
        {"spiderpool.version": "latest"},
        {"spiderpool.chart": 1},
        {"sampleApp": []},
        {"sampleApp.replicas": 0},
        {"verify.mayBeDown": ["Cluster_B"]},
    ],
    ids=repr,
)
def test_one_structural_mistake_gives_no_echo_and_hides_nothing(mistake: dict[str, Any]) -> None:
    """Alone it is the only one told; with a mistake in another cluster, both are told."""
    alone = problems_of(changed(mistake))
    (path,) = mistake
    assert [problem.path for problem in alone if not problem.path.startswith(path)] == [], alone
    elsewhere = f"{B}.pools[0].gateway"
    both = problems_of(changed(mistake | {elsewhere: "172.112.0.1"}))
    assert elsewhere in [problem.path for problem in both]
    assert set(alone) <= set(both)


@pytest.mark.parametrize("typo", [{f"{A}.pools[0].subnet": "x"}, {f"{A}.network.master": []}, {f"{A}.gatway": "x"}])
def test_a_typo_in_a_pool_does_not_hide_an_overlap_between_clusters(typo: dict[str, Any]) -> None:
    assert f"{B}.podCIDR" in paths(changed(typo | {f"{B}.podCIDR": "172.110.0.0/15"}))


def test_a_wrong_item_does_not_move_the_others() -> None:
    """Removing it instead would blame ips[0] for what is ips[1]."""
    bad = {f"{A}.pools[0].ips": ["oops", "172.111.1.1", "172.110.1.1"]}
    assert paths(changed(bad)) == [f"{A}.pools[0].ips[0]", f"{A}.pools[0].ips[1]"]


def test_field_with_a_longer_name_is_not_hidden() -> None:
    """`podCIDR` is no part of `podCIDRv6`."""
    bad = {f"{A}.podCIDR": "172.110.0.0", f"{A}.serviceCIDRv6": "fd00:1:1::/112"}
    assert paths(changed(bad)) == [f"{A}.podCIDR", f"{A}.podCIDRv6"]


def test_too_few_clusters_do_not_hide_what_is_wrong_in_them() -> None:
    assert paths(changed({B: REMOVED, f"{A}.pools[0].gateway": "172.111.0.1"})) == [
        "clusters",
        f"{A}.pools[0].gateway",
    ]


def test_bad_cluster_name_does_not_hide_what_is_wrong_in_it() -> None:
    raw = changed({f"{B}.pools[0].gateway": "172.112.0.1"})
    raw["clusters"]["Cluster_B"] = raw["clusters"].pop("cluster-b")
    assert paths(raw) == ["clusters.Cluster_B", "clusters.Cluster_B.pools[0].gateway"]


def test_broken_cluster_is_still_a_cluster_for_the_broker() -> None:
    raw = changed({"broker.cluster": "cluster-b"})
    raw["clusters"]["cluster-b"] = None
    assert paths(raw) == [B]


@settings(max_examples=80)
@given(plans(most=4), st.data())
def test_any_value_made_nonsense_is_blamed_and_nothing_else_is(raw: dict[str, Any], data: st.DataObject) -> None:
    """Wherever a sound plan is broken, the place is named, and no other: no echo, no crash."""
    broken = copy.deepcopy(raw)
    place: Any = broken
    path = ""
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner and data.draw(st.booleans())):
            break
        place = inner
    nonsense = [object(), 3.5, "?!", b"x", ["?!"]]
    # Other clusters are more than nonsense: then the broker's is missing. And without globalnet its CIDRs are too many.
    if path not in ("clusters", "broker"):
        nonsense += [{"?": 1}, {"?!": "?!"}]
    place[key] = data.draw(st.sampled_from(nonsense))
    for problem in problems_of(broken):
        assert problem.path.startswith(path) or path.startswith(problem.path), (path, problem)
        assert "stand-in" not in str(problem)


HOSTILE = st.recursive(
    st.sampled_from([None, True, 0, -1, 10**30, 1.5, float("nan"), "", "x", "Cluster-A", "cluster_a", "10.0.0.0/8",
                     b"x", datetime.date(2026, 1, 1), frozenset({"a"})]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([None, True, 5, 1.5, datetime.date(2026, 1, 1), "", "Cluster-A", "broker", "clusters", "name"]),
        inner, max_size=3,
    ),
    max_leaves=6,
)  # fmt: skip
"""What YAML can make of a few characters."""
SECTIONS = [
    *("broker", "broker.globalnet", "submariner", "submariner.healthCheck", "submariner.imageOverrides", "spiderpool"),
    *("spiderpool.values", "sampleApp", "verify", "kubeProxy", "leakGuard", "clusters", A, f"{A}.gateways"),
    *(f"{A}.gateways[0]", f"{A}.nodes", f"{A}.network", f"{A}.network.bond", f"{A}.pools", f"{A}.pools[0]"),
    *(f"{A}.pools[0].routes", f"{A}.pools[0].podAffinity", f"{A}.pools[0].podAffinity.matchExpressions"),
]


@pytest.mark.parametrize("section", ["", *SECTIONS])
@settings(max_examples=15)
@given(HOSTILE)
def test_hostile_shapes_end_in_a_list_of_mistakes_or_in_a_plan(section: str, shape: Any) -> None:
    told = ""
    try:
        load_plan(changed({section: shape}) if section else shape)
    except PlanError as error:
        told = str(error)
    assert "stand-in" not in told


# --- single mistakes, and how they are told ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "path", "what", "fix"),
    [
        ({"submariner.natPort": "4500"}, "submariner.natPort", "'4500' is not a whole number", "without quotes"),
        ({"submariner.natPort": 4500.0}, "submariner.natPort", "4500.0 is not a whole number", "without quotes"),
        ({"submariner.natPort": True}, "submariner.natPort", "True is not a whole number", "without quotes"),
        ({"submariner.natTraversal": "no"}, "submariner.natTraversal", "'no' is not true or false", "without quotes"),
        ({"submariner.natTraversal": 0}, "submariner.natTraversal", "0 is not true or false", "without quotes"),
        ({"submariner.version": 0.24}, "submariner.version", "0.24 is not text", "in quotes"),
        ({"broker.cluster": None}, "broker.cluster", "is empty", "write a value"),
        ({"broker.cluster": ["cluster-a"]}, "broker.cluster", "a list is not text", "one value here"),
        ({"submariner.version": {}}, "submariner.version", "a mapping is not text", "one value here"),
        ({f"{A}.pools[0].ips": [["172.110.1.1"]]}, f"{A}.pools[0].ips[0]", "a list is not text", "one value here"),
        ({f"{A}.pools[0].ips": "172.110.1.1"}, f"{A}.pools[0].ips", "'172.110.1.1' is not a list", "write a list"),
        ({f"{A}.pools": {"name": "x"}}, f"{A}.pools", "a mapping is not a list", "write a list"),
        ({"spiderpool": "1.2.2"}, "spiderpool", "'1.2.2' is not a mapping", "install, version, chart"),
        ({"submariner.imageOverrides": []}, "submariner.imageOverrides", "a list is not a mapping", "<name>: …"),
        ({"clusters": ["cluster-a"]}, "clusters", "a list is not a mapping", "entries below it, as <name>: …"),
        ({"submariner.natPort": "4" * 200}, "submariner.natPort", "4… (202 characters) is not a whole", "quotes"),
        ({"submariner.natPort": "4" * 70}, "submariner.natPort", "4' is not a whole number", "without quotes"),
        ({"submariner.natPort": 0}, "submariner.natPort", "0 should be greater than or equal to 1", "from 1 to 65535"),
        ({f"{A}.network.vlanID": 5000}, f"{A}.network.vlanID", "5000 should be less than", "from 0 to 4094"),
        ({f"{A}.network.mtu": 100}, f"{A}.network.mtu", "100 should be greater", "from 576 to 65535"),
        ({f"{A}.network.master": ["a", "b"], f"{A}.network.bond": {"name": "bond0", "mode": 9}},
         f"{A}.network.bond.mode", "9 should be less than", "from 0 to 6"),
        ({"sampleApp.replicas": 0}, "sampleApp.replicas", "0 should be greater", "write 1 or more"),
    ],
)  # fmt: skip
def test_wrong_kind_of_value(changes: dict[str, Any], path: str, what: str, fix: str) -> None:
    (problem,) = problems_of(changed(changes))
    assert problem.path == path
    assert what in problem.what
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        ("broker.cluster", "write a value"),
        (f"{A}.podCIDR", "write a value"),
        ("clusters", "write its entries below it, as <name>: …"),
        ("broker", "write its fields below it: cluster, url, serviceDiscovery, globalnet"),
        (f"{A}.pools", "write a list: [a, b], or one line with '- ' for each"),
        ("spiderpool.version", "write a value, or remove the line"),
        (f"{A}.pools[0].ips", "write a list: [a, b], or one line with '- ' for each, or remove the line"),
        (f"{A}.gateways[0]", "write its fields below it: node, address, wanAddress, or remove the line"),
        ("submariner.imageOverrides", "write its entries below it, as <name>: …, or remove the line"),
        ("leakGuard", "write its fields below it: enabled, image, or remove the line"),
    ],
)
def test_empty_where_a_value_is_wanted(path: str, fix: str) -> None:
    """Only what is optional can be removed."""
    (problem,) = problems_of(changed({path: None}))
    assert (problem.path, problem.what) == (path, "is empty")
    assert problem.fix == fix


@pytest.mark.parametrize("section", ["broker", A, f"{A}.pools[0]"])
def test_key_that_is_no_text(section: str) -> None:
    raw = changed({f"{section}.1": "x"})
    (problem,) = problems_of(raw)
    assert (problem.path, problem.what, problem.fix) == (f"{section}[1]", "1 is not text", "put it in quotes")


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        (f"{A}.podCidr", "did you mean podCIDR?"),
        (f"{A}.pod_cidr", "did you mean podCIDR?"),
        (f"{A}.gateway", "did you mean gateways?"),
        (f"{A}.pools[0].excludeIps", "did you mean excludeIPs?"),
        (f"{A}.pools[0].subnets", "did you mean subnet?"),
        (f"{A}.network.vlan", "did you mean vlanID?"),
        ("submariner.cabledriver", "did you mean cableDriver?"),
        ("sampleapp", "did you mean sampleApp?"),
        (f"{A}.network.zzz", "the fields here are: name, namespace, cniType, master"),
        (f"{A}.pools[0].address", "the fields here are: name, subnet"),  # a field, but of another section
        (f"{A}.hijackCIDR", "derived"),
        (f"{A}.clusterCIDR", "did you mean podCIDR?"),
        (f"{A}.network.ippools", "all pools"),
        (f"{A}.network.enableCoordinator", "always on"),
        (f"{A}.clusterID", "the key below clusters"),
    ],
)
def test_unknown_key(path: str, fix: str) -> None:
    (problem,) = problems_of(changed({path: "x"}))
    assert (problem.path, problem.what) == (path, "no such field")
    assert fix in problem.fix


def test_unknown_key_in_a_gateway() -> None:
    (problem,) = problems_of(changed({f"{A}.gateways": [{"node": "n1", "wanaddress": "10.6.1.1"}]}))
    assert (problem.path, problem.fix) == (f"{A}.gateways[0].wanaddress", "did you mean wanAddress?")


@pytest.mark.parametrize("value", ["secret-token", {"token": "secret-token"}, ["secret-token"]])
@pytest.mark.parametrize("path", ["broker.psk", "kubeconfig", f"{A}.network.token"])
def test_value_of_an_unknown_key_is_not_repeated(path: str, value: Any) -> None:
    """People put secrets into such fields."""
    assert "secret-token" not in str(problems_of(changed({path: value})))


def test_snake_case_is_not_accepted() -> None:
    """One spelling only: the one of the schema and of Kubernetes."""
    raw = changed({f"{A}.pod_cidr": "172.110.0.0/16", f"{A}.podCIDR": REMOVED})
    assert paths(raw) == [f"{A}.podCIDR", f"{A}.pod_cidr"]


NAMES = [
    *("集群-a", "clüster", "\u202ea", "cluster_a", "Cluster", "-a", "a-", "a.b", "a" * 64, "", " ", "a b", "a\n"),
    *("$(reboot)", "`id`", "a;b; c", "a'b", 'a"b', "a|b", "a&b", "../a", "%s", "{a}", "[a]"),
]


def renamed(cluster: str, name: Any) -> dict[str, Any]:
    """The seed with a cluster under another name, in its place, and the broker on the other one."""
    raw = seed()
    raw["clusters"] = {name if key == cluster else key: value for key, value in raw["clusters"].items()}
    raw["broker"]["cluster"] = "cluster-b" if cluster == "cluster-a" else "cluster-a"
    return raw


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cluster", ["cluster-a", "cluster-b"])
def test_name_of_a_cluster(cluster: str, name: str) -> None:
    (problem,) = problems_of(renamed(cluster, name))
    assert problem.path == f"clusters.{name}"
    assert problem.what.startswith(repr(name)[:40])
    assert "DNS label" in problem.what
    assert "63 lower-case letters" in problem.fix


KEYS = {5: "clusters.5", None: "clusters.None", True: "clusters.1", 1.5: "clusters.1.5",
        datetime.date(2026, 1, 1): "clusters.datetime.date(2026, 1, 1)"}  # fmt: skip


@pytest.mark.parametrize("name", KEYS, ids=repr)
@pytest.mark.parametrize("cluster", ["cluster-a", "cluster-b"])
def test_name_of_a_cluster_that_is_no_text(cluster: str, name: Any) -> None:
    (problem,) = problems_of(renamed(cluster, name))
    assert (problem.path, problem.what, problem.fix) == (KEYS[name], f"{name!r} is not text", "put it in quotes")


@pytest.mark.parametrize("name", KEYS, ids=repr)
def test_cluster_without_fields_whose_name_is_no_text(name: Any) -> None:
    """Nothing is told twice: not what is missing, and not what the rules would say of stand-ins for it."""
    fields = ("podCIDR", "serviceCIDR", "gateways", "network", "pools")
    missing = [f"{KEYS[name]}.{field}" for field in fields]
    assert paths(changed({"clusters": {name: {}}})) == [KEYS[name], *missing, "broker.cluster"]


@pytest.mark.parametrize("name", [*NAMES, *KEYS], ids=repr)
@pytest.mark.parametrize("cluster", ["cluster-a", "cluster-b"])
def test_name_of_the_broker_cluster(cluster: str, name: Any) -> None:
    """The name stands in two places, and both are told."""
    raw = renamed(cluster, name)
    raw["broker"]["cluster"] = name
    assert paths(raw) == ["broker.cluster", KEYS.get(name, f"clusters.{name}")]
    raw["brokr"] = raw.pop("broker")
    assert paths(raw) == ["broker", KEYS.get(name, f"clusters.{name}"), "brokr"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", [f"{A}.network.name", f"{A}.network.namespace", f"{A}.gateways[0]", "sampleApp.name"])
def test_name_of_anything_else(path: str, name: str) -> None:
    if "gateways" in path and name in ("a.b", "a" * 64):  # good for a node
        load_plan(changed({path: name}))
        return
    found = problems_of(changed({path: name}))
    assert {problem.path.removesuffix(".node") for problem in found} == {path}


@pytest.mark.parametrize("name", ["a" * 63, "0", "a-0", "0-a", "a--b"])
def test_good_name_of_a_cluster(name: str) -> None:
    raw = seed()
    raw["clusters"][name] = raw["clusters"].pop("cluster-b")
    assert list(load_plan(raw).clusters) == ["cluster-a", name]


# --- how many clusters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clusters", "what"), [({}, "has 0"), ({"cluster-a": seed()["clusters"]["cluster-a"]}, "has 1")]
)
def test_too_few_clusters(clusters: dict[str, Any], what: str) -> None:
    (problem,) = (item for item in problems_of(changed({"clusters": clusters})) if item.path == "clusters")
    assert problem.what == f"{what}, needs 2 or more"


def test_no_clusters_at_all() -> None:
    (problem,) = problems_of(changed({"clusters": None}))
    assert (problem.path, problem.what) == ("clusters", "is empty")


def many(count: int) -> dict[str, Any]:
    """A plan of as many clusters as there are second octets."""
    raw = seed()
    raw["broker"]["cluster"] = "site-0"
    raw["clusters"] = {
        f"site-{number}": {
            "podCIDR": f"10.{number}.0.0/17",
            "serviceCIDR": f"10.{number}.128.0/18",
            "gateways": ["gw-1"],
            "network": {"master": ["ens224"]},
            "pools": [{"name": "pods", "subnet": f"10.{number}.0.0/24", "ips": [f"10.{number}.0.10-10.{number}.0.99"]}],
        }
        for number in range(count)
    }
    return raw


def test_fifty_clusters() -> None:
    assert len(load_plan(many(50)).clusters) == 50


def test_mistake_in_the_last_of_fifty_clusters() -> None:
    raw = many(50)
    raw["clusters"]["site-49"]["serviceCIDR"] = raw["clusters"]["site-3"]["serviceCIDR"]
    (problem,) = problems_of(raw)
    assert problem.path == "clusters.site-49.serviceCIDR"
    assert "clusters.site-3.serviceCIDR" in problem.what


# --- what is no plan at all -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [None, "plan", 5, [], True, object()])
def test_not_a_mapping(raw: Any) -> None:
    (problem,) = problems_of(raw)
    assert problem.path == "the plan"


def test_plan_that_contains_itself() -> None:
    raw = seed()
    raw["clusters"]["cluster-a"]["network"] = raw
    assert all(path.startswith(f"{A}.network") for path in paths(raw))


def test_error_text_has_every_mistake_with_its_place_and_fix() -> None:
    with pytest.raises(PlanError) as caught:
        load_plan(changed({"broker.cluster": "x", "submariner.natPort": 4490}), "Pulumi.yaml")
    assert str(caught.value) == (
        "Pulumi.yaml has 2 mistakes; nothing was changed.\n"
        "  broker.cluster: 'x' is no cluster of the plan\n"
        "    fix: use one of: cluster-a, cluster-b\n"
        "  submariner.natPort: 4490 is the port of NAT discovery\n"
        "    fix: use another one, such as 4500"
    )
    with pytest.raises(PlanError, match="has 1 mistake; nothing was changed"):
        load_plan(changed({"broker.cluster": "x"}))


# --- files ------------------------------------------------------------------------------------------------------------

PLAN = """
broker: {cluster: cluster-a}
submariner: {version: 0.24.1}
clusters:
  cluster-a:
    podCIDR: 172.110.0.0/16
    serviceCIDR: 10.233.0.0/18
    gateways: [controller-node-1]
    network: {master: [ens224]}
    pools: [{name: a, subnet: 172.110.0.0/16, ips: [172.110.1.1-172.110.1.9]}]
  cluster-b:
    podCIDR: 172.111.0.0/16
    serviceCIDR: 10.243.0.0/18
    gateways: [controller-node-1]
    network: {master: [ens224]}
    pools: [{name: b, subnet: 172.111.0.0/16, ips: [172.111.1.1-172.111.1.9]}]
"""


def test_shipped_plan_is_sound() -> None:
    assert list(read_plan(ROOT / "Pulumi.yaml").clusters) == ["cluster-a", "cluster-b"]


def test_plan_by_itself_inside_a_project_and_inside_a_stack_file(write: Any) -> None:
    indented = textwrap.indent(PLAN, "      ")
    by_itself = read_plan(write(PLAN))
    project = "name: x\nruntime: python\nconfig:\n  mesh:plan:\n    value:\n" + indented
    stack = "config:\n  mesh:cluster: cluster-a\n  mesh:plan:\n" + indented
    assert read_plan(write(project, "Pulumi.yaml")) == by_itself
    assert read_plan(write(stack, "Pulumi.cluster-a.yaml")) == by_itself


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + PLAN.replace("\n", "\r\n").encode())
    assert read_plan(path) == read_plan(write(PLAN))


def test_anchors_and_merge_keys(write: Any) -> None:
    """Not two equal keys, although what `<<` brings may be overridden."""
    text = PLAN.replace("network: {master: [ens224]}", "network: &net {master: [ens224], name: one}", 1)
    text = text.replace("network: {master: [ens224]}", "network: {<<: *net, name: two}", 1)
    assert read_plan(write(text)).clusters["cluster-b"].network.name == "two"
    nested = text.replace("&net {master", "&net {<<: {name: zero}, master", 1)
    assert read_plan(write(nested)).clusters["cluster-b"].network.name == "two"


def test_key_given_twice(write: Any) -> None:
    found = read_problems(write(PLAN + "  cluster-a: {}\nbroker: {cluster: cluster-b, cluster: cluster-a}\n"))
    assert [problem.path for problem in found] == ["cluster-a", "broker", "cluster"]
    assert "given twice, in lines 5 and 17" in found[0].what
    assert all(problem.fix == "keep one of them" for problem in found)


@pytest.mark.parametrize(
    ("content", "path", "what"),
    [
        (b"", None, "is empty"),
        (b"# only a comment\n", None, "is empty"),
        (b"--- \n", None, "is empty"),
        (b"\xff\xfe\x00", None, "is not YAML"),
        (b"a: [1, 2\n", None, "is not YAML"),
        (b"a: b: c\n", None, "is not YAML"),
        (b"\ta: b\n", None, "is not YAML"),
        (b"a: 1\n---\nb: 2\n", None, "is not YAML"),
        (b"a: 2024-13-45\n", None, "is not YAML"),  # looks like a date and is none
        (b"a: !!python/object/apply:os.system [id]\n", None, "is not YAML"),
        (b"a: \x00\n", None, "is not YAML"),
        (b"[" * 5000, None, "nested too deep"),
        (b"just text\n", "the plan", "'just text' is not a mapping"),
        (b"- a\n- b\n", "the plan", "a list is not a mapping"),
        (b"? [a, b]\n: c\n", None, "is not YAML"),
        (b"name: x\nruntime: python\n", "config.mesh:plan", "missing"),
        (b"config:\n", "config.mesh:plan", "missing"),
        (b"config: text\n", "config.mesh:plan", "missing"),
        (b"config: [a]\n", "config.mesh:plan", "missing"),
        (b"config:\n  mesh:cluster: cluster-a\n", "config.mesh:plan", "missing"),
        (b"config:\n  mesh:plan:\n", "the plan", "is empty"),
        (b"config:\n  mesh:plan:\n    value:\n", "the plan", "is empty"),
        (b"config:\n  mesh:plan:\n    value: text\n", "the plan", "'text' is not a mapping"),
    ],
)
def test_file_that_holds_no_plan(tmp_path: Path, content: bytes, path: str | None, what: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_bytes(content)
    (problem,) = read_problems(file)
    assert problem.path == (path or str(file))
    assert what in problem.what
    assert problem.fix


def test_file_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = read_problems(tmp_path / "no-such.yaml")
    assert "cannot be read: No such file" in problem.what


def test_file_that_is_a_folder(tmp_path: Path) -> None:
    (problem,) = read_problems(tmp_path)
    assert "cannot be read: Is a directory" in problem.what
