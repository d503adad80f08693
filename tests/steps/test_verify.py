"""`verify` and `kube-proxy`, the real step code on real API servers.

What gateways report is SIMULATED (`lab.standin.operator`), so is what Spiderpool's controllers write, and pods run
nothing: how traffic is judged is tested in tests/unit/test_health.py, the scripts themselves in
tests/lab/test_probe_script.py.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from lab import standin as stand_in
from lab.standin import operator
from mesh.health import probes
from mesh.health.expect import Expected, expected
from mesh.plan import MeshPlan, load_plan
from mesh.steps import kube_proxy
from mesh.steps.errors import StepError
from mesh.steps.spec import KubeProxySpec, VerifySpec
from tests.conftest import GATEWAY, NODES, Lab, crd_dirs
from tests.steps import site
from tests.steps.mesh import PLAN, Mesh
from tests.steps.runner import finish, run, start, wait_for

A, B = "cluster-a", "cluster-b"
PODS = "/api/v1/namespaces/default/pods"


def planned(**verify: Any) -> MeshPlan:
    """The shipped plan with this `verify`; gateways with addresses, so that the health check is on."""
    raw = PLAN.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["clusters"][A]["gateways"] = [{"node": GATEWAY, "address": "172.110.0.11"}]
    raw["clusters"][B]["gateways"] = [{"node": GATEWAY, "address": "172.111.0.11"}]
    return load_plan(raw | {"verify": {"dataPath": False, "tunnelTimeout": 30} | verify})


def spec(cluster_id: str = A, plan: MeshPlan | None = None, **changes: Any) -> VerifySpec:
    settings: Expected = expected(plan or planned(), cluster_id).model_copy(update=changes)
    return VerifySpec(access=Mesh().access(cluster_id), settings=settings)


@pytest.fixture(scope="module")
def both(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Both clusters joined, by the stand-in; once for all tests here."""
    programs = tmp_path_factory.mktemp("bin")
    stand_in.install(programs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        for name, path in lab.kubeconfigs.items():
            lab.api(name).wipe(crd_dirs(), gateways=[GATEWAY], others=NODES)
            patch.setenv(Mesh().access(name).variable, str(path))
        mesh = Mesh()
        assert not mesh.deploy_broker().code
        for name in lab.kubeconfigs:
            assert not mesh.join(name).code
    return lab


@pytest.fixture
def members(both: Lab, reached: Lab) -> Iterator[Lab]:
    """Both clusters with the health check on, and in each what Spiderpool's controllers would have written."""
    for name in both.kubeconfigs:
        joined_with(both, name, cableDriver="libreswan", connectionHealthCheck={"enabled": True})
        site.fill(both.api(name), planned(), name)
    yield both
    for name in both.kubeconfigs:
        site.empty(both.api(name))
        for plural in ("gateways", "endpoints", "clusters"):
            path = f"/apis/submariner.io/v1/namespaces/submariner-operator/{plural}"
            for item in both.api(name).names(path):
                both.api(name).delete(f"{path}/{item}")


def joined_with(lab: Lab, cluster_id: str, **settings: Any) -> None:
    """Have a cluster have joined with these settings."""
    path = "/apis/submariner.io/v1alpha1/namespaces/submariner-operator/submariners/submariner"
    lab.api(cluster_id).patch(path, {"spec": settings})


def test_connected(members: Lab) -> None:
    with site.reporting(members.kubeconfigs):
        result = run("verify", spec()).result
    connections = result["connections"]
    assert connections["state"] == "connected"
    (peer,) = connections["peers"]
    assert (peer["peer"], peer["state"], peer["proof"], peer["rttMs"]) == (B, "connected", "ping", 1.0)
    assert connections["checkedAt"].endswith("Z")
    assert result["dataPath"]["state"] == "not checked"
    assert result["dataPath"]["note"] == "turned off in the plan (verify.dataPath)"


def test_the_first_cluster_of_a_mesh_is_alone_and_that_is_no_error(members: Lab) -> None:
    with site.reporting({A: members.kubeconfigs[A]}):
        result = run("verify", spec()).result
    assert result["connections"]["state"] == "alone"
    assert result["connections"]["note"] == "nobody else has joined yet"
    assert [peer["state"] for peer in result["connections"]["peers"]] == ["not joined"]


def test_not_connected_names_the_peer_its_state_and_what_to_do(members: Lab) -> None:
    def lose() -> None:
        operator.break_connection(members.kubeconfigs[A], B, message="Failed to successfully ping the remote endpoint")

    with site.reporting(members.kubeconfigs, lose):
        error = run("verify", spec(tunnel_timeout=6)).error
    assert error.startswith(
        "verify failed: cluster-a is not well connected after 6 s: cluster-b: error (Failed to successfully ping the "
        "remote endpoint): open UDP 4500"
    )


def test_a_peer_that_may_be_down_is_told_and_no_failure(members: Lab) -> None:
    with site.reporting(members.kubeconfigs, lambda: operator.break_connection(members.kubeconfigs[A], B)):
        result = run("verify", spec(may_be_down=(B,))).result
    assert result["connections"]["state"] == "error"


def test_a_report_of_before_proves_nothing(members: Lab) -> None:
    operator.simulate(members.kubeconfigs)  # once, as a gateway that has died since
    error = run("verify", spec(tunnel_timeout=6)).error
    assert "the gateway controller-node-1 of cluster-a has not reported for" in error


def test_no_gateway_at_all(members: Lab) -> None:
    error = run("verify", spec(tunnel_timeout=5)).error
    assert "no gateway runs in cluster-a, and there is no pod of one" in error
    assert "submariner.io/gateway=true" in error


def test_a_gateway_pod_that_does_not_start_is_looked_at(members: Lab) -> None:
    api = members.api(A)
    path = "/api/v1/namespaces/submariner-operator/pods"
    container = {"name": "submariner-gateway", "image": "i"}
    labels = {"app": "submariner-gateway"}
    # On a node that does not exist: so kwok leaves the status alone.
    api.create(
        path, {"metadata": {"name": "gw", "labels": labels}, "spec": {"containers": [container], "nodeName": "n"}}
    )
    try:
        waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
        status = {"name": "submariner-gateway", "image": "i", "imageID": "", "ready": False, "restartCount": 4}
        api.patch(f"{path}/gw/status", {"status": {"containerStatuses": [status | {"state": waiting}]}})
        error = run("verify", spec(tunnel_timeout=5)).error
    finally:
        api.call("DELETE", f"{path}/gw?gracePeriodSeconds=0")
    assert "the gateway pod on n of cluster-a is in CrashLoopBackOff" in error
    assert "kubectl logs -n submariner-operator gw --previous" in error


def test_a_vxlan_tunnel_without_health_check_is_unproven_and_warned_of(members: Lab) -> None:
    for name in (A, B):
        joined_with(members, name, cableDriver="vxlan", connectionHealthCheck={"enabled": False})
    with site.reporting(members.kubeconfigs):
        result = run("verify", spec(cable_driver="vxlan")).result
    assert result["connections"]["state"] == "unproven"
    (warning,) = [text for text in result["warnings"] if "nothing proves" in text]
    assert "nothing proves the tunnel to cluster-b: the vxlan driver says connected whatever happens" in warning


def test_a_site_that_lacks_something_is_not_proved(members: Lab) -> None:
    members.api(A).delete(f"{site.NETWORKS}/macvlan-conf")
    with site.reporting(members.kubeconfigs):
        error = run("verify", spec(tunnel_timeout=5)).error
    assert "there is no NetworkAttachmentDefinition kube-system/macvlan-conf" in error


def test_kube_proxy_s_configuration_is_read_and_warned_of(members: Lab) -> None:
    site.proxy(members.api(A))
    with site.reporting(members.kubeconfigs):
        warnings = run("verify", spec()).result["warnings"]
    assert [text for text in warnings if "pods on worker-node-1 lose TCP" in text and "kubeProxy.tcpBeLiberal" in text]


def test_all_turned_off_asks_nothing_and_says_so(reached: Lab) -> None:
    result = run("verify", spec(plan=planned(tunnel=False, site=False))).result
    assert result["connections"]["state"] == "not checked"
    assert result["connections"]["note"] == "turned off in the plan (verify.tunnel)"
    assert result["dataPath"]["state"] == "not checked"
    assert result["warnings"] == []


# --- probe pods, of which nothing but the shell is real ---------------------------------------------------------------


def names_of_probes(lab: Lab) -> set[str]:
    return {name for name in lab.api(A).names(PODS) if name.startswith(probes.NAME)}


def test_simulated_pods_send_nothing_and_are_gone_afterwards(members: Lab) -> None:
    with site.reporting(members.kubeconfigs):
        result = run("verify", spec(plan=planned(dataPath=True))).result
    path = result["dataPath"]
    assert path["state"] == "not checked"
    assert {row["state"] for row in path["rows"]} == {"not checked"}
    assert {row["role"] for row in path["rows"]} == {"gateway", "other", ""}
    assert any("cannot run a script in pod default/mesh-probe-" in row["detail"] for row in path["rows"])
    assert names_of_probes(members) == set()


def test_pods_that_cannot_start_are_not_checked(members: Lab) -> None:
    for node in (GATEWAY, "worker-node-1"):
        members.api(A).patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}})
    try:
        with site.reporting(members.kubeconfigs):
            path = run("verify", spec(plan=planned(dataPath=True))).result["dataPath"]
    finally:
        for node in (GATEWAY, "worker-node-1"):
            members.api(A).patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": None}})
    assert path["state"] == "not checked"
    assert path["note"] == "no node of cluster-a can run a probe pod: none is Ready and schedulable"


