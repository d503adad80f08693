"""Plans to test with: the recipe's own, corrected, and changes to it."""

import copy
import enum
import re
from collections.abc import Mapping
from typing import Any

import pytest

from mesh.plan import PlanError, Problem, load_plan


class _Marker(enum.Enum):
    """An enum for its repr, which is in the names of tests: they have to be the same in every process."""

    REMOVED = "removed"


REMOVED = _Marker.REMOVED
"""As a value in `changed`: take the field out."""

_SEED: dict[str, Any] = {
    "broker": {"cluster": "cluster-a"},
    "submariner": {"version": "0.24.1"},
    "clusters": {
        "cluster-a": {
            "podCIDR": "172.110.0.0/16",
            "serviceCIDR": "10.233.0.0/18",
            "gateways": ["controller-node-1"],
            "network": {"name": "macvlan-conf", "master": ["ens224"]},
            "pools": [
                {
                    "name": "cluster-a",
                    "default": True,
                    "subnet": "172.110.0.0/16",
                    "ips": ["172.110.1.1-172.110.1.200"],
                    "gateway": "172.110.0.1",
                }
            ],
        },
        "cluster-b": {
            "podCIDR": "172.111.0.0/16",
            "serviceCIDR": "10.243.0.0/18",
            "gateways": ["controller-node-1"],
            "network": {"name": "macvlan-conf", "master": ["ens224"]},
            "pools": [
                {
                    "name": "cluster-b",
                    "default": True,
                    "subnet": "172.111.0.0/16",
                    "ips": ["172.111.1.1-172.111.1.200"],
                    "gateway": "172.111.0.1",
                }
            ],
        },
    },
}


def seed() -> dict[str, Any]:
    """The recipe's two clusters, with the two pools that Spiderpool refuses corrected."""
    return copy.deepcopy(_SEED)


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The seed with fields set, by path: `{"clusters.cluster-a.pools[0].gateway": "172.110.0.2"}`."""
    raw = seed()
    for path, value in changes.items():
        parts: list[Any] = [int(part) if part.isdigit() else part for part in re.split(r"[.\[\]]+", path.rstrip("]"))]
        *above, last = parts
        place: Any = raw
        for part in above:
            place = place[part] if isinstance(place, list) else place.setdefault(part, {})
        if value is REMOVED:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(copy.deepcopy(value))
        else:
            place[last] = copy.deepcopy(value)
    return raw


def problems_of(raw: Any) -> tuple[Problem, ...]:
    """The mistakes that a plan is refused with."""
    with pytest.raises(PlanError) as caught:
        load_plan(raw)
    return caught.value.problems
