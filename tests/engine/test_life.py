"""Contract: what a mesh lives through, one event after the other, through the real engine on three real API servers.

The rows of the table in docs/operations.md that recovery (tests/docs/test_recovery.py) does not have. One mesh for the
whole file: each test goes on from where the one before has left it.
"""

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lab import clusters, toolchain
from mesh.access import kubeconfig_variable
from tests.conftest import GATEWAY, NODES, Lab, crd_dirs
from tests.engine.conftest import Workspace
from tests.steps.api import Api, Object

BROKER = "/api/v1/namespaces/submariner-k8s-broker"
NETWORK = "/apis/spiderpool.spidernet.io/v2beta1/namespaces/kube-system/spidermultusconfigs/macvlan-conf"
NEW = {"podCIDR": "172.112.0.0/16", "serviceCIDR": "10.253.0.0/18"}
OLD, ALL = ("cluster-a", "cluster-b"), ("cluster-a", "cluster-b", "cluster-c")
pytestmark = pytest.mark.timeout(600)


class Life:
    """A mesh, the plan of which is edited."""

    def __init__(self, site: Workspace, apis: dict[str, Api]) -> None:
        self.site = site
        self.apis = apis

    def mesh(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run `mesh`, which has to succeed."""
        done = self.site.mesh(*arguments, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def uids(self, *names: str) -> list[str]:
        """Whoever joins anew gets another one."""
        return [self.apis[name].joined()["metadata"]["uid"] for name in names]

    def spec(self, name: str) -> Object:
        """What a cluster has joined with."""
        found: Object = self.apis[name].joined()["spec"]
        return found

    def psk(self) -> bytes:
        """The pre-shared key."""
        return self.apis["cluster-a"].psk()


@pytest.fixture(scope="module")
def life(site: Workspace, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Two clusters that are up, and a third one that is empty."""
    home = tmp_path_factory.mktemp("third")
    spec = clusters.ClusterSpec("cluster-c", NEW["serviceCIDR"], NEW["podCIDR"], NODES)
    tools = toolchain.ensure(print)
    try:
        found = clusters.up([spec], home=home, tools=tools, crd_dirs=crd_dirs(), progress=print)
        site.env[kubeconfig_variable("cluster-c")] = str(found["cluster-c"])
        apis = {name: lab.api(name) for name in OLD} | {"cluster-c": Api(found["cluster-c"])}
        mesh = Life(site, apis)
        mesh.mesh("up", "--yes", "--init")
        yield mesh
    finally:
        clusters.down(home, print)


def changed(printed: str, stack: str) -> list[str]:
    """What a summary says of one stack, without the values."""
    sections = re.split(r"^(cluster-\w)$", printed, flags=re.MULTILINE)
    lines = dict(zip(sections[1::2], sections[2::2], strict=True)).get(stack, "").splitlines()
    return [line.strip() for line in lines if re.match(r"  [+~±-] ", line)]


def test_a_third_cluster_joins_and_nobody_else_joins_again(life: Life) -> None:
    networks = [life.apis[name].one(NETWORK)["metadata"]["uid"] for name in OLD]
    before, key = life.uids(*OLD), life.psk()

    def add(plan: dict[str, Any]) -> None:
        pool = {"name": "cluster-c", "subnet": "172.112.0.0/16", "ips": ["172.112.1.1-172.112.1.99"]}
        pool["gateway"] = "172.112.0.1"
        plan["clusters"]["cluster-c"] = plan["clusters"]["cluster-b"] | NEW | {"pools": [pool]}

    life.site.change_plan(add)
    (life.site.folder / "Pulumi.cluster-c.yaml").write_text("config: {mesh:cluster: cluster-c}\n")
    done = life.mesh("up", "--yes", "--init")
    assert life.spec("cluster-c")["clusterID"] == "cluster-c"
    for name in OLD:
        assert changed(done.stdout, name) == [
            f"~ update: {name}-network-macvlan-conf",
            f"~ update: {name}-verify",
        ], done.stdout
        hijacked = life.apis[name].one(NETWORK)["spec"]["coordinator"]["hijackCIDR"]
        assert {NEW["podCIDR"], NEW["serviceCIDR"]} <= set(hijacked)
    assert [life.apis[name].one(NETWORK)["metadata"]["uid"] for name in OLD] == networks
    assert (life.uids(*OLD), life.psk()) == (before, key)


def test_another_gateway_node_takes_the_label_of_the_former_one(life: Life) -> None:
    before = life.uids(*ALL)
    other = next(node for node in NODES if node != GATEWAY)
    life.site.change_plan(lambda plan: plan["clusters"]["cluster-c"].update(gateways=[{"node": other}]))
    done = life.mesh("up", "--yes")
    labels = {node: life.apis["cluster-c"].one(f"/api/v1/nodes/{node}")["metadata"]["labels"] for node in NODES}
    assert [node for node in NODES if labels[node].get("submariner.io/gateway") == "true"] == [other]
    assert life.uids(*ALL) == before
    assert f"+ create: cluster-c-gateway-{other}" in changed(done.stdout, "cluster-c")
    assert f"- delete: cluster-c-gateway-{GATEWAY}" in changed(done.stdout, "cluster-c")
    for name in OLD:
        assert changed(done.stdout, name) == [], done.stdout


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({"cableDriver": "wireguard"}, "cableDriver", "wireguard"),
        ({"natTraversal": True}, "natEnabled", True),
        ({"natPort": 4555}, "ceIPSecNATTPort", 4555),
    ],
)
def test_what_the_join_takes_in_place_is_changed_in_place_once(
    life: Life, settings: dict[str, Any], field: str, value: object
) -> None:
    before = life.uids(*ALL)
    life.site.change_plan(lambda plan: plan["submariner"].update(settings))
    done = life.mesh("up", "--yes")
    for name in ALL:
        assert f"~ update: join {name}-join" in changed(done.stdout, name)
        assert life.spec(name)[field] == value
    assert life.uids(*ALL) == before
    again = life.mesh("up", "--yes")
    assert [changed(again.stdout, name) for name in ALL] == [[], [], []]


