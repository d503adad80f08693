"""A place to measure whole runs in: local clusters, and a project folder with one stack that owns them all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from bench import SkippedError, measure, plans
from lab import LabError, clusters, engine, project, toolchain
from lab.__main__ import WORKERS, crd_dir, find_subctl
from mesh.plan import CONFIG_KEY, MeshPlan, load_plan

STACK = "bench"


@dataclass(frozen=True)
class Workspace:
    """Clusters and what works on them.

    Attributes:
        home: everything of it is below this folder.
        folder: the project folder.
        plan: the plan in it.
        env: environment for programs that work on it.
        pulumi: path of the CLI.
        subctl: what to call the subctl that is used.
    """

    home: Path
    folder: Path
    plan: MeshPlan
    env: dict[str, str]
    pulumi: str
    subctl: str

    def kubeconfig(self, cluster_id: str) -> Path:
        """The way into one cluster."""
        return clusters.kubeconfig_path(self.home, cluster_id)

    def run_pulumi(self, *arguments: str, folder: Path | None = None, timeout: float = 900) -> measure.Sample:
        """Run the CLI in the project folder, or in another one."""
        argv = [self.pulumi, "--non-interactive", "--color", "never", *arguments]
        return measure.run(argv, cwd=folder or self.folder, env=self.env, timeout=timeout)


@contextmanager
def with_clusters(count: int, console: Console) -> Iterator[Workspace]:
    """New clusters and an empty stack that owns them; all of it is gone afterwards.

    Raises:
        SkippedError: there is no pulumi CLI, or no clusters can be made here.
    """
    pulumi = measure.need("pulumi")
    home = Path(tempfile.mkdtemp(prefix="mesh-bench-"))

    def progress(line: str) -> None:
        console.print(f"[dim]{line}[/]", highlight=False, soft_wrap=True)

    def hush(_line: str) -> None:
        """Of clusters that come and go every minute nobody wants to read."""

    try:
        try:
            tools = toolchain.ensure(progress)
            raw = plans.of(count)
            subctl, version, bin_dirs = find_subctl(home)
            raw, _ = project.adapt(raw, version, tools.kubernetes_version)
            plan = load_plan(raw)
            kubeconfigs = clusters.up(_specs(plan), home=home, tools=tools, crd_dirs=[crd_dir()], progress=hush)
        except LabError as error:
            raise SkippedError(f"no clusters can be made here: {error}") from None
        env = engine.environment(home, kubeconfigs, bin_dirs)
        prepared = project.prepare(home, subctl_version=version, kubernetes_version=tools.kubernetes_version)
        _write(prepared.folder, raw)
        workspace = Workspace(home, prepared.folder, plan, env, pulumi, subctl)
        workspace.run_pulumi("stack", "init", STACK)
        yield workspace
    finally:
        clusters.down(home, hush)
        shutil.rmtree(home, ignore_errors=True)


def _specs(plan: MeshPlan) -> list[clusters.ClusterSpec]:
    return [
        clusters.ClusterSpec(
            name=cluster_id,
            service_cidr=cluster.service_cidr,
            pod_cidr=cluster.pod_cidr,
            nodes=tuple(dict.fromkeys([*(gateway.node for gateway in cluster.gateways), *WORKERS])),
        )
        for cluster_id, cluster in plan.clusters.items()
    ]


def _write(folder: Path, raw: dict[str, Any]) -> None:
    """The plan of all clusters, and one stack that owns them."""
    settings = yaml.safe_load((folder / "Pulumi.yaml").read_text())
    settings["config"][CONFIG_KEY]["value"] = raw
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    stack = {"config": {"mesh:clusters": list(raw["clusters"])}}
    (folder / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump(stack))
