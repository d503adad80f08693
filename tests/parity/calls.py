"""Running a subctl, and the calls that must fail."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.standin import is_standin


@dataclass(frozen=True)
class Result:
    """What one call has left behind; the seconds are for the report only."""

    rc: int
    stdout: str
    stderr: str

    @property
    def complaints(self) -> list[str]:
        """What it calls errors."""
        return [line.removeprefix(" ✗ ") for line in self.stderr.splitlines() if line.startswith((" ✗ ", "Error: "))]


@dataclass(frozen=True)
class Tool:
    """One of the two programs to compare."""

    name: str
    path: Path

    def run(
        self,
        *argv: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        unset: Sequence[str] = (),
        timeout: float = 120,
    ) -> Result:
        """Run it without a terminal, as automation does."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "TERM": "dumb", **(env or {})}
        for name in unset:
            environment.pop(name, None)
        ended = subprocess.run(
            [str(self.path), *argv],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)


def find_real() -> Path | None:
    """Return the first subctl on PATH that is not the stand-in."""
    for folder in os.get_exec_path():
        found = shutil.which("subctl", path=folder)
        if not found:
            continue
        shown = subprocess.run([found, "version"], capture_output=True, text=True, timeout=30, check=False)
        if shown.returncode == 0 and not is_standin(shown.stdout):
            return Path(found)
    return None


@dataclass(frozen=True)
class Call:
    """A call that goes wrong (or does less than one might think), with the exit code it ends with.

    In the arguments, {a} and {b} stand for the kubeconfigs of a broker and of a member, {info} for a good broker-info
    file, and {name} for each of `files`. `words` tells whether both programs have to say the same.
    """

    name: str
    argv: tuple[str, ...]
    rc: int
    files: Mapping[str, bytes] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    words: bool = True


def _b64(content: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(content).encode())


# A kubeconfig for an address where nobody listens.
_NOBODY = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
).encode()

# Of these no cluster ever hears.
OFFLINE = [
    Call("no arguments", ("join",), 1),
    Call("two files", ("join", "one", "two"), 1),
    Call("missing file", ("join", "nowhere.subm"), 1),
    Call("a folder", ("join", "."), 1),
    Call("not base64", ("join", "{bad}"), 1, {"bad": b"abc!!"}),
    Call("standard base64", ("join", "{bad}"), 1, {"bad": b"ab+/"}),
    Call("cut base64", ("join", "{bad}"), 1, {"bad": b"abcde"}),
    Call("empty file", ("join", "{bad}"), 1, {"bad": b""}),
    Call("not JSON", ("join", "{bad}"), 1, {"bad": base64.urlsafe_b64encode(b"hello")}),
    Call("cut JSON", ("join", "{bad}"), 1, {"bad": base64.urlsafe_b64encode(b'{"brokerURL":')}),
    Call("a list", ("join", "{bad}"), 1, {"bad": _b64([])}),
    Call("a secret that is none", ("join", "{bad}"), 1, {"bad": _b64({"IPSecPSK": {"data": {"psk": "?"}}})}),
    Call("unknown image", ("join", "--image-override", "foo=bar", "f"), 1),
    Call("image without =", ("join", "--image-override", "foo", "f"), 1),
    Call("unknown flag", ("join", "--nope", "f"), 1),
    Call("unknown shorthand", ("uninstall", "-yx"), 1),
    Call("abbreviated flag", ("join", "--clusteri", "x", "f"), 1),
    Call("flag without value", ("deploy-broker", "--version"), 1),
    Call("shorthand without value", ("deploy-broker", "-n"), 1),
    Call("empty flag name", ("deploy-broker", "--=x"), 1),
    Call("not a bool", ("deploy-broker", "--globalnet=maybe"), 1),
    Call("not a bool, with a shorthand", ("uninstall", "--yes=maybe"), 1),
    Call("not a number", ("join", "--nattport", "x", "f"), 1),
    Call("below zero", ("deploy-broker", "--globalnet-cluster-size", "-1"), 1),
    Call("value after a switch", ("join", "--natt", "false", "f"), 1),
    Call("unknown command", ("nope",), 1),
    Call("unknown root flag", ("--nope",), 1, words=False),
    Call("flag before the command", ("--context", "x", "version"), 1, words=False),
    Call("nothing at all", (), 0),
    Call("version", ("version",), 0),
    Call("version with more", ("version", "more"), 0),
    Call("help for a command", ("join", "--help"), 0),
    Call("no HOME", ("version",), 1, unset=("HOME",)),
    Call("export without a name", ("export", "service"), 1),
    Call("unexport without a name", ("unexport", "service"), 1),
    Call("export of nothing", ("export",), 0),
    Call("missing kubeconfig", ("uninstall", "-y", "--kubeconfig", "/nowhere"), 1),
    Call("kubeconfig list", ("uninstall", "-y", "--kubeconfig", "/nowhere:/neither"), 1),
    Call("no kubeconfig", ("uninstall", "-y"), 1, words=False),  # the real one prints a Go struct
    Call("KUBECONFIG leads nowhere", ("uninstall", "-y"), 1, env={"KUBECONFIG": "/nowhere"}, words=False),
    Call("no such context, no config", ("uninstall", "-y", "--context", "nope"), 1),
    Call("no such context", ("uninstall", "-y", "--kubeconfig", "{k}", "--context", "nope"), 1, {"k": _NOBODY}),
    Call("no such cluster", ("uninstall", "-y", "--kubeconfig", "{k}", "--cluster", "nope"), 1, {"k": _NOBODY}),
    Call("no such user", ("uninstall", "-y", "--kubeconfig", "{k}", "--user", "nope"), 1, {"k": _NOBODY}),
    Call("kubeconfig is no YAML", ("uninstall", "--kubeconfig", "{k}"), 1, {"k": b"a: [b"}, words=False),
    Call("bad time-out", ("uninstall", "--kubeconfig", "{k}", "--request-timeout", "x"), 1, {"k": _NOBODY}),
    Call("nobody listens", ("deploy-broker", "--kubeconfig", "{k}"), 1, {"k": _NOBODY}),
    Call("nobody listens, uninstall", ("uninstall", "-y", "--kubeconfig", "{k}"), 1, {"k": _NOBODY}),
    Call("nobody listens, recover", ("recover-broker-info", "--kubeconfig", "{k}"), 1, {"k": _NOBODY}),
]

