"""The stand-in by itself: its honesty, its failures on request, and the rules it shares with the real one."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.standin import STANDIN_NOTICE, broker_info, flags, install, is_standin, kube, objects, operator, ranges
from lab.standin.errors import ApiError, PanicError, SubctlError, UnexplainedError, UsageError
from lab.standin.report import Reporter
from tests.parity.calls import Tool
from tests.parity.recording import await_gone, wipe
from tests.steps.api import Api, brisk_namespaces

# --- what it says of itself -------------------------------------------------------------------------------------------


def test_it_names_itself(standin: Tool, tmp_path: Path) -> None:
    shown = standin.run("version", cwd=tmp_path)
    assert shown.stdout.splitlines() == ["subctl version: v0.24.1", STANDIN_NOTICE]
    assert is_standin(shown.stdout)
    assert not is_standin("subctl version: v0.24.1\n")
    # Every other run does so as well, whatever becomes of it.
    assert STANDIN_NOTICE in standin.run("join", cwd=tmp_path).stderr


def test_claimed_version_can_be_set(standin: Tool, tmp_path: Path) -> None:
    shown = standin.run("version", cwd=tmp_path, env={"MESH_STANDIN_VERSION": "0.23.0"})
    assert shown.stdout.startswith("subctl version: v0.23.0\n")


def test_launcher_works_from_anywhere_with_nothing_in_the_environment(tmp_path: Path) -> None:
    launcher = install(tmp_path / "a bin's")
    assert launcher.name == "subctl"
    ended = subprocess.run([str(launcher), "version"], cwd="/", env={"HOME": "/"}, capture_output=True, check=True)
    assert is_standin(ended.stdout.decode())


# --- failures on request ----------------------------------------------------------------------------------------------


def _entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_log_has_one_line_per_run(standin: Tool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    secret = {"MESH_STANDIN_LOG": str(log), "A_NAME": "a-value"}
    standin.run("version", cwd=tmp_path, env=secret)
    standin.run("join", "nowhere", cwd=tmp_path, env=secret)
    first, second = _entries(log)
    assert (first["argv"], first["rc"]) == (["version"], 0)
    assert (second["argv"], second["rc"]) == (["join", "nowhere"], 1)
    assert first["cwd"] == str(tmp_path)
    assert "A_NAME" in first["env"]
    assert "a-value" not in log.read_text()
    assert first["start"] <= first["end"] <= second["start"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_hangs_on_request_and_ends_when_killed(standin: Tool, tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    environment = {**os.environ, "MESH_STANDIN_HANG": "deploy-broker", "MESH_STANDIN_LOG": str(log)}
    process = subprocess.Popen(
        [str(standin.path), "deploy-broker"], env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"?"
    time.sleep(0.2)
    assert process.poll() is None
    entry = _entries(log)[0]
    assert (entry["pid"], entry["end"], entry["rc"]) == (process.pid, None, None)
    process.send_signal(number)
    assert process.wait(10) == -number
    process.stdout.close()
    assert len(_entries(log)) == 1


def test_only_the_command_asked_for_hangs(standin: Tool, tmp_path: Path) -> None:
    ended = standin.run("join", "nowhere", cwd=tmp_path, env={"MESH_STANDIN_HANG": "deploy-broker"}, timeout=20)
    assert ended.rc == 1


# --- the command line -------------------------------------------------------------------------------------------------


def test_lists_replace_the_default_and_then_add_up() -> None:
    words = ["--components", "connectivity", "--components=service-discovery,x", "--custom-domains", '"a,b",c']
    values, _ = flags.parse(flags.DEPLOY_BROKER, words)
    assert values.texts("components") == ["connectivity", "service-discovery", "x"]
    assert values.texts("custom-domains") == ["a,b", "c"]
    assert flags.parse(flags.DEPLOY_BROKER, [])[0].texts("components") == ["service-discovery", "connectivity"]


def test_flags_and_arguments_may_be_mixed() -> None:
    values, arguments = flags.parse(flags.JOIN, ["--natt=false", "file", "--clusterid", "-x", "--", "--nattport"])
    assert arguments == ["file", "--nattport"]
    assert not values.switch("natt")
    assert values.text("clusterid") == "-x"
    assert values.number("nattport") == 4500


def test_a_switch_takes_no_separate_value() -> None:
    values, arguments = flags.parse(flags.JOIN, ["--natt", "false"])
    assert values.switch("natt")
    assert arguments == ["false"]


@pytest.mark.parametrize(("word", "expected"), [("-yn", "ns"), ("-yn=ns", "ns"), ("-ynns", "ns")])
def test_shorthands_can_be_put_together(word: str, expected: str) -> None:
    values, _ = flags.parse(flags.UNINSTALL, [word, "ns"] if word == "-yn" else [word])
    assert values.switch("yes")
    assert values.text("namespace") == expected


def test_a_flag_with_a_bare_value() -> None:
    assert flags.parse(flags.EXPORT_SERVICE, ["--use-clusterset-ip", "web"])[0].text("use-clusterset-ip") == "true"
    assert flags.parse(flags.EXPORT_SERVICE, [])[0].text("use-clusterset-ip") == ""
    with pytest.raises(UsageError, match="out of range"):
        flags.parse(flags.JOIN, ["--nattport", str(2**70)])


# --- the broker-info file ---------------------------------------------------------------------------------------------

TOKEN = {"metadata": {"name": "t"}, "data": {key: objects.encode(key) for key in ("token", "namespace", "ca.crt")}}


def test_file_is_private_and_an_older_one_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.umask(os.umask(0))
    for psk in (b"one", b"two"):
        broker_info.back_up(Reporter())
        broker_info.write("https://broker", TOKEN, psk, ["service-discovery", "connectivity"], [])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "broker-info.subm"
    assert re.fullmatch(r"broker-info\.subm\.\d{4}-\d\d-\d\dT\d\d_\d\d_\d\d(Z|[+-]\d\d_\d\d)", names[1])
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert broker_info.read(names[0]).psk == b"two"
    assert broker_info.read(names[1]).psk == b"one"


def _write(path: Path, content: object) -> str:
    path.write_bytes(base64.urlsafe_b64encode(json.dumps(content).encode()) + b"\n")
    return str(path)


def test_keys_are_read_as_go_does(tmp_path: Path) -> None:
    info = broker_info.read(_write(tmp_path / "f", {"BROKERURL": "u", "clienttoken": TOKEN, "components": ["x"]}))
    assert (info.url, info.components) == ("u", ["x"])
    assert info.token_data("token") == b"token"
    assert info.psk == b""


def test_a_file_without_token_crashes_only_where_the_real_one_does(tmp_path: Path) -> None:
    info = broker_info.read(_write(tmp_path / "f", {"IPSecPSK": {"data": {"psk": objects.encode("k")}}}))
    assert info.psk == b"k"
    with pytest.raises(PanicError):
        info.token_data("token")


# --- address ranges ---------------------------------------------------------------------------------------------------


class Broker(kube.Cluster):
    """A broker that keeps one ConfigMap and turns down the first writes."""

    def __init__(self, config_map: dict[str, Any], conflicts: int = 0, rival: str = "") -> None:
        self.config_map = {**config_map, "metadata": {"name": "c", "namespace": "n"}}
        self._conflicts = conflicts
        self._rival = rival

    def get(self, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
        return json.loads(json.dumps(self.config_map))  # type: ignore[no-any-return]

    def replace(self, obj: dict[str, Any]) -> dict[str, Any]:
        if self._conflicts:
            self._conflicts -= 1
            if self._rival:
                known = [{"cluster_id": "rival", "global_cidr": [self._rival]}]
                self.config_map["data"]["clusterinfo"] = json.dumps(known)
            raise ApiError("the object has been modified", 409, "Conflict")
        self.config_map = obj
        return obj

    def allocated(self) -> dict[str, str]:
        known = json.loads(self.config_map["data"].get("clusterinfo", "[]"))
        return {item["cluster_id"]: item["global_cidr"][0] for item in known}


def _clusterset(**options: Any) -> Broker:
    return Broker(ranges.config_map(ranges.CLUSTERSET, "n", enabled=False, cidr="243.0.0.0/8", size=0), **options)


def _globalnet(size: int = 65536, **options: Any) -> Broker:
    return Broker(ranges.config_map(ranges.GLOBALNET, "n", enabled=True, cidr="242.0.0.0/8", size=size), **options)


def _allocate(kind: ranges.Kind, broker: Broker, cluster_id: str, cidr: str = "", size: int = 0) -> str:
    wanted = ranges.Allocation(cluster_id, cidr, size)
    ranges.allocate(kind, broker, "n", wanted, Reporter())
    return wanted.cidr


def test_ranges_are_handed_out_in_turn_and_kept() -> None:
    broker = _globalnet()
    assert [_allocate(ranges.GLOBALNET, broker, name) for name in ("one", "two", "one")] == [
        "242.0.0.0/16",
        "242.1.0.0/16",
        "242.0.0.0/16",
    ]
    assert broker.allocated() == {"one": "242.0.0.0/16", "two": "242.1.0.0/16"}
    # What one has counts more than what one asks for.
    assert _allocate(ranges.GLOBALNET, broker, "one", "242.9.0.0/16") == "242.0.0.0/16"
    with pytest.raises(SubctlError, match='overlaps with cluster "two"'):
        _allocate(ranges.GLOBALNET, broker, "three", "242.1.128.0/20")
    assert _allocate(ranges.GLOBALNET, broker, "three", size=1000) == "242.2.0.0/22"


def test_a_lost_race_is_run_again() -> None:
    broker = _clusterset(conflicts=4, rival="243.0.0.0/20")
    assert _allocate(ranges.CLUSTERSET, broker, "one", size=ranges.CLUSTERSET_BLOCK) == "243.0.16.0/20"


def test_after_five_lost_races_it_fails_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnexplainedError):
        _allocate(ranges.CLUSTERSET, _clusterset(conflicts=5), "one", size=ranges.CLUSTERSET_BLOCK)
    shown = capsys.readouterr().err
    assert shown.splitlines()[-1] == " ⚠ Conflict occurred updating the ClustersetIP ConfigMap - retrying"
    assert "✗" not in shown


def test_globalnet_loses_a_race_the_way_subctl_does() -> None:
    with pytest.raises(SubctlError, match='overlaps with cluster "rival"'):
        _allocate(ranges.GLOBALNET, _globalnet(conflicts=1, rival="242.0.0.0/16"), "one")


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (2, 2), (3, 4), (5000, 8192), (65536, 65536), (2**23, 2**23)])
def test_sizes_are_rounded_up(size: int, expected: int) -> None:
    assert ranges.valid_size("242.0.0.0/8", size) == expected


def test_a_full_range_is_refused() -> None:
    broker = Broker(ranges.config_map(ranges.GLOBALNET, "n", enabled=True, cidr="242.0.0.0/23", size=256))
    for name in ("one", "two"):
        _allocate(ranges.GLOBALNET, broker, name)
    with pytest.raises(SubctlError, match="no more allocations available"):
        _allocate(ranges.GLOBALNET, broker, "three")


# --- on clusters ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mesh(
    standin: Tool, kubeconfigs: dict[str, Path], tmp_path: Path, restored_clusters: None
) -> Iterator[dict[str, Path]]:
    """Give two clusters, empty but for a broker, whose file is in the test's folder."""
    clusters = [kube.from_file(path) for path in kubeconfigs.values()]
    _wipe(kubeconfigs)
    for cluster in clusters:
        node = cluster.find_all("Node")[0]["metadata"]["name"]
        cluster.merge("Node", node, "", {"metadata": {"labels": {objects.GATEWAY_LABEL: "true"}}})
    deployed = standin.run("deploy-broker", "--kubeconfig", str(kubeconfigs["cluster-a"]), cwd=tmp_path)
    assert deployed.rc == 0, deployed.stderr
    yield kubeconfigs
    _wipe(kubeconfigs)


