"""The private folder of a step, and the places for joins."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mesh.steps import workdir
from mesh.steps.errors import StepError
from tests.steps.runner import ROOT, left_over, wait_for

HOLDER = """
import sys, time
from pathlib import Path
from mesh.steps.workdir import slot, work_dir
with work_dir() as work, slot("test", 2):
    (work / "secret").write_text("secret")
    log = Path(sys.argv[1])
    with log.open("a") as file: print("+", file=file)
    time.sleep(float(sys.argv[2]))
    with log.open("a") as file: print("-", file=file)
"""


@pytest.fixture(autouse=True)
def here(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(scratch))


def _hold(log: Path, seconds: float) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(log), str(seconds)], cwd=ROOT)


def test_only_we_can_read_it_and_it_goes(scratch: Path) -> None:
    with workdir.work_dir() as work:
        workdir.write_private(work / "file", "secret")
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
        assert stat.S_IMODE(work.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE((work / "file").stat().st_mode) == 0o600
        assert str(os.getpid()) in work.name
    assert not left_over(scratch)


def test_it_goes_after_a_failure_too(scratch: Path) -> None:
    def fail() -> None:
        with workdir.work_dir() as work:
            (work / "file").write_text("secret")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not left_over(scratch)


def test_what_a_killed_step_leaves_goes_at_the_next_and_what_a_living_one_has_stays(scratch: Path) -> None:
    killed, living = _hold(scratch / "log", 60), _hold(scratch / "log", 60)
    try:
        wait_for(lambda: len(list(scratch.glob("*/work-*/secret"))) == 2)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with workdir.work_dir():
            pids = {int(path.name.split("-")[1]) for path in scratch.glob("*/work-*")}
        assert pids == {living.pid, os.getpid()}
    finally:
        for process in (killed, living):
            process.kill()
            process.wait()


def test_never_more_at_once_than_there_are_places_and_a_killed_holder_frees_its_own(scratch: Path) -> None:
    log = scratch / "log"
    stuck = _hold(log, 60)
    wait_for(log.exists)
    others = [_hold(log, 0.2) for _ in range(4)]
    try:
        time.sleep(0.3)
        stuck.kill()
        assert all(process.wait(30) == 0 for process in others)
    finally:
        stuck.wait()
    level, highest = 0, 0
    for line in log.read_text().split():
        level += 1 if line == "+" else -1
        highest = max(highest, level)
    assert highest <= 3  # the killed one has written no "-"
    assert log.read_text().count("-") == 4


@pytest.mark.parametrize("kind", ["link", "open", "file"])
def test_a_folder_that_others_could_have_made_is_refused(scratch: Path, kind: str) -> None:
    base = scratch / f"multi-cluster-mesh-{os.getuid()}"
    if kind == "link":
        (scratch / "elsewhere").mkdir(mode=0o700)
        base.symlink_to(scratch / "elsewhere")
    elif kind == "open":
        base.mkdir()
        base.chmod(0o755)
    else:
        base.write_text("")
    with pytest.raises(StepError, match="TMPDIR"), workdir.work_dir():
        pass
