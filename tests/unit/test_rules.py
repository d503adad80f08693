"""Contract: whatever cannot work, and can be known without a cluster, is refused before anything starts.

A table: each row changes the sound plan of the recipe, and has the field that must be blamed, parts of what is said
about it (the values, the reason), parts of the fix, and the nearest change that is accepted. A rule that refuses
nothing fails on the first half of a row, one that refuses everything on the second. A row's mistake is told once: no
row gives more problems than it lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from mesh.plan import load_plan, rules
from tests.unit.plans import REMOVED, changed, problems_of

A, B = "clusters.cluster-a", "clusters.cluster-b"
POOL = f"{A}.pools[0]"
SECOND_POOL = {"name": "second", "subnet": "172.110.0.0/16", "ips": ["172.110.2.1-172.110.2.9"]}
SIX = {"name": "six", "subnet": "fd00:1::/64", "ips": ["fd00:1::10-fd00:1::20"]}
IPV6 = {
    f"{A}.podCIDRv6": "fd00:1::/64",
    f"{A}.serviceCIDRv6": "fd00:1:1::/112",
    f"{A}.pools[1]": SIX,
}
GLOBALNET = {
    "broker.globalnet": {},
    f"{A}.globalnetCIDR": "242.1.0.0/16",
    f"{B}.globalnetCIDR": "242.2.0.0/16",
}


@dataclass(frozen=True)
class Row:
    """One bad plan and the nearest good one, both as changes to the recipe's."""

    bad: Mapping[str, Any]
    path: str
    what: tuple[str, ...]
    fix: str
    good: Mapping[str, Any]
    also: tuple[str, ...] = field(default=())


def gateway(**fields: str) -> list[dict[str, str]]:
    return [{"node": "controller-node-1"} | fields]


STRUCTURE: dict[str, Row] = {
    "CIDR that is none": Row(
        {f"{A}.serviceCIDR": "10.233.0.0/33"}, f"{A}.serviceCIDR", ("'10.233.0.0/33' is not a CIDR",),
        "<address>/<prefix length>", {f"{A}.serviceCIDR": "10.233.0.0/24"},
    ),
    "CIDR without a prefix length": Row(
        {f"{A}.network.localCIDR": ["169.254.25.10"]}, f"{A}.network.localCIDR[0]",
        ("'169.254.25.10' has no prefix length",), "169.254.25.10/32",
        {f"{A}.network.localCIDR": ["169.254.25.10/32"]},
    ),
    "CIDR with host bits": Row(
        {f"{POOL}.subnet": "172.110.1.5/16"}, f"{POOL}.subnet", ("'172.110.1.5/16' is not in normal form",),
        "write 172.110.0.0/16", {f"{POOL}.subnet": "172.110.0.0/16"},
    ),
    "CIDR with a netmask": Row(
        {f"{A}.serviceCIDR": "10.233.0.0/255.255.192.0"}, f"{A}.serviceCIDR", ("not in normal form",),
        "write 10.233.0.0/18", {f"{A}.serviceCIDR": "10.233.0.0/18"},
    ),
    "IPv6 CIDR in another spelling": Row(
        IPV6 | {f"{A}.serviceCIDRv6": "FD00:1:1:0::/112"}, f"{A}.serviceCIDRv6", ("not in normal form",),
        "write fd00:1:1::/112", IPV6,
    ),
    "IPv6 range with a zone": Row(
        IPV6 | {f"{A}.pools[1].ips": ["fd00:1::10%eth0"]}, f"{A}.pools[1].ips[0]",
        ("'fd00:1::10%eth0' is not an address",), "172.110.1.1-172.110.1.200", IPV6,
    ),
    "reversed range": Row(
        {f"{POOL}.ips": ["172.110.1.200-172.110.1.1"]}, f"{POOL}.ips[0]",
        ("'172.110.1.200-172.110.1.1' runs backwards",), "write 172.110.1.1-172.110.1.200",
        {f"{POOL}.ips": ["172.110.1.199", "172.110.1.200-172.110.1.200"]},
    ),
    "range with spaces": Row(
        {f"{POOL}.ips": ["172.110.1.1 - 172.110.1.9"]}, f"{POOL}.ips[0]", ("is not an address or a range",),
        "without spaces", {f"{POOL}.ips": ["172.110.1.1-172.110.1.9"]},
    ),
    "CIDR as a range": Row(
        {f"{POOL}.ips": ["172.110.1.0/24"]}, f"{POOL}.ips[0]", ("is not an address or a range",),
        "without a prefix length", {f"{POOL}.ips": ["172.110.1.1", "172.110.1.2"]},
    ),
    "range without an end": Row(
        {f"{POOL}.ips": ["172.110.1.1-"]}, f"{POOL}.ips[0]", ("'172.110.1.1-' is not an address or a range",),
        "172.110.1.1-172.110.1.200", {f"{POOL}.ips": ["172.110.1.1", "172.110.1.2"]},
    ),
    "range across families": Row(
        {f"{POOL}.ips": ["172.110.1.1-fd00::1"]}, f"{POOL}.ips[0]", ("starts in one IP family",), "two ranges",
        {f"{POOL}.ips": ["172.110.1.1-172.110.1.2"]},
    ),
    "gateway with a prefix length": Row(
        {f"{POOL}.gateway": "172.110.0.1/16"}, f"{POOL}.gateway", ("'172.110.0.1/16' is not an IP address",),
        "without a prefix length", {f"{POOL}.gateway": "172.110.0.1"},
    ),
    "empty gateway": Row(
        {f"{POOL}.gateway": ""}, f"{POOL}.gateway", ("'' is not an IP address",), "leave the line out",
        {f"{POOL}.gateway": REMOVED},
    ),
    "address with a zone": Row(
        IPV6 | {f"{A}.pools[1].gateway": "fe80::1%ens224"}, f"{A}.pools[1].gateway", ("is not an IP address",), "",
        IPV6 | {f"{A}.pools[1].gateway": "fd00:1::1"},
    ),
    "IPv6 address in another spelling": Row(
        IPV6 | {f"{A}.pools[1].gateway": "fd00:1:0::1"}, f"{A}.pools[1].gateway", ("not in normal form",),
        "write fd00:1::1", IPV6 | {f"{A}.pools[1].gateway": "fd00:1::1"},
    ),
    "pool name with a blank": Row(
        {f"{POOL}.name": "cluster a"}, f"{POOL}.name", ("'cluster a' is not a valid Kubernetes name",), "lower-case",
        {f"{POOL}.name": "cluster-a.pods"},
    ),
    "pool name too long": Row(
        {f"{POOL}.name": "a" * 254}, f"{POOL}.name", ("is not a valid Kubernetes name",), "",
        {f"{POOL}.name": "a" * 253},
    ),
    "node name in upper case": Row(
        {f"{A}.gateways": ["Controller-Node-1"]}, f"{A}.gateways[0].node", ("'Controller-Node-1'",), "lower-case",
        {f"{A}.gateways": ["controller-node-1.example"]},
    ),
    "network name with a dot": Row(
        {f"{A}.network.name": "macvlan.conf"}, f"{A}.network.name", ("'macvlan.conf' is not a DNS label",), "63",
        {f"{A}.network.name": "macvlan-conf-2"},
    ),
    "network name with a newline": Row(
        {f"{A}.network.name": "macvlan-conf\n"}, f"{A}.network.name", ("is not a DNS label",), "", {},
    ),
    "empty master": Row(
        {f"{A}.network.master": []}, f"{A}.network.master", ("has 0, needs 1 or more",), "add",
        {f"{A}.network.master": ["eth0"]},
    ),
    "empty name of a master": Row(
        {f"{A}.network.master": [""]}, f"{A}.network.master[0]", ("'' is not an interface name",), "1 to 15", {},
    ),
    "interface name too long": Row(
        {f"{A}.network.master": ["enp0s31f6-isolat"]}, f"{A}.network.master[0]",
        ("'enp0s31f6-isolat' is not an interface name",), "1 to 15", {f"{A}.network.master": ["enp0s31f6-isola"]},
    ),
    "interface name with shell in it": Row(
        {f"{A}.network.master": ["$(reboot)"]}, f"{A}.network.master[0]", ("'$(reboot)'",), "letters",
        {f"{A}.network.master": ["bond0.100"]},
    ),
    "interface name of dots": Row(
        {f"{A}.network.master": [".."]}, f"{A}.network.master[0]", ("'..' is not an interface name",), "",
        {f"{A}.network.master": ["_0"]},
    ),
    "interface name with a letter that is not ASCII": Row(
        {f"{A}.network.master": ["網卡0"]}, f"{A}.network.master[0]", ("'網卡0' is not an interface name",), "", {},
    ),
    "VLAN out of range": Row(
        {f"{A}.network.vlanID": 4095}, f"{A}.network.vlanID", ("4095", "less than or equal to 4094"), "",
        {f"{A}.network.vlanID": 4094},
    ),
    "bonding mode out of range": Row(
        {f"{A}.network.master": ["e1", "e2"], f"{A}.network.bond": {"name": "bond0", "mode": 7}},
        f"{A}.network.bond.mode", ("7", "less than or equal to 6"), "",
        {f"{A}.network.master": ["e1", "e2"], f"{A}.network.bond": {"name": "bond0", "mode": 6}},
    ),
    "unsupported kind of interface": Row(
        {f"{A}.network.cniType": "sriov"}, f"{A}.network.cniType", ("'sriov' is not supported",), "macvlan, ipvlan",
        {f"{A}.network.cniType": "ipvlan"},
    ),
    "cable driver with a typo, which subctl takes": Row(
        {"submariner.cableDriver": "libreswann"}, "submariner.cableDriver", ("'libreswann' is not supported",),
        "libreswan, wireguard, vxlan", {"submariner.cableDriver": "wireguard"},
    ),
    "version with a v": Row(
        {"submariner.version": "v0.24.1"}, "submariner.version", ("'v0.24.1' is not a version",), "without a leading v",
        {"submariner.version": "0.24.1-rc1"},
    ),
    "version of two numbers": Row(
        {"spiderpool.version": "1.2"}, "spiderpool.version", ("'1.2' is not a version",), "three numbers",
        {"spiderpool.version": "1.2.0"},
    ),
    "version in other digits": Row(
        {"submariner.version": "٠.٢٤.١"}, "submariner.version", ("is not a version",), "", {},
    ),
    "broker over http": Row(
        {"broker.url": "http://10.6.168.73:6443"}, "broker.url", ("is not an API server's URL",), "https://<host>",
        {"broker.url": "https://10.6.168.73:6443"},
    ),
    **{
        f"broker on port {port}": Row(
            {"broker.url": f"https://broker.example:{port}"}, "broker.url",
            (f"'https://broker.example:{port}' has port {port}",), "1 to 65535",
            {"broker.url": f"https://broker.example:{good}"},
        )
        for port, good in ((0, 1), (65536, 65535), (99999, 443))
    },
    **{
        f"broker at a number, {host}": Row(
            {"broker.url": f"https://{host}:6443"}, "broker.url", (host, "not an IP address"), "in full",
            {"broker.url": f"https://{good}:6443"},
        )
        for host, good in (("127.1", "10.6.0.1"), ("0x7f000001", "0x7f000001.example"), ("300.1.1.1", "30.1.1.1"),
                           ("2130706433", "2130706433a"), ("10.6.0.1.", "broker.example."), ("010.6.0.1", "10.6.0.1"),
                           ("a.0x7", "a.x7"), ("[10.6.0.1]", "[fd00::1]"), ("[::1::1]", "[fd00::1]"))
    },
    **{
        f"broker with a malformed name, {host}": Row(
            {"broker.url": f"https://{host}:6443"}, "broker.url", (host, "not a DNS name"), "https://<host>",
            {"broker.url": f"https://{good}:6443"},
        )
        for host, good in (("-a..b", "a.b"), ("a..b", "a.b."), ("a-.b", "a-1.b"), ("-a", "a"), (".", "a"),
                           ("a" * 64, "a" * 63), ("a.-b", "a.b_1"))
    },
    **{
        f"broker with {what} in its URL": Row(
            {"broker.url": f"https://broker.example:6443{bad}"}, "broker.url", ("a query or a fragment",), "remove",
            {"broker.url": "https://broker.example:6443/x"},
        )
        for what, bad in (("a query", "?token=hunter2"), ("a query of a path", "/x?y"), ("a fragment", "#x"))
    },
    "broker without a host": Row(
        {"broker.url": "https://:6443"}, "broker.url", ("'https://:6443' is not an API server's URL",), "", {},
    ),
    "broker with shell in its URL": Row(
        {"broker.url": "https://$(hostname):6443"}, "broker.url", ("is not an API server's URL",), "",
        {"broker.url": "https://broker.example:6443/clusters/a"},
    ),
    "password in a URL": Row(
        {"spiderpool.repository": "https://user:hunter2@charts.example"}, "spiderpool.repository",
        ("a user name or password",), "remove it", {"spiderpool.repository": "https://charts.example/@scope"},
    ),
    "repository with a scheme": Row(
        {"submariner.repository": "https://quay.io/submariner"}, "submariner.repository",
        ("'https://quay.io/submariner' is not an image or repository",), "without https://",
        {"submariner.repository": "mirror.example:5000/submariner"},
    ),
    "image with shell in it": Row(
        {"submariner.imageOverrides": {"submariner-gateway": "x; curl example"}},
        "submariner.imageOverrides.submariner-gateway", ("'x; curl example' is not an image",), "",
        {"submariner.imageOverrides": {"submariner-gateway": "quay.io/x/gateway@sha256:0123"}},
    ),
    "label key with a blank": Row(
        {f"{POOL}.podAffinity": {"matchLabels": {"a b": "c"}}}, f"{POOL}.podAffinity.matchLabels.a b",
        ("'a b' is not a label key",), "",
        {f"{A}.pools[1]": SECOND_POOL | {"podAffinity": {"matchLabels": {"example.com/a_b": "c"}}}},
    ),
    "label key with two prefixes": Row(
        {f"{POOL}.podAffinity": {"matchLabels": {"a/b/c": "d"}}}, f"{POOL}.podAffinity.matchLabels.a/b/c",
        ("'a/b/c' is not a label key",), "",
        {f"{A}.pools[1]": SECOND_POOL | {"podAffinity": {"matchLabels": {"a/b": "d"}}}},
    ),
    "label key too long": Row(
        {f"{POOL}.podAffinity": {"matchLabels": {"a" * 64: "d"}}}, f"{POOL}.podAffinity.matchLabels.{'a' * 64}",
        ("is not a label key",), "", {f"{A}.pools[1]": SECOND_POOL | {"podAffinity": {"matchLabels": {"a" * 63: "d"}}}},
    ),
    "prefix of a label key too long": Row(
        {f"{POOL}.podAffinity": {"matchLabels": {"a" * 254 + "/b": "d"}}},
        f"{POOL}.podAffinity.matchLabels.{'a' * 254}/b", ("is not a label key",), "",
        {f"{A}.pools[1]": SECOND_POOL | {"podAffinity": {"matchLabels": {"a" * 253 + "/b": "d"}}}},
    ),
    "label value with a blank": Row(
        {f"{POOL}.nodeAffinity": {"matchLabels": {"rack": "1 2"}}}, f"{POOL}.nodeAffinity.matchLabels.rack",
        ("'1 2' is not a label value",), "63", {f"{POOL}.nodeAffinity": {"matchLabels": {"rack": ""}}},
    ),
    "label value too long": Row(
        {f"{POOL}.nodeAffinity": {"matchLabels": {"rack": "1" * 64}}}, f"{POOL}.nodeAffinity.matchLabels.rack",
        ("is not a label value",), "63", {f"{POOL}.nodeAffinity": {"matchLabels": {"rack": "1" * 63}}},
    ),
    "operator of another kind of selector": Row(
        {f"{POOL}.nodeAffinity": {"matchExpressions": [{"key": "rack", "operator": "Gt", "values": ["1"]}]}},
        f"{POOL}.nodeAffinity.matchExpressions[0].operator", ("'Gt' is not an operator",), "In, NotIn",
        {f"{POOL}.nodeAffinity": {"matchExpressions": [{"key": "rack", "operator": "NotIn", "values": ["1"]}]}},
    ),
    "port out of range": Row(
        {"submariner.natPort": 70000}, "submariner.natPort", ("70000", "65535"), "", {"submariner.natPort": 65535},
    ),
    "no gateway": Row(
        {f"{A}.gateways": []}, f"{A}.gateways", ("has 0, needs 1 or more",), "add", {f"{A}.gateways": ["one", "two"]},
    ),
    "no pool": Row({f"{A}.pools": []}, f"{A}.pools", ("has 0, needs 1 or more",), "add", {}),
    "a network that is only named": Row(
        {f"{A}.network": "macvlan-conf"}, f"{A}.network", ("'macvlan-conf' is not a mapping",), "name, namespace",
        {f"{A}.network": {"master": ["ens224"]}},
    ),
}  # fmt: skip