def _wipe(kubeconfigs: dict[str, Path]) -> None:
    with brisk_namespaces([Api(path) for path in kubeconfigs.values()]):
        wipe([kube.from_file(path) for path in kubeconfigs.values()])


def _join(tool: Tool, mesh: dict[str, Path], cluster: str, folder: Path, **env: str) -> Any:
    cidrs = ("--clustercidr", "172.111.0.0/16", "--servicecidr", "10.243.0.0/18")
    return tool.run("join", "broker-info.subm", *cidrs, "--kubeconfig", str(mesh[cluster]), cwd=folder, env=env)


def test_it_fails_once_on_request(standin: Tool, mesh: dict[str, Path], tmp_path: Path) -> None:
    marker = {"MESH_STANDIN_FAIL_ONCE": str(tmp_path / "marker")}
    failed = _join(standin, mesh, "cluster-b", tmp_path, **marker)
    assert failed.rc == 1
    assert failed.complaints == []
    assert "Conflict occurred" in failed.stderr
    assert kube.from_file(mesh["cluster-b"]).find("Submariner", "submariner", objects.OPERATOR_NAMESPACE) is None
    assert _join(standin, mesh, "cluster-b", tmp_path, **marker).rc == 0


def test_killed_in_the_middle_it_can_start_again(standin: Tool, mesh: dict[str, Path], tmp_path: Path) -> None:
    cluster = kube.from_file(mesh["cluster-b"])
    words = ("join", "broker-info.subm", "--clustercidr", "172.111.0.0/16", "--servicecidr", "10.243.0.0/18")
    process = subprocess.Popen(
        [str(standin.path), *words, "--kubeconfig", str(mesh["cluster-b"])],
        cwd=tmp_path,
        env={**os.environ, "MESH_STANDIN_SLOW": "60"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    broker = kube.from_file(mesh["cluster-a"])
    for _ in kube.poll(60):
        if broker.find("ServiceAccount", "cluster-cluster-b", objects.BROKER_NAMESPACE):
            break
    time.sleep(1)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert cluster.find("Deployment", objects.OPERATOR, objects.OPERATOR_NAMESPACE) is not None
    assert cluster.find("Submariner", "submariner", objects.OPERATOR_NAMESPACE) is None
    assert _join(standin, mesh, "cluster-b", tmp_path).rc == 0


def test_a_stuck_finalizer_is_waited_for_and_reported(standin: Tool, mesh: dict[str, Path], tmp_path: Path) -> None:
    assert _join(standin, mesh, "cluster-b", tmp_path).rc == 0
    cluster, namespace = kube.from_file(mesh["cluster-b"]), objects.OPERATOR_NAMESPACE
    finalizer = {"metadata": {"finalizers": [objects.CLEANUP_FINALIZER]}}
    cluster.merge("Submariner", "submariner", namespace, finalizer)
    joined = _join(standin, mesh, "cluster-b", tmp_path, MESH_STANDIN_WAIT="2")
    assert joined.rc == 1
    assert "timed out waiting for the condition" in joined.complaints[-1]
    leave = ("uninstall", "-y", "--kubeconfig", str(mesh["cluster-b"]))
    running = standin.run(*leave, cwd=tmp_path, env={"MESH_STANDIN_WAIT": "2"})
    assert running.rc == 1
    assert "operator pod appears to be running" in running.complaints[-1]
    cluster.delete("Deployment", objects.OPERATOR, namespace)
    forced = standin.run(*leave, cwd=tmp_path, env={"MESH_STANDIN_WAIT": "2"})
    assert forced.rc == 0, forced.stderr
    assert "will be force-deleted" in forced.stderr


def test_simulated_gateways(standin: Tool, mesh: dict[str, Path], tmp_path: Path) -> None:
    for name in mesh:
        assert _join(standin, mesh, name, tmp_path).rc == 0
    operator.simulate(mesh)
    for name, other in (("cluster-a", "cluster-b"), ("cluster-b", "cluster-a")):
        cluster = kube.from_file(mesh[name])
        (gateway,) = cluster.find_all("Gateway", objects.OPERATOR_NAMESPACE)
        assert gateway["metadata"]["annotations"][operator.SIMULATED] == "true"
        assert abs(int(gateway["metadata"]["annotations"]["update-timestamp"]) - time.time()) < 60
        assert gateway["status"]["haStatus"] == "active"
        assert gateway["status"]["localEndpoint"]["cluster_id"] == name
        (connection,) = gateway["status"]["connections"]
        assert (connection["endpoint"]["cluster_id"], connection["status"]) == (other, "connected")
        assert connection["latencyRTT"]["average"]
        assert {item["spec"]["cluster_id"] for item in cluster.find_all("Cluster", objects.OPERATOR_NAMESPACE)} == {
            "cluster-a",
            "cluster-b",
        }
        assert len(cluster.find_all("RouteAgent", objects.OPERATOR_NAMESPACE)) == len(cluster.find_all("Node"))
        assert cluster.get("Submariner", "submariner", objects.OPERATOR_NAMESPACE)["status"]["clusterID"] == name

    operator.break_connection(mesh["cluster-a"], "cluster-b")
    operator.make_stale(mesh["cluster-b"])
    (broken,) = kube.from_file(mesh["cluster-a"]).find_all("Gateway")
    (stale,) = kube.from_file(mesh["cluster-b"]).find_all("Gateway")
    assert broken["status"]["connections"][0]["status"] == "error"
    assert "latencyRTT" not in broken["status"]["connections"][0]
    assert int(stale["metadata"]["annotations"]["update-timestamp"]) < time.time() - 500


def test_broker_counts_as_used_until_members_are_forgotten(
    standin: Tool, mesh: dict[str, Path], tmp_path: Path
) -> None:
    for name in mesh:
        assert _join(standin, mesh, name, tmp_path).rc == 0
    operator.simulate(mesh)
    leave = {name: ("uninstall", "-y", "--kubeconfig", str(path)) for name, path in mesh.items()}
    assert standin.run(*leave["cluster-b"], cwd=tmp_path).rc == 0
    kept = standin.run(*leave["cluster-a"], cwd=tmp_path)
    assert kept.rc == 0
    assert "appears to be in use by other clusters ([cluster-b])" in kept.stderr
    broker = kube.from_file(mesh["cluster-a"])
    assert broker.find("Namespace", objects.BROKER_NAMESPACE) is not None
    operator.forget("cluster-b", {"broker": mesh["cluster-a"]})
    assert standin.run(*leave["cluster-a"], cwd=tmp_path).rc == 0
    await_gone(broker)
    assert broker.find("Namespace", objects.BROKER_NAMESPACE) is None
