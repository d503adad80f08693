"""Several steps at once on one machine."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mesh.steps.join import AT_ONCE
from tests.steps.mesh import Mesh
from tests.steps.runner import children, finish, left_over, run, runs, start, wait_for

JOINS = 8


def test_at_most_five_joins_at_once(joined: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A subctl that waits for the test and then fails, so that eight steps may try on one cluster without harm.
    log, go = tmp_path / "log", tmp_path / "go"
    log.touch()
    program = tmp_path / "slow" / "subctl"
    program.parent.mkdir()
    wait = f"while [ ! -e {go} ]; do sleep 0.2; done"
    program.write_text(f"#!/bin/sh\necho + >> {log}\n{wait}\necho ' ✗ no' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    spec = joined.join_spec("cluster-b", cluster_cidr="172.112.0.0/16")
    steps = [start("join", spec) for _ in range(JOINS)]
    try:
        wait_for(lambda: log.read_text().count("+") == AT_ONCE)
        wait_for(lambda: sum(bool(_waits(step.pid)) for step in steps) == JOINS - AT_ONCE)
        time.sleep(0.5)
        assert log.read_text().count("+") == AT_ONCE
    finally:
        go.touch()
        outcomes = [finish(step) for step in steps]
    assert all("subctl join in cluster-b said: no" in outcome.error for outcome in outcomes)
    assert log.read_text().count("+") == JOINS
    told = ["waiting for another join on this machine to end" in outcome.stderr for outcome in outcomes]
    assert told.count(True) == JOINS - AT_ONCE, "only those that had to wait say so"


def _waits(pid: int) -> bool:
    """Whether a step has got as far as waiting for a place: it holds the places' files open and has no child."""
    with suppress(OSError):  # a file that has just been closed
        files = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
        return any("/join-" in file for file in files) and not children(pid)
    return False


def test_both_clusters_join_at_once(mesh: Mesh, standin: Path, scratch: Path) -> None:
    mesh.deploy_broker()
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(mesh.join, mesh.plan.clusters))
    assert [outcome.result["action"] for outcome in outcomes] == ["joined", "joined"]
    first, second = [run for run in runs(standin) if run["argv"][0] == "join"]
    assert max(first["start"], second["start"]) < min(first["end"], second["end"])  # they really overlapped
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(mesh.join, mesh.plan.clusters))
    assert [outcome.result["action"] for outcome in outcomes] == ["unchanged", "unchanged"]
    assert not left_over(scratch)


def test_a_step_with_nothing_to_do_is_quick(joined: Mesh) -> None:
    started = time.monotonic()
    run("join", joined.join_spec("cluster-b"))
    assert time.monotonic() - started < 10  # a tenth of it on a machine that has nothing else to do
