"""`python -m lab up` and `python -m lab down`: what `make up` and `make down` run."""

import os
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from lab import LabError, clusters, engine, programs, project, report, standin, toolchain
from lab.files import UNFINISHED
from lab.lock import lock
from lab.project import ROOT
from lab.standin import faults
from mesh.plan import PlanError, read_plan
from mesh.plan.settings import SUBCTL
from mesh.steps.subctl import VERSION


def up(home: Path, console: Console) -> int:
    """Local clusters, both stacks, a report; converges when it is run again."""
    started = time.monotonic()

    def progress(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.1f} s[/] {line}", highlight=False, soft_wrap=True)

    shipped = read_plan(ROOT / "Pulumi.yaml")
    tools = toolchain.ensure(progress)
    specs = project.cluster_specs(shipped)
    kubeconfigs = {spec.name: clusters.kubeconfig_path(home, spec.name) for spec in specs}
    subctl, subctl_version, bin_dirs = find_subctl(home)
    env = engine.environment(home, kubeconfigs, bin_dirs)
    prepared = project.prepare(home, subctl_version=subctl_version, kubernetes_version=tools.kubernetes_version)
    chosen = engine.choose(prepared, env, home, progress)
    console.print(f"Running with: [bold]{chosen.name}[/] and [bold]{subctl}[/]", highlight=False)
    # Only now: what is wrong with the machine's programs is told before anything runs.
    clusters.up(specs, home=home, tools=tools, crd_dirs=[crd_dir()], progress=progress)
    changes = chosen.up(progress)
    parts = {
        "API servers": (True, f"kube-apiserver {tools.kubernetes_version}, one per cluster"),
        "nodes and pods": (False, "simulated by kwok: pods run nothing, so no traffic can flow"),
        "Spiderpool": (False, "its custom resource definitions only; the lab's own, smaller than the real ones"),
        "subctl": (bin_dirs == [], subctl),
        "engine": (chosen.real, chosen.name),
    }
    joined = report.show(console, prepared, kubeconfigs, changes, parts, time.monotonic() - started)
    return 0 if joined else 1


def down(home: Path, console: Console) -> int:
    """Take away all that `up` has made."""
    clusters.down(home, lambda line: console.print(line, highlight=False))
    for name in ("project", "state", "bin", "pulumi", "passphrase", f"passphrase{UNFINISHED}", "logs"):
        path = home / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    console.print(f"Nothing of the lab is left below {home}. What it built is kept in {toolchain.cache_dir()}.")
    return 0


def crd_dir() -> Path:
    """The lab's own custom resource definitions."""
    return ROOT / "lab" / "crds"


def find_subctl(home: Path) -> tuple[str, str, list[Path]]:
    """The subctl to use: what to call it, its version, and the folders to put on PATH for it."""
    if program := shutil.which(SUBCTL):
        found = programs.ask_version(program, VERSION, "the lab uses its stand-in", os.environ)
        if not standin.is_standin(found.string):
            return f"subctl {found[1]}", found[1], []
    standin.install(home / "bin")
    version = faults.version().removeprefix("v")
    return f"the lab's stand-in for subctl ({version})", version, [home / "bin"]


def main() -> int:
    """Run the command in argv; every expected failure ends in one sentence and exit code 1."""
    console = Console()
    home = Path(os.environ.get("MESH_LAB_HOME", ROOT / ".lab")).resolve()
    commands = {"up": up, "down": down}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        console.print(f"usage: python -m lab {'|'.join(commands)}")
        return 2
    try:
        with lock(home):
            return commands[sys.argv[1]](home, console)
    except (LabError, PlanError) as error:
        console.print(f"[red]{sys.argv[1]} failed:[/] {error}", highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print(f"[red]stopped.[/] The next `make {sys.argv[1]}` goes on from here.")
    except OSError as error:
        # The system names the file only where it can't be opened, not where writing fails.
        where = error.filename or f"somewhere below {home} or {toolchain.cache_dir().parent}"
        console.print(
            f"[red]{sys.argv[1]} failed:[/] {error.strerror or error}: {where}. The next `make {sys.argv[1]}` goes on "
            "from here once that is mended.",
            highlight=False,
            soft_wrap=True,
        )
    return 1


if __name__ == "__main__":
    sys.exit(main())
