"""Sound plans of two to fifty clusters, for hypothesis.

Disjoint by construction: cluster i has 10.i.0.0/16 (pods in the lower half, Services above) and fd00:i::/32.
"""

from typing import Any

from hypothesis import strategies as st

MASTERS = ("eth0", "ens224", "enp1s0", "bond1")


@st.composite
def plans(draw: st.DrawFn, most: int = 50) -> dict[str, Any]:
    """A plan as nested dicts, camelCase keys."""
    count = draw(st.one_of(st.integers(2, min(6, most)), st.integers(2, most)))
    numbers = draw(st.permutations(range(1, count + 1)))
    dual_stack, globalnet = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    names = draw(st.lists(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True),
                          min_size=count, max_size=count, unique=True))  # fmt: skip
    clusters = {
        name: draw(cluster(number, dual_stack and draw(st.booleans()), globalnet))
        for name, number in zip(names, numbers, strict=True)
    }
    broker: dict[str, Any] = {"cluster": draw(st.sampled_from(names))}
    if globalnet:
        broker["globalnet"] = {"cidrRange": "242.0.0.0/8"}
    driver = "libreswan" if dual_stack else draw(st.sampled_from(["libreswan", "wireguard", "vxlan"]))
    return {
        "broker": broker,
        "submariner": {"version": "0.24.1", "cableDriver": driver, "natPort": draw(st.integers(4501, 4600))},
        "sampleApp": {"enabled": draw(st.booleans()), "replicas": 1},
        "clusters": clusters,
    }


@st.composite
def cluster(draw: st.DrawFn, number: int, dual_stack: bool, globalnet: bool) -> dict[str, Any]:
    """One cluster; its pools are /24s of its own half, each with the router at .254."""
    pools = []
    for index in range(draw(st.integers(1, 3))):
        network = f"10.{number}.{index}"
        start = draw(st.integers(1, 200))
        pools.append(
            {
                "name": f"pool-{index}",
                "default": index == 0 and draw(st.booleans()),
                "subnet": f"{network}.0/24",
                "ips": [f"{network}.{start}-{network}.{start + 9}", f"{network}.{start + 12}"],
                "excludeIPs": draw(st.sampled_from([[], [f"{network}.{start + 1}"]])),
                "gateway": draw(st.sampled_from([f"{network}.254", None])),
            }
        )
    name = draw(st.sampled_from(["macvlan-conf", "underlay"]))
    pod_bits = draw(st.integers(17, 20))
    raw: dict[str, Any] = {
        "podCIDR": f"10.{number}.0.0/{pod_bits}",
        "serviceCIDR": f"10.{number}.128.0/{draw(st.integers(17, 24))}",
        "gateways": [
            draw(st.sampled_from([f"gw-{index}", {"node": f"gw-{index}", "address": f"10.{number}.3.{index + 1}"}]))
            for index in range(draw(st.integers(1, 3)))
        ],
        "network": {"name": name, "master": [draw(st.sampled_from(MASTERS))], "vlanID": draw(st.integers(0, 4094))},
        "pools": pools,
    }
    if draw(st.booleans()):
        # Far away, NodeLocal DNSCache among the cluster's own Services, and right behind its pods.
        near = [f"100.64.{number}.0/24", f"10.{number}.128.10/32", f"10.{number}.{2 ** (24 - pod_bits)}.0/24"]
        raw["network"]["localCIDR"] = draw(st.lists(st.sampled_from(near), unique=True))
    if dual_stack:
        raw |= {"podCIDRv6": f"fd00:{number:x}::/64", "serviceCIDRv6": f"fd00:{number:x}:1::/112"}
        raw["pools"].append(
            {"name": "six", "subnet": f"fd00:{number:x}::/64", "ips": [f"fd00:{number:x}::10-fd00:{number:x}::20"]}
        )
    if globalnet:
        raw["globalnetCIDR"] = f"242.{number}.0.0/16"
    return raw
