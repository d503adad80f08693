"""The config of a stack (`mesh:…` in Pulumi.<stack>.yaml), as the program and `python -m mesh` read it.

What the keys mean stands in README.md, "Settings of a stack".
"""

import difflib
from collections.abc import Iterable
from typing import Any

NAMESPACE = "mesh:"
KEYS = ("plan", "cluster", "clusters", "context", "kubeconfig", "brokerStack")


class StackConfigError(Exception):
    """The config cannot be used; says which keys and what to write instead."""


def check_keys(keys: Iterable[str]) -> None:
    """Refuse keys of ours that nobody reads: `mesh:contxt` would leave the stack without a context, and not say so.

    Raises:
        StackConfigError: with all of them.
    """
    wrong = [key for key in keys if key.startswith(NAMESPACE) and key.removeprefix(NAMESPACE) not in KEYS]
    if wrong:
        raise StackConfigError("; ".join(map(_instead, sorted(wrong))))


def owned_clusters(cluster: Any, clusters: Any) -> tuple[str, ...]:
    """The IDs of the clusters that a stack owns: `mesh:cluster`, or all of `mesh:clusters`; none where neither is set.

    Raises:
        StackConfigError: both are set, or they are no IDs.
    """
    if cluster is not None and clusters is not None:
        raise StackConfigError("mesh:cluster and mesh:clusters are both set: keep the one that is meant")
    if clusters is None:
        key, found = "mesh:cluster", [] if cluster is None else [cluster]
    elif isinstance(clusters, list) and clusters:
        key, found = "mesh:clusters", clusters
    else:
        raise StackConfigError(
            f"mesh:clusters is {clusters!r}: write a list of cluster IDs, such as [cluster-a, cluster-b]"
        )
    if wrong := [item for item in found if not isinstance(item, str)]:
        raise StackConfigError(f"{key} has {', '.join(map(repr, wrong))}: write IDs of clusters of the plan")
    if repeated := sorted({item for item in found if found.count(item) > 1}):
        raise StackConfigError(f"{key} names {', '.join(repeated)} more than once: name it once")
    return tuple(found)


def _instead(key: str) -> str:
    names = {name.lower(): name for name in KEYS}
    match = difflib.get_close_matches(key.removeprefix(NAMESPACE).lower(), names, n=1)
    known = ", ".join(NAMESPACE + name for name in KEYS)
    return f"{key} is no setting: " + (
        f"did you mean {NAMESPACE}{names[match[0]]}?" if match else f"remove it; there are {known}"
    )