def test_a_step_that_is_stopped_takes_its_probes_with_it(members: Lab) -> None:
    with site.reporting(members.kubeconfigs):
        process = start("verify", spec(plan=planned(dataPath=True)))
        wait_for(lambda: names_of_probes(members), 60)
        process.send_signal(signal.SIGTERM)
        outcome = finish(process)
    assert outcome.code == 1
    assert names_of_probes(members) == set()


def test_probes_of_runs_that_were_killed_are_cleared_up(members: Lab) -> None:
    api = members.api(A)
    body = probes.pod_manifest(spec().settings, "mesh-probe-dead-other", "nowhere", "other", "dead")
    api.create(PODS, body)
    api.patch(f"{PODS}/mesh-probe-dead-other/status", {"status": {"phase": "Failed"}})
    with site.reporting(members.kubeconfigs):
        assert run("verify", spec(plan=planned(dataPath=True))).result
    assert names_of_probes(members) == set()


# --- kube-proxy ------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(reached: Lab) -> Iterator[Lab]:
    """cluster-a as kubeadm makes it."""
    site.empty(reached.api(A))
    site.proxy(reached.api(A))
    yield reached
    site.empty(reached.api(A))


def proxy_spec(**changes: Any) -> KubeProxySpec:
    return KubeProxySpec(cluster_id=A, access=Mesh().access(A), timeout=30, **changes)


