"""The stand-in against the real subctl: the same calls, on the same API servers, one after the other.

Where there is no real subctl on PATH the comparisons are skipped, and only what the tables promise of the stand-in is
checked.

The clusters are emptied of everything that belongs to Submariner, several times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.parity.calls import OFFLINE, ONLINE, Call, Result, Tool, fill, flags_in_help
from tests.parity.recording import Recorder, Recording
from tests.steps.api import Api, brisk_namespaces

# The real one alone needs some four minutes, nearly all of them waiting.
pytestmark = pytest.mark.timeout(1200)

COMMANDS = (
    ("deploy-broker",),
    ("join",),
    ("uninstall",),
    ("recover-broker-info",),
    ("export", "service"),
)


@pytest.fixture(scope="module")
def standin_run(
    standin: Tool, kubeconfigs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, restored_clusters: None
) -> Recording:
    with brisk_namespaces([Api(path) for path in kubeconfigs.values()]):
        return Recorder(standin, kubeconfigs, tmp_path_factory.mktemp("standin")).run()


@pytest.fixture(scope="module")
def real_run(
    real: Tool,
    standin_run: Recording,
    kubeconfigs: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    restored_clusters: None,
) -> Recording:
    with brisk_namespaces([Api(path) for path in kubeconfigs.values()]):
        recording = Recorder(real, kubeconfigs, tmp_path_factory.mktemp("real")).run()
    # For people (pytest -s): times on a busy machine are nothing to assert.
    for step, seconds in standin_run.seconds.items():
        print(f"  {step}: stand-in {seconds:.1f} s, real {recording.seconds[step]:.1f} s")
    return recording


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_flags_are_the_real_ones(command: tuple[str, ...], standin: Tool, real: Tool, tmp_path: Path) -> None:
    ours, theirs = (flags_in_help(tool.run(*command, "--help", cwd=tmp_path).stdout) for tool in (standin, real))
    assert len(theirs) > 10
    assert ours == theirs


def _run(tool: Tool, call: Call, folder: Path) -> Result:
    return tool.run(*fill(call, folder, {}), cwd=folder, env=call.env, unset=call.unset)


@pytest.mark.parametrize("call", OFFLINE, ids=lambda call: call.name)
def test_offline_call_of_the_standin(call: Call, standin: Tool, tmp_path: Path) -> None:
    assert _run(standin, call, tmp_path).rc == call.rc


@pytest.mark.parametrize("call", OFFLINE, ids=lambda call: call.name)
def test_offline_call_is_the_same(call: Call, standin: Tool, real: Tool, tmp_path: Path) -> None:
    ours, theirs = _run(standin, call, tmp_path), _run(real, call, tmp_path)
    assert (ours.rc, theirs.rc) == (call.rc, call.rc)
    if call.words:
        assert ours.complaints == theirs.complaints
    if theirs.rc and theirs.stdout:  # cobra says it twice
        assert ours.stdout.splitlines()[0] == theirs.stdout.splitlines()[0]


# --- on clusters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ONLINE, ids=lambda call: call.name)
def test_online_call_of_the_standin(call: Call, standin_run: Recording) -> None:
    assert standin_run.results[call.name].rc == call.rc


@pytest.mark.parametrize("call", ONLINE, ids=lambda call: call.name)
def test_online_call_is_the_same(call: Call, standin_run: Recording, real_run: Recording) -> None:
    ours, theirs = standin_run.results[call.name], real_run.results[call.name]
    assert (ours.rc, theirs.rc) == (call.rc, call.rc)
    if call.words:
        assert ours.complaints == theirs.complaints
    left = f"left by {call.name}"
    assert standin_run.facts[left] == real_run.facts[left]


# The exit code of every step of a mesh's life, and what its last complaint must contain.
STEPS = {
    "deploy": (0, ""),
    "deploy again": (0, ""),
    "deploy with key": (0, ""),
    "deploy with lost key": (1, ""),
    "deploy anew": (0, ""),
    "wrong token": (1, "Unauthorized"),
    "wrong CA": (1, "x509: certificate signed by unknown authority"),
    "no token": (2, ""),
    "join": (0, ""),
    "join again": (0, ""),
    "join broker": (0, ""),
    "recover": (0, ""),
    "join with another's ID": (1, "Detected an existing joined cluster with the same ID"),
    "uninstall used broker": (0, ""),
    "uninstall": (0, ""),
    "uninstall again": (0, ""),
    "uninstall broker": (0, ""),
    "deploy discovery": (0, ""),
    "join discovery": (0, ""),
    "join discovery again": (0, ""),
    "recover discovery": (0, ""),
    "uninstall discovery": (0, ""),
    "uninstall without Endpoints": (1, 'no matches for kind "Endpoint"'),
    "deploy globalnet": (0, ""),
    "global CIDR and size": (1, "only one of cluster size and global CIDR"),
    "bad global CIDR of a member": (1, "specified globalnet-cidr is invalid"),
    "join globalnet": (0, ""),
    "taken global CIDR": (1, "overlaps with cluster"),
}


@pytest.mark.parametrize("step", STEPS)
def test_step_of_the_standin(step: str, standin_run: Recording) -> None:
    rc, complaint = STEPS[step]
    result = standin_run.results[step]
    assert result.rc == rc, result.stderr
    assert complaint in "".join(result.complaints[-1:])


@pytest.mark.parametrize("step", STEPS)
def test_step_is_the_same(step: str, standin_run: Recording, real_run: Recording) -> None:
    ours, theirs = standin_run.results[step], real_run.results[step]
    assert ours.rc == theirs.rc, theirs.stderr
    assert ours.complaints == theirs.complaints


def _snapshots() -> list[str]:
    steps_of_a = ["deploy", "deploy again", "wrong calls", "join", "join again", "join broker", "uninstall used broker"]
    steps_of_a += ["uninstall", "uninstall broker", "deploy discovery", "deploy globalnet", "join globalnet"]
    steps_of_b = ["wrong calls", "join", "join again", "uninstall", "join discovery", "join discovery again"]
    steps_of_b += ["uninstall discovery", "join globalnet"]
    return [f"{step}: a" for step in steps_of_a] + [f"{step}: b" for step in steps_of_b]


@pytest.mark.parametrize("name", _snapshots())
def test_objects_are_the_same(name: str, standin_run: Recording, real_run: Recording) -> None:
    ours, theirs = standin_run.objects[name], real_run.objects[name]
    assert sorted(ours) == sorted(theirs)
    for key, value in theirs.items():
        assert ours[key] == value, key


def test_every_snapshot_is_compared(standin_run: Recording) -> None:
    assert sorted(standin_run.objects) == sorted(_snapshots())
    assert sorted(standin_run.results) == sorted([*STEPS, *(call.name for call in ONLINE)])


@pytest.mark.parametrize("step", ["uninstall: b", "uninstall broker: a", "uninstall discovery: b"])
def test_uninstall_leaves_nothing(step: str, standin_run: Recording) -> None:
    assert standin_run.objects[step] == {}


@pytest.mark.parametrize(
    ("earlier", "later", "kept", "renewed"),
    [
        (
            "deploy",
            "deploy again",
            {"Deployment submariner-operator", "Secret submariner-k8s-broker-admin-token-*"},
            {"Broker submariner-broker"},
        ),
        (
            "join",
            "join again",
            set(),
            {"Submariner submariner", "Secret submariner-broker-secret", "Secret submariner-ipsec-psk"},
        ),
        (
            "join discovery",
            "join discovery again",
            {"ServiceDiscovery service-discovery"},
            {"Secret submariner-broker-secret"},
        ),
    ],
)
@pytest.mark.parametrize("which", ["stand-in", "real"])
def test_what_a_second_run_makes_anew(
    which: str, earlier: str, later: str, kept: set[str], renewed: set[str], request: pytest.FixtureRequest
) -> None:
    uids = request.getfixturevalue("standin_run" if which == "stand-in" else "real_run").uids
    before, after = uids[earlier], uids[later]
    assert set(before) == set(after) == kept | renewed
    assert {name for name in before if before[name] == after[name]} == kept


# --- the broker-info file ---------------------------------------------------------------------------------------------


def _shape(value: Any) -> Any:
    """Return names and types; of the metadata only what a reader can count on."""
    if isinstance(value, dict):
        chance = ("managedFields", "labels")  # these differ between two runs of the same program
        return {key: _shape(item) for key, item in value.items() if key not in chance}
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return type(value).__name__


INFO_STEPS = ("deploy", "deploy again", "deploy with key", "recover", "deploy discovery", "deploy globalnet")


@pytest.mark.parametrize("step", INFO_STEPS)
def test_broker_info_has_the_real_shape(step: str, standin_run: Recording, real_run: Recording) -> None:
    ours, theirs = standin_run.infos[step], real_run.infos[step]
    assert list(ours) == list(theirs)
    assert _shape(ours) == _shape(theirs)
    for key in ("brokerURL", "ServiceDiscovery", "Components", "CustomDomains"):
        assert ours[key] == theirs[key]
    assert len(ours["IPSecPSK"]["data"]["psk"]) == len(theirs["IPSecPSK"]["data"]["psk"])
    assert ours["ClientToken"]["type"] == theirs["ClientToken"]["type"]
    assert ours["ClientToken"]["data"]["namespace"] == theirs["ClientToken"]["data"]["namespace"]
    assert ours["ClientToken"]["data"]["ca.crt"] == theirs["ClientToken"]["data"]["ca.crt"]


@pytest.mark.parametrize("which", ["stand-in", "real"])
def test_which_secrets_a_new_file_has(which: str, request: pytest.FixtureRequest) -> None:
    infos = request.getfixturevalue("standin_run" if which == "stand-in" else "real_run").infos
    keys = {step: info["IPSecPSK"]["data"]["psk"] for step, info in infos.items()}
    tokens = {step: info["ClientToken"]["data"]["token"] for step, info in infos.items()}
    assert keys["deploy"] != keys["deploy again"]
    assert keys["deploy with key"] == keys["deploy"]
    assert tokens["deploy"] == tokens["deploy again"] == tokens["deploy with key"] == tokens["recover"]


def test_files_are_the_same(standin_run: Recording, real_run: Recording) -> None:
    for fact in ("mode", "files", "files after lost key", "gateway labels"):
        assert standin_run.facts[fact] == real_run.facts[fact], fact
    assert standin_run.facts["mode"] == 0o600
