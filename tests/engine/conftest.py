"""A project folder of its own for the real pulumi CLI: own backend, own passphrase, and no cluster unless given one."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import project, standin
from lab.standin import faults
from mesh.access import kubeconfig_variable
from tests.conftest import GATEWAY, NODES, Lab, crd_dirs

PLUGINS = ("pulumi-resource-kubernetes", "pulumi-resource-command")
KUBERNETES = "v1.36.3"


@dataclass
class Workspace:
    """The lab's project in a folder of its own.

    Attributes:
        folder: the project folder.
        env: environment of all that runs in it.
        plugins_used: a file with the names of the plugins that were started, where they are found on PATH.
    """

    folder: Path
    env: dict[str, str]
    plugins_used: Path
    watches_plugins: bool = field(default=True)

    def mesh(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run `python -m mesh`."""
        return self._run([sys.executable, "-m", "mesh", *arguments], env)

    def pulumi(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run the CLI as people do."""
        return self._run(["pulumi", "--non-interactive", *arguments], env)

    def outputs(self, stack: str) -> Any:
        """A stack's outputs, secrets masked."""
        return json.loads(self.pulumi("stack", "output", "--json", "--stack", stack).stdout)

    def state(self, stack: str) -> str:
        """A stack's state as exported, which is as stored."""
        done = self.pulumi("stack", "export", "--stack", stack)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def resources(self, stack: str) -> list[Any]:
        """Resources in a stack's state."""
        found: list[Any] = json.loads(self.state(stack))["deployment"].get("resources", [])
        return found

    def edit(self, old: str, new: str) -> None:
        """Change the plan."""
        path = self.folder / "Pulumi.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    @contextmanager
    def edited(self, *changes: tuple[str, str]) -> Iterator[None]:
        """Change the plan for a while."""
        path = self.folder / "Pulumi.yaml"
        before = path.read_text()
        try:
            for old, new in changes:
                self.edit(old, new)
            yield
        finally:
            path.write_text(before)

    def change_plan(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the plan for good, by its keys."""
        path = self.folder / "Pulumi.yaml"
        document = yaml.safe_load(path.read_text())
        change(document["config"]["mesh:plan"]["value"])
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def logs(self) -> str:
        """Everything in the log folder."""
        return "\n".join(path.read_text() for path in self.folder.glob("logs/*/*.log"))

    def _run(self, command: list[str], env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.fixture(scope="session")
def cli() -> Path:
    """The pulumi CLI."""
    found = shutil.which("pulumi")
    if not found:
        pytest.skip("no pulumi on PATH: these tests need the real CLI")
    return Path(found)


@pytest.fixture(scope="module")
def workspace(cli: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The lab's project where there is no cluster, no subctl and no stack yet."""
    home = tmp_path_factory.mktemp("engine")
    prepared = project.prepare(home, subctl_version=faults.version().removeprefix("v"), kubernetes_version=KUBERNETES)
    python = prepared.folder / ".venv"
    python.unlink()
    python.symlink_to(sys.prefix)  # the interpreter under test, whatever its environment is called
    used = home / "plugins-used"
    bin_dir = _programs(cli, home / "programs", used)
    state, passphrase = home / "state", home / "passphrase"
    state.mkdir()
    passphrase.write_text(secrets.token_urlsafe(12))
    unwanted = ("KUBECONFIG", "PULUMI_", "MESH_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env |= {
        "PATH": os.pathsep.join((str(bin_dir), "/usr/bin", "/bin")),
        "HOME": os.environ.get("HOME", str(home)),
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "MESH_PYTHON": sys.executable,
    }
    if shutil.which("subctl", path=env["PATH"]):
        pytest.skip("subctl is installed system-wide: these tests need a PATH without it")
    return Workspace(prepared.folder, env, used, all((bin_dir / name).exists() for name in PLUGINS))


@pytest.fixture(scope="module")
def site(workspace: Workspace, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The workspace with two empty clusters and the stand-in for subctl."""
    bin_dir = tmp_path_factory.mktemp("standin")
    standin.install(bin_dir)
    for name, kubeconfig in lab.kubeconfigs.items():
        workspace.env[kubeconfig_variable(name)] = str(kubeconfig)
        lab.api(name).wipe(crd_dirs(), gateways=[], others=NODES)
        lab.api(name).delete("/apis/apps/v1/namespaces/default/deployments/test-app")
        lab.api(name).delete("/api/v1/namespaces/default/services/test-app-svc")
    workspace.env["PATH"] = os.pathsep.join((str(bin_dir), workspace.env["PATH"]))
    yield workspace
    for name in lab.kubeconfigs:
        lab.api(name).wipe(crd_dirs(), gateways=[GATEWAY], others=NODES)


def plan_of(workspace: Workspace) -> Any:
    """The plan as it stands in the project file."""
    return yaml.safe_load((workspace.folder / "Pulumi.yaml").read_text())["config"]["mesh:plan"]["value"]


def _programs(cli: Path, bin_dir: Path, used: Path) -> Path:
    """A folder with pulumi's own programs and nothing else; a plugin leaves its name in `used` when it starts."""
    bin_dir.mkdir()
    for program in cli.parent.glob("pulumi*"):
        target = bin_dir / program.name
        if program.name in PLUGINS:
            target.write_text(f'#!/bin/sh\necho {program.name} >> "{used}"\nexec "{program}" "$@"\n')
            target.chmod(0o755)
        else:
            target.symlink_to(program)
    return bin_dir