MESH_WIDE: dict[str, Row] = {
    "broker on no cluster": Row(
        {"broker.cluster": "cluster-c"}, "broker.cluster", ("'cluster-c' is no cluster",), "cluster-a, cluster-b",
        {"broker.cluster": "cluster-b"},
    ),
    **{
        f"broker at {host}": Row(
            {"broker.url": f"https://{host}"}, "broker.url", (host, "loopback", "dial themselves"), "every cluster",
            {"broker.url": "https://10.6.168.73:6443"},
        )
        for host in ("127.0.0.1:6443", "127.8.8.8", "localhost:6443", "LocalHost.", "a.localhost:6443", "[::1]:6443",
                     "0.0.0.0:6443", "[::]/x", "[::ffff:127.0.0.1]:6443", "[::FFFF:7f00:1]", "localhost.localdomain")
    },
    **{
        f"broker at {host}": Row(
            {"broker.url": f"https://{host}"}, "broker.url", (host, "link-local", "its own wire"), "every cluster",
            {"broker.url": "https://169.253.0.1:6443"},
        )
        for host in ("169.254.25.10:6443", "[fe80::1]:6443", "[::ffff:169.254.25.10]")
    },
    "broker inside a pod CIDR": Row(
        {"broker.url": "https://172.111.0.10:6443"}, "broker.url",
        ("172.111.0.10 lies in 172.111.0.0/16", f"{B}.podCIDR", "the tunnel needs the broker first"), "outside",
        {"broker.url": "https://172.112.0.10:6443"},
    ),
    "broker behind a Service": Row(
        {"broker.url": "https://10.233.0.1"}, "broker.url", ("10.233.0.1 lies in 10.233.0.0/18", f"{A}.serviceCIDR"),
        "outside", {"broker.url": "https://10.233.64.1"},
    ),
    "globalnet in IPv6": Row(
        GLOBALNET | {"broker.globalnet": {"cidrRange": "fd00:242::/96"}}, "broker.globalnet.cidrRange",
        ("fd00:242::/96 is not IPv4",), "IPv4", GLOBALNET | {"broker.globalnet": {"cidrRange": "242.0.0.0/12"}},
        also=(f"{A}.globalnetCIDR", f"{B}.globalnetCIDR"),
    ),
    "globalnet smaller than a cluster's part": Row(
        GLOBALNET | {"broker.globalnet": {"cidrRange": "242.0.0.0/12", "clusterSize": 2**20 + 1}},
        "broker.globalnet.clusterSize", ("1048577 addresses", "242.0.0.0/12", "1048576"), "widen cidrRange",
        GLOBALNET | {"broker.globalnet": {"cidrRange": "242.0.0.0/12", "clusterSize": 2**20}},
    ),
    "preferred server that is no cluster": Row(
        {"submariner.preferredServer": "cluster-c"}, "submariner.preferredServer", ("'cluster-c'",),
        "cluster-a, cluster-b", {"submariner.preferredServer": "cluster-b"},
    ),
    "preferred server with wireguard": Row(
        {"submariner.preferredServer": "cluster-a", "submariner.cableDriver": "wireguard"},
        "submariner.preferredServer", ("wireguard has no servers",), "libreswan",
        {"submariner.preferredServer": "cluster-a", "submariner.cableDriver": "libreswan"},
    ),
    "UDP encapsulation with vxlan": Row(
        {"submariner.forceUDPEncaps": True, "submariner.cableDriver": "vxlan"}, "submariner.forceUDPEncaps",
        ("vxlan uses no IPsec",), "libreswan",
        {"submariner.forceUDPEncaps": True, "submariner.cableDriver": "libreswan"},
    ),
    "vxlan through NAT": Row(
        {"submariner.natTraversal": True, "submariner.cableDriver": "vxlan"}, "submariner.natTraversal",
        ("vxlan cable driver cannot pass NAT",), "cableDriver: libreswan",
        {"submariner.natTraversal": True, "submariner.cableDriver": "wireguard"},
    ),
    **{
        f"tunnel on port {port}": Row(
            {"submariner.natPort": port}, "submariner.natPort", (f"{port} is the port of {owner}",), "4500",
            {"submariner.natPort": port + 1},
        )
        for port, owner in ((500, "IKE"), (4490, "NAT discovery"), (4800, "the VXLAN"))
    },
    "image of no component": Row(
        {"submariner.imageOverrides": {"gateway": "quay.io/x/gateway"}}, "submariner.imageOverrides.gateway",
        ("no component",), "submariner-gateway", {"submariner.imageOverrides": {"submariner-metrics-proxy": "x/proxy"}},
    ),
    "health check without an address": Row(
        {"submariner.healthCheck.enabled": True, f"{A}.gateways": gateway(address="172.110.0.10")},
        f"{B}.gateways[0].address", ("controller-node-1", "172.111.0.0/16", "CrashLoopBackOff"), "unset",
        {
            "submariner.healthCheck.enabled": True,
            f"{A}.gateways": gateway(address="172.110.0.10"),
            f"{B}.gateways": gateway(address="172.111.0.10"),
        },
    ),
    "health check with an IPv6 address only": Row(
        IPV6
        | {
            "submariner.healthCheck.enabled": True,
            f"{A}.gateways": gateway(address="fd00:1::2"),
            f"{B}.gateways": gateway(address="172.111.0.10"),
        },
        f"{A}.gateways[0].address", ("declares no IPv4 address",), "declare the address",
        # With globalnet, gateways ping each other's global addresses.
        GLOBALNET | {"submariner.healthCheck.enabled": True},
    ),
    "Spiderpool before 1.0": Row(
        {"spiderpool.version": "0.9.13"}, "spiderpool.version", ("0.9.13 has other chart values",), "1.0.0",
        {"spiderpool.version": "1.0.0"},
    ),
    **{
        f"chart {chart} in a repository": Row(
            {"spiderpool.chart": chart}, "spiderpool.repository", (f"'{chart}'", "spiderpool.chart"),
            "repository: null", {"spiderpool.chart": chart, "spiderpool.repository": None},
        )
        for chart in ("./charts/spiderpool", "/srv/spiderpool", "spiderpool-1.2.2.tgz", "oci://mirror/spiderpool")
    },
    "chart in no repository": Row(
        {"spiderpool.repository": None}, "spiderpool.repository", ("'spiderpool'", "spiderpool.chart"), "oci://",
        {"spiderpool.repository": None, "spiderpool.install": False},
    ),
    "default network in the chart's values": Row(
        {"spiderpool.values": {"multus": {"multusCNI": {"defaultCniCRName": "macvlan-confg"}}}},
        "spiderpool.values.multus.multusCNI.defaultCniCRName", ("'macvlan-confg'", "network.name"), "remove it",
        {"spiderpool.values": {"multus": {"multusCNI": {"log": {"logLevel": "info"}}}}},
    ),
    "IPv4 turned off in the chart's values": Row(
        {"spiderpool.values": {"ipam": {"enableIPv4": False}}}, "spiderpool.values.ipam.enableIPv4",
        ("False", "IPv4 pools"), "remove it", {"spiderpool.values": {"ipam": {"enableIPv4": True}}},
    ),
    "IPv6 turned off in the chart's values": Row(
        IPV6 | {"spiderpool.values": {"ipam": {"enableIPv6": False}}}, "spiderpool.values.ipam.enableIPv6",
        ("False", "IPv6 pools"), "remove it", {"spiderpool.values": {"ipam": {"enableIPv6": False}}},
    ),
    **{
        f"coordinator.{key} in the chart's values": Row(
            {"spiderpool.values": {"coordinator": {key: value}}}, f"spiderpool.values.coordinator.{key}",
            (repr(value), "network section"), "remove it", {"spiderpool.values": {"coordinator": {"name": "default"}}},
        )
        for key, value in (("mode", "disabled"), ("podCIDRType", "cluster"), ("hijackCIDR", ["10.0.0.0/8"]),
                           ("vethMTU", 1400))
    },
    **{
        f"{path} of the chart's values taken away by {shown}": Row(
            {"spiderpool.values": values}, f"spiderpool.values.{path}",
            (shown, "take away"), "only what is to differ",
            {"spiderpool.values": good},
        )
        for path, shown, values, good in (
            ("multus", "null", {"multus": None}, {"multus": {}}),
            ("multus.multusCNI", "null", {"multus": {"multusCNI": None}}, {"multus": {"multusCNI": {}}}),
            ("multus.multusCNI.defaultCniCRName", "null", {"multus": {"multusCNI": {"defaultCniCRName": None}}},
             {"multus": {"multusCNI": {"image": None}}}),
            ("ipam", "null", {"ipam": None}, {"ipam": {"gc": None}}),
            ("ipam", "a list", {"ipam": [1]}, {}),
            ("ipam.enableIPv4", "null", {"ipam": {"enableIPv4": None}}, {}),
            ("spiderpoolController", "null", {"spiderpoolController": None}, {"rdma": None}),
            ("spiderpoolController.tls", "a plain value", {"spiderpoolController": {"tls": "auto"}}, {}),
            ("spiderpoolController.tls.provided", "null", {"spiderpoolController": {"tls": {"provided": None}}},
             {"spiderpoolController": {"tls": {"provided": {"tlsCa": "x", "tlsCert": "x", "tlsKey": "x"}}}}),
            ("spiderpoolController.cleanup.enable", "null", {"spiderpoolController": {"cleanup": {"enable": None}}},
             {"spiderpoolController": {"cleanup": {"enable": False}}}),
            ("plugins", "a plain value", {"plugins": False}, {"plugins": {"installRdmaCNI": False}}),
        )
    },
    "global section of the chart taken away": Row(
        {"spiderpool.imageRegistry": "mirror.example", "spiderpool.values": {"global": None}},
        "spiderpool.values.global", ("null", "take away"), "remove it",
        {"spiderpool.imageRegistry": "mirror.example", "spiderpool.values": {"global": {"commonLabels": None}}},
    ),
    **{
        f"{path} in the chart's values": Row(
            {"spiderpool.values": bad}, f"spiderpool.values.{path}", (repr(value), why), "remove it",
            {"spiderpool.values": good},
        )
        for path, value, why, bad, good in (
            ("spiderpoolController.tls.method", "auto", "a new certificate at every up",
             {"spiderpoolController": {"tls": {"method": "auto"}}},
             {"spiderpoolController": {"tls": {"method": "provided"}}}),
            ("multus.enableMultusConfig", False, "no SpiderMultusConfig becomes a network",
             {"multus": {"enableMultusConfig": False}}, {"multus": {"enableMultusConfig": True}}),
            ("coordinator.enabled", False, "never Synced", {"coordinator": {"enabled": False}},
             {"coordinator": {"enabled": True}}),
            ("coordinator.name", "mine", "never Synced", {"coordinator": {"name": "mine"}},
             {"coordinator": {"name": "default"}}),
            ("spiderpoolController.hostnetwork", False, "only it can make",
             {"spiderpoolController": {"hostnetwork": False}},
             # Somebody else's Multus may have another default network.
             {"spiderpoolController": {"hostnetwork": False}, "multus": {"multusCNI": {"install": False}}}),
        )
    },
    "export without service discovery": Row(
        {"sampleApp.export": True, "broker.serviceDiscovery": False}, "sampleApp.export",
        ("broker.serviceDiscovery",), "serviceDiscovery: true",
        {"sampleApp.export": True, "sampleApp.enabled": False, "broker.serviceDiscovery": False},
    ),
    "export from a namespace that Submariner leaves out": Row(
        {"sampleApp.export": True, "sampleApp.namespace": "kube-public"}, "sampleApp.namespace", ("'kube-public'",),
        "another namespace", {"sampleApp.namespace": "kube-public"},
    ),
    "name of the app's Service too long": Row(
        {"sampleApp.name": "a" * 60}, "sampleApp.name", ("longer than 63",), "shorten",
        {"sampleApp.name": "a" * 59},
    ),
    "name of the app's Service with a digit in front": Row(
        {"sampleApp.name": "1st-app"}, "sampleApp.name", ("'1st-app' starts with a digit", "1st-app-svc"),
        "with a letter", {"sampleApp.name": "app-1"},
    ),
    "peer that may be down, but does not exist": Row(
        {"verify.mayBeDown": ["cluster-b", "cluster-c"]}, "verify.mayBeDown[1]", ("'cluster-c' is no cluster",),
        "cluster-a, cluster-b", {"verify.mayBeDown": ["cluster-b"]},
    ),
    "more replicas than addresses": Row(
        {"sampleApp.replicas": 4, f"{POOL}.ips": ["172.110.1.1-172.110.1.4"], f"{POOL}.excludeIPs": ["172.110.1.2"]},
        "sampleApp.replicas", ("4 pods", "cluster-a have 3 IPv4 addresses"), "more addresses",
        {"sampleApp.replicas": 3, f"{POOL}.ips": ["172.110.1.1-172.110.1.4"], f"{POOL}.excludeIPs": ["172.110.1.2"]},
    ),
    "two replicas and one IPv6 address": Row(
        IPV6 | {f"{A}.pools[1].ips": ["fd00:1::10"]}, "sampleApp.replicas",
        ("2 pods", "cluster-a have 1 IPv6 addresses"), "more addresses",
        IPV6 | {f"{A}.pools[1].ips": ["fd00:1::10-fd00:1::11"]},
    ),
    **{
        f"pool that the app's pods cannot use: {field} {bad}": Row(
            {f"{POOL}.{field}": bad}, "sampleApp.replicas",
            ("2 pods", "cluster-a have 0 IPv4 addresses for them"), "its pods can use", {f"{POOL}.{field}": good},
        )
        for field, bad, good in (
            ("namespaceName", ["web"], ["web", "default"]),
            ("podAffinity", {"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "test-app"}}),
            ("podAffinity", {"matchLabels": {"app": "test-app", "tier": "x"}}, {"matchLabels": {"app": "test-app"}}),
            *(
                ("podAffinity", {"matchExpressions": [bad]}, {"matchExpressions": [good]})
                for bad, good in (
                    ({"key": "app", "operator": "In", "values": ["web"]},
                     {"key": "app", "operator": "In", "values": ["web", "test-app"]}),
                    ({"key": "app", "operator": "NotIn", "values": ["test-app"]},
                     {"key": "tier", "operator": "NotIn", "values": ["test-app"]}),
                    ({"key": "tier", "operator": "Exists"}, {"key": "app", "operator": "Exists"}),
                    ({"key": "app", "operator": "DoesNotExist"}, {"key": "tier", "operator": "DoesNotExist"}),
                )
            ),
        )
    },
    "some addresses that the app's pods cannot use": Row(
        {f"{POOL}.ips": ["172.110.1.1"], f"{A}.pools[1]": SECOND_POOL | {"namespaceName": ["web"]}},
        "sampleApp.replicas", ("2 pods", "have 1 IPv4 addresses for them"), "",
        # Which nodes and namespaces have a label is not in the plan: it may be that of the app's.
        {
            f"{POOL}.ips": ["172.110.1.1"],
            f"{A}.pools[1]": SECOND_POOL
            | {"nodeName": ["n1"], "namespaceAffinity": {"matchLabels": {"team": "web"}}},
        },
    ),
    "two replicas and one address": Row(
        {f"{POOL}.ips": ["172.110.1.1"]}, "sampleApp.replicas", ("2 pods", "1 IPv4 addresses"), "",
        {f"{POOL}.ips": ["172.110.1.1"], "sampleApp.replicas": 1},
    ),
}  # fmt: skip

NETWORKS: dict[str, Row] = {
    "IPv6 as podCIDR": Row(
        {f"{A}.podCIDR": "fd00:1::/64"}, f"{A}.podCIDR", ("fd00:1::/64 is not IPv4",), "IPv4", {},
        also=(f"{POOL}.subnet",),
    ),
    "IPv4 as serviceCIDRv6": Row(
        IPV6 | {f"{A}.serviceCIDRv6": "10.234.0.0/16"}, f"{A}.serviceCIDRv6", ("10.234.0.0/16 is not IPv6",), "IPv6",
        IPV6,
    ),
    "loopback as serviceCIDR": Row(
        {f"{A}.serviceCIDR": "127.0.0.0/16"}, f"{A}.serviceCIDR", ("127.0.0.0/16 has loopback addresses",), "private",
        {f"{A}.serviceCIDR": "126.0.0.0/16"},
    ),
    "multicast as serviceCIDR": Row(
        {f"{A}.serviceCIDR": "239.0.0.0/16"}, f"{A}.serviceCIDR", ("239.0.0.0/16 has multicast addresses",), "private",
        {f"{A}.serviceCIDR": "223.0.0.0/16"},
    ),
    **{
        f"{cidr} as serviceCIDR": Row(
            {f"{B}.serviceCIDR": cidr}, f"{B}.serviceCIDR", (f"{cidr} has {kind} addresses",), "private",
            {f"{B}.serviceCIDR": good},
        )
        for cidr, kind, good in (
            ("169.254.0.0/18", "link-local", "169.253.0.0/18"),  # told of it, not of the default localCIDR
            ("0.0.0.0/8", "this-network", "1.0.0.0/8"),
            ("0.1.0.0/16", "this-network", "240.1.0.0/16"),  # Linux routes these
        )
    },
    "link-local addresses as serviceCIDRv6": Row(
        IPV6 | {f"{A}.serviceCIDRv6": "fe80::/112"}, f"{A}.serviceCIDRv6", ("fe80::/112 has link-local addresses",),
        "private", IPV6,
    ),
    "IPv6 pods without IPv6 Services": Row(
        IPV6 | {f"{A}.serviceCIDRv6": None}, f"{A}.serviceCIDRv6", ("needs both",), "both or neither", IPV6,
    ),
    "IPv6 Services without IPv6 pods": Row(
        {f"{A}.serviceCIDRv6": "fd00:1:1::/112"}, f"{A}.podCIDRv6", ("needs both",), "both or neither", IPV6,
    ),
    "an MTU that IPv6 cannot use": Row(
        IPV6 | {f"{A}.network.mtu": 1279}, f"{A}.network.mtu", ("1279 is too small for IPv6",), "1280",
        IPV6 | {f"{A}.network.mtu": 1280},
    ),
    "a small MTU is fine for IPv4": Row(
        {f"{A}.network.mtu": 575}, f"{A}.network.mtu", ("575",), "", {f"{A}.network.mtu": 576},
    ),
    "Services inside the cluster's own pod CIDR": Row(
        {f"{A}.serviceCIDR": "172.110.128.0/18"}, f"{A}.serviceCIDR",
        ("172.110.128.0/18 overlaps with 172.110.0.0/16", f"{A}.podCIDR"), "disjoint",
        {f"{A}.serviceCIDR": "172.112.128.0/18"},
    ),
    "nodes inside the cluster's own pod CIDR": Row(
        {f"{A}.nodeCIDR": ["10.6.0.0/16", "172.110.4.0/24"]}, f"{A}.nodeCIDR[1]",
        ("172.110.4.0/24 overlaps with 172.110.0.0/16",), "disjoint", {f"{A}.nodeCIDR": ["10.6.0.0/16", "10.6.4.0/24"]},
    ),
    "local CIDR over the own pods (own CIDR in hijackCIDR)": Row(
        {f"{A}.network.localCIDR": ["172.110.0.0/16"]}, f"{A}.network.localCIDR[0]",
        ("172.110.0.0/16 overlaps with 172.110.0.0/16", "neighbouring pods"), "through their node",
        {f"{A}.network.localCIDR": ["10.233.0.10/32"]},
    ),
    "local CIDR over everything": Row(
        {f"{A}.network.localCIDR": ["0.0.0.0/0"]}, f"{A}.network.localCIDR[0]", ("0.0.0.0/0",), "",
        {f"{A}.network.localCIDR": []}, also=(f"{A}.network.localCIDR[0]",) * 2,
    ),
    "local CIDR that is only part of the own pods": Row(
        {f"{A}.network.localCIDR": ["172.110.255.0/24"]}, f"{A}.network.localCIDR[0]", ("neighbouring pods",), "",
        # coordinator sends Services through the node by itself.
        {f"{A}.network.localCIDR": ["10.233.0.0/18", "10.232.0.0/15"]},
    ),
    "local CIDR over another cluster's Services": Row(
        {f"{A}.network.localCIDR": ["10.243.0.0/24"]}, f"{A}.network.localCIDR[0]",
        ("10.243.0.0/24 overlaps with 10.243.0.0/18", f"{B}.serviceCIDR", "derived already"), "local networks",
        {f"{A}.network.localCIDR": ["10.244.0.0/24"]},
    ),
    "local CIDR of the later cluster over the earlier one's pods": Row(
        {f"{B}.network.localCIDR": ["172.110.9.0/24"]}, f"{B}.network.localCIDR[0]", (f"{A}.podCIDR",), "",
        {f"{B}.network.localCIDR": ["172.112.9.0/24"]},
    ),
    "local CIDR over another cluster's global addresses": Row(
        GLOBALNET | {f"{A}.network.localCIDR": ["242.2.3.0/24"]}, f"{A}.network.localCIDR[0]",
        (f"{B}.globalnetCIDR",), "",
        GLOBALNET | {f"{A}.network.localCIDR": ["10.243.0.0/24"]},  # with globalnet, not what others see
    ),
    "pod CIDR of two clusters": Row(
        {f"{B}.podCIDR": "172.110.0.0/15"}, f"{B}.podCIDR",
        ("172.110.0.0/15 overlaps with 172.110.0.0/16", f"{A}.podCIDR", "two clusters"), "broker.globalnet",
        {f"{B}.podCIDR": "172.111.0.0/16"},
    ),
    "Service CIDR of two clusters": Row(
        {f"{B}.serviceCIDR": "10.233.0.0/18"}, f"{B}.serviceCIDR", ("10.233.0.0/18", f"{A}.serviceCIDR"),
        "broker.globalnet", GLOBALNET | {f"{B}.serviceCIDR": "10.233.0.0/18"},
    ),
    "Services of one cluster among the pods of another": Row(
        {f"{B}.serviceCIDR": "172.110.64.0/18"}, f"{B}.serviceCIDR", ("172.110.64.0/18", f"{A}.podCIDR"), "",
        {f"{B}.serviceCIDR": "10.233.64.0/18"},
    ),
    "pods of one cluster among the Services of another": Row(
        {f"{A}.serviceCIDR": "172.111.0.0/18"}, f"{B}.podCIDR", ("172.111.0.0/16", f"{A}.serviceCIDR"), "", {},
    ),
    "nodes of one cluster among the pods of another, globalnet or not": Row(
        GLOBALNET | {f"{A}.nodeCIDR": ["172.111.5.0/24"]}, f"{B}.podCIDR", (f"{A}.nodeCIDR[0]",), "",
        GLOBALNET | {f"{A}.nodeCIDR": ["10.6.0.0/16"], f"{B}.nodeCIDR": ["10.6.0.0/16"]},
    ),
    "nodes of the later cluster among the pods of the earlier one": Row(
        {f"{B}.nodeCIDR": ["172.110.5.0/24"]}, f"{B}.nodeCIDR[0]", ("172.110.5.0/24", f"{A}.podCIDR"), "", {},
    ),
    "nodes of the later cluster among the Services of the earlier one, with globalnet": Row(
        GLOBALNET | {f"{B}.nodeCIDR": ["10.233.0.0/24"]}, f"{B}.nodeCIDR[0]", (f"{A}.serviceCIDR",), "", GLOBALNET,
    ),
    "IPv6 CIDR of two clusters": Row(
        IPV6
        | {
            f"{B}.podCIDRv6": "fd00:1::/64",
            f"{B}.serviceCIDRv6": "fd00:2:1::/112",
            f"{B}.pools[1]": {"name": "six", "subnet": "fd00:1::/64", "ips": ["fd00:1::30-fd00:1::39"]},
        },
        f"{B}.podCIDRv6", ("fd00:1::/64", f"{A}.podCIDRv6"), "", IPV6,
    ),
    "gateway node twice": Row(
        {f"{A}.gateways": ["n1", "n1"]}, f"{A}.gateways[1]", ("'n1' is there already", f"{A}.gateways[0]"), "once",
        {f"{A}.gateways": ["n1", "n2"]},
    ),
    "node twice": Row(
        {f"{A}.nodes": [{"name": "n1", "address": "172.110.0.11"}, {"name": "n1", "address": "172.110.0.12"}]},
        f"{A}.nodes[1].name", ("'n1' is there already",), "once",
        {f"{A}.nodes": [{"name": "n1", "address": "172.110.0.11"}, {"name": "n2", "address": "172.110.0.12"}]},
    ),
    "gateway's address off the underlay": Row(
        {f"{A}.gateways": gateway(address="10.6.168.73")}, f"{A}.gateways[0].address",
        ("10.6.168.73 of controller-node-1 is outside the pod CIDR 172.110.0.0/16",), "leave it out",
        {f"{A}.gateways": gateway(address="172.110.168.73")},
    ),
    "node's address off the underlay": Row(
        {f"{A}.nodes": [{"name": "n1", "address": "172.111.0.11"}]}, f"{A}.nodes[0].address",
        ("172.111.0.11 of n1 is outside the pod CIDR",), "",
        {f"{A}.nodes": [{"name": "n1", "address": "172.110.0.11"}]},
    ),
    "gateway node with the router's address": Row(
        {f"{A}.gateways": gateway(address="172.110.0.1")}, f"{A}.gateways[0].address",
        ("172.110.0.1 of controller-node-1 is also", f"{POOL}.gateway"), "one owner",
        {f"{A}.gateways": gateway(address="172.110.0.2")},
    ),
    "two nodes with one address": Row(
        {f"{A}.gateways": gateway(address="172.110.0.10"), f"{A}.nodes": [{"name": "n1", "address": "172.110.0.10"}]},
        f"{A}.nodes[0].address", ("172.110.0.10 belongs to controller-node-1 and n1",), "one node",
        {
            f"{A}.gateways": gateway(address="172.110.0.10"),
            f"{A}.nodes": [{"name": "controller-node-1", "address": "172.110.0.10"}],
        },
    ),
    "node's address in a pool": Row(
        {f"{A}.nodes": [{"name": "n1", "address": "172.110.1.7"}]}, f"{A}.nodes[0].address",
        ("172.110.1.7 of n1 lies in", f"{POOL}.ips"), f"add 172.110.1.7 to {POOL}.excludeIPs",
        {f"{A}.nodes": [{"name": "n1", "address": "172.110.1.7"}], f"{POOL}.excludeIPs": ["172.110.1.7"]},
    ),
    "gateway node's address in a pool": Row(
        {f"{A}.gateways": gateway(address="172.110.1.200")}, f"{A}.gateways[0].address", ("a pod could get",),
        "excludeIPs", {f"{A}.gateways": gateway(address="172.110.1.201")},
    ),
    **{
        f"{field} with the {kind} address of its wire, {subnet}": Row(
            {f"{POOL}.subnet": subnet, f"{A}.{field}": bad(address)}, f"{A}.{field}[0].address",
            (f"{address} of controller-node-1 is the {kind} address of {subnet}",), "own address",
            {f"{A}.{field}": bad(address if subnet != "172.110.0.0/16" else "172.110.0.255")},
        )
        for field, bad in (("gateways", lambda address: gateway(address=address)),
                           ("nodes", lambda address: [{"name": "controller-node-1", "address": address}]))
        for kind, address, subnet in (("network", "172.110.0.0", "172.110.0.0/16"),
                                      ("broadcast", "172.110.255.255", "172.110.0.0/16"),
                                      ("broadcast", "172.110.1.255", "172.110.0.0/23"))
    },
    "node with the broadcast address of the pod CIDR, off the pool's wire": Row(
        {f"{POOL}.subnet": "172.110.0.0/23", f"{A}.gateways": gateway(address="172.110.255.255")},
        f"{A}.gateways[0].address", ("the broadcast address of 172.110.0.0/16",), "own address",
        {f"{POOL}.subnet": "172.110.0.0/23", f"{A}.gateways": gateway(address="172.110.255.254")},
    ),
    "WAN address on the isolated underlay": Row(
        {f"{A}.gateways": gateway(wanAddress="172.110.168.73")}, f"{A}.gateways[0].wanAddress",
        ("172.110.168.73 lies in 172.110.0.0/16", "isolated underlay"), "default route",
        {f"{A}.gateways": gateway(wanAddress="10.6.168.73")},
    ),
    "WAN address in another cluster's pod CIDR": Row(
        {f"{A}.gateways": gateway(wanAddress="172.111.168.73")}, f"{A}.gateways[0].wanAddress",
        ("172.111.168.73 lies in 172.111.0.0/16", f"{B}.podCIDR"), "outside",
        GLOBALNET | {f"{A}.gateways": gateway(wanAddress="172.111.168.73")},
    ),
    **{
        f"WAN address {address}": Row(
            {f"{A}.gateways": gateway(wanAddress=address)}, f"{A}.gateways[0].wanAddress",
            (address, "no address that another site can reach"), "WAN interface",
            {f"{A}.gateways": gateway(wanAddress="192.168.1.1")},
        )
        for address in ("127.0.0.1", "0.0.0.0", "224.0.0.5", "169.254.7.7")  # noqa: S104
    },
    "WAN address of two gateways of one cluster": Row(
        {
            "submariner.natTraversal": True,
            f"{A}.gateways": [{"node": "n1", "wanAddress": "10.6.1.1"}, {"node": "n2", "wanAddress": "10.6.1.1"}],
        },
        f"{A}.gateways[1].wanAddress", ("10.6.1.1", f"{A}.gateways[0].wanAddress"), "one gateway",
        {f"{A}.gateways": [{"node": "n1", "wanAddress": "10.6.1.1"}, {"node": "n2", "wanAddress": "10.6.1.2"}]},
    ),
    "WAN address of two clusters without NAT": Row(
        {f"{A}.gateways": gateway(wanAddress="10.6.1.1"), f"{B}.gateways": gateway(wanAddress="10.6.1.1")},
        f"{B}.gateways[0].wanAddress", ("10.6.1.1", f"{A}.gateways[0].wanAddress"), "one gateway",
        {
            "submariner.natTraversal": True,
            f"{A}.gateways": gateway(wanAddress="10.6.1.1"),
            f"{B}.gateways": gateway(wanAddress="10.6.1.1"),
        },
    ),
    "master twice": Row(
        {f"{A}.network.master": ["e1", "e1"], f"{A}.network.bond": {"name": "bond0", "mode": 1}},
        f"{A}.network.master[1]", ("'e1' is there already",), "once",
        {f"{A}.network.master": ["e1", "e2"], f"{A}.network.bond": {"name": "bond0", "mode": 1}},
    ),
    "several masters without a bond": Row(
        {f"{A}.network.master": ["e1", "e2"]}, f"{A}.network.bond", ("2 master interfaces (e1, e2)",), "bond0",
        {f"{A}.network.master": ["e1"]},
    ),
    "bond of one master": Row(
        {f"{A}.network.bond": {"name": "bond0", "mode": 1}}, f"{A}.network.bond", ("one interface",), "several", {},
    ),
    "bond named like its master": Row(
        {f"{A}.network.master": ["e1", "e2"], f"{A}.network.bond": {"name": "e2", "mode": 1}},
        f"{A}.network.bond.name", ("'e2' is one of its own masters",), "of its own",
        {f"{A}.network.master": ["e1", "e2"], f"{A}.network.bond": {"name": "e3", "mode": 1}},
    ),
    "VLAN interface with a name too long": Row(
        {f"{A}.network.master": ["enp0s31f6n1"], f"{A}.network.vlanID": 4094}, f"{A}.network.vlanID",
        ("enp0s31f6n1.4094 has more than 15 characters",), "shorter name",
        {f"{A}.network.master": ["enp0s31f6n1"], f"{A}.network.vlanID": 409},
    ),
    "VLAN interface of a bond with a name too long": Row(
        {
            f"{A}.network.master": ["e1", "e2"],
            f"{A}.network.bond": {"name": "bond-of-site", "mode": 4},
            f"{A}.network.vlanID": 100,
        },
        f"{A}.network.vlanID", ("bond-of-site.100",), "",
        {
            f"{A}.network.master": ["enp0s31f6n1", "enp0s31f6n2"],  # not these count, the bond's name does
            f"{A}.network.bond": {"name": "bond0", "mode": 4},
            f"{A}.network.vlanID": 4094,
        },
    ),
    "mtu before Spiderpool 1.2.0": Row(
        {f"{A}.network.mtu": 1400, "spiderpool.version": "1.1.2"}, f"{A}.network.mtu", ("Spiderpool 1.1.2 drops it",),
        "1.2.0", {f"{A}.network.mtu": 1400, "spiderpool.version": "1.2.0"},
    ),
    "vethMTU before Spiderpool 1.2.1": Row(
        {f"{A}.network.vethMTU": 1400, "spiderpool.version": "1.2.0"}, f"{A}.network.vethMTU",
        ("Spiderpool 1.2.0 drops it",), "1.2.1", {f"{A}.network.vethMTU": 1400, "spiderpool.version": "1.2.1"},
    ),
}  # fmt: skip

POOLS: dict[str, Row] = {
    "pool outside the pod CIDR": Row(
        {f"{A}.pools[1]": {"name": "second", "subnet": "172.112.0.0/24", "ips": ["172.112.0.1"]}},
        f"{A}.pools[1].subnet", ("172.112.0.0/24 is not inside 172.110.0.0/16 (podCIDR)",), "widen podCIDR",
        {f"{A}.pools[1]": SECOND_POOL},
    ),
    "pool wider than the pod CIDR": Row(
        {f"{POOL}.subnet": "172.110.0.0/15"}, f"{POOL}.subnet", ("172.110.0.0/15 is not inside 172.110.0.0/16",),
        "choose a subnet", {f"{POOL}.subnet": "172.110.0.0/17"},
    ),
    "IPv6 pool in a cluster without IPv6": Row(
        {f"{A}.pools[1]": {"name": "six", "subnet": "fd00:1::/64", "ips": ["fd00:1::1-fd00:1::9"]}},
        f"{A}.pools[1].subnet", ("fd00:1::/64 is IPv6", f"{A}.podCIDRv6"), "set podCIDRv6", IPV6,
    ),
    "IPv6 pool outside the IPv6 pod CIDR": Row(
        IPV6 | {f"{A}.pools[1].subnet": "fd00:2::/64", f"{A}.pools[1].ips": ["fd00:2::1-fd00:2::9"]},
        f"{A}.pools[1].subnet", ("fd00:2::/64 is not inside fd00:1::/64 (podCIDRv6)",), "widen podCIDRv6", IPV6,
    ),
    "address outside the subnet": Row(
        {f"{POOL}.ips": ["172.110.1.1", "172.111.1.1"]}, f"{POOL}.ips[1]",
        ("172.111.1.1 is not inside 172.110.0.0/16",), "use addresses of 172.110.0.0/16",
        {f"{POOL}.ips": ["172.110.1.1", "172.110.255.254"]},
    ),
    "range that leaves the subnet": Row(
        {f"{POOL}.subnet": "172.110.0.0/23", f"{POOL}.ips": ["172.110.1.250-172.110.2.2"]}, f"{POOL}.ips[0]",
        ("172.110.1.250-172.110.2.2 is not inside 172.110.0.0/23",), "set subnet: 172.110.0.0/16",
        {f"{POOL}.subnet": "172.110.0.0/23", f"{POOL}.ips": ["172.110.1.250-172.110.1.254"]},
        also=(f"{POOL}.ips",),
    ),
    "excluded address outside the subnet": Row(
        {f"{POOL}.excludeIPs": ["172.111.1.1"]}, f"{POOL}.excludeIPs[0]", ("172.111.1.1 is not inside",), "",
        {f"{POOL}.excludeIPs": ["172.110.9.1"]},
    ),
    "address of another family": Row(
        {f"{POOL}.ips": ["172.110.1.1-172.110.1.200", "fd00::1"]}, f"{POOL}.ips[1]", ("fd00::1 is not inside",), "", {},
    ),
    "address twice": Row(
        {f"{POOL}.ips": ["172.110.1.50-172.110.1.60", "172.110.1.1-172.110.1.50"]}, f"{POOL}.ips",
        ("172.110.1.1-172.110.1.50 and 172.110.1.50-172.110.1.60 overlap",), "once",
        {f"{POOL}.ips": ["172.110.1.51-172.110.1.60", "172.110.1.1-172.110.1.50"]},
    ),
    "excluded address twice": Row(
        {f"{POOL}.excludeIPs": ["172.110.1.9", "172.110.1.9"]}, f"{POOL}.excludeIPs", ("overlap",), "once",
        {f"{POOL}.excludeIPs": ["172.110.1.9", "172.110.1.10"]},
    ),
    "router outside the subnet": Row(
        {f"{POOL}.gateway": "172.111.0.1"}, f"{POOL}.gateway",
        ("172.111.0.1 is not inside 172.110.0.0/16", "not pertains to"), "such as 172.110.255.254",
        {f"{POOL}.gateway": "172.110.255.254"},
    ),
    "router outside a subnet whose last address is taken": Row(
        {
            f"{POOL}.subnet": "172.110.1.0/29",
            f"{POOL}.ips": ["172.110.1.4-172.110.1.6"],
            f"{POOL}.gateway": "172.110.0.1",
        },
        f"{POOL}.gateway", ("172.110.0.1 is not inside 172.110.1.0/29",), "such as 172.110.1.3",
        {
            f"{POOL}.subnet": "172.110.1.0/29",
            f"{POOL}.ips": ["172.110.1.4-172.110.1.6"],
            f"{POOL}.gateway": "172.110.1.3",
        },
    ),
    "router outside a subnet that has no room for one": Row(
        {
            "sampleApp.replicas": 1,
            f"{POOL}.subnet": "172.110.1.1/32",
            f"{POOL}.ips": ["172.110.1.1"],
            f"{POOL}.gateway": "172.110.0.1",
        },
        f"{POOL}.gateway", ("172.110.0.1 is not inside 172.110.1.1/32",), "use a gateway inside 172.110.1.1/32",
        {
            "sampleApp.replicas": 1,
            f"{POOL}.subnet": "172.110.1.0/31",
            f"{POOL}.ips": ["172.110.1.1"],
            f"{POOL}.gateway": "172.110.1.0",
        },
    ),
    "router among the addresses": Row(
        {f"{POOL}.gateway": "172.110.1.200"}, f"{POOL}.gateway", ("172.110.1.200 is also one of ips", "router"),
        "add 172.110.1.200 to excludeIPs",
        {f"{POOL}.gateway": "172.110.1.200", f"{POOL}.excludeIPs": ["172.110.1.199-172.110.1.200"]},
    ),
    "router among the addresses of another pool": Row(
        {f"{A}.pools[1]": SECOND_POOL | {"gateway": "172.110.1.50"}}, f"{A}.pools[1].gateway",
        (f"172.110.1.50 is also one of {POOL}.ips", "router"), f"add 172.110.1.50 to {POOL}.excludeIPs",
        {f"{A}.pools[1]": SECOND_POOL | {"gateway": "172.110.1.50"}, f"{POOL}.excludeIPs": ["172.110.1.50"]},
    ),
    "router of the first pool among the addresses of a later one": Row(
        {f"{POOL}.gateway": "172.110.2.9", f"{A}.pools[1]": SECOND_POOL}, f"{POOL}.gateway",
        (f"172.110.2.9 is also one of {A}.pools[1].ips",), f"{A}.pools[1].excludeIPs",
        {f"{POOL}.gateway": "172.110.2.10", f"{A}.pools[1]": SECOND_POOL},
    ),
    "hop of a route among the addresses": Row(
        {f"{POOL}.routes": [{"dst": "10.9.0.0/16", "gw": "172.110.1.7"}]}, f"{POOL}.routes[0].gw",
        (f"172.110.1.7 is also one of {POOL}.ips", "router"), f"add 172.110.1.7 to {POOL}.excludeIPs",
        {f"{POOL}.routes": [{"dst": "10.9.0.0/16", "gw": "172.110.1.7"}], f"{POOL}.excludeIPs": ["172.110.1.7"]},
    ),
    "hop of a route among the addresses of another pool": Row(
        {f"{A}.pools[1]": SECOND_POOL, f"{POOL}.routes": [{"dst": "10.9.0.0/16", "gw": "172.110.2.7"}]},
        f"{POOL}.routes[0].gw", (f"172.110.2.7 is also one of {A}.pools[1].ips",), f"{A}.pools[1].excludeIPs",
        {f"{A}.pools[1]": SECOND_POOL, f"{POOL}.routes": [{"dst": "10.9.0.0/16", "gw": "172.110.2.10"}]},
    ),
    **{
        f"hop of a route with the {kind} address": Row(
            {f"{POOL}.routes": [{"dst": "10.9.0.0/16", "gw": address}]}, f"{POOL}.routes[0].gw",
            (f"{address} is the {kind} address of 172.110.0.0/16",), "router's own",
            {f"{POOL}.routes": [{"dst": "10.9.0.0/16", "gw": "172.110.0.255"}]},
        )
        for kind, address in (("network", "172.110.0.0"), ("broadcast", "172.110.255.255"))
    },
    "router with the network's address": Row(
        {f"{POOL}.gateway": "172.110.0.0"}, f"{POOL}.gateway", ("172.110.0.0 is the network address",), "router's own",
        {f"{POOL}.gateway": REMOVED},
    ),
    "router with the broadcast address": Row(
        {f"{POOL}.gateway": "172.110.255.255"}, f"{POOL}.gateway", ("172.110.255.255 is the broadcast address",), "",
        {f"{POOL}.gateway": "172.110.255.254"},
    ),
    "pool without addresses": Row(
        {f"{POOL}.ips": REMOVED}, f"{POOL}.ips", ("no address is left",), "at least one",
        {f"{POOL}.ips": ["172.110.1.1-172.110.1.2"]},
    ),
    "pool with all addresses excluded": Row(
        {f"{POOL}.excludeIPs": ["172.110.1.1-172.110.1.200"]}, f"{POOL}.ips", ("no address is left",), "",
        {f"{POOL}.excludeIPs": ["172.110.1.1-172.110.1.198"]},
    ),
    "more addresses than Spiderpool gives out": Row(
        {f"{POOL}.ips": ["172.110.1.1-172.110.20.137"]}, f"{POOL}.ips", ("5001 addresses", "5000"), "several pools",
        {f"{POOL}.ips": ["172.110.1.1-172.110.20.137"], f"{POOL}.excludeIPs": ["172.110.2.1"]},
    ),
    "network address among the addresses": Row(
        {f"{POOL}.subnet": "172.110.0.0/23", f"{POOL}.ips": ["172.110.0.0-172.110.0.9"], f"{POOL}.gateway": REMOVED},
        f"{POOL}.ips", ("172.110.0.0 is the network address of 172.110.0.0/23",), "add 172.110.0.0 to excludeIPs",
        {f"{POOL}.subnet": "172.110.0.0/23", f"{POOL}.ips": ["172.110.0.1-172.110.0.9"], f"{POOL}.gateway": REMOVED},
    ),
    "broadcast address among the addresses": Row(
        {f"{POOL}.subnet": "172.110.0.0/23", f"{POOL}.ips": ["172.110.1.9-172.110.1.255"]},
        f"{POOL}.ips", ("172.110.1.255 is the broadcast address",), "excludeIPs",
        {
            f"{POOL}.subnet": "172.110.0.0/23",
            f"{POOL}.ips": ["172.110.1.9-172.110.1.255"],
            f"{POOL}.excludeIPs": ["172.110.1.255"],
        },
    ),
    "default route as a route": Row(
        {f"{POOL}.routes": [{"dst": "0.0.0.0/0", "gw": "172.110.0.1"}]}, f"{POOL}.routes[0].dst",
        ("0.0.0.0/0 is the default route",), "gateway",
        {f"{POOL}.routes": [{"dst": "0.0.0.0/1", "gw": "172.110.0.1"}]},
    ),
    "route of another family": Row(
        {f"{POOL}.routes": [{"dst": "fd00:9::/64", "gw": "172.110.0.1"}]}, f"{POOL}.routes[0].dst",
        ("fd00:9::/64 is not IPv4",), "own family", {f"{POOL}.routes": [{"dst": "10.9.0.0/16", "gw": "172.110.0.1"}]},
    ),
    "route over a hop outside the subnet": Row(
        {f"{POOL}.routes": [{"dst": "10.9.0.0/16", "gw": "172.111.0.1"}]}, f"{POOL}.routes[0].gw",
        ("172.111.0.1 is not inside 172.110.0.0/16",), "a hop in 172.110.0.0/16",
        {f"{POOL}.routes": [{"dst": "10.9.0.0/16", "gw": "172.110.0.2"}]},
    ),
    "route twice": Row(
        {
            f"{POOL}.routes": [
                {"dst": "10.9.0.0/16", "gw": "172.110.0.2"},
                {"dst": "10.9.0.0/16", "gw": "172.110.0.3"},
            ]
        },
        f"{POOL}.routes[1].dst", ("'10.9.0.0/16' is there already",), "once",
        {
            f"{POOL}.routes": [
                {"dst": "10.9.0.0/16", "gw": "172.110.0.2"},
                {"dst": "10.9.0.0/17", "gw": "172.110.0.3"},
            ]
        },
    ),
    "route to another cluster past the tunnel": Row(
        {f"{POOL}.routes": [{"dst": "172.111.4.0/24", "gw": "172.110.0.1"}]}, f"{POOL}.routes[0].dst",
        ("172.111.4.0/24 lies in 172.111.0.0/16", "past the tunnel"), "remove the route",
        {f"{POOL}.routes": [{"dst": "172.96.0.0/11", "gw": "172.110.0.1"}]},  # the longer prefix, ours, wins
    ),
    "route to the cluster's own Services past the node": Row(
        {f"{POOL}.routes": [{"dst": "10.233.0.0/18", "gw": "172.110.0.1"}]}, f"{POOL}.routes[0].dst",
        ("10.233.0.0/18 lies in 10.233.0.0/18",), "remove the route", {},
    ),
    "selector that selects nothing": Row(
        {f"{POOL}.podAffinity": {}}, f"{POOL}.podAffinity", ("empty",), "remove it",
        {f"{A}.pools[1]": SECOND_POOL | {"podAffinity": {"matchLabels": {"app": "x"}}}},
    ),
    "expression without its values": Row(
        {f"{POOL}.namespaceAffinity": {"matchExpressions": [{"key": "team", "operator": "In"}]}},
        f"{POOL}.namespaceAffinity.matchExpressions[0]", ("In takes one value or more",), "add values",
        {f"{POOL}.namespaceAffinity": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["net"]}]}},
    ),
    "expression with values it does not take": Row(
        {f"{POOL}.nodeAffinity": {"matchExpressions": [{"key": "rack", "operator": "Exists", "values": ["1"]}]}},
        f"{POOL}.nodeAffinity.matchExpressions[0]", ("Exists takes no values",), "remove the values",
        {f"{POOL}.nodeAffinity": {"matchExpressions": [{"key": "rack", "operator": "DoesNotExist"}]}},
    ),
    "no IPv4 pool": Row(
        IPV6 | {f"{A}.pools": [SIX]}, f"{A}.pools", ("no pool is IPv4", "172.110.0.0/16"), "add a pool", IPV6,
    ),
    "no IPv6 pool": Row(
        {f"{A}.podCIDRv6": "fd00:1::/64", f"{A}.serviceCIDRv6": "fd00:1:1::/112"}, f"{A}.pools",
        ("no pool is IPv6", f"{A}.podCIDRv6"), "remove podCIDRv6", IPV6,
    ),
    "two pools of one name": Row(
        {f"{A}.pools[1]": SECOND_POOL | {"name": "cluster-a"}}, f"{A}.pools[1].name",
        ("'cluster-a' is there already", f"{POOL}.name"), "once", {f"{A}.pools[1]": SECOND_POOL},
    ),
    "two default pools of one family": Row(
        {f"{A}.pools[1]": SECOND_POOL | {"default": True}}, f"{A}.pools[1].default",
        ("cluster-a and second are both the default IPv4 pool",), "one of them",
        IPV6 | {f"{A}.pools[1]": SIX | {"default": True}},
    ),
    "subnets that overlap in part": Row(
        {f"{A}.pools[1]": {"name": "second", "subnet": "172.110.2.0/24", "ips": ["172.110.2.1"]}},
        f"{A}.pools[1].subnet", ("172.110.2.0/24 and 172.110.0.0/16 (pool cluster-a)",), "equal or disjoint",
        {
            f"{POOL}.subnet": "172.110.0.0/23",
            f"{A}.pools[1]": {"name": "second", "subnet": "172.110.2.0/24", "ips": ["172.110.2.1"]},
        },
    ),
    "address in two pools": Row(
        {f"{A}.pools[1]": SECOND_POOL | {"ips": ["172.110.1.200-172.110.1.210"]}}, f"{A}.pools[1].ips",
        ("172.110.1.200 is in pool cluster-a and in pool second",), "one pool",
        {
            f"{POOL}.excludeIPs": ["172.110.1.200"],
            f"{A}.pools[1]": SECOND_POOL | {"ips": ["172.110.1.200-172.110.1.210"]},
        },
    ),
    "addresses in two pools, of which only the first is excluded": Row(
        {f"{A}.pools[1]": SECOND_POOL | {"ips": ["172.110.1.190-172.110.1.210"], "excludeIPs": ["172.110.1.190"]}},
        f"{A}.pools[1].ips", ("172.110.1.191-172.110.1.200 is in pool cluster-a",), "one pool",
        {
            f"{A}.pools[1]": SECOND_POOL
            | {"ips": ["172.110.1.190-172.110.1.210"], "excludeIPs": ["172.110.1.190-172.110.1.200"]}
        },
    ),
}  # fmt: skip

