"""Contract: on a fresh checkout `make` makes its environment once, also where two of them run side by side."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# In place of Python: makes an environment whose pip takes a second and does nothing.
PYTHON = """#!/bin/sh
case "$*" in
  "-m venv "*)
    echo made >> {log}
    mkdir -p $3/bin; printf '#!/bin/sh\\nsleep 1\\n' > $3/bin/python; chmod +x $3/bin/python ;;
  *) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`make venv`, in a folder and with a Python of the test's own."""
    if not shutil.which("make"):
        pytest.skip("no make on PATH")
    for variable in [name for name in os.environ if name.startswith("MAKE")]:  # those of the `make test` we run in
        monkeypatch.delenv(variable)
    python = tmp_path / "python"
    python.write_text(PYTHON.format(log=tmp_path / "log", python=sys.executable))
    python.chmod(0o755)
    return ["make", "venv", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]


def test_two_side_by_side_make_it_once(make: list[str], tmp_path: Path) -> None:
    both = [subprocess.Popen(make, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert (tmp_path / "log").read_text() == "made\n"
    assert sum("waiting for another run (pid " in errors for _, errors in said) == 1
    assert sorted(path.name for path in (tmp_path / "venv").iterdir()) == [".ready", "bin"]


def test_it_is_made_anew_after_a_failure_and_left_alone_when_it_is_there(make: list[str], tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*make, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert run("PYTHON=false").returncode != 0
    assert run().returncode == 0
    again = run("PYTHON=false")  # the Python is asked only when there is something to make
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert (tmp_path / "log").read_text() == "made\n"


def test_python_that_is_too_old_is_one_sentence(make: list[str], tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9); $2"\n')
    old.chmod(0o755)
    done = subprocess.run([*make, f"PYTHON={old}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "venv").exists()