def test_the_health_check_of_all_goes_on_when_every_gateway_declares_its_address(life: Life) -> None:
    before = life.uids(*ALL)
    assert not any(life.spec(name)["connectionHealthCheck"].get("enabled") for name in ALL)

    def declare(plan: dict[str, Any]) -> None:
        for cluster in plan["clusters"].values():
            (gateway,) = cluster["gateways"]
            node = gateway if isinstance(gateway, str) else gateway["node"]
            cluster["gateways"] = [{"node": node, "address": cluster["podCIDR"].replace(".0.0/16", ".0.11")}]

    life.site.change_plan(declare)
    life.mesh("up", "--yes")
    assert all(life.spec(name)["connectionHealthCheck"]["enabled"] for name in ALL)
    assert life.uids(*ALL) == before


def test_another_version_goes_one_cluster_at_a_time_and_keeps_the_key(life: Life) -> None:
    before, key = life.uids(*ALL), life.psk()
    old = life.spec("cluster-a")["version"]
    major, minor, patch = old.split(".")
    new = f"{major}.{int(minor) + 1}.{patch}"
    life.site.change_plan(lambda plan: plan["submariner"].update(version=new))
    refused = life.site.mesh("up", "--yes", "--only", "cluster-a")
    assert refused.returncode == 1
    assert f"subctl is {old} and submariner.version is {new}: install subctl {new}" in refused.stdout
    assert life.uids(*ALL) == before

    life.site.env["MESH_STANDIN_VERSION"] = f"v{new}"  # installed, from here on
    done = life.mesh("up", "--yes")
    assert "New version, so one cluster at a time" in done.stderr
    order = re.findall(r"(cluster-[abc]): (started|done)", done.stderr)
    assert order == [(name, what) for name in ALL for what in ("started", "done")]
    assert [life.spec(name)["version"] for name in ALL] == [new] * 3
    assert {
        name: psk for name in ALL if (psk := life.spec(name)["ceIPSecPSK"]) != life.spec("cluster-a")["ceIPSecPSK"]
    } == {}
    assert life.psk() == key


def test_a_new_key_is_shown_in_every_preview(life: Life) -> None:
    life.site.change_plan(lambda plan: plan["submariner"].update(pskRotation=1))
    done = life.mesh("preview")
    life.site.change_plan(lambda plan: plan["submariner"].pop("pskRotation"))
    assert "~ update: broker cluster-a-deploy-broker" in changed(done.stdout, "cluster-a")
    for name in ALL:
        assert f"~ update: join {name}-join" in changed(done.stdout, name)
    assert done.stdout.count("warning: submariner.pskRotation is 1 and the broker's stack") == 2


def test_the_broker_does_not_go_while_somebody_is_joined(life: Life) -> None:
    done = life.site.pulumi("destroy", "--yes", "--skip-preview", "--stack", "cluster-a")
    assert done.returncode != 0
    assert "cluster-b, cluster-c are still joined to the broker in cluster-a" in done.stdout + done.stderr
    assert "MESH_FORCE=1" in done.stdout + done.stderr
    assert life.mesh("preview", "--only", "cluster-a").stdout.count("no changes") == 1, "it has deleted nothing"


def test_one_that_leaves_takes_its_traces_along_and_the_others_stay_joined(life: Life) -> None:
    before, key = life.uids(*OLD), life.psk()
    life.mesh("destroy", "--yes", "--only", "cluster-c")
    assert life.apis["cluster-c"].submariner() is None
    accounts = life.apis["cluster-a"].names(f"{BROKER}/serviceaccounts")
    assert {name for name in accounts if name.startswith("cluster-")} == {"cluster-cluster-a", "cluster-cluster-b"}
    life.site.change_plan(lambda plan: plan["clusters"].pop("cluster-c"))
    (life.site.folder / "Pulumi.cluster-c.yaml").unlink()
    life.mesh("up", "--yes")
    for name in OLD:
        assert NEW["podCIDR"] not in life.apis[name].one(NETWORK)["spec"]["coordinator"]["hijackCIDR"]
    assert (life.uids(*OLD), life.psk()) == (before, key)
