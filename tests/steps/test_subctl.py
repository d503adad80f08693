"""How subctl is run: against programs that misbehave in ways that neither subctl nor its stand-in does on request."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mesh.access import ClusterAccess
from mesh.steps import subctl
from mesh.steps.errors import StepError
from mesh.steps.kubeconfig import Kubeconfig
from mesh.steps.subctl import Result, Subctl
from tests.steps.runner import ROOT, alive, run, wait_for

KUBECONFIG = Kubeconfig("cluster-b", "https://b:6443", "a kubeconfig", "", {"users": [{"token": "s3cret-value"}]})


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A subctl first on PATH that the test writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "subctl"


def _write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_it_gets_only_what_it_needs(program: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(program, 'echo "$@"; pwd; env; cat')
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "s3cret-value")
    monkeypatch.setenv("KUBECONFIG_CLUSTER_B", "/somewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    lines = Subctl(KUBECONFIG, work).run("join", "--natt=false").stdout.splitlines()
    assert lines[0] == "join --natt=false --kubeconfig=kubeconfig --context=mesh"
    assert lines[1] == str(work)
    names = {line.split("=")[0] for line in lines[2:]} - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names <= {"HOME", "PATH", "TERM", "LC_ALL", "TMPDIR", "HTTPS_PROXY"} | set(subctl._PASSED_ON)
    assert {"HTTPS_PROXY=http://proxy:3128", "TERM=dumb"} <= set(lines)
    assert "s3cret" not in "\n".join(lines)
    assert (work / "kubeconfig").stat().st_mode & 0o777 == 0o600


def test_a_credential_plugin_gets_its_own_settings_but_not_pulumis(
    program: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(program, "env")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "s3cret-value")
    monkeypatch.setenv("AWS_PROFILE", "site-b")
    plugged = Kubeconfig("cluster-b", "https://b:6443", "a kubeconfig", "aws", {})
    said = Subctl(plugged, work).run("join").stdout
    assert "AWS_PROFILE=site-b" in said
    assert "s3cret" not in said
    assert "AWS_PROFILE" not in Subctl(KUBECONFIG, work).run("join").stdout


def test_home_is_set_even_where_it_is_not(program: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(program, "echo $HOME")
    monkeypatch.delenv("HOME")
    assert Subctl(KUBECONFIG, work).run("join").stdout.strip() == str(work)


def test_what_it_has_started_ends_with_it(program: Path, work: Path) -> None:
    _write(program, "sleep 300 >/dev/null 2>&1 & echo $!")
    child = int(Subctl(KUBECONFIG, work).run("join").stdout)
    wait_for(lambda: not alive(child), 5)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_step(program: Path, tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "pids"
    # For SIGKILL the kernel takes subctl itself; for SIGTERM the step takes all that it has started.
    _write(program, f"sleep 300 & echo $! > {pids}.child; echo $$ > {pids}; exec sleep 300")
    code = (
        "import signal, sys; from pathlib import Path; from mesh.steps.__main__ import _stop\n"
        "signal.signal(signal.SIGTERM, _stop)\n"
        "from mesh.steps.kubeconfig import Kubeconfig; from mesh.steps.subctl import Subctl\n"
        f"Subctl(Kubeconfig('b', '', '', '', {{}}), Path({str(tmp_path)!r})).run('join')"
    )
    step = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    main = int(wait_for(lambda: pids.exists() and pids.read_text().strip()))
    child = int((tmp_path / "pids.child").read_text())
    try:
        step.send_signal(number)
        step.wait(10)
        wait_for(lambda: not alive(main), 5)
        if number == signal.SIGTERM:
            wait_for(lambda: not alive(child), 5)
    finally:
        if alive(child):
            os.kill(child, signal.SIGKILL)


def test_without_it_every_step_that_needs_it_says_how_to_get_it(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepError, match=r"not on PATH: get .*github.com/submariner-io/subctl/releases"):
        Subctl(KUBECONFIG, work)


@pytest.mark.parametrize(
    ("stderr", "conflict"),
    [
        (" • Updating  ...\n ⚠ Conflict occurred updating the ClustersetIP ConfigMap - retrying\n", True),
        (' ✗ Error validating overlapping global CIDRs 242.0.0.0/16: … overlaps with cluster "c4"\n', True),
        (" ✗ Operation cannot be fulfilled on configmaps: the object has been modified\n", True),
        (" ✗ Error retrieving broker admin config: connection refused\n", False),
        ("Error: unknown flag: --nope\nUsage:\n  subctl join\n", False),
        ("panic: runtime error\n", False),
    ],
)
def test_only_conflicts_are_tried_again(stderr: str, conflict: bool) -> None:
    assert Result(1, "", stderr).conflict is conflict
    assert not Result(2, "", stderr).conflict
    assert not Result(-9, "", stderr).conflict


@pytest.mark.parametrize(
    ("stderr", "words", "hint"),
    [
        (
            ' ✗ Gathering\n ✗ Detected an existing joined cluster with the same ID "cluster-b" on the broker.\n',
            'same ID "cluster-b"',
            "delete clusters.submariner.io",
        ),
        (
            " ✗ Deploying the Submariner operator\n ✗ Error deploying the operator: error awaiting Deployment ready: "
            "context deadline exceeded\n\nsubctl version: v0.24.1\n",
            "error awaiting Deployment ready",
            "get pods",
        ),
        (" ✗ Error retrieving broker admin config: Get x: Unauthorized\n", "Unauthorized", "deployed anew"),
        (" ✗ Error retrieving broker admin config: dial tcp: i/o timeout\n", "i/o timeout", "set broker.url"),
        (' ✗ nodes is forbidden: User "u" cannot list\n', "forbidden", "cluster-admin"),
        (" ✗ Error collecting CIDR: EOF\n", "EOF", "asked a question"),
        ("Error: unknown flag: --nope\nUsage:\n  subctl join [flags]\n", "unknown flag: --nope", "install the subctl"),
        (" • Saving\n\x1b[31m ✗ failed to save\x1b[0m\n", "failed to save", "run it again"),
        ("W1125 01:00:00 warn\n", "nothing, and ended with 1", "run it again"),
    ],
)
def test_an_error_has_its_words_and_a_hint(stderr: str, words: str, hint: str) -> None:
    sentence = str(Result(1, "", subctl._plain(stderr)).explain("join in cluster-b"))
    assert sentence.startswith("subctl join in cluster-b said: ")
    assert words in sentence
    assert hint in sentence
    assert "\x1b" not in sentence


def test_a_long_error_is_cut() -> None:
    assert len(str(Result(1, "", " ✗ " + "x" * 5000).explain("join"))) < 1000


@pytest.mark.parametrize(
    ("said", "version"),
    [("subctl version: v0.24.1", "0.24.1"), ("subctl version: v0.25.0-m0", "0.25.0-m0"), ("version 0.19.0", "0.19.0")],
)
def test_its_version_is_read(program: Path, work: Path, said: str, version: str) -> None:
    _write(program, f"echo '{said}'")
    assert subctl.version(work) == (version, False)


@pytest.mark.parametrize("script", ["echo devel", "exit 3", "echo broken >&2; exit 1"])
def test_a_version_that_is_none_is_told(program: Path, work: Path, script: str) -> None:
    _write(program, script)
    with pytest.raises(StepError, match="does not say its version"):
        subctl.version(work)


def test_never_a_terminal_to_ask_on(program: Path, work: Path) -> None:
    _write(program, "[ -t 0 ] && echo terminal; (: </dev/tty) 2>/dev/null && echo tty; read answer || echo end")
    started = time.monotonic()
    assert Subctl(KUBECONFIG, work).run("join").stdout.strip() == "end"
    assert time.monotonic() - started < 5


def test_no_way_to_the_cluster_is_told_with_the_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.steps.mesh import Mesh
    from tests.unit.test_broker_info import INFO

    monkeypatch.delenv("KUBECONFIG_CLUSTER_B", raising=False)
    spec = Mesh(broker_info=INFO.encode()).join_spec("cluster-b", access=ClusterAccess.of("cluster-b"))
    assert "set KUBECONFIG_CLUSTER_B to the path of its kubeconfig" in run("join", spec).error