_CIDRS = ("--clustercidr", "172.111.0.0/16", "--servicecidr", "10.243.0.0/18")
_JOIN_B = ("join", "{info}", "--kubeconfig", "{b}", "--label-gateway=false", "--version", "0.24.1")

# These need a broker on cluster A and a cluster B that has not joined.
ONLINE = [
    Call("bad components", ("deploy-broker", "--kubeconfig", "{a}", "--components", "dns"), 1),
    Call("no components", ("deploy-broker", "--kubeconfig", "{a}", "--components", ""), 1),
    Call("bad global CIDR", ("deploy-broker", "--kubeconfig", "{a}", "--globalnet", "--globalnet-cidr-range", "x"), 1),
    Call("loopback", ("deploy-broker", "--kubeconfig", "{a}", "--clusterset-ip-cidr-range", "127.0.0.0/8"), 1),
    Call("link-local", ("deploy-broker", "--kubeconfig", "{a}", "--clusterset-ip-cidr-range", "169.254.0.0/16"), 1),
    Call("bare address", ("deploy-broker", "--kubeconfig", "{a}", "--clusterset-ip-cidr-range", "10.0.0.1"), 1),
    Call(
        "too large a cluster",
        ("deploy-broker", "--kubeconfig", "{a}", "--globalnet", "--globalnet-cluster-size", "16777216"),
        1,
    ),
    Call(
        "no addresses at all", ("deploy-broker", "--kubeconfig", "{a}", "--globalnet", "--globalnet-cluster-size=0"), 1
    ),
    Call(
        "unknown kubeconfig user", ("deploy-broker", "--kubeconfig", "{a}", "--token", "wrong", "--user", "nobody"), 1
    ),
    Call("may not look", ("deploy-broker", "--kubeconfig", "{a}", "--as", "nobody"), 1),
    Call("may not remove", ("uninstall", "-y", "--kubeconfig", "{b}", "--as", "nobody"), 1, words=False),
    Call("recover where nothing is", ("recover-broker-info", "--kubeconfig", "{b}"), 0),
    Call("recover on a mere broker", ("recover-broker-info", "--kubeconfig", "{a}"), 0),
    Call("uninstall where nothing is", ("uninstall", "-y", "--kubeconfig", "{b}"), 0),
    Call("uninstall without yes", ("uninstall", "--kubeconfig", "{a}"), 0),
    Call("no CIDRs", (*_JOIN_B,), 1),
    Call("no service CIDR", (*_JOIN_B, "--clustercidr", "172.111.0.0/16"), 1),
    Call("no pod CIDR", (*_JOIN_B, "--servicecidr", "10.243.0.0/18"), 1),
    Call("bad cluster ID", (*_JOIN_B, *_CIDRS, "--clusterid", "Bad_ID"), 1),
    Call("too long a cluster ID", (*_JOIN_B, *_CIDRS, "--clusterid", "x" * 64), 1, words=False),
    Call("no gateway", ("join", "{info}", "--kubeconfig", "{b}", *_CIDRS), 1),
    Call("bad CoreDNS map", (*_JOIN_B, *_CIDRS, "--coredns-custom-configmap", "a/b/c"), 1),
    Call("broker nowhere", (*_JOIN_B, *_CIDRS, "--broker-url", "https://127.0.0.1:1"), 1),
    Call("bad clusterset CIDR", (*_JOIN_B, *_CIDRS, "--clusterset-ip-cidr", "x"), 1),
    Call("export of no Service", ("export", "service", "nope", "--kubeconfig", "{b}", "-n", "default"), 1),
]


def fill(call: Call, folder: Path, places: Mapping[str, str]) -> list[str]:
    """Write the files of a call and put names in place of the braces."""
    names = dict(places)
    for name, content in call.files.items():
        path = folder / name
        path.write_bytes(content)
        names[name] = str(path)
    return [re.sub(r"\{(\w+)\}", lambda match: names[match.group(1)], word) for word in call.argv]


def flags_in_help(text: str) -> dict[str, tuple[str, str, str]]:
    """Read the flags of a command from its help: name -> (shorthand, type, default)."""
    found = {}
    for line in text.splitlines():
        match = re.match(r" +(?:-(\w), |    )--([\w-]+)(?: (\S+))? {2,}(.*)$", line)
        if match:
            short, name, kind, description = match.groups()
            default = re.search(r"\(default (.*)\)$", description)
            value = default.group(1) if default and default.group(1) != "disabled" else ""  # that one is prose
            found[name] = (short or "", kind or "bool", value)
    return found
