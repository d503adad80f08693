"""Plans to measure with: the shipped one, as many clusters as wanted, and one with mistakes."""

import copy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]


def shipped() -> dict[str, Any]:
    """The plan of `Pulumi.yaml`."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    plan: dict[str, Any] = project["config"]["mesh:plan"]["value"]
    return plan


def of(clusters: int) -> dict[str, Any]:
    """The shipped plan with that many clusters, two or more; those that are added look like its second one.

    Their names sort as they stand: the engine hands config on with sorted keys.
    """
    plan = shipped()
    for number in range(len(plan["clusters"]), clusters):
        name, underlay = f"cluster-c{number:03}", f"172.{number}"
        added = copy.deepcopy(plan["clusters"]["cluster-b"])
        added |= {"podCIDR": f"{underlay}.0.0/16", "serviceCIDR": f"10.{number}.0.0/18"}
        added["pools"] = [
            {
                "name": name,
                "default": True,
                "subnet": f"{underlay}.0.0/16",
                "ips": [f"{underlay}.1.1-{underlay}.1.200"],
                "gateway": f"{underlay}.0.1",
            }
        ]
        plan["clusters"][name] = added
    return plan


def bad() -> dict[str, Any]:
    """The recipe's own mistakes, one between the clusters, and a typo."""
    plan = shipped()
    one, other = plan["clusters"].values()
    one["pools"][0]["subnet"] = "172.110.1.0/24"
    other["pools"][0]["subnet"] = "172.111.0.0/24"
    other["serviceCIDR"] = one["serviceCIDR"]
    other["gatewayz"] = other["gateways"]
    return plan


def write(plan: dict[str, Any], folder: Path) -> Path:
    """The plan as a file of its own."""
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path
