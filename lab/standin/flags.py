"""The command line: subctl's flags, read by the rules of Go's pflag and refused as cobra refuses them.

argparse would be close, but not the same: it takes abbreviations, `--flag false` for a switch, and no value that starts
with a dash. Callers must not get used to either.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.standin.errors import SubctlError, UsageError

PROGRAM = "subctl"


@dataclass(frozen=True)
class Flag:
    """One flag; `kind` is pflag's name of its type."""

    name: str
    kind: str = "string"
    default: Any = None
    help: str = ""
    short: str = ""
    bare: str | None = None  # the value when the flag stands alone, for kinds other than bool

    @property
    def zero(self) -> Any:
        """The value of the flag when nothing is said about it."""
        if self.default is not None:
            return self.default
        return {"bool": False, "string": "", "int": 0, "uint": 0}.get(self.kind, [])

    @property
    def label(self) -> str:
        """How error messages call the flag."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


def _kubernetes(namespace: bool) -> tuple[Flag, ...]:
    flags = [
        Flag("kubeconfig", help="kubeconfig file to use"),
        Flag("context", help="context of the kubeconfig"),
        Flag("cluster", help="cluster of the kubeconfig"),
        Flag("user", help="user of the kubeconfig"),
        Flag("server", help="URL of the API server"),
        Flag("token", help="bearer token for the API server"),
        Flag("username", help="user name for basic authentication"),
        Flag("password", help="password for basic authentication"),
        Flag("client-certificate", help="file with a client certificate"),
        Flag("client-key", help="file with a client key"),
        Flag("certificate-authority", help="file with the certificate authority"),
        Flag("insecure-skip-tls-verify", "bool", help="do not check the API server's certificate"),
        Flag("tls-server-name", help="name to check the API server's certificate against"),
        Flag("proxy-url", help="proxy to reach the API server through"),
        Flag("as", help="user to impersonate"),
        Flag("as-uid", help="UID to impersonate"),
        Flag("as-group", "stringArray", help="group to impersonate, repeatable"),
        Flag("request-timeout", default="0", help="limit for one request (1s, 2m, 3h), 0 for none"),
        Flag("disable-compression", "bool", help="ask for uncompressed responses"),
    ]
    if namespace:
        flags.append(Flag("namespace", short="n", help="namespace"))
    return tuple(flags)


_IMAGES = (Flag("repository", help="image repository"), Flag("version", help="image version"))
_PROXY = (
    Flag("http-proxy", help="HTTP_PROXY of the pods"),
    Flag("https-proxy", help="HTTPS_PROXY of the pods"),
    Flag("no-proxy", help="NO_PROXY of the pods"),
)
_OPERATOR_DEBUG = Flag("operator-debug", "bool", help="verbose log of the operator")
_CUSTOM_DOMAINS = Flag("custom-domains", "strings", help="domains for service discovery")

DEPLOY_BROKER = (
    *_kubernetes(namespace=True),
    *_IMAGES,
    *_PROXY,
    _OPERATOR_DEBUG,
    _CUSTOM_DOMAINS,
    Flag("components", "strings", ["service-discovery", "connectivity"], "what joining clusters install"),
    Flag("broker-url", help="broker URL to write into the file"),
    Flag("ipsec-psk-from", help="file to take the IPsec PSK from"),
    Flag("globalnet", "bool", help="allow overlapping CIDRs"),
    Flag("globalnet-cidr-range", default="242.0.0.0/8", help="range of all clusters' global CIDRs"),
    Flag("globalnet-cluster-size", "uint", 65536, "addresses per cluster"),
    Flag("enable-clusterset-ip", "bool", help="clusterset IPs for exported services"),
    Flag("clusterset-ip-cidr-range", default="243.0.0.0/8", help="range of all clusters' clusterset IP CIDRs"),
)

JOIN = (
    *_kubernetes(namespace=False),
    *_IMAGES,
    *_PROXY,
    _OPERATOR_DEBUG,
    _CUSTOM_DOMAINS,
    Flag("clusterid", help="ID of this cluster in the mesh"),
    Flag("clustercidr", help="pod CIDR"),
    Flag("servicecidr", help="service CIDR"),
    Flag("label-gateway", "bool", True, "label a gateway node if there is none"),
    Flag("cable-driver", default="libreswan", help="tunnel implementation"),
    Flag("natt", "bool", True, "NAT traversal"),
    Flag("nattport", "int", 4500, "UDP port of the tunnel"),
    Flag("force-udp-encaps", "bool", help="ESP in UDP always"),
    Flag("preferred-server", "bool", help="be the passive side"),
    Flag("load-balancer", "bool", help="LoadBalancer in front of the gateways"),
    Flag("air-gapped", "bool", help="no internet here"),
    Flag("health-check", "bool", True, "ping the other gateways"),
    Flag("health-check-interval", "uint", 1, "seconds between pings"),
    Flag("health-check-max-packet-loss-count", "uint", 5, "lost pings until a connection counts as down"),
    Flag("globalnet", "bool", True, "Globalnet for this cluster, where the broker has it"),
    Flag("globalnet-cidr", help="global CIDR of this cluster"),
    Flag("globalnet-cluster-size", "uint", help="size of this cluster's global CIDR"),
    Flag("enable-clusterset-ip", "bool", help="clusterset IPs for services exported here"),
    Flag("clusterset-ip-cidr", help="clusterset IP CIDR of this cluster"),
    Flag("coredns-custom-configmap", help="[namespace/]name of CoreDNS's custom ConfigMap"),
    Flag("broker-url", help="broker URL, instead of the file's"),
    Flag("check-broker-certificate", "bool", True, "check the broker's certificate"),
    Flag("image-override", "strings", help="component=image, repeatable"),
    Flag("ignore-requirements", "bool", help="go on where requirements are not met"),
    Flag("ipsec-debug", "bool", help="verbose log of IPsec"),
    Flag("pod-debug", "bool", help="verbose log of Submariner's pods"),
)

UNINSTALL = (*_kubernetes(namespace=True), Flag("yes", "bool", short="y", help="do not ask"))
RECOVER = (*_kubernetes(namespace=False), Flag("broker-url", help="broker URL to write into the file"))
UNEXPORT_SERVICE = _kubernetes(namespace=True)
EXPORT_SERVICE = (
    *UNEXPORT_SERVICE,
    Flag("use-clusterset-ip", help="clusterset IP for this service", bare="true"),
)


class Values:
    """The values of a command's flags, by name."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._values = {flag.name: flag.zero for flag in flags}
        self._given: set[str] = set()

    def text(self, name: str) -> str:
        """Value of a string flag."""
        return str(self._values.get(name, ""))

    def switch(self, name: str) -> bool:
        """Value of a bool flag."""
        return bool(self._values.get(name, False))

    def number(self, name: str) -> int:
        """Value of a number flag."""
        return int(self._values[name])

    def texts(self, name: str) -> list[str]:
        """Value of a list flag."""
        return list(self._values.get(name, []))

    def set(self, flag: Flag, text: str) -> None:
        """Give a flag the value that stands on the command line."""
        try:
            value = _READERS[flag.kind](text)
        except ValueError as error:
            raise UsageError(f'invalid argument "{text}" for "{flag.label}" flag: {error}') from None
        if isinstance(value, list) and flag.name in self._given:
            value = self._values[flag.name] + value  # the first one replaces the default, the others add
        self._values[flag.name] = value
        self._given.add(flag.name)