GLOBAL: dict[str, Row] = {
    "IPv6 with globalnet": Row(
        IPV6 | GLOBALNET, f"{A}.podCIDRv6", ("globalnet does not carry IPv6",), "remove the IPv6", GLOBALNET
    ),
    "IPv6 with wireguard": Row(
        IPV6 | {"submariner.cableDriver": "wireguard"}, f"{A}.podCIDRv6", ("the wireguard cable driver",),
        "remove the IPv6", IPV6 | {"submariner.cableDriver": "libreswan"},
    ),
    "IPv6 with vxlan": Row(
        IPV6 | {"submariner.cableDriver": "vxlan"}, f"{A}.podCIDRv6", ("the vxlan cable driver",), "", IPV6,
    ),
    "IPv6 before Submariner 0.21": Row(
        IPV6 | {"submariner.version": "0.20.2"}, f"{A}.podCIDRv6", ("Submariner 0.20.2",), "",
        IPV6 | {"submariner.version": "0.21.0"},
    ),
    "global CIDR without globalnet": Row(
        {f"{A}.globalnetCIDR": "242.1.0.0/16"}, f"{A}.globalnetCIDR", ("242.1.0.0/16", "broker.globalnet is off"),
        "set broker.globalnet: {}", GLOBALNET,
    ),
    "globalnet without a global CIDR": Row(
        GLOBALNET | {f"{B}.globalnetCIDR": None}, f"{B}.globalnetCIDR", ("missing", "race"), "part of 242.0.0.0/8",
        GLOBALNET,
    ),
    "globalnet without the first cluster's global CIDR": Row(
        GLOBALNET | {f"{A}.globalnetCIDR": None}, f"{A}.globalnetCIDR", ("missing", "race"), "", GLOBALNET,
    ),
    "global CIDR outside the mesh's range": Row(
        GLOBALNET | {f"{B}.globalnetCIDR": "243.0.0.0/16"}, f"{B}.globalnetCIDR",
        ("243.0.0.0/16 is not inside 242.0.0.0/8",), "part of 242.0.0.0/8", GLOBALNET,
    ),
    "global CIDR wider than the mesh's range": Row(
        GLOBALNET | {"broker.globalnet": {"cidrRange": "242.2.0.0/17"}, f"{A}.globalnetCIDR": "242.2.64.0/18"},
        f"{B}.globalnetCIDR", ("242.2.0.0/16 is not inside 242.2.0.0/17",), "",
        GLOBALNET | {"broker.globalnet": {"cidrRange": "242.0.0.0/14"}},
        also=("broker.globalnet.clusterSize", f"{B}.globalnetCIDR"),
    ),
    "globalnet over a cluster's own network": Row(
        GLOBALNET | {f"{A}.serviceCIDR": "242.9.0.0/16"}, f"{A}.serviceCIDR",
        ("242.9.0.0/16 overlaps with 242.0.0.0/8", "broker.globalnet.cidrRange"), "no cluster uses", GLOBALNET,
    ),
    "global CIDR of two clusters": Row(
        GLOBALNET | {f"{B}.globalnetCIDR": "242.1.128.0/17"}, f"{B}.globalnetCIDR",
        ("242.1.128.0/17 overlaps with 242.1.0.0/16", f"{A}.globalnetCIDR"), "of its own", GLOBALNET,
    ),
}  # fmt: skip

