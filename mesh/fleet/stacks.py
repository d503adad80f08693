"""Which stacks there are: the stack files next to Pulumi.yaml, matched with the clusters of the plan."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mesh.access import kubeconfig_variable
from mesh.fleet.errors import FleetError
from mesh.plan import CONFIG_KEY, MeshPlan, read_plan
from mesh.stack_config import StackConfigError, check_keys, owned_clusters

PROJECT_FILE = "Pulumi.yaml"


@dataclass(frozen=True)
class Stack:
    """A stack file and what it owns of the plan.

    Attributes:
        name: the stack's name, which is in the name of the file.
        clusters: the clusters it owns, one or more.
        hosts_broker: whether the broker's cluster is one of them.
        settings: the stack file as it is, secrets encrypted.
    """

    name: str
    clusters: tuple[str, ...]
    hosts_broker: bool
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def config(self) -> Mapping[str, Any]:
        """The stack's own config."""
        return self.settings.get("config") or {}


@dataclass(frozen=True)
class Fleet:
    """A project folder with a checked plan, and its stacks: the broker's first, then in plan order."""

    folder: Path
    plan: MeshPlan
    stacks: tuple[Stack, ...]
    unmatched: tuple[str, ...] = ()
    """Sentences about clusters without a stack and stack files that do not fit the plan."""

    def select(self, only: Collection[str]) -> tuple[Stack, ...]:
        """The stacks that own what is named (clusters or stacks), all of them where nothing is.

        Raises:
            FleetError: a name is neither; or all are meant, and a cluster of the plan has no stack.
        """
        if not only:
            if self.unmatched:
                raise FleetError("\n".join(self.unmatched) + "\nOr name the clusters to work on: --only <cluster>,…")
            return self.stacks
        known = {name for stack in self.stacks for name in (stack.name, *stack.clusters)}
        if unknown := [name for name in only if name not in known]:
            wrong = [text for text in self.unmatched if any(text.startswith(f"{name} ") for name in unknown)]
            raise FleetError(
                "\n".join(wrong)
                or f"--only {', '.join(unknown)}: there is no such cluster or stack; use: {', '.join(sorted(known))}"
            )
        return tuple(stack for stack in self.stacks if {stack.name, *stack.clusters} & set(only))


def load(folder: Path) -> Fleet:
    """Read a project folder.

    Raises:
        PlanError: with all mistakes of the plan, as `mesh check` tells them.
        FleetError: a stack file cannot be used.
    """
    plan = read_plan(folder / PROJECT_FILE)
    stacks, unmatched = [], []
    for path in sorted(folder.glob("Pulumi.*.yaml")):
        settings = _read(path)
        config = settings.get("config") or {}
        try:
            check_keys(config)
            clusters = owned_clusters(config.get("mesh:cluster"), config.get("mesh:clusters"))
        except StackConfigError as error:
            raise FleetError(f"{path.name}: {error}") from None
        if not clusters:
            continue  # a stack of something else
        # A stack may carry a plan of its own, which then replaces the shared one whole.
        own_plan = read_plan(path) if CONFIG_KEY in config else plan
        if unknown := [cluster for cluster in clusters if cluster not in own_plan.clusters]:
            names = f"{', '.join(unknown)}, which is no cluster of the plan"
            unmatched.append(f"{path.name} is for {names}; use: {', '.join(own_plan.clusters)}")
            continue
        stacks.append(Stack(_stack_name(path), clusters, own_plan.broker.cluster in clusters, settings))
    unmatched += _uncovered(plan, stacks)
    order = list(plan.clusters)
    stacks.sort(key=lambda stack: (not stack.hosts_broker, min(map(order.index, stack.clusters), default=0)))
    return Fleet(folder, plan, tuple(stacks), tuple(unmatched))


def missing_credentials(stacks: Collection[Stack], environ: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for each cluster whose API server could not be reached, before anything tries to."""
    return [text for stack in stacks for text in _missing_credentials(stack, environ)]


def matrix(stacks: Collection[Stack]) -> list[dict[str, Any]]:
    """What a CI workflow needs to know of each stack."""
    return [
        {
            "stack": stack.name,
            "clusters": list(stack.clusters),
            "hostsBroker": stack.hosts_broker,
            "kubeconfigVariables": [kubeconfig_variable(cluster) for cluster in stack.clusters],
        }
        for stack in stacks
    ]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise FleetError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, Mapping | None):
        raise FleetError(f"{path.name} is no stack file: it has no `config:`")
    return document or {}


def _stack_name(path: Path) -> str:
    return path.name.removeprefix("Pulumi.").removesuffix(".yaml")


def _uncovered(plan: MeshPlan, stacks: Collection[Stack]) -> Iterator[str]:
    owners = {cluster: [stack.name for stack in stacks if cluster in stack.clusters] for cluster in plan.clusters}
    for cluster, names in owners.items():
        if not names:
            yield (
                f"{cluster} has no stack: create Pulumi.{cluster}.yaml with `config: {{mesh:cluster: {cluster}}}` and "
                f"run `pulumi stack init {cluster}`"
            )
        elif len(names) > 1:
            raise FleetError(f"{cluster} is owned by the stacks {', '.join(names)}: each would undo the other's work")


def _missing_credentials(stack: Stack, environ: Mapping[str, str]) -> Iterator[str]:
    in_config = stack.config.keys() & {"mesh:context", "mesh:kubeconfig"}
    if in_config or "environment" in stack.settings:  # a Pulumi ESC environment may set any of them
        return
    for cluster in stack.clusters:
        variable = kubeconfig_variable(cluster)
        path = environ.get(variable)
        if not path:
            where = f", or mesh:context in Pulumi.{stack.name}.yaml" if len(stack.clusters) == 1 else ""
            yield f"{cluster}: set {variable} to the path of its kubeconfig{where}"
        elif os.pathsep not in path and not Path(path).is_file():
            yield f"{cluster}: {variable} is {path}, which is no file"
