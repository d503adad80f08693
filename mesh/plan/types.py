"""Named, validated types of the plan: one word, one meaning, one error text for each.

Every validator raises `ValueError` with the offending value in it; `mesh.plan.load` adds the field path.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue
from pydantic.fields import FieldInfo

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?")
# The kernel takes nearly any byte; nobody names an interface so, and it would end in a config of the node.
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,14}")
_IMAGE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[A-Za-z0-9][A-Za-z0-9._-]*)*"  # host, port, path
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@[a-z0-9]+:[0-9a-f]+)?"  # tag, digest
)
_URL = re.compile(r"https://(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/\S*)?")
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")  # a name that ends so is taken for an IPv4 address (WHATWG URL)


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


def _parse(text: str) -> Address:
    if "%" in text:  # a zone (fe80::1%eth0) means something on one node only
        raise ValueError(text)
    return ipaddress.ip_address(text)


def _address(value: str) -> str:
    if not value:  # Spiderpool refuses an empty gateway too; none is said by no line
        raise ValueError("'' is not an IP address; write one, or leave the line out where there is none")
    try:
        address = _parse(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address; write it without a prefix length") from None
    if str(address) != value:
        raise ValueError(f"{value!r} is not in normal form; write {address}")
    return value


def _ip_range(value: str) -> str:
    first, dash, last = value.partition("-")
    try:
        start, end = _parse(first), _parse(last if dash else first)
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
        raise ValueError(f"{value!r} is not an interface name; use 1 to 15 letters, digits, '.', '_' and '-'")
    return value


def _version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise ValueError(f"{value!r} is not a version; write three numbers without a leading v, such as 0.24.1")
    return value


def _https_url(value: str) -> str:
    if "@" in value.removeprefix("https://").split("/")[0]:
        # Not repeated in the message: what stands before the @ is a secret.
        raise ValueError("the URL has a user name or password in it; remove it: the plan is no place for secrets")
    if "?" in value or "#" in value:
        # Not repeated either: a token may stand there.
        raise ValueError("the URL has a query or a fragment; remove what begins with '?' or '#'")
    parts = _URL.fullmatch(value)
    if not parts:
        raise ValueError(f"{value!r} is not an API server's URL; write https://<host>:<port>")
    host, port = parts["host"], parts["port"]
    if port and not 1 <= int(port) <= 65535:
        raise ValueError(f"{value!r} has port {port}; use one from 1 to 65535")
    if host.startswith("[") or _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        if not _is_address(host):
            raise ValueError(
                f"{value!r} has {host} for a host, which is not an IP address; write it in full: 10.6.168.10"
            )
    elif not all(_HOST_LABEL.fullmatch(label) for label in host.removesuffix(".").split(".")):
        raise ValueError(f"{value!r} has {host} for a host, which is not a DNS name; write https://<host>:<port>")
    return value


def _is_address(host: str) -> bool:
    """Whether a URL's host is an IP address in full: not `127.1`, not `0x7f000001`, IPv6 in brackets and IPv4 not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).version == (6 if host.startswith("[") else 4)
    except ValueError:
        return False


def _image(value: str) -> str:
    if not _IMAGE.fullmatch(value):
        raise ValueError(f"{value!r} is not an image or repository; write it like quay.io/submariner, without https://")
    return value


def _label_key(value: str) -> str:
    prefix, slash, name = value.rpartition("/")
    prefix_good = not slash or (len(prefix) <= 253 and _DNS_SUBDOMAIN.fullmatch(prefix))
    if not prefix_good or len(name) > 63 or not _LABEL_NAME.fullmatch(name):
        raise ValueError(f"{value!r} is not a label key; write name or prefix.example/name")
    return value


def _label_value(value: str) -> str:
    if value and (len(value) > 63 or not _LABEL_NAME.fullmatch(value)):
        raise ValueError(f"{value!r} is not a label value; use at most 63 letters, digits, '-', '_' and '.'")
    return value


def _operator(value: str) -> str:
    if value not in ("In", "NotIn", "Exists", "DoesNotExist"):
        raise ValueError(f"{value!r} is not an operator; use one of: In, NotIn, Exists, DoesNotExist")
    return value


def _hint(pattern: re.Pattern[str], longest: int | None = None) -> FieldInfo:
    """For editors: what the JSON Schema can say of a type. The validators above decide."""
    length: dict[str, JsonValue] = {} if longest is None else {"maxLength": longest}
    hint: FieldInfo = Field(json_schema_extra={"pattern": f"^{pattern.pattern}$", **length})
    return hint


_CIDR_HINT = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")
_ADDRESS_HINT = re.compile(r"[0-9A-Fa-f.:]+")
_RANGE_HINT = re.compile(r"[0-9A-Fa-f.:]+(-[0-9A-Fa-f.:]+)?")

Cidr = Annotated[
    str,
    AfterValidator(_cidr),
    Field(examples=["172.110.0.0/16"], description="CIDR in normal form"),
    _hint(_CIDR_HINT),
]
IpAddress = Annotated[
    str, AfterValidator(_address), Field(description="IP address without a prefix length"), _hint(_ADDRESS_HINT)
]
IpRange = Annotated[str, AfterValidator(_ip_range), Field(examples=["172.110.1.1-172.110.1.200"]), _hint(_RANGE_HINT)]
DnsLabel = Annotated[str, AfterValidator(_dns_label), _hint(_DNS_LABEL, 63)]
ClusterId = Annotated[
    str, AfterValidator(_dns_label), Field(description="Submariner cluster ID: a DNS label"), _hint(_DNS_LABEL, 63)
]
NodeName = Annotated[str, AfterValidator(_dns_subdomain), _hint(_DNS_SUBDOMAIN, 253)]
ObjectName = Annotated[str, AfterValidator(_dns_subdomain), _hint(_DNS_SUBDOMAIN, 253)]
InterfaceName = Annotated[str, AfterValidator(_interface), _hint(_INTERFACE)]
Version = Annotated[str, AfterValidator(_version), Field(examples=["0.24.1"]), _hint(_VERSION)]
HttpsUrl = Annotated[
    str, AfterValidator(_https_url), Field(examples=["https://10.6.168.10:6443"]), _hint(re.compile(r"https://[^@]+"))
]
ImageName = Annotated[str, AfterValidator(_image), Field(examples=["quay.io/submariner"]), _hint(_IMAGE)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
Operator = Annotated[
    str,
    AfterValidator(_operator),
    Field(json_schema_extra={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]}),
]
Port = Annotated[int, Field(ge=1, le=65535)]


@lru_cache(maxsize=4096)  # the rules between fifty clusters ask for the same few thousands of times
def parse_network(cidr: str) -> Network:
    """The network of a validated `Cidr`."""
    return ipaddress.ip_network(cidr)


def version_tuple(version: str) -> tuple[int, int, int]:
    """The three numbers of a version, for comparing: `0.24.1-rc1` gives (0, 24, 1)."""
    major, minor, patch = version.removeprefix("v").split("-")[0].split("+")[0].split(".")[:3]
    return int(major), int(minor), int(patch)
