"""broker-info.subm: what a cluster needs to join, read strictly and written always the same.

base64url of one JSON object; subctl's Go tags are malformed, hence the odd keys (facts: submariner.md 3.2). The file
that subctl writes differs from run to run in metadata that means nothing (`resourceVersion`, `managedFields`). Ours is
in normal form: only what subctl reads, in one order, so that equal brokers give equal bytes and Pulumi sees no change.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mesh.steps.errors import StepError, remember

CONNECTIVITY, SERVICE_DISCOVERY = "connectivity", "service-discovery"
PSK_SECRET = "submariner-ipsec-psk"  # noqa: S105 the name of a Secret
_AGAIN = "take it again from the output brokerInfo of the stack that deploys the broker"


@dataclass(frozen=True)
class BrokerInfo:
    """The contents of broker-info.subm.

    Attributes:
        url: the broker's API server, as the members reach it.
        token_name: name of the Secret with the broker admin's token.
        namespace: the broker's namespace.
        token: bearer token of the broker's admin.
        ca: certificate authority of the broker's API server (PEM).
        psk: the pre-shared key of the tunnels.
        components: what a cluster installs when it joins.
        custom_domains: domains of service discovery besides clusterset.local.
    """

    url: str
    token_name: str
    namespace: str
    token: str
    ca: str
    psk: bytes
    components: tuple[str, ...]
    custom_domains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        remember(self.token, self.psk)

    @property
    def host(self) -> str:
        """The URL without its scheme: so it stands in the Submariner resource."""
        return self.url.partition("://")[2]

    @property
    def service_discovery(self) -> bool:
        """Whether members install Lighthouse."""
        return SERVICE_DISCOVERY in self.components

    def encode(self) -> str:
        """The file in normal form."""
        document = {
            "brokerURL": self.url,
            "ClientToken": {
                "metadata": {"name": self.token_name, "namespace": self.namespace},
                "data": {
                    "ca.crt": encode(self.ca.encode()),
                    "namespace": encode(self.namespace.encode()),
                    "token": encode(self.token.encode()),
                },
                "type": "kubernetes.io/service-account-token",
            },
            "IPSecPSK": {"metadata": {"name": PSK_SECRET}, "data": {"psk": encode(self.psk)}},
            "ServiceDiscovery": self.service_discovery,
            "Components": sorted(self.components),
            "CustomDomains": list(self.custom_domains) or None,
        }
        return base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()

    @classmethod
    def decode(cls, text: str) -> "BrokerInfo":
        """The contents of a file, ours or subctl's.

        Raises:
            StepError: it is damaged or lacks something; subctl would crash, or join with an empty key.
        """
        remember(text)
        if not text.strip():
            raise StepError(f"the broker info is empty: {_AGAIN}")
        try:
            raw = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise StepError(f"the broker info is not base64url, it may be cut short: {_AGAIN}") from None
        try:
            document = json.loads(raw)
        except ValueError:
            raise StepError(f"the broker info holds no whole JSON document, it is cut short: {_AGAIN}") from None
        if not isinstance(document, dict):
            raise StepError(f"the broker info is not a JSON object: {_AGAIN}")
        keys = {key.lower(): value for key, value in document.items()}  # Go does not mind the case either
        missing: list[str] = []

        def text_at(*path: str) -> str:
            value: Any = keys
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if not isinstance(value, str) or not value:
                missing.append(".".join(path))
                return ""
            return value

        def data_at(*path: str) -> bytes:
            try:
                return base64.b64decode(text_at(*path), validate=True)
            except (binascii.Error, ValueError):
                missing.append(".".join(path))
                return b""

        url = text_at("brokerurl")
        token, ca, namespace = (data_at("clienttoken", "data", key) for key in ("token", "ca.crt", "namespace"))
        name = text_at("clienttoken", "metadata", "name")
        psk = data_at("ipsecpsk", "data", "psk")
        components, domains = keys.get("components") or [], keys.get("customdomains") or []
        if not _are_texts(components) or CONNECTIVITY not in components:
            missing.append("components with connectivity")
        if not _are_texts(domains):
            missing.append("customdomains")
        if not missing and not urlsplit(url if "://" in url else f"https://{url}").hostname:
            missing.append("brokerurl")
        if missing:
            raise StepError(f"the broker info has no valid {', '.join(missing)}: {_AGAIN}")
        return cls(
            url=url if "://" in url else f"https://{url}",
            token_name=name,
            namespace=namespace.decode(errors="replace"),
            token=token.decode(errors="replace"),
            ca=ca.decode(errors="replace"),
            psk=psk,
            components=tuple(components),
            custom_domains=tuple(domains),
        )


def encode(data: bytes) -> str:
    """Base64, as in a Secret's data."""
    return base64.b64encode(data).decode()


def decode(data: str) -> bytes:
    """The reverse of `encode`; empty where it is not base64."""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