def config(lab: Lab) -> str:
    return str(lab.api(A).one(site.PROXY_CONFIG)["data"]["config.conf"])


def generation(lab: Lab) -> int:
    return int(lab.api(A).one(site.PROXY)["metadata"]["generation"])


def test_one_line_changes_and_kube_proxy_restarts_once(proxied: Lab) -> None:
    first = run("kube-proxy", proxy_spec()).result
    assert first == {"tcpBeLiberal": True, "action": "changed", "warnings": []}
    assert config(proxied) == site.KUBEADM.replace("tcpBeLiberal: false", "tcpBeLiberal: true")
    assert proxied.api(A).one(site.PROXY_CONFIG)["data"]["kubeconfig.conf"] == "x"
    restarted = generation(proxied)
    assert restarted == 2
    assert run("kube-proxy", proxy_spec()).result["action"] == "unchanged"
    assert generation(proxied) == restarted


def test_a_run_that_was_killed_before_the_restart_is_made_up_for(proxied: Lab) -> None:
    assert run("kube-proxy", proxy_spec()).result["action"] == "changed"
    annotations = {kube_proxy.ANNOTATION: None}
    proxied.api(A).patch(site.PROXY, {"spec": {"template": {"metadata": {"annotations": annotations}}}})
    assert run("kube-proxy", proxy_spec()).result["action"] == "restarted"