def parse(flags: Sequence[Flag], argv: Sequence[str]) -> tuple[Values, list[str]]:
    """Split a command line into flag values and arguments; `--help` is the flag "help"."""
    known = [*flags, Flag("help", "bool", short="h")]
    by_name = {flag.name: flag for flag in known}
    by_short = {flag.short: flag for flag in known if flag.short}
    values, rest = Values(known), list(argv)
    arguments: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            return values, arguments + rest
        if word.startswith("--"):
            _long(word, by_name, values, rest)
        elif word.startswith("-") and word != "-":
            _shorts(word, by_short, values, rest)
        else:
            arguments.append(word)
    return values, arguments


def _long(word: str, known: dict[str, Flag], values: Values, rest: list[str]) -> None:
    name, equals, text = word[2:].partition("=")
    if not name or name.startswith("-"):
        raise UsageError(f"bad flag syntax: {word}")
    flag = known.get(name)
    if flag is None:
        raise UsageError(f"unknown flag: --{name}")
    bare = "true" if flag.kind == "bool" else flag.bare
    if not equals:
        if bare is None and not rest:
            raise UsageError(f"flag needs an argument: --{name}")
        text = rest.pop(0) if bare is None else bare
    values.set(flag, text)


def _shorts(word: str, known: dict[str, Flag], values: Values, rest: list[str]) -> None:
    letters = word[1:]
    while letters:
        word, letter, letters = f"-{letters}", letters[0], letters[1:]
        flag = known.get(letter)
        if flag is None:
            raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
        if letters.startswith("="):
            values.set(flag, letters[1:])
            return
        if flag.kind == "bool":
            values.set(flag, "true")
            continue
        if not letters and not rest:
            raise UsageError(f"flag needs an argument: '{letter}' in {word}")
        values.set(flag, letters or rest.pop(0))
        return


def usage(command: str, flags: Sequence[Flag]) -> str:
    """Return the usage text of a command, laid out as pflag does."""
    name = [word for word in command.split() if not word.startswith("<")][-1]
    rows = []
    shown = [*flags, Flag("help", "bool", short="h", help=f"help for {name}")]
    for flag in sorted(shown, key=lambda flag: flag.name):
        left = f"  -{flag.short}, --{flag.name}" if flag.short else f"      --{flag.name}"
        if flag.kind != "bool":
            left += f" {flag.kind}" + (f'[="{flag.bare}"]' if flag.bare else "")
        rows.append((left, flag.help + _default(flag)))
    width = max(len(left) for left, _ in rows)
    lines = "\n".join(f"{left:<{width}}   {text}" for left, text in rows)
    return f"Usage:\n  {PROGRAM} {command} [flags]\n\nFlags:\n{lines}\n"


def _default(flag: Flag) -> str:
    if not flag.default:
        return ""
    if flag.kind == "string":
        # pflag takes "0" for nothing only where the flag is a number.
        return f' (default "{flag.default}")'
    if flag.kind == "bool":
        return " (default true)"
    return f" (default [{','.join(flag.default)}])" if isinstance(flag.default, list) else f" (default {flag.default})"


def _bool(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def parse_bool(text: str) -> bool:
    """Read a bool as Go does."""
    try:
        return _bool(text)
    except ValueError as error:
        raise SubctlError(str(error)) from None


def _int(function: str, lowest: int, highest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            if text != text.strip() or (lowest == 0 and text[:1] in "+-"):
                raise ValueError
            number = int(text, 0)
        except ValueError:
            raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax') from None
        if not lowest <= number <= highest:
            raise ValueError(f'strconv.{function}: parsing "{text}": value out of range')
        return number

    return read


def _strings(text: str) -> list[str]:
    return next(csv.reader([text]), []) if text else []


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": _bool,
    "string": str,
    "int": _int("ParseInt", -(2**63), 2**63 - 1),
    "uint": _int("ParseUint", 0, 2**64 - 1),
    "strings": _strings,
    "stringArray": lambda text: [text],
}
