"""Named, validated types of the plan: one word, one meaning, one error text for each.

Every validator raises `ValueError` with the offending value in it; `mesh.plan.load` adds the field path.
"""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")
_INTERFACE = re.compile(r"[^\s/:]{1,15}")
_URL = re.compile(r"https://[^\s/]+(/\S*)?")


def _cidr(value: str) -> str:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is not a CIDR; write <address>/<prefix length>, such as 172.110.0.0/16") from None
    if "/" not in value:
        # coordinator stores a bare address as it is and then fails for every pod (facts: CNI_types, net.ParseCIDR).
        raise ValueError(f"{value!r} has no prefix length; write {network}")
    if str(network) != value:
        raise ValueError(f"{value!r} is not in normal form; write {network}")
    return value


def _address(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address; write it without a prefix length") from None
    if str(address) != value:
        raise ValueError(f"{value!r} is not in normal form; write {address}")
    return value


def _ip_range(value: str) -> str:
    first, dash, last = value.partition("-")
    try:
        start, end = ipaddress.ip_address(first), ipaddress.ip_address(last if dash else first)
    except ValueError:
        raise ValueError(
            f"{value!r} is not an address or a range; write 172.110.1.1 or 172.110.1.1-172.110.1.200, "
            "without spaces and without a prefix length"
        ) from None
    if start.version != end.version:
        raise ValueError(f"{value!r} starts in one IP family and ends in the other; write two ranges")
    if int(start) > int(end):
        # Spiderpool accepts a reversed range, never hands out an address of it, and refuses every later update.
        raise ValueError(f"{value!r} runs backwards; write {end}-{start}")
    return value


def _dns_label(value: str) -> str:
    if len(value) > 63 or not _DNS_LABEL.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a DNS label; use at most 63 lower-case letters, digits and '-', "
            "starting and ending with a letter or digit"
        )
    return value


def _dns_subdomain(value: str) -> str:
    if len(value) > 253 or not _DNS_SUBDOMAIN.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a valid Kubernetes name; use lower-case letters, digits, '-' and '.', "
            "starting and ending with a letter or digit"
        )
    return value


def _interface(value: str) -> str:
    if not _INTERFACE.fullmatch(value):
        raise ValueError(f"{value!r} is not an interface name; use 1 to 15 characters without space, '/' or ':'")
    return value


def _version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise ValueError(f"{value!r} is not a version; write three numbers without a leading v, such as 0.24.1")
    return value


def _https_url(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError(f"{value!r} is not an API server's URL; write https://<host>:<port>")
    return value


Cidr = Annotated[str, AfterValidator(_cidr), Field(examples=["172.110.0.0/16"], description="CIDR in normal form")]
IpAddress = Annotated[str, AfterValidator(_address), Field(description="IP address without a prefix length")]
IpRange = Annotated[str, AfterValidator(_ip_range), Field(examples=["172.110.1.1-172.110.1.200"])]
DnsLabel = Annotated[str, AfterValidator(_dns_label)]
ClusterId = Annotated[str, AfterValidator(_dns_label), Field(description="Submariner cluster ID: a DNS label")]
NodeName = Annotated[str, AfterValidator(_dns_subdomain)]
ObjectName = Annotated[str, AfterValidator(_dns_subdomain)]
InterfaceName = Annotated[str, AfterValidator(_interface)]
Version = Annotated[str, AfterValidator(_version), Field(examples=["0.24.1"])]
HttpsUrl = Annotated[str, AfterValidator(_https_url), Field(examples=["https://10.6.168.10:6443"])]
Port = Annotated[int, Field(ge=1, le=65535)]


def version_tuple(version: str) -> tuple[int, int, int]:
    """The three numbers of a version, for comparing: `0.24.1-rc1` gives (0, 24, 1)."""
    major, minor, patch = version.removeprefix("v").split("-")[0].split("+")[0].split(".")[:3]
    return int(major), int(minor), int(patch)
