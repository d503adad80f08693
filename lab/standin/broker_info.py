"""The broker-info file: one JSON object in URL-safe base64.

The keys are spelt as the real subctl spells them (a slip in its Go tags, but that is the format); they are read without
regard to upper and lower case, as Go does.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.standin.errors import PanicError, SubctlError
from lab.standin.objects import CONNECTIVITY, PSK_SECRET, SERVICE_DISCOVERY, decode, encode
from lab.standin.report import Reporter, wrap

FILE_NAME = "broker-info.subm"
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass
class BrokerInfo:
    """What a member needs to know of its broker."""

    url: str
    token_secret: dict[str, Any] | None
    psk_secret: dict[str, Any] | None
    service_discovery: bool
    components: list[str]
    custom_domains: list[str] | None

    @property
    def connectivity_enabled(self) -> bool:
        """Members install the tunnel."""
        return CONNECTIVITY in self.components

    @property
    def service_discovery_enabled(self) -> bool:
        """Members install service discovery."""
        return self.service_discovery or SERVICE_DISCOVERY in self.components

    def token_data(self, key: str) -> bytes:
        """One of the token Secret's entries; a file without that Secret crashes the real subctl."""
        if self.token_secret is None:
            raise PanicError("runtime error: invalid memory address or nil pointer dereference")
        return decode((self.token_secret.get("data") or {}).get(key, ""))

    @property
    def psk(self) -> bytes:
        """The pre-shared key of the tunnels; empty where the file has none."""
        return decode(((self.psk_secret or {}).get("data") or {}).get("psk", ""))


def psk_secret(psk: bytes) -> dict[str, Any]:
    """The Secret that a file carries the key in."""
    return {"metadata": {"name": PSK_SECRET, "creationTimestamp": None}, "data": {"psk": encode(psk)}}


def write(
    url: str,
    token_secret: dict[str, Any],
    psk: bytes,
    components: Sequence[str],
    custom_domains: Sequence[str],
) -> None:
    """Write the file into the current directory, readable for its owner only."""
    # The order of the keys is that of the Go struct.
    content = {
        "brokerURL": url,
        "ClientToken": token_secret,
        "IPSecPSK": psk_secret(psk),
        "ServiceDiscovery": SERVICE_DISCOVERY in components,
        "Components": sorted(set(components)),
        "CustomDomains": list(custom_domains) or None,
    }
    text = base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode())
    descriptor = os.open(FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


def back_up(report: Reporter) -> None:
    """Rename an older file in the current directory, adding the time to its name."""
    path = Path(FILE_NAME)
    if not path.exists():
        return
    # RFC 3339 with Z for UTC, and no colons.
    now = datetime.now().astimezone().isoformat(timespec="seconds").replace("+00:00", "Z")
    backup = f"{FILE_NAME}.{now.replace(':', '_')}"
    path.rename(backup)
    report.success(f'Backed up previous file "{FILE_NAME}" to "{backup}"')


def read(name: str) -> BrokerInfo:
    """Read a file, or say what is wrong with it in the real one's words."""
    try:
        raw = Path(name).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        verb = "read" if isinstance(error, IsADirectoryError) else "open"
        raise SubctlError(f'error reading file "{name}": {verb} {name}: {reason}') from error
    try:
        text = _decode_base64(raw)
    except ValueError as error:
        raise SubctlError(f'error decoding data from file "{name}": {error}') from error
    try:
        return _parse(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise wrap(error, "error unmarshalling data") from error


def _decode_base64(raw: bytes) -> bytes:
    """Decode as Go's base64.URLEncoding does: line breaks are skipped, padding is a must."""
    letters = [(position, byte) for position, byte in enumerate(raw) if byte not in b"\r\n"]
    body = len(letters)
    while body and len(letters) - body < 2 and letters[body - 1][1] == ord("="):
        body -= 1
    for position, byte in letters[:body]:
        if byte not in _ALPHABET:
            raise ValueError(f"illegal base64 data at input byte {position}")
    if len(letters) % 4:
        raise ValueError(f"illegal base64 data at input byte {len(raw) - len(letters) % 4}")
    try:
        return base64.urlsafe_b64decode(bytes(byte for _, byte in letters))
    except binascii.Error:
        raise ValueError(f"illegal base64 data at input byte {len(raw)}") from None


def _parse(text: bytes) -> BrokerInfo:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].decode("utf-8", "replace")
        if not rest.strip():
            raise ValueError("unexpected end of JSON input") from None
        where = "looking for beginning of value" if error.pos == 0 else f"at offset {error.pos}"
        raise ValueError(f"invalid character '{rest[0]}' {where}") from None
    except UnicodeDecodeError:
        raise ValueError(f"invalid character '\\x{text[0]:02x}' looking for beginning of value") from None
    if not isinstance(content, dict):
        kind = {list: "array", str: "string", bool: "bool"}.get(type(content), "number")
        raise TypeError(f"json: cannot unmarshal {kind} into Go value of type broker.Info")
    by_name = {key.lower(): value for key, value in content.items()}
    info = BrokerInfo(
        url=by_name.get("brokerurl") or "",
        token_secret=by_name.get("clienttoken"),
        psk_secret=by_name.get("ipsecpsk"),
        service_discovery=bool(by_name.get("servicediscovery")),
        components=list(by_name.get("components") or []),
        custom_domains=by_name.get("customdomains"),
    )
    for secret in (info.token_secret, info.psk_secret):
        for value in ((secret or {}).get("data") or {}).values():
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error:
                raise ValueError("illegal base64 data at input byte 0") from None
    return info