TABLE = STRUCTURE | MESH_WIDE | NETWORKS | POOLS | GLOBAL


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_bad_plan_is_refused(row: Row) -> None:
    problems = problems_of(changed(row.bad))
    found = [
        problem
        for problem in problems
        if problem.path == row.path and all(part in problem.what for part in row.what) and row.fix in problem.fix
    ]
    assert found, problems
    assert sorted(problem.path for problem in problems) == sorted((row.path, *row.also))
    assert all(problem.fix for problem in problems), "every mistake comes with a way out"


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_nearest_good_plan_is_accepted(row: Row) -> None:
    load_plan(changed(row.good))


WAYS_OUT: dict[str, tuple[dict[str, Any], str]] = {
    "wider subnet or another router": (
        {f"{POOL}.subnet": "172.110.1.0/24"},
        "set subnet: 172.110.0.0/16 and keep ips, or use a gateway inside 172.110.1.0/24, such as 172.110.1.254",
    ),
    "another router, where no wider subnet has it": (
        {f"{POOL}.subnet": "172.110.1.0/24", f"{POOL}.gateway": "172.111.0.1"},
        "use a gateway inside 172.110.1.0/24, such as 172.110.1.254",
    ),
    "another router, where the last address is taken": (
        {f"{POOL}.subnet": "172.110.1.0/30", f"{POOL}.gateway": "172.111.0.1", f"{POOL}.ips": ["172.110.1.1"]},
        "use a gateway inside 172.110.1.0/30, such as 172.110.1.2",
    ),
    "another router, where no address is left": (
        {f"{POOL}.subnet": "172.110.1.0/30", f"{POOL}.gateway": "172.111.0.1",
         f"{POOL}.ips": ["172.110.1.1-172.110.1.2"]},
        "use a gateway inside 172.110.1.0/30",
    ),
    "another router in a subnet of two": (
        {f"{POOL}.subnet": "172.110.1.0/31", f"{POOL}.gateway": "172.111.0.1", f"{POOL}.ips": ["172.110.1.0"]},
        "use a gateway inside 172.110.1.0/31, such as 172.110.1.1",
    ),
    "addresses outside the pod CIDR too": (
        {f"{POOL}.ips": ["172.110.1.1-172.110.1.9", "172.111.1.1"]}, "use addresses of 172.110.0.0/16",
    ),
    "no IPv4 pool": (IPV6 | {f"{A}.pools": [SIX], "sampleApp.replicas": 1}, "add a pool"),
    "no IPv6 pool": (
        {f"{A}.podCIDRv6": "fd00:1::/64", f"{A}.serviceCIDRv6": "fd00:1:1::/112"},
        "add a pool, or remove podCIDRv6 and serviceCIDRv6",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "fix"), WAYS_OUT.values(), ids=WAYS_OUT.keys())
