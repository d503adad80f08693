"""Failures on request and the log of runs: for tests only. The variables are described in the package's docstring."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def version() -> str:
    """Return the version that the stand-in claims, with the leading v of the real one's output."""
    return "v" + os.environ.get("MESH_STANDIN_VERSION", "0.24.1").removeprefix("v")


def limit(seconds: float) -> float:
    """Return how long a wait may last: what subctl takes, unless a test wants less."""
    return float(os.environ.get("MESH_STANDIN_WAIT") or seconds)


def midway() -> None:
    """Called by each command when half of its work is done."""
    time.sleep(float(os.environ.get("MESH_STANDIN_SLOW") or 0))


def must_fail_now() -> bool:
    """Tell whether this run is the one that has to fail."""
    marker = os.environ.get("MESH_STANDIN_FAIL_ONCE")
    if not marker:
        return False
    try:
        Path(marker).touch(exist_ok=False)  # atomic: of several runs at once exactly one fails
    except FileExistsError:
        return False
    return True


@dataclass
class Run:
    """One invocation, for MESH_STANDIN_LOG."""

    argv: list[str]
    start: float = field(default_factory=time.time)
    logged: bool = False

    def log(self, rc: int | None) -> None:
        """Append this run to the log, once."""
        target = os.environ.get("MESH_STANDIN_LOG")
        if not target or self.logged:
            return
        self.logged = True
        entry: dict[str, Any] = {
            "argv": self.argv,
            "cwd": str(Path.cwd()),
            "env": sorted(os.environ),
            "pid": os.getpid(),
            "start": self.start,
            "end": None if rc is None else time.time(),
            "rc": rc,
        }
        # One write of one line in append mode: runs side by side do not mix.
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def hang_if_asked(self, command: str) -> None:
        """Behave as if somebody had to answer a prompt who never will."""
        if os.environ.get("MESH_STANDIN_HANG") != command:
            return
        self.log(None)
        sys.stdout.write("? (stand-in, waiting on request) ")
        sys.stdout.flush()
        while True:
            time.sleep(3600)
