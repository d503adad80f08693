"""The project as the lab runs it: the shipped program and stack files, with a plan adapted to simulated nodes.

The folder holds links to the program, so that what runs is the checkout itself, and `Pulumi.yaml` and the stack files
as copies: `pulumi` writes into them (the salt of the passphrase, for one), and the shipped ones stay as they are.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.clusters import ClusterSpec
from lab.files import write_whole
from mesh.plan import CONFIG_KEY, MeshPlan, load_plan
from mesh.plan.settings import supports_kubernetes

ROOT = Path(__file__).resolve().parents[1]
WORKERS = ("worker-node-1",)
LINKS = ("__main__.py", "mesh", "components", ".venv")


@dataclass(frozen=True)
class LabProject:
    """A project folder that `pulumi` or the in-process stand-in can run.

    Attributes:
        name: the project's name.
        folder: the project folder.
        plan: the plan in it.
        stacks: the shipped stacks, the broker's first.
        adapted: what differs from the shipped plan, for people.
    """

    name: str
    folder: Path
    plan: MeshPlan
    stacks: tuple[str, ...]
    adapted: tuple[str, ...]


def prepare(home: Path, *, subctl_version: str, kubernetes_version: str) -> LabProject:
    """Write the lab's project folder below `home` and give what is in it.

    Args:
        home: the lab's folder.
        subctl_version: version of the subctl that will run, real or stand-in, such as `0.24.1`.
        kubernetes_version: of the lab's API servers, such as `v1.36.3`.
    """
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    shipped = project["config"][CONFIG_KEY]["value"]
    raw, adapted = adapt(shipped, subctl_version, kubernetes_version)
    plan = load_plan(raw, "the lab's plan")
    project["config"][CONFIG_KEY]["value"] = raw
    folder = home / "project"
    folder.mkdir(parents=True, exist_ok=True)
    for name in LINKS:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    write_whole(folder / "Pulumi.yaml", yaml.safe_dump(project, sort_keys=False))
    shipped_stacks = {path.name.split(".")[1]: path for path in sorted(ROOT.glob("Pulumi.*.yaml"))}
    for path in shipped_stacks.values():
        target = folder / path.name
        # One that is whole stays: `pulumi stack init` has written the passphrase's salt into it.
        if not _is_whole(target, path):
            write_whole(target, path.read_text())
    ordered = sorted(shipped_stacks, key=lambda stack: stack != plan.broker.cluster)
    return LabProject(project["name"], folder, plan, tuple(ordered), tuple(adapted))


def _is_whole(target: Path, shipped: Path) -> bool:
    """Whether a stack file says all that the shipped one says; pulumi, too, may have been cut short writing it."""
    wanted = yaml.safe_load(shipped.read_text())["config"]
    try:
        found = yaml.safe_load(target.read_text())
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError):
        return False
    config = found.get("config") if isinstance(found, dict) else None
    return isinstance(config, dict) and wanted.items() <= config.items()


def cluster_specs(plan: MeshPlan) -> list[ClusterSpec]:
    """The local clusters that a plan wants: its gateway nodes, and a worker."""
    return [
        ClusterSpec(
            name=cluster_id,
            service_cidr=cluster.service_cidr,
            pod_cidr=cluster.pod_cidr,
            nodes=tuple(dict.fromkeys([*(gateway.node for gateway in cluster.gateways), *WORKERS])),
        )
        for cluster_id, cluster in plan.clusters.items()
    ]


def adapt(shipped: dict[str, Any], subctl_version: str, kubernetes_version: str) -> tuple[dict[str, Any], list[str]]:
    """The shipped plan for clusters with simulated nodes, and what was changed in it."""
    raw, adapted = copy.deepcopy(shipped), []
    raw.setdefault("spiderpool", {})["install"] = False
    adapted.append(
        "spiderpool.install: false (its CRDs are there; its webhooks would refuse every object, because simulated "
        "pods never answer)"
    )
    raw["verify"] = {**raw.get("verify", {}), "site": False, "tunnel": False, "dataPath": False}
    adapted.append(
        "verify.site, verify.tunnel, verify.dataPath: false (no controller of Spiderpool or Submariner runs, and "
        "simulated pods send nothing: the outputs say 'not checked')"
    )
    if raw["submariner"]["version"] != subctl_version:
        raw["submariner"]["version"] = subctl_version
        adapted.append(f"submariner.version: {subctl_version} (the subctl on PATH)")
    if not supports_kubernetes(subctl_version, kubernetes_version):
        raw["submariner"]["ignoreRequirements"] = True
        adapted.append(f"submariner.ignoreRequirements: true (Kubernetes {kubernetes_version} is too new for it)")
    return raw, adapted