def test_way_out_is_one_that_works(changes: dict[str, Any], fix: str) -> None:
    (problem,) = problems_of(changed({"sampleApp.replicas": 1} | changes))
    assert problem.fix == fix


def test_ipv6_pool_of_a_cluster_without_ipv6_is_checked_all_the_same() -> None:
    pool = {"name": "six", "subnet": "fd00:1::/64", "ips": ["fd00:1::1", "fd00:2::1"], "gateway": "fd00:2::2"}
    second = f"{A}.pools[1]"
    assert [problem.path for problem in problems_of(changed({second: pool}))] == [
        f"{second}.subnet", f"{second}.ips[1]", f"{second}.gateway",
    ]  # fmt: skip


def test_ipv6_has_neither_a_network_nor_a_broadcast_address() -> None:
    wide = {
        f"{A}.podCIDRv6": "fd00::/24",
        f"{A}.serviceCIDRv6": "fd10::/112",
        f"{A}.pools[1]": {"name": "six", "subnet": "fd00::/24", "ips": ["fd00::-fd00::9"]},
    }
    load_plan(changed(wide))


@pytest.mark.parametrize("url", ["https://admin:hunter2@10.6.168.73:6443", "https://10.6.168.73:6443?token=hunter2"])
def test_no_value_of_a_url_with_a_secret_is_repeated(url: str) -> None:
    problems = problems_of(changed({"broker.url": url}))
    assert "hunter2" not in repr(problems)


