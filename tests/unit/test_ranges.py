"""Contract: ranges are written as Spiderpool's webhook stores them, and counting is exact.

Anything else than that form is drift at every refresh; a wrong count hides a conflict or refuses a sound pool. The
model to compare with is the naive one: sets of single addresses.
"""

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.plan import ranges
from mesh.plan.types import Address

BASES = {4: int(ipaddress.ip_address("172.110.1.200")), 6: int(ipaddress.ip_address("fd00::ff0"))}


def address(number: int, version: int = 4) -> Address:
    """A small number as an address, across the border of an octet."""
    value = BASES[version] + number
    return ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value)


@st.composite
def given_ranges(draw: st.DrawFn) -> list[str]:
    """Ranges as people write them: unsorted, overlapping, single addresses both ways, both families mixed."""
    written = []
    for _ in range(draw(st.integers(0, 6))):
        version = draw(st.sampled_from([4, 4, 4, 6]))
        start = draw(st.integers(0, 60))
        end = draw(st.integers(start, min(60, start + 20)))
        single = start == end and draw(st.booleans())
        written.append(str(address(start, version)) if single else f"{address(start, version)}-{address(end, version)}")
    return written


def naive(texts: list[str] | tuple[str, ...]) -> set[Address]:
    """Every single address."""
    covered: set[Address] = set()
    for text in texts:
        first, _, last = text.partition("-")
        start, end = ipaddress.ip_address(first), ipaddress.ip_address(last or first)
        covered.update(type(start)(number) for number in range(int(start), int(end) + 1))
    return covered


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ([], ()),
        (["172.110.1.1-172.110.1.200"], ("172.110.1.1-172.110.1.200",)),
        (["172.110.1.7-172.110.1.7"], ("172.110.1.7",)),
        (["172.110.1.9", "172.110.1.1-172.110.1.3"], ("172.110.1.1-172.110.1.3", "172.110.1.9")),
        (["172.110.1.1", "172.110.1.2"], ("172.110.1.1-172.110.1.2",)),  # neighbours become one
        (["172.110.1.1", "172.110.1.3"], ("172.110.1.1", "172.110.1.3")),
        (["172.110.1.1-172.110.1.9", "172.110.1.2-172.110.1.3"], ("172.110.1.1-172.110.1.9",)),
        (["172.110.1.255", "172.110.2.0"], ("172.110.1.255-172.110.2.0",)),
        (["172.110.1.10", "172.110.1.9"], ("172.110.1.9-172.110.1.10",)),  # by number, not by text
        (["fd00::2", "172.110.1.1", "fd00::1"], ("172.110.1.1", "fd00::1-fd00::2")),
        (["FD00::0002"], ("fd00::2",)),
    ],
)
def test_normal_form(written: list[str], stored: tuple[str, ...]) -> None:
    assert ranges.normal_form(written) == stored


@given(given_ranges())
def test_normal_form_covers_exactly_the_same_addresses(written: list[str]) -> None:
    assert naive(ranges.normal_form(written)) == naive(written)


@given(given_ranges())
def test_normal_form_is_its_own_normal_form(written: list[str]) -> None:
    assert ranges.normal_form(ranges.normal_form(written)) == ranges.normal_form(written)


@given(given_ranges().flatmap(lambda written: st.tuples(st.just(written), st.permutations(written))))
def test_normal_form_does_not_depend_on_the_order(orders: tuple[list[str], list[str]]) -> None:
    assert ranges.normal_form(orders[0]) == ranges.normal_form(orders[1])


@given(given_ranges())
def test_normal_form_is_sorted_disjoint_and_not_adjacent(written: list[str]) -> None:
    merged = ranges.merge(written)
    for (one_start, one_end), (other_start, _) in pairwise(merged):
        if one_start.version == other_start.version:
            assert int(one_end) + 1 < int(other_start)
        else:
            assert (one_start.version, other_start.version) == (4, 6)


@given(given_ranges(), given_ranges())
def test_what_pods_may_take(written: list[str], excluded: list[str]) -> None:
    left = naive(written) - naive(excluded)
    usable = ranges.usable(written, excluded)
    assert naive([ranges.text(interval) for interval in usable]) == left
    assert ranges.size(usable) == len(left)
    assert ranges.subtract(ranges.merge(written), ranges.merge(excluded)) == len(left)
    for number in range(61):
        assert ranges.contains(usable, address(number)) == (address(number) in left)


@given(given_ranges(), given_ranges())
def test_overlap(one: list[str], other: list[str]) -> None:
    shared = naive(one) & naive(other)
    merged = ranges.merge(one), ranges.merge(other)
    assert naive([ranges.text(interval) for interval in ranges.intersect(*merged)]) == shared
    found = ranges.overlap(*merged)
    assert (found is not None) == bool(shared)
    if found:
        assert naive([ranges.text(found)]) <= shared


@given(given_ranges())
def test_ranges_that_share_an_address_are_found(written: list[str]) -> None:
    found = ranges.given_overlaps(written)
    assert (found is not None) == (sum(len(naive([text])) for text in written) > len(naive(written)))
    if found:
        assert naive([found[0]]) & naive([found[1]])


def test_the_last_address_there_is() -> None:
    whole = ranges.merge(["255.255.255.250-255.255.255.255"])
    assert ranges.difference(whole, ranges.merge(["255.255.255.255"])) == ranges.merge(
        ["255.255.255.250-255.255.255.254"]
    )
    assert ranges.difference(whole, whole) == ()


def test_inside_and_within() -> None:
    network = ipaddress.ip_network("172.110.1.0/24")
    assert ranges.inside(ranges.parse_range("172.110.1.0-172.110.1.255"), network)
    assert not ranges.inside(ranges.parse_range("172.110.0.255-172.110.1.1"), network)
    assert not ranges.inside(ranges.parse_range("172.110.1.255-172.110.2.0"), network)
    assert ranges.within(network, network)
    assert ranges.within(network, ipaddress.ip_network("172.110.0.0/23"))
    assert not ranges.within(ipaddress.ip_network("172.110.0.0/23"), network)
    assert not ranges.within(network, ipaddress.ip_network("::/0"))
