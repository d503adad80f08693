"""Contract: a full disk or a kill leaves no half of a file that the next `make up` keeps; the error names the place."""

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from lab import __main__ as lab
from lab import engine, project, toolchain
from lab.files import UNFINISHED, write_whole
from lab.project import ROOT

STACKS = sorted(path.name for path in ROOT.glob("Pulumi.*.yaml"))
SALT = "encryptionsalt: v1:abc=\n"


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """No file can grow beyond some bytes: a write fails half-way, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def prepare(home: Path) -> Path:
    return project.prepare(home, subctl_version="0.24.1", kubernetes_version="v1.36.3").folder


def passphrase(home: Path) -> str:
    return Path(engine.environment(home, {}, [])["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text()


def test_file_is_whole_or_not_there_and_the_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with full_disk(after=4), pytest.raises(OSError, match=str(path)):
        write_whole(path, "more than that")
    assert list(tmp_path.iterdir()) == []
    write_whole(path, "before")
    with full_disk(after=4), pytest.raises(OSError, match=str(path)):
        write_whole(path, "more than that")
    assert path.read_text() == "before"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [prepare, passphrase])
def test_full_disk_leaves_no_half_of_a_file(write: Callable[[Path], object], tmp_path: Path) -> None:
    with full_disk(after=4), pytest.raises(OSError, match=str(tmp_path)):
        write(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()] == []


@pytest.mark.parametrize("size", [0, 40, -4])
def test_stack_file_that_was_cut_short_is_made_anew(size: int, tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    for name in STACKS:
        shipped = (ROOT / name).read_text()
        (folder / name).write_text(shipped[:size])
    prepare(tmp_path)
    for name in STACKS:
        assert (folder / name).read_text() == (ROOT / name).read_text()


def test_stack_file_that_is_whole_stays(tmp_path: Path) -> None:
    written = prepare(tmp_path) / STACKS[0]
    written.write_text(SALT + written.read_text() + "  mesh:context: mine\n")
    before = written.read_text()
    prepare(tmp_path)
    assert written.read_text() == before


def test_empty_passphrase_is_made_anew_and_one_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "passphrase").touch()
    made = passphrase(tmp_path)
    assert len(made) >= 32
    assert passphrase(tmp_path) == made


def test_down_takes_what_a_killed_run_had_not_finished(tmp_path: Path) -> None:
    for name in ("passphrase", "kubeconfig-cluster-a.yaml"):
        (tmp_path / f"{name}{UNFINISHED}").write_text("half")
    assert lab.down(tmp_path, Console(quiet=True)) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", [None, "/somewhere/file"])
def test_full_disk_is_one_sentence_with_the_place(
    file: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file)

    monkeypatch.setattr(toolchain, "ensure", fail)
    monkeypatch.setattr(sys, "argv", ["lab", "up"])
    monkeypatch.setenv("MESH_LAB_HOME", str(tmp_path))
    assert lab.main() == 1
    assert capsys.readouterr().out == (
        f"up failed: No space left on device: "
        f"{file or f'somewhere below {tmp_path} or {toolchain.cache_dir().parent}'}. "
        "The next `make up` goes on from here once that is mended.\n"
    )
