"""broker-info.subm: normal form, and every kind of damage told."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.steps.broker_info import BrokerInfo
from mesh.steps.errors import StepError

INFO = BrokerInfo(
    url="https://10.6.168.10:6443",
    token_name="submariner-k8s-broker-admin-token-abcde",
    namespace="submariner-k8s-broker",
    token="a-token",
    ca="-----BEGIN CERTIFICATE-----",
    psk=bytes(range(48)),
    components=("connectivity", "service-discovery"),
)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _text(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def _document(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
    return document


def as_subctl_writes_it() -> dict[str, Any]:
    """The shape of a file of subctl 0.19, metadata and all."""
    return {
        "brokerURL": INFO.url,
        "ClientToken": {
            "metadata": {
                "name": INFO.token_name,
                "generateName": "submariner-k8s-broker-admin-token-",
                "namespace": INFO.namespace,
                "uid": "0d2b",
                "resourceVersion": "345",
                "managedFields": [{"manager": "subctl", "operation": "Update"}],
            },
            "data": {
                "ca.crt": _b64(INFO.ca.encode()),
                "namespace": _b64(INFO.namespace.encode()),
                "token": _b64(INFO.token.encode()),
            },
            "type": "kubernetes.io/service-account-token",
        },
        "IPSecPSK": {
            "metadata": {"name": "submariner-ipsec-psk", "creationTimestamp": None},
            "data": {"psk": _b64(INFO.psk)},
        },
        "ServiceDiscovery": True,
        "Components": ["connectivity", "service-discovery"],
        "CustomDomains": None,
    }


def test_it_reads_what_subctl_writes() -> None:
    assert BrokerInfo.decode(_text(as_subctl_writes_it()) + "\n") == INFO


def test_two_files_of_one_broker_have_one_normal_form() -> None:
    other = as_subctl_writes_it()
    other["ClientToken"]["metadata"] |= {"resourceVersion": "999", "labels": {"x": "y"}, "managedFields": []}
    other = dict(reversed(other.items()))
    first, second = (BrokerInfo.decode(_text(document)).encode() for document in (as_subctl_writes_it(), other))
    assert first == second


def test_normal_form_has_what_subctl_reads() -> None:
    document = _document(INFO.encode())
    assert document == {
        "brokerURL": INFO.url,
        "ClientToken": {
            "metadata": {"name": INFO.token_name, "namespace": INFO.namespace},
            "data": as_subctl_writes_it()["ClientToken"]["data"],
            "type": "kubernetes.io/service-account-token",
        },
        "IPSecPSK": {"metadata": {"name": "submariner-ipsec-psk"}, "data": {"psk": _b64(INFO.psk)}},
        "ServiceDiscovery": True,
        "Components": ["connectivity", "service-discovery"],
        "CustomDomains": None,
    }


@given(
    psk=st.binary(min_size=1, max_size=96),
    token=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1),
    components=st.permutations(["connectivity", "service-discovery"]),
    domains=st.lists(st.text("abc.", min_size=1), max_size=3),
)
def test_decoding_is_the_reverse_of_encoding(psk: bytes, token: str, components: list[str], domains: list[str]) -> None:
    info = BrokerInfo(INFO.url, "name", "ns", token, "ca", psk, tuple(components), tuple(domains))
    again = BrokerInfo.decode(info.encode())
    assert again.encode() == info.encode()
    assert (again.psk, again.token, again.custom_domains) == (psk, token, tuple(domains))
    # Go's base64.URLEncoding takes this alphabet and no other, with padding.
    assert base64.urlsafe_b64encode(base64.urlsafe_b64decode(info.encode())).decode() == info.encode()


def test_a_url_without_scheme_is_an_https_url() -> None:
    document = as_subctl_writes_it() | {"brokerURL": "10.6.168.10:6443"}
    info = BrokerInfo.decode(_text(document))
    assert (info.url, info.host) == ("https://10.6.168.10:6443", "10.6.168.10:6443")


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def remove(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return remove


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_without("brokerURL"), "brokerurl"),
        (_without("ClientToken"), "clienttoken.data.token"),
        (_without("ClientToken", "data", "token"), "clienttoken.data.token"),
        (_without("ClientToken", "data", "ca.crt"), "clienttoken.data.ca.crt"),
        (_without("ClientToken", "data", "namespace"), "clienttoken.data.namespace"),
        (_without("ClientToken", "metadata", "name"), "clienttoken.metadata.name"),
        (_without("IPSecPSK"), "ipsecpsk.data.psk"),
        (_without("IPSecPSK", "data", "psk"), "ipsecpsk.data.psk"),
        (_without("Components"), "components"),
        (lambda document: document.update(Components=["service-discovery"]), "components"),
        (lambda document: document.update(Components="connectivity"), "components"),
        (lambda document: document.update(CustomDomains=[1]), "customdomains"),
        (lambda document: document.update(ClientToken="x"), "clienttoken.data.token"),
        (lambda document: document["IPSecPSK"]["data"].update(psk="not base64!"), "ipsecpsk.data.psk"),
        (lambda document: document.update(brokerURL="https://"), "brokerurl"),
    ],
)
def test_what_is_missing_is_named(damage: Callable[[dict[str, Any]], None], named: str) -> None:
    document = as_subctl_writes_it()
    damage(document)
    with pytest.raises(StepError, match=named) as raised:
        BrokerInfo.decode(_text(document))
    assert "output brokerInfo" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("brokerURL: https://x", "not base64url"),
        (INFO.encode()[:-7], "cut short"),
        (INFO.encode()[: len(INFO.encode()) // 2 // 4 * 4], "cut short"),
        (_text([1]), "not a JSON object"),
        (base64.b64encode(b"\xff\xfe").decode(), "cut short"),
    ],
)
def test_damage_is_told(text: str, said: str) -> None:
    with pytest.raises(StepError, match=said):
        BrokerInfo.decode(text)


@given(st.integers(min_value=1, max_value=len(INFO.encode()) - 1))
def test_no_part_of_a_file_passes_for_a_file(length: int) -> None:
    with pytest.raises(StepError) as raised:
        BrokerInfo.decode(INFO.encode()[:length])
    assert INFO.token not in str(raised.value)


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_nothing_else_passes_for_a_file(text: str) -> None:
    with pytest.raises(StepError):
        BrokerInfo.decode(text)
