"""What must never leave a step."""

import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.steps import errors


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_known", set())


def test_a_secret_is_hidden_in_every_form() -> None:
    secret = secrets.token_urlsafe(24)
    errors.remember(secret)
    forms = [
        secret,
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode(),
    ]
    for form in forms:
        assert errors.scrub(f"it said {form}, twice: {form}") == "it said ***, twice: ***"


def test_bytes_are_hidden_as_base64() -> None:
    psk = secrets.token_bytes(48)
    errors.remember(psk)
    assert errors.scrub(f"psk: {base64.b64encode(psk).decode()}") == "psk: ***"


def test_a_secret_in_another_is_hidden_with_it() -> None:
    errors.remember("inner", "outer-inner-outer")
    assert errors.scrub("outer-inner-outer inner") == "*** ***"


@pytest.mark.parametrize("nothing", ["", None, b"", "abc"])
def test_nothing_worth_hiding_leaves_the_text_alone(nothing: str | bytes | None) -> None:
    errors.remember(nothing)
    assert errors.scrub("abc is a word") == "abc is a word"


def test_tokens_nobody_told_us_of_are_hidden() -> None:
    token = ".".join(base64.urlsafe_b64encode(secrets.token_bytes(30)).decode().rstrip("=") for _ in range(3))
    token = "eyJ" + token
    assert token not in errors.scrub(f'error creating &v1.Secret{{"token": "{token}"}}')


def test_private_keys_and_go_bytes_are_hidden() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"
    assert "MIIE" not in errors.scrub(f"x {key} y")
    assert errors.scrub('map[string][]uint8{"psk":[]uint8{0x1f, 0x2e}}') == 'map[string][]uint8{"psk":[]uint8{***}}'


@given(st.text(min_size=4), st.text(), st.text())
def test_no_remembered_secret_is_ever_left(secret: str, before: str, after: str) -> None:
    errors.remember(secret)
    scrubbed = errors.scrub(before + secret + after)
    assert secret not in scrubbed or secret in "***"