def test_what_somebody_else_has_set_is_left_alone(proxied: Lab) -> None:
    liberal = site.KUBEADM.replace("tcpBeLiberal: false", "tcpBeLiberal: true  # by hand")
    proxied.api(A).patch(site.PROXY_CONFIG, {"data": {"config.conf": liberal}})
    assert run("kube-proxy", proxy_spec()).result["action"] == "unchanged"
    assert (config(proxied), generation(proxied)) == (liberal, 1)


def test_without_kube_proxy_it_says_where_to_set_it(reached: Lab) -> None:
    site.empty(reached.api(A))
    error = run("kube-proxy", proxy_spec()).error
    assert "has no ConfigMap kube-system/kube-proxy with config.conf: set conntrack.tcpBeLiberal: true" in error


HEAD = "kind: KubeProxyConfiguration\n"
FORMS = {
    "as kubeadm writes it": (site.KUBEADM, site.KUBEADM.replace("tcpBeLiberal: false", "tcpBeLiberal: true")),
    "without the field": (
        f"{HEAD}conntrack:\n    min: 1\nmode: iptables\n",
        f"{HEAD}conntrack:\n    tcpBeLiberal: true\n    min: 1\nmode: iptables\n",
    ),
    "without the section": (f"{HEAD}mode: ''", f"{HEAD}mode: ''\nconntrack:\n  tcpBeLiberal: true\n"),
    "with an empty section": (f"{HEAD}conntrack:\nmode: x\n", f"{HEAD}conntrack:\n  tcpBeLiberal: true\nmode: x\n"),
    "with {}": (f"{HEAD}conntrack: {{}}\nmode: x\n", f"{HEAD}conntrack:\n  tcpBeLiberal: true\nmode: x\n"),
    "with {} and a comment": (
        f"{HEAD}conntrack: {{}}  # defaults\nmode: x\n",
        f"{HEAD}conntrack:  # defaults\n  tcpBeLiberal: true\nmode: x\n",
    ),
    "with a value left out": (
        f"{HEAD}conntrack:\n  tcpBeLiberal:\n  min: 1\n",
        f"{HEAD}conntrack:\n  tcpBeLiberal: true\n  min: 1\n",
    ),
    "with null": (f"{HEAD}conntrack: null\n", f"{HEAD}conntrack:\n  tcpBeLiberal: true\n"),
    "at the end, with comments": (
        f"# ours\n{HEAD}conntrack:  # half-open\n  # be strict\n  tcpBeLiberal: false # why\n",
        f"# ours\n{HEAD}conntrack:  # half-open\n  # be strict\n  tcpBeLiberal: true # why\n",
    ),
    "another field of that name elsewhere": (
        f"{HEAD}conntrack:\n  min: 1\nother:\n  tcpBeLiberal: false\n",
        f"{HEAD}conntrack:\n  tcpBeLiberal: true\n  min: 1\nother:\n  tcpBeLiberal: false\n",
    ),
    "already": (f"{HEAD}conntrack: {{tcpBeLiberal: true}}\n", f"{HEAD}conntrack: {{tcpBeLiberal: true}}\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_nothing_else_of_the_configuration_changes(form: str) -> None:
    before, after = FORMS[form]
    assert kube_proxy.liberal(before) == after
    assert kube_proxy.liberal(after) == after
    assert yaml.safe_load(after)["conntrack"]["tcpBeLiberal"] is True


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}conntrack: {{min: 1}}\n",
        f"{HEAD}'conntrack':\n  min: 1\n",
        f"{HEAD}mode: x\nmode: y\n",
        "- a\n",
        "a: [",
        f"{HEAD}conntrack: 7\n",
    ],
)
def test_what_cannot_be_changed_like_that_is_refused(text: str) -> None:
    with pytest.raises(StepError, match="where this cluster configures kube-proxy"):
        kube_proxy.liberal(text)
