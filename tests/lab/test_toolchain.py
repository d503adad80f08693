"""Finding and building the lab's programs, with a stand-in for Go; and the lock."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import LabError, toolchain
from lab.lock import lock

PROGRAMS = ("etcd", "kwokctl", "kwok", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
REPO = Path(__file__).parents[2]


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH but for the basics, with a cache of its own beside it."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in ("sh", "sleep", "cat"):
        (folder / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name}"))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain, "NEEDED_BYTES", 1)
    return folder


@pytest.fixture
def fake_go(bin_dir: Path) -> Callable[[str], None]:
    """Puts a `go` on PATH; what it does for `go build` is given as shell text in which $out is the -o path."""

    def put(build: str) -> None:
        script(
            bin_dir / "go",
            'case "$1 $2" in "env GOVERSION") echo go1.26.3; exit;; "env GOCACHE") echo /tmp; echo /tmp; exit;; esac\n'
            f'while [ "$1" != -o ]; do shift; done; out=$2\n{build}',
        )

    return put


def test_versions_come_from_go_mod() -> None:
    assert {name: source.version for name, source in toolchain._SOURCES.items()}["kube-apiserver"] == "v1.36.3"
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", source.version) for source in toolchain._SOURCES.values())


def test_go_mod_names_no_registry_and_pins_every_staging_module() -> None:
    for path in toolchain.TOOLS.glob("*/go.mod"):
        assert "://" not in path.read_text()
        assert (path.parent / "go.sum").exists()
    kubernetes = (toolchain.TOOLS / "kubernetes" / "go.mod").read_text()
    assert set(re.findall(r"=> k8s\.io/\S+ (\S+)", kubernetes)) == {"v0.36.3"}


def test_without_go_one_sentence(bin_dir: Path) -> None:
    with pytest.raises(
        LabError, match=r"^The lab's Kubernetes is built with Go 1\.26 or newer and there is no `go`.*\.$"
    ):
        toolchain.ensure(print)


@pytest.mark.parametrize("answer", ["echo go1.25.9", "echo 'go: go.mod requires go >= 1.26.0' >&2; exit 1"])
def test_old_go_one_sentence(bin_dir: Path, answer: str) -> None:
    script(bin_dir / "go", answer)
    with pytest.raises(LabError, match=r"is older \(go.*1\.2"):
        toolchain.ensure(print)


def test_full_disk_one_sentence(bin_dir: Path, fake_go: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go("exit 1")
    monkeypatch.setattr(toolchain, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(LabError, match="GiB are free there: make room"):
        toolchain.ensure(print)


def test_builds_once_and_keeps(bin_dir: Path, fake_go: Callable[[str], None]) -> None:
    fake_go('echo built > "$out"')
    said: list[str] = []
    tools = toolchain.ensure(said.append)
    assert "building etcd v3.6.13 (1 of 6)" in said
    assert {path.name for path in toolchain.cache_dir().iterdir()} == set(PROGRAMS)
    (bin_dir / "go").unlink()  # not needed any more
    assert toolchain.ensure(pytest.fail) == tools


def test_failed_build_tells_go_s_last_words(bin_dir: Path, fake_go: Callable[[str], None]) -> None:
    fake_go('echo half > "$out"; echo first >&2; echo "no space left on device" >&2; exit 1')
    with pytest.raises(LabError, match=r"^Go could not build etcd v.*: first \| no space left on device\.$"):
        toolchain.ensure(print)
    assert not toolchain.cache_dir().exists()


def test_interrupted_build_leaves_nothing(
    bin_dir: Path, fake_go: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(f'echo half > "$out"; sleep 300 & echo $! > {tmp_path}/child; wait')
    monkeypatch.setattr(toolchain, "REPORT_SECONDS", 0.2)

    def progress(text: str) -> None:
        if re.search(r"etcd .*: \d+ s$", text):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toolchain.ensure(progress)
    assert not toolchain.cache_dir().exists()
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


@pytest.mark.parametrize(
    ("version", "taken"), [("Kubernetes v1.36.0", True), ("Kubernetes v1.35.3", False), ("?", False)]
)
def test_program_on_path_is_taken_if_its_version_fits(
    bin_dir: Path, fake_go: Callable[[str], None], version: str, taken: bool
) -> None:
    fake_go('echo built > "$out"')
    script(bin_dir / "kube-scheduler", f"echo '{version}'")
    found = toolchain.ensure(print).kube_scheduler
    assert (found == bin_dir / "kube-scheduler") is taken


def test_other_sources_other_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = toolchain.cache_dir()
    shutil.copytree(toolchain.TOOLS, tmp_path / "tools")
    monkeypatch.setattr(toolchain, "TOOLS", tmp_path / "tools")
    assert toolchain.cache_dir() == before
    with (tmp_path / "tools" / "kwok" / "go.sum").open("a") as file:
        file.write("\n")
    assert toolchain.cache_dir() != before


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Another process that holds the lock."""
    code = "import sys, time; from pathlib import Path; from lab.lock import lock\n"
    code += "with lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=REPO, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with holder(home) as other:
        with pytest.raises(LabError, match=rf"^Another run \(pid {other.pid}\) is at work in .*\.$"), lock(home):
            pytest.fail("two at a time")
        other.send_signal(signal.SIGKILL)
        other.wait()
    with lock(home):
        assert (home / "lock").read_text() == str(os.getpid())
        assert stat.S_IMODE((home / "lock").stat().st_mode) == 0o600
    assert not home.exists()


def test_lock_waits_when_asked(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with holder(home) as other:
        said: list[str] = []

        def progress(text: str) -> None:
            said.append(text)
            other.terminate()

        with lock(home, wait=progress):
            assert said == [f"waiting for another run (pid {other.pid}) in {home}"]
            other.wait()