FINE: dict[str, dict[str, Any]] = {
    "an app that is not there needs no addresses": {
        "sampleApp": {"enabled": False, "replicas": 500},
    },
    "an app that is not there may be named anything": {
        "sampleApp": {"enabled": False, "export": True, "namespace": "kube-public"},
    },
    "an app that is not exported needs no service discovery": {"broker.serviceDiscovery": False},
    "values of a chart that is not installed do nothing": {
        "spiderpool": {"install": False, "values": {"multus": None}}
    },
    "a chart that is not installed may be anywhere": {"spiderpool": {"install": False, "chart": "./x.tgz"}},
    "a cluster may have several node networks that overlap": {f"{A}.nodeCIDR": ["10.6.0.0/16", "10.6.1.0/24"]},
}


@pytest.mark.parametrize("changes", FINE.values(), ids=FINE.keys())
def test_what_does_not_matter_is_accepted(changes: dict[str, Any]) -> None:
    load_plan(changed(changes))


@pytest.mark.parametrize("section", ["broker", "submariner", "clusters"])
def test_required_section_is_missing(section: str) -> None:
    assert [(problem.path, problem.what) for problem in problems_of(changed({section: REMOVED}))] == [
        (section, "missing")
    ]


ADVICE: dict[str, tuple[dict[str, Any], str, str]] = {
    "one gateway": ({}, f"{A}.gateways", "one gateway node (controller-node-1): no failover"),
    "health check off for want of addresses": (
        {f"{A}.gateways": gateway(address="172.110.0.10")},
        "submariner.healthCheck",
        "cluster-b/controller-node-1",
    ),
    "health check turned off": ({"submariner.healthCheck.enabled": False}, "submariner.healthCheck", "turned off"),
    "no encryption": ({"submariner.cableDriver": "vxlan"}, "submariner.cableDriver", "vxlan does not encrypt"),
    "nodes reached through the node": (
        {f"{A}.nodeCIDR": ["10.5.0.0/16", "10.6.0.0/16"], f"{A}.network.localCIDR": ["169.254.0.0/16", "10.6.1.0/24"]},
        f"{A}.network.localCIDR[1]",
        f"10.6.1.0/24 overlaps with 10.6.0.0/16 ({A}.nodeCIDR[1])",
    ),
    **{
        f"{name} of a chart that is not installed": (
            {"spiderpool": {"install": False, name: value}},
            f"spiderpool.{name}",
            "does nothing: spiderpool.install is false",
        )
        for name, value in (
            ("chart", "./x.tgz"),
            ("repository", None),
            ("imageRegistry", "mirror.example"),
            ("installCni", False),
            ("values", {"multus": None}),
        )
    },
    "an uninstall that takes all pools along": (
        {"spiderpool.values": {"spiderpoolController": {"cleanup": {"enable": True}}}},
        "spiderpool.values.spiderpoolController.cleanup.enable",
        "deletes all pools of the cluster",
    ),
    "few addresses": (
        {f"{B}.pools[0].ips": ["172.111.1.1-172.111.1.8"]},
        f"{B}.pools",
        "8 IPv4 addresses; CoreDNS, Submariner's own pods and the sample app with its rolling update take 9",
    ),
    "few IPv6 addresses": (
        IPV6 | {f"{A}.pools[1].ips": ["fd00:1::10-fd00:1::17"]},
        f"{A}.pools",
        "8 IPv6 addresses; CoreDNS, Submariner's own pods and the sample app with its rolling update take 9",
    ),
    "few addresses that these pods can use": (
        {
            f"{B}.pools[0].ips": ["172.111.1.1-172.111.1.8"],
            f"{B}.pools[1]": {
                "name": "web",
                "subnet": "172.111.0.0/16",
                "ips": ["172.111.2.1-172.111.2.99"],
                "podAffinity": {"matchLabels": {"app": "web"}},
            },
        },
        f"{B}.pools",
        "8 IPv4 addresses; CoreDNS",
    ),
    "few addresses for many replicas": (
        {f"{B}.pools[0].ips": ["172.111.1.1-172.111.1.12"], "sampleApp.replicas": 5},
        f"{B}.pools",
        "12 IPv4 addresses; CoreDNS, Submariner's own pods and the sample app with its rolling update take 13",
    ),
}


