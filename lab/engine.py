"""Runs the lab's stacks: with the real Pulumi engine where it can be had, else in-process."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab import LabError, Progress
from lab.files import write_whole
from lab.programs import ask_version
from lab.project import ROOT, LabProject
from mesh.access import kubeconfig_variable

INSTALL_TIMEOUT = 180  # seconds
EXIT_STOPPED = 130  # of `mesh up`, after Ctrl-C
VERSION = re.compile(r"^v\d+\.\d+\.\d+\S*$", re.MULTILINE)  # in what `pulumi version` prints

Changes = dict[str, dict[str, int]]
"""Per stack: how many resources were created, updated, the same, … ."""


class Engine(ABC):
    """Something that brings stacks up."""

    name: str
    real: bool

    @abstractmethod
    def up(self, progress: Progress) -> Changes:
        """Bring all stacks of the project up, the broker's first; raises `LabError` with the reason where that fails.

        What has been shown already is left out of the result.
        """


def environment(home: Path, kubeconfigs: dict[str, Path], bin_dirs: list[Path]) -> dict[str, str]:
    """Environment for programs that work on the lab: its clusters, its own Pulumi backend, and its programs on PATH."""
    passphrase = home / "passphrase"
    if not passphrase.exists() or not passphrase.stat().st_size:  # empty: a full disk took what was written
        write_whole(passphrase, secrets.token_urlsafe(24))
    state = home / "state"
    state.mkdir(exist_ok=True)
    variables = {kubeconfig_variable(name): str(path) for name, path in kubeconfigs.items()}
    path = os.pathsep.join([*map(str, bin_dirs), os.environ["PATH"]])
    return {
        **os.environ,
        **variables,
        "PATH": path,
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "MESH_PYTHON": sys.executable,
    }


def choose(project: LabProject, env: dict[str, str], home: Path, progress: Progress) -> Engine:
    """The real engine from PATH, from an earlier installation by the lab, or freshly installed; else in-process."""
    if command := shutil.which("pulumi", path=env["PATH"]):
        return RealEngine(command, project, env)
    if _installed(home).exists():
        with suppress(LabError):  # its installation may have been cut short: then it is done anew
            return RealEngine(str(_installed(home)), project, env)
    if command := _install(home, progress):
        return RealEngine(command, project, env)
    return InProcess(project, env)


def _installed(home: Path) -> Path:
    return home / "pulumi" / "bin" / "pulumi"


def _install(home: Path, progress: Progress) -> str | None:
    """The pulumi CLI by the Automation API's own installer; None where its download site can't be reached."""
    progress("no pulumi on PATH: trying to install it below the lab's folder")
    shutil.rmtree(home / "pulumi", ignore_errors=True)  # what is left of an installation that was cut short
    code = "import sys; from pulumi.automation import PulumiCommand; PulumiCommand.install(root=sys.argv[1])"
    try:
        subprocess.run(
            [sys.executable, "-c", code, str(home / "pulumi")],
            check=True,
            capture_output=True,
            timeout=INSTALL_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except (subprocess.SubprocessError, OSError):
        shutil.rmtree(home / "pulumi", ignore_errors=True)
        progress("it can't be had here: the in-process stand-in takes its place")
        return None
    return str(_installed(home))


class RealEngine(Engine):
    """The pulumi CLI, by `mesh up`, on a backend in the lab's folder."""

    real = True

    def __init__(self, command: str, project: LabProject, env: dict[str, str]) -> None:
        found = ask_version(command, VERSION, "the lab installs one for itself or does without", env)
        self.name = f"Pulumi {found[0]}"
        self.project = project
        self.env = {**env, "PATH": os.pathsep.join((str(Path(command).parent), env["PATH"]))}

    def up(self, progress: Progress) -> Changes:
        """Bring all stacks up; `mesh up` shows how it goes and what has changed."""
        progress("mesh up")
        done = subprocess.run(
            [sys.executable, "-m", "mesh", "up", "--yes", "--init"], cwd=self.project.folder, env=self.env, check=False
        )
        if done.returncode == EXIT_STOPPED:
            raise KeyboardInterrupt
        if done.returncode != 0:
            raise LabError("not all stacks came up; the reasons are above")
        return {}


class InProcess(Engine):
    """The program in a Python process of its own; see `lab.inprocess`."""

    real = False
    name = "in-process stand-in for the Pulumi engine"

    def __init__(self, project: LabProject, env: dict[str, str]) -> None:
        self.project = project
        self.env = env
        self._references: dict[str, dict[str, Any]] = {}

    def up(self, progress: Progress) -> Changes:
        """Bring all stacks up, one after the other, and hand the outputs of each to the next."""
        references: dict[str, dict[str, Any]] = {}
        changes = {}
        for stack in self.project.stacks:
            progress(f"stack {stack}")
            result = self._run(stack, references, progress)
            references[f"organization/{self.project.name}/{stack}"] = result["outputs"]
            changes[stack] = dict(Counter(resource["change"] for resource in result["resources"]))
        return changes

    def _run(self, stack: str, references: dict[str, Any], progress: Progress) -> dict[str, Any]:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.inprocess", str(self.project.folder), stack],
            cwd=self.project.folder,
            env={**self.env, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise LabError("no pipes to the in-process stand-in")
        said: list[str] = []
        try:
            json.dump({"references": references}, process.stdin)
            process.stdin.close()
            for line in process.stderr:
                said.append(line.rstrip())
                if line.startswith("  "):
                    progress(line.rstrip())
            document = process.stdout.read()
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if code != 0:
            told = "\n".join(line for line in said if line and not line.startswith("  "))
            raise LabError(f"stack {stack} failed: {told or f'exit code {code}'}")
        outcome: dict[str, Any] = json.loads(document)
        return outcome
