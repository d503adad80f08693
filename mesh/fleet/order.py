"""In which order stacks go, and how many of them at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mesh.fleet.stacks import Stack
from mesh.plan import MeshPlan


class Operation(StrEnum):
    """What is done to every stack."""

    UP = "up"
    PREVIEW = "preview"
    REFRESH = "refresh"
    DESTROY = "destroy"


class Pace(StrEnum):
    """How the members follow the broker's stack."""

    PARALLEL = "parallel"
    ONE_BY_ONE = "one by one"
    """A new version: whatever it breaks, it breaks in one cluster."""
    TOGETHER = "together"
    """A new pre-shared key: a member is cut off until it has it, so a failure elsewhere must not hold it back."""


@dataclass(frozen=True)
class Rollout:
    """How members go and why, as sentences for people."""

    pace: Pace = Pace.PARALLEL
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wave:
    """Stacks that go at the same time; the next wave waits for them.

    Attributes:
        parallel: how many at once.
        stop_at_failure: a failed stack keeps those from starting that have not.
    """

    stacks: tuple[Stack, ...]
    parallel: int
    stop_at_failure: bool


def waves(
    operation: Operation, stacks: Collection[Stack], parallel: int, pace: Pace = Pace.PARALLEL, *, dry_run: bool = False
) -> list[Wave]:
    """The order: members join what the broker's stack has made, and leave it before that goes away.

    Looking (preview, refresh, dry runs) has no order, and a failure is no reason not to look at the others.
    """
    if dry_run or operation in (Operation.PREVIEW, Operation.REFRESH):
        return [Wave(tuple(stacks), parallel, stop_at_failure=False)]
    hosts = tuple(stack for stack in stacks if stack.hosts_broker)
    members = tuple(stack for stack in stacks if not stack.hosts_broker)
    at_once = 1 if pace is Pace.ONE_BY_ONE else parallel
    ordered = [
        Wave(hosts, parallel, stop_at_failure=True),
        Wave(members, at_once, stop_at_failure=pace is not Pace.TOGETHER),
    ]
    if operation is Operation.DESTROY:
        ordered.reverse()
    return [wave for wave in ordered if wave.stacks]


def rollout(
    plan: MeshPlan, all_stacks: Collection[Stack], selected: Collection[Stack], outputs: Mapping[str, Mapping[str, Any]]
) -> Rollout:
    """How `up` has to go, from what the plan wants and what the stacks' last outputs say.

    Args:
        plan: the plan.
        all_stacks: all stacks of the mesh.
        selected: those that are brought up.
        outputs: the last outputs of those that have any, by stack.
    """
    if reason := _psk_rotation(plan, outputs):
        members = [stack for stack in all_stacks if not stack.hosts_broker]
        left_out = [stack.name for stack in members if stack not in selected]
        reasons = [reason]
        if left_out:
            reasons.append(f"Not among the selected and cut off until they are brought up: {', '.join(left_out)}.")
        return Rollout(Pace.TOGETHER, tuple(reasons))
    changes = [text for stack in selected for text in _version_changes(plan, outputs.get(stack.name, {}))]
    if changes:
        told = f"New version, so one cluster at a time, ending at the first failure: {'; '.join(changes)}."
        return Rollout(Pace.ONE_BY_ONE, (told,))
    return Rollout()


def _psk_rotation(plan: MeshPlan, outputs: Mapping[str, Mapping[str, Any]]) -> str | None:
    wanted = plan.submariner.psk_rotation
    for stack_outputs in outputs.values():
        has = (stack_outputs.get("broker") or {}).get("pskRotation")
        if isinstance(has, int) and has < wanted:
            return (
                f"The IPsec pre-shared key is replaced (rotation {has} -> {wanted}): the tunnels are down from the "
                "broker's stack on until each member has joined with the new key, so all members go at once."
            )
    return None


def _version_changes(plan: MeshPlan, outputs: Mapping[str, Any]) -> list[str]:
    one = outputs.get("cluster") or {}
    clusters = {one.get("id", ""): one} if one else outputs.get("clusters") or {}
    spiderpool = plan.spiderpool.version if plan.spiderpool.install else None
    changes = []
    for cluster_id, facts in clusters.items():
        versions = (
            ("Submariner", (facts.get("joined") or {}).get("version"), plan.submariner.version),
            ("Spiderpool", facts.get("spiderpoolVersion"), spiderpool),
        )
        changes += [
            f"{cluster_id} {name} {has} -> {wanted}"
            for name, has, wanted in versions
            if has and wanted and has != wanted
        ]
    return changes
