"""Running a step as pulumi-command does: a shell, the spec on stdin, one document back."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.steps.activity import PENDING, WARNING
from mesh.steps.spec import Spec, dump

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a step ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> list[str]:
        """What it has complained of: stderr without what it was doing and what it has warned of."""
        lines = self.stderr.splitlines()
        return [line for line in lines if not line.endswith(PENDING) and not line.startswith(WARNING)]

    @property
    def result(self) -> dict[str, Any]:
        """The document of a step that has to have succeeded."""
        assert self.code == 0, self.stderr
        assert not self.said, self.stderr
        document: dict[str, Any] = json.loads(self.stdout)  # exactly one
        warnings = [line.removeprefix(WARNING) for line in self.stderr.splitlines() if line.startswith(WARNING)]
        assert warnings == document.get("warnings", [])
        return document

    @property
    def error(self) -> str:
        """The sentence of a step that has to have failed."""
        assert self.code == 1, f"exit {self.code}: {self.stdout} {self.stderr}"
        assert not self.stdout
        assert len(self.said) == 1, self.stderr
        assert "Traceback" not in self.stderr
        assert "in a way it should not" not in self.stderr, self.stderr
        return self.said[0]


def start(step: str, spec: Spec | str, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """Start a step; its stdin has been written and closed."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec sh mesh/steps/run.sh {step}"],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(spec if isinstance(spec, str) else dump(spec))
    process.stdin.close()
    process.stdin = None  # else `communicate` would flush it
    return process


def finish(process: "subprocess.Popen[str]", seconds: float = 90) -> Outcome:
    """Wait for a step."""
    stdout, stderr = process.communicate(timeout=seconds)
    return Outcome(process.returncode, stdout, stderr)


def run(step: str, spec: Spec | str, environment: Mapping[str, str] | None = None, seconds: float = 90) -> Outcome:
    """Run a step to its end."""
    return finish(start(step, spec, environment), seconds)


def runs(log: Path) -> list[dict[str, Any]]:
    """The runs of the stand-in so far, without `version`."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [run for run in map(json.loads, lines) if run["argv"][0] != "version"]


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def standin_below(pid: int) -> int | None:
    """The stand-in that a step has started; before it, the step's own shell has children for a moment."""
    for child in children(pid):
        with suppress(OSError):
            if b"lab.standin" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    return None


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until a condition gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "what the test waits for does not happen"
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Send a signal to the step alone."""
    os.kill(process.pid, number)


def left_over(scratch: Path) -> list[Path]:
    """What steps have left in their temporary folder: nothing but the empty files that count joins."""
    return [path for path in scratch.rglob("*") if (path.is_file() and path.stat().st_size) or "work-" in str(path)]
