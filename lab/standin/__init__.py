"""A stand-in for `subctl`, for machines where the real one can't be had.

It keeps subctl's contract, not its code: the commands ``version``, ``deploy-broker``, ``join``, ``uninstall``,
``recover-broker-info``, ``export service`` and ``unexport service`` with the real flags, defaults, exit codes and
error texts, the same files, and the same objects on real API servers. What the operator's pods would do afterwards
(gateways, tunnels, DNS) it does not do; `lab.standin.operator` can write what they would have reported.

It never passes itself off as the real one: ``subctl version`` names it in its second line, and every run names it on
stderr.

Known differences, beside its speed:

- Whatever version it claims, its contract is that of subctl 0.19 (2024-10), the one that tests/parity compares it with.
- The CRDs are the lab's own, and made only where there are none; the roles of Submariner's pods have the real names but
  grant nothing.
- It never asks anybody: what is a prompt in the real one fails here even on a terminal.
- Pod and service CIDR are found by subctl's generic means only, not through the CNI plugins that it knows by name.
- An existing Submariner resource is deleted without waiting for the garbage collector to delete its dependents.
- It has no OpenShift objects, does not check versions for skew, and has no other commands (show, diagnose, verify, …).

Run it as ``python -m lab.standin <subctl arguments>``, or put it first on ``PATH`` with `install`.

Environment, **for tests only**:

======================== ==============================================================================================
MESH_STANDIN_VERSION     the version it claims and installs by default (0.24.1)
MESH_STANDIN_HANG        ``join``, ``deploy-broker``, …: that command shows a prompt and waits for ever, before it does
                         anything
MESH_STANDIN_SLOW        seconds to sleep in the middle of a command, when half of its objects are made (or removed)
MESH_STANDIN_FAIL_ONCE   a file: while it does not exist, ``join`` makes it and fails as after too many write
                         conflicts on the broker (rc 1, no ✗ line); afterwards it works
MESH_STANDIN_WAIT        seconds after which every wait ends, instead of subctl's own limits (10 minutes for the
                         operator, 2.5 for a deletion, …)
MESH_STANDIN_LOG         a file that gets one JSON line per run: argv, cwd, names (never values) of the environment
                         variables, pid, start, end, rc. A run that hangs on purpose writes its line, with no end, first
======================== ==============================================================================================
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

# What the second line of `subctl version` says. Whoever must tell the two apart looks for this.
STANDIN_NOTICE = "stand-in of multi-cluster-mesh, not the real subctl"

REPO_ROOT = Path(__file__).resolve().parents[2]


def install(bin_dir: Path) -> Path:
    """Write an executable launcher named ``subctl`` into `bin_dir` and return its path.

    The launcher replaces itself with this interpreter, so that a signal sent to it reaches the stand-in.
    """
    bin_dir.mkdir(parents=True, exist_ok=True)
    launcher = bin_dir / "subctl"
    root, python = shlex.quote(str(REPO_ROOT)), shlex.quote(sys.executable)
    launcher.write_text(
        "#!/bin/sh\n"
        f"# {STANDIN_NOTICE}; written by lab.standin.install\n"
        f'PYTHONPATH={root}"${{PYTHONPATH:+:$PYTHONPATH}}" exec {python} -m lab.standin "$@"\n',
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    return launcher


def is_standin(version_output: str) -> bool:
    """Tell from the output of ``subctl version`` whether it came from the stand-in."""
    return STANDIN_NOTICE in version_output
