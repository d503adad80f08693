"""Contract: a subctl or pulumi that is broken or hangs is told with its path, and never shown as the real one."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import LabError, engine, programs
from lab.__main__ import find_subctl
from lab.project import ROOT, LabProject
from mesh.plan import read_plan

GOOD = {"subctl": "echo subctl version: v0.24.1", "pulumi": "echo v3.260.0"}
BROKEN = {
    "exit 1": "`version` says 'cannot execute' and ends with 1",
    "fails in silence": "`version` says nothing and ends with 3",
    "nothing": "`version` says nothing",
    "garbage": "`version` says 'What is version 1? \N{REPLACEMENT CHARACTER}'",
    "fails with a version": "and ends with 1",
    "hangs": "`version` did not end within 1 s",
    "no program": "Exec format error",
}
SCRIPTS = {
    "exit 1": "#!/bin/sh\necho cannot execute >&2; exit 1",
    "fails in silence": "#!/bin/sh\nexit 3",
    "nothing": "#!/bin/sh\nexit 0",
    "garbage": "#!/bin/sh\nprintf 'What is version 1? \\377'",
    "fails with a version": "#!/bin/sh\n{good}; exit 1",
    "hangs": "#!/bin/sh\nexec sleep 60",
    "no program": "\0",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """Writes a program; those in `tmp_path` are first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(programs, "SECONDS", 1)

    def written(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    return written


def used(name: str, home: Path) -> str:
    """What `make up` calls the program that it has found."""
    if name == "subctl":
        return find_subctl(home)[0]
    project = LabProject("mesh", home, read_plan(ROOT / "Pulumi.yaml"), (), ())
    return engine.choose(project, dict(os.environ), home, print).name


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("how", BROKEN)
def test_broken_program_is_one_sentence(
    name: str, how: str, tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    write(tmp_path / name, SCRIPTS[how].format(good=GOOD[name]))
    with pytest.raises(LabError) as raised:
        used(name, tmp_path)
    said = str(raised.value)
    assert said.startswith(f"{tmp_path / name} does not work here (")
    assert BROKEN[how] in said
    assert re.search(r": install it anew, or take it off PATH and the lab [^.\n]+\.$", said)


def test_program_that_asks_gets_no_answer(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    """Not even where somebody types: `make up` must not stand still at another program's question."""
    write(tmp_path / "subctl", '#!/bin/sh\nread answer; echo "subctl version: v$answer"')
    asked = subprocess.run(
        [sys.executable, "-c", "from lab.__main__ import find_subctl; find_subctl(None)"],
        cwd=ROOT, input="0.24.1\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "does not work here (`version` says 'subctl version: v')" in asked.stderr


@pytest.mark.parametrize(("name", "shown"), [("subctl", "subctl 0.24.1"), ("pulumi", "Pulumi v3.260.0")])
def test_program_that_works_is_used_whatever_else_it_says(
    name: str, shown: str, tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    write(tmp_path / name, f"#!/bin/sh\necho warning: old >&2\n{GOOD[name]}\necho a new version is there")
    assert used(name, tmp_path) == shown


def test_installation_that_was_cut_short_is_done_anew(
    tmp_path: Path, write: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lab's own pulumi, half-made by a run that was killed: nobody but the lab can mend it."""
    home = tmp_path / "home"
    write(home / "pulumi" / "bin" / "pulumi", "#!/bin/sh\nexit 1")
    monkeypatch.setattr("sys.executable", str(tmp_path / "none"))  # it can't be installed here, whatever the network
    assert used("pulumi", home) == engine.InProcess.name
    assert not (home / "pulumi").exists()
    write(home / "pulumi" / "bin" / "pulumi", f"#!/bin/sh\n{GOOD['pulumi']}")
    assert used("pulumi", home) == "Pulumi v3.260.0"
