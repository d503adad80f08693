"""A place to measure whole runs in: a project folder with its stacks, and local clusters where they are needed."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from bench import SkippedError, measure, plans
from lab import LabError, clusters, engine, project, toolchain
from lab.__main__ import crd_dir, find_subctl
from lab.standin import faults
from mesh.plan import CONFIG_KEY, MeshPlan, load_plan

STACK = "bench"
KUBERNETES = "v1.36.3"  # where there is no cluster to ask


@dataclass(frozen=True)
class Workspace:
    """A project folder, its clusters if it has any, and what works on them.

    Attributes:
        home: everything of it is below this folder.
        folder: the project folder.
        plan: the plan in it.
        env: environment for programs that work on it.
        pulumi: path of the CLI.
        subctl: what to call the subctl that is used.
        stacks: all in the folder, the broker's first.
    """

    home: Path
    folder: Path
    plan: MeshPlan
    env: dict[str, str]
    pulumi: str
    subctl: str
    stacks: tuple[str, ...]

    def kubeconfig(self, cluster_id: str) -> Path:
        """The way into one cluster."""
        return clusters.kubeconfig_path(self.home, cluster_id)

    def run_pulumi(
        self,
        *arguments: str,
        folder: Path | None = None,
        timeout: float = 900,
        look: measure.Look | None = None,
    ) -> measure.Sample:
        """Run the CLI in the project folder, or in another one."""
        argv = [self.pulumi, "--non-interactive", "--color", "never", *arguments]
        return measure.run(argv, cwd=folder or self.folder, env=self.env, timeout=timeout, look=look)

    def run_mesh(self, *arguments: str, timeout: float = 1800, look: measure.Look | None = None) -> measure.Sample:
        """Run `python -m mesh` in the project folder."""
        argv = [sys.executable, "-m", "mesh", *arguments]
        return measure.run(argv, cwd=self.folder, env=self.env, timeout=timeout, look=look)


@contextmanager
def with_clusters(count: int, console: Console, *, stacks_each: bool = False) -> Iterator[Workspace]:
    """New clusters and empty stacks that own them; all of it is gone afterwards.

    Args:
        count: how many clusters.
        console: where it is said how it goes.
        stacks_each: a stack for each cluster, as shipped, instead of one that owns them all.

    Raises:
        SkippedError: there is no pulumi CLI, or no clusters can be made here.
    """
    pulumi = measure.need("pulumi")

    def progress(line: str) -> None:
        console.print(f"[dim]{line}[/]", highlight=False, soft_wrap=True)

    with _home() as home:
        try:
            tools = toolchain.ensure(progress)
            raw = plans.of(count)
            subctl, version, bin_dirs = find_subctl(home)
            raw, _ = project.adapt(raw, version, tools.kubernetes_version)
            plan = load_plan(raw)
            specs = project.cluster_specs(plan)
            kubeconfigs = clusters.up(specs, home=home, tools=tools, crd_dirs=[crd_dir()], progress=_hush)
        except LabError as error:
            raise SkippedError(f"no clusters can be made here: {error}") from None
        env = engine.environment(home, kubeconfigs, bin_dirs)
        prepared = project.prepare(home, subctl_version=version, kubernetes_version=tools.kubernetes_version)
        owned = {name: {"mesh:cluster": name} for name in raw["clusters"]}
        stacks = owned if stacks_each else {STACK: {"mesh:clusters": list(raw["clusters"])}}
        _write(prepared.folder, raw, stacks)
        workspace = Workspace(home, prepared.folder, plan, env, pulumi, subctl, tuple(stacks))
        _init(workspace)
        yield workspace


@contextmanager
def without_clusters() -> Iterator[Workspace]:
    """The shipped stacks, empty, where no cluster can be reached; all of it is gone afterwards.

    The plan is the lab's: the shipped one without Spiderpool's chart, which not every machine can fetch.

    Raises:
        SkippedError: there is no pulumi CLI.
    """
    pulumi = measure.need("pulumi")
    with _home() as home:
        version = faults.version().removeprefix("v")
        prepared = project.prepare(home, subctl_version=version, kubernetes_version=KUBERNETES)
        env = {name: value for name, value in engine.environment(home, {}, []).items() if "KUBECONFIG" not in name}
        env["KUBECONFIG"] = str(home / "none")  # else the usual one of whoever measures
        workspace = Workspace(home, prepared.folder, prepared.plan, env, pulumi, "none", prepared.stacks)
        _init(workspace)
        yield workspace


@contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="mesh-bench-"))
    try:
        yield home
    finally:
        clusters.down(home, _hush)
        shutil.rmtree(home, ignore_errors=True)


def _hush(_line: str) -> None:
    """Of clusters that come and go every minute nobody wants to read."""


def _init(workspace: Workspace) -> None:
    for stack in workspace.stacks:
        workspace.run_pulumi("stack", "init", stack, "--no-select")


def _write(folder: Path, raw: dict[str, Any], stacks: Mapping[str, dict[str, Any]]) -> None:
    """The plan of all clusters, and the config of each stack."""
    settings = yaml.safe_load((folder / "Pulumi.yaml").read_text())
    settings["config"][CONFIG_KEY]["value"] = raw
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    for stack, config in stacks.items():
        (folder / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": config}))
