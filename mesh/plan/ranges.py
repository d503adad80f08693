"""Address ranges as Spiderpool's webhook stores them: sorted, merged, without duplicates.

Spiderpool rewrites `spec.ips` and `spec.excludeIPs` into this form (pkg/ippoolmanager/ippool_mutate.go). Sending
anything else shows up as drift at every `pulumi refresh`.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from itertools import pairwise

from mesh.plan.types import Address, Network

Interval = tuple[Address, Address]


def parse_range(text: str) -> Interval:
    """First and last address of `a` or `a-b`; the text has been validated as an `IpRange`."""
    first, dash, last = text.partition("-")
    start = ipaddress.ip_address(first)
    return start, ipaddress.ip_address(last) if dash else start


def merge(ranges: Iterable[str]) -> tuple[Interval, ...]:
    """Sorted, disjoint and non-adjacent intervals that cover exactly the given ranges."""
    merged: list[Interval] = []
    for start, end in sorted((parse_range(text) for text in ranges), key=lambda pair: (pair[0].version, int(pair[0]))):
        if merged and merged[-1][0].version == start.version and int(start) <= int(merged[-1][1]) + 1:
            if int(end) > int(merged[-1][1]):
                merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return tuple(merged)


def normal_form(ranges: Iterable[str]) -> tuple[str, ...]:
    """The ranges as text in Spiderpool's stored form: `a` for one address, else `a-b`."""
    return tuple(text(interval) for interval in merge(ranges))


def intersect(one: Sequence[Interval], other: Sequence[Interval]) -> tuple[Interval, ...]:
    """The addresses that are in both."""
    shared: list[Interval] = []
    for a_start, a_end in one:
        for b_start, b_end in other:
            if a_start.version == b_start.version:
                low, high = max(a_start, b_start, key=int), min(a_end, b_end, key=int)
                if int(low) <= int(high):
                    shared.append((low, high))
    return tuple(shared)


def difference(intervals: Sequence[Interval], holes: Sequence[Interval]) -> tuple[Interval, ...]:
    """What is left of `intervals` when the addresses of `holes` are taken out; both merged."""
    left: list[Interval] = []
    for start, end in intervals:
        address, low = type(start), int(start)
        for hole_start, hole_end in intersect(((start, end),), holes):
            if low < int(hole_start):
                left.append((address(low), address(int(hole_start) - 1)))
            low = int(hole_end) + 1
        if low <= int(end):
            left.append((address(low), end))
    return tuple(left)


def size(intervals: Iterable[Interval]) -> int:
    """How many addresses disjoint intervals have."""
    return sum(int(end) - int(start) + 1 for start, end in intervals)


def subtract(intervals: Sequence[Interval], holes: Sequence[Interval]) -> int:
    """How many addresses of `intervals` are left when those of `holes` are taken out; both merged."""
    return size(difference(intervals, holes))


def usable(ranges: Iterable[str], excluded: Iterable[str]) -> tuple[Interval, ...]:
    """The addresses that pods may take: those of `ips` without those of `excludeIPs`."""
    return difference(merge(ranges), merge(excluded))


def text(interval: Interval) -> str:
    """`a` for one address, else `a-b`."""
    start, end = interval
    return str(start) if start == end else f"{start}-{end}"


def inside(interval: Interval, network: Network) -> bool:
    """Whether the whole interval lies in the network."""
    return interval[0] in network and interval[1] in network


def within(inner: Network, outer: Network) -> bool:
    """Whether one network is part of the other, or equal to it; never across IP families."""
    return inner.network_address in outer and inner.broadcast_address in outer


def contains(intervals: Iterable[Interval], address: Address) -> bool:
    """Whether one of the intervals has the address."""
    return any(start.version == address.version and int(start) <= int(address) <= int(end) for start, end in intervals)


def overlap(one: Sequence[Interval], other: Sequence[Interval]) -> Interval | None:
    """The first interval the two share, or None."""
    return next(iter(intersect(one, other)), None)


def given_overlaps(ranges: Sequence[str]) -> tuple[str, str] | None:
    """The first two of the given ranges that share an address, or None."""
    ordered = sorted(ranges, key=lambda text: (parse_range(text)[0].version, int(parse_range(text)[0])))
    for one, other in pairwise(ordered):
        if overlap((parse_range(one),), (parse_range(other),)):
            return one, other
    return None