@pytest.mark.parametrize(("changes", "path", "what"), ADVICE.values(), ids=ADVICE.keys())
def test_advice_is_given_and_nothing_refused(changes: dict[str, Any], path: str, what: str) -> None:
    advice = rules.advice(load_plan(changed(changes)))
    assert [item for item in advice if item.path == path and what in item.what and item.fix], advice


def test_no_advice_where_there_is_nothing_to_say() -> None:
    two_each = {
        f"clusters.{name}.gateways": [
            {"node": "n1", "address": f"172.{number}.0.11"},
            {"node": "n2", "address": f"172.{number}.0.12"},
        ]
        for name, number in (("cluster-a", 110), ("cluster-b", 111))
    }
    adopted = {
        "spiderpool": {"install": False, "version": "1.2.1"}
    }  # what may be in a network follows from the version
    assert rules.advice(load_plan(changed(two_each | adopted))) == []
    nine_addresses = {f"{B}.pools[0].ips": ["172.111.1.1-172.111.1.9"]}
    assert rules.advice(load_plan(changed(two_each | nine_addresses))) == []
    for_dns = {"name": "dns", "subnet": "172.111.0.0/16", "ips": ["172.111.2.1-172.111.2.2"],
               "podAffinity": {"matchLabels": {"k8s-app": "kube-dns"}}}  # fmt: skip
    seven_and_two = {f"{B}.pools[0].ips": ["172.111.1.1-172.111.1.7"], f"{B}.pools[1]": for_dns}
    assert rules.advice(load_plan(changed(two_each | seven_and_two))) == []
    six_addresses = {f"{B}.pools[0].ips": ["172.111.1.1-172.111.1.6"], "sampleApp.enabled": False}
    assert rules.advice(load_plan(changed(two_each | six_addresses))) == []
