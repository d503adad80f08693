"""Reads outputs of a stack of multi-cluster-mesh, and says in one sentence why where they cannot be used.

For copying into a program of your own; what the outputs mean is in that project's docs/outputs.md.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pulumi

CONTRACT_VERSION = 1
"""What this file was written for."""


def output(stack: str, name: str) -> pulumi.Output[Any]:
    """One output of a stack, which must be there."""

    def found(values: Sequence[Any]) -> Any:
        if values[0] in (None, "", {}):  # what is left of a secret that cannot be decrypted
            raise pulumi.RunError(
                f"stack {stack} has no {name} for us: it does not export it, or as a secret that can't be decrypted "
                "here: this machine needs the passphrase or key of that stack"
            )
        return values[0]

    return _outputs(stack, name).apply(found)


def cluster(stack: str, cluster_id: str) -> pulumi.Output[dict[str, Any]]:
    """What a stack says of a cluster that it owns."""

    def pick(values: Sequence[Any]) -> dict[str, Any]:
        one, several = values
        owned: dict[str, dict[str, Any]] = {one["id"]: one} if one else several or {}
        if cluster_id not in owned:
            names = ", ".join(owned) or "none"
            raise pulumi.RunError(f"stack {stack} does not own {cluster_id}: the clusters that it owns are {names}")
        return owned[cluster_id]

    return _outputs(stack, "cluster", "clusters").apply(pick)


def _outputs(stack: str, *names: str) -> pulumi.Output[list[Any]]:
    """The values, None for what is missing, once the contract is known to be ours."""
    # One by one: all outputs of a stack at once are secret as soon as one of them is.
    reference = _reference(stack)

    def checked(values: Sequence[Any]) -> list[Any]:
        version, *rest = values
        if version is None:
            problem = "has no contractVersion: it has not been brought up, or is no stack of multi-cluster-mesh"
        elif version < CONTRACT_VERSION:
            problem = f"follows contract {version:g}, and we need {CONTRACT_VERSION}: bring it up with a newer mesh"
        elif version > CONTRACT_VERSION:
            problem = f"follows contract {version:g}, and we know {CONTRACT_VERSION}: renew mesh_outputs.py"
        else:
            return rest
        raise pulumi.RunError(f"stack {stack} {problem}")

    return pulumi.Output.all(*map(reference.get_output, ("contractVersion", *names))).apply(checked)


@cache  # the engine takes each name once
def _reference(stack: str) -> pulumi.StackReference:
    return pulumi.StackReference(stack)
