"""Contract: what pulumi-command runs is the same text everywhere, converges, says nothing and has no secret in it.

Its text and whatever it prints end up in the console, in the state and in the error of a failed run
(pulumi-command#260), so everything a step is told comes on stdin, and stdin, stdout and stderr are secret.
"""

import re
import time
from collections.abc import Callable

import pytest

from mesh.plan import derive, load_plan
from mesh.steps.__main__ import STEPS
from tests.graph.harness import ROOT, STEP, UNKNOWN, Graph, Steps, raw_plan, run_mesh

DELETES = {
    "preflight": None,
    "certificate": None,
    "spiderpool-crds": None,
    "coordinator": "release-coordinator",
    "deploy-broker": "remove-broker",
    "join": "leave",
    "kube-proxy": None,
    "verify": None,
    "check-identity": "check-destroy",
}


@pytest.fixture(scope="module", params=[False, True], ids=["up", "preview"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return run_mesh(raw_plan({"kubeProxy": {"tcpBeLiberal": True}}, clusters=3), preview=request.param)


def test_which_steps_there_are(graph: Graph) -> None:
    steps = sorted((command.name, command.inputs["create"].removeprefix(STEP)) for command in graph.commands)
    of_the_mesh = [("mesh-preflight", "preflight"), ("mesh-identity", "check-identity")]
    per_cluster = [
        (f"{name}-{resource}", step)
        for name in ("cluster-a", "cluster-b", "cluster-c")
        for resource, step in (
            ("webhook-certificate", "certificate"),
            ("spiderpool-crds", "spiderpool-crds"),
            ("coordinator-synced", "coordinator"),
            ("join", "join"),
            ("kube-proxy", "kube-proxy"),
            ("verify", "verify"),
        )
    ]
    assert steps == sorted([*of_the_mesh, ("cluster-a-deploy-broker", "deploy-broker"), *per_cluster])


def test_update_is_create_and_nothing_triggers_a_replacement(graph: Graph) -> None:
    # Changed triggers make the new join first and then undo it with the old one's delete.
    for command in graph.commands:
        assert command.inputs["update"] == command.inputs["create"]
        assert "triggers" not in command.inputs


def test_what_has_to_be_undone_has_a_delete(graph: Graph) -> None:
    for command in graph.commands:
        step = command.inputs["create"].removeprefix(STEP)
        undo = DELETES[step]
        assert command.inputs.get("delete") == (f"{STEP}{undo}" if undo else None)


def test_the_text_is_the_same_on_every_machine(graph: Graph) -> None:
    for command in graph.commands:
        for key in ("create", "update", "delete"):
            text = command.inputs.get(key, f"{STEP}none")
            # exec: a signal to the shell has to reach the step.
            assert re.fullmatch(r"exec sh mesh/steps/run\.sh [a-z-]+", text), text
        assert command.inputs.keys() <= {"create", "update", "delete", "stdin", "logging", "addPreviousOutputInEnv"}
    assert (ROOT / "mesh/steps/run.sh").is_file()


def test_nothing_is_printed_and_nothing_goes_through_the_environment(graph: Graph) -> None:
    for command in graph.commands:
        assert command.inputs["logging"] == "stderr"
        assert command.inputs["addPreviousOutputInEnv"] is False


def test_stdin_and_all_that_comes_back_is_secret(graph: Graph) -> None:
    for command in graph.commands:
        assert command.secrets == {"stdin"}
        assert {"stdin", "stdout", "stderr"} <= set(command.request.additionalSecretOutputs)


def test_every_step_exists_and_takes_what_it_is_told() -> None:
    graph = run_mesh(raw_plan({"kubeProxy": {"tcpBeLiberal": True}}, clusters=3))
    for command in graph.commands:
        for key in ("create", "update", "delete"):
            if text := command.inputs.get(key):
                model = STEPS[text.removeprefix(STEP)]
                model.model_validate_json(command.inputs["stdin"])


def test_the_join_is_told_its_settings_and_the_broker_info_and_nothing_else() -> None:
    steps, plan = Steps(), load_plan(raw_plan())
    graph = run_mesh(steps=steps)
    for cluster in plan.clusters:
        assert graph[f"{cluster}-join"].spec == {
            "access": {
                "variable": "KUBECONFIG_" + cluster.upper().replace("-", "_"),
                "context": None,
                "kubeconfig": None,
            },
            "settings": derive.join_settings(plan, cluster).model_dump(mode="json"),
            "broker_info": steps.broker_info,
            "hosts_broker": cluster == "cluster-a",
        }


def test_seed_join_commands() -> None:
    plan = load_plan(raw_plan())
    for cluster, cidr, services in (
        ("cluster-a", "172.110.0.0/16", "10.233.0.0/18"),
        ("cluster-b", "172.111.0.0/16", "10.243.0.0/18"),
    ):
        settings = run_mesh()[f"{cluster}-join"].spec["settings"]
        assert settings["cluster_id"] == cluster
        assert settings["cluster_cidr"] == cidr
        assert settings["service_cidr"] == services
        assert settings["cable_driver"] == "libreswan"
        assert settings["health_check"] is False
        assert settings["gateways"] == ["controller-node-1"]
        assert settings["version"] == plan.submariner.version


def test_the_broker_is_told_its_settings() -> None:
    plan = load_plan(raw_plan())
    assert run_mesh()["cluster-a-deploy-broker"].spec == {
        "access": {"variable": "KUBECONFIG_CLUSTER_A", "context": None, "kubeconfig": None},
        "settings": derive.broker_settings(plan).model_dump(mode="json"),
    }


def test_the_preflight_is_told_of_all_owned_clusters() -> None:
    graph = run_mesh(
        raw_plan({"submariner": {"ignoreRequirements": True}}, clusters=3), owned=["cluster-a", "cluster-c"]
    )
    spec = graph["mesh-preflight"].spec
    assert spec["clusters"].keys() == {"cluster-a", "cluster-c"}
    assert spec["version"] == "0.24.1"
    assert spec["ignore_requirements"] is True
    assert run_mesh()["mesh-preflight"].spec["ignore_requirements"] is False


def test_a_join_waits_in_preview_for_an_info_that_is_not_known_yet() -> None:
    graph = run_mesh(preview=True)
    assert graph["cluster-b-join"].inputs["stdin"] is UNKNOWN
    # Given by another stack, it is known: what changes in the plan can be told apart from what does not.
    given = run_mesh(owned=["cluster-b"], broker_info="info", preview=True)
    assert given["cluster-b-join"].spec["broker_info"] == "info"


OTHERS = {
    "other pools": raw_plan(
        {
            "clusters": {
                "cluster-a": {
                    "pools": [{"name": "new", "subnet": "172.110.8.0/24", "ips": ["172.110.8.1-172.110.8.9"]}]
                }
            }
        }
    ),
    "another pod CIDR": raw_plan(
        {
            "clusters": {
                "cluster-a": {
                    "podCIDR": "172.120.0.0/16",
                    "pools": [{"name": "new", "subnet": "172.120.8.0/24", "ips": ["172.120.8.1-172.120.8.9"]}],
                }
            }
        }
    ),
    "other gateways": raw_plan({"clusters": {"cluster-a": {"gateways": ["gw-1", "gw-2"]}}}),
    "a third cluster": raw_plan(clusters=3),
    "other replicas": raw_plan({"sampleApp": {"replicas": 5}}),
    "another chart": raw_plan({"spiderpool": {"version": "1.2.1"}}),
}


@pytest.mark.parametrize("change", OTHERS)
def test_a_cluster_does_not_join_again_because_of_another_one(change: str) -> None:
    steps = Steps()
    before, after = run_mesh(steps=steps), run_mesh(OTHERS[change], steps=steps)
    assert after["cluster-b-join"].comparable() == before["cluster-b-join"].comparable()


@pytest.mark.parametrize("change", ["another pod CIDR", "a third cluster"])
def test_routes_into_the_tunnel_do_follow_other_clusters(change: str) -> None:
    name = "cluster-b-network-macvlan-conf"
    before, after = run_mesh()[name].inputs["spec"], run_mesh(OTHERS[change])[name].inputs["spec"]
    cidr = "172.120.0.0/16" if change == "another pod CIDR" else "172.112.0.0/16"
    assert cidr in after["coordinator"]["hijackCIDR"]
    assert cidr not in before["coordinator"]["hijackCIDR"]
    assert after["macvlan"] == before["macvlan"]


def test_a_rotated_key_reaches_the_broker_and_through_its_info_the_joins() -> None:
    rotated = raw_plan({"submariner": {"pskRotation": 1}})
    before, after = run_mesh(steps=Steps()), run_mesh(rotated, steps=Steps())
    assert after["cluster-a-deploy-broker"].spec["settings"]["psk_rotation"] == 1
    assert after["cluster-b-join"].spec["settings"] == before["cluster-b-join"].spec["settings"]
    assert after["cluster-b-join"].spec["broker_info"] != before["cluster-b-join"].spec["broker_info"]


def test_warnings_of_a_step_are_told_when_it_has_run_and_not_again() -> None:
    def warning(when: float) -> Callable[[str, dict[str, object]], dict[str, object]]:
        warnings = {"warnings": ["kubelet is old", "no MTU"], "warnedAt": when}
        return lambda step, spec: Steps()(step, spec) | (warnings if step == "join" else {})

    assert sorted(run_mesh(steps=warning(time.time())).warnings) == [
        (f"{cluster}-join", text) for cluster in ("cluster-a", "cluster-b") for text in ("kubelet is old", "no MTU")
    ]
    assert run_mesh(steps=warning(time.time() - 3600)).warnings == []
    assert run_mesh().warnings == []
