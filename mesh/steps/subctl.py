"""Running subctl: never a prompt, nothing secret in its arguments or environment, nothing of it left behind."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mesh.plan.settings import SUBCTL
from mesh.steps.activity import doing, limit
from mesh.steps.errors import StepError, TimeUpError, scrub
from mesh.steps.kubeconfig import CONTEXT, Kubeconfig
from mesh.steps.workdir import write_private

VERSION = re.compile(r"version:?\s+v?(\d+\.\d+\.\d+\S*)")  # in what `subctl version` prints

_GET_IT = (
    "subctl is not on PATH: get the release of the plan's submariner.version from "
    "https://github.com/submariner-io/subctl/releases and put it there"
)
_PASSED_ON = ("PATH", "HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
              "SSL_CERT_FILE", "SSL_CERT_DIR")  # fmt: skip
_STANDIN_PREFIX = "MESH_STANDIN_"  # how the lab's stand-in is told to misbehave
_NOT_FOR_PLUGINS = ("PULUMI", "KUBECONFIG", "MESH_", "PYTHON")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NOISE = re.compile(r"^(W\d{4} |subctl version: |\s*$)|stand-in of multi-cluster-mesh")  # facts: submariner.md 8.13
_PR_SET_PDEATHSIG = 1
_LONGEST = 600  # characters of subctl's own words in an error

_OPERATOR = "kubectl -n submariner-operator"
# What subctl says, and what to do about it; the first that fits. Sources: facts/submariner.md 2, 4, 5, 6, 7 and 8.
_HINTS: tuple[tuple[str, str], ...] = (
    (
        "existing joined cluster with the same ID|cluster ID not unique",
        "another cluster has joined under this ID, or this one has been rebuilt without leaving: give it an ID of its "
        "own, or delete clusters.submariner.io/<ID> and its endpoints in the broker's namespace",
    ),
    (
        "awaiting Deployment ready|context deadline exceeded",
        "the operator did not become available: see why with "
        f"`{_OPERATOR} get pods` and `describe pod`; the image must be "
        "reachable under submariner.repository and submariner.version, nodes be Ready and pods have a default network",
    ),
    (
        "resource anew: timed out|did not complete deletion",
        f"the operator did not finish cleaning up: see its log with `{_OPERATOR} logs deployment/submariner-operator`",
    ),
    ("is forbidden|[Ff]orbidden:", "permission denied: use credentials with cluster-admin rights"),
    (
        "broker admin config.*Unauthorized",
        "the broker does not know this token any more: it has been deployed anew, take its output brokerInfo again",
    ),
    (
        "broker admin config",
        "this machine must reach the broker's API server too: set broker.url to a URL that every cluster reaches",
    ),
    ("x509|certificate", "set broker.url to a name that is in the certificate of the broker's API server"),
    ("[:] EOF$|prompt", "it asked a question, which it never should: its version may be newer than this project knows"),
    ("version requirements not met", "upgrade Kubernetes, or set submariner.ignoreRequirements"),
    ("unknown flag", "its version does not fit: install the subctl of the plan's submariner.version"),
    ("overlap", "give each cluster a globalnetCIDR of its own"),
    ("invalid image override", "correct submariner.imageOverrides"),
    ("connection refused|i/o timeout|no route to host|no such host", "check that this machine reaches that address"),
)


@dataclass(frozen=True)
class Result:
    """How a run of subctl ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def conflict(self) -> bool:
        """Whether it lost a race against other joins for an object on the broker, so that trying again will help.

        Of two kinds (facts: submariner.md 5): its choice of a range was taken meanwhile, or it gave up after five
        conflicting writes, which it ends with rc 1 and without any ✗ line.
        """
        if self.code != 1:
            return False
        if re.search(r"overlaps with cluster|object has been modified|Operation cannot be fulfilled", self.stderr):
            return True
        return not re.search(r"✗|Usage:|panic:|Error:", self.stderr)

    def explain(self, command: str) -> StepError:
        """What failed, in subctl's words, and what to do about it."""
        said = _last_words(self.stderr) or _last_words(self.stdout) or f"nothing, and ended with {self.code}"
        hint = next((hint for pattern, hint in _HINTS if re.search(pattern, said)), "run it again, or ask with "
                    "`subctl diagnose all` what it does not like")  # fmt: skip
        said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
        return StepError(f"subctl {command} said: {said.rstrip('.')}; {hint}")


class Subctl:
    """subctl for one cluster, in one folder."""

    def __init__(self, kubeconfig: Kubeconfig, work: Path) -> None:
        self._program = find()
        self._work = work
        self._environment = _environment(bool(kubeconfig.plugin), work)
        write_private(work / "kubeconfig", kubeconfig.text())

    def run(self, command: str, *arguments: str) -> Result:
        """Run a command to its end, or to that of the step.

        Raises:
            StepError: the step's time is up; with subctl's last words.
        """
        argv = [self._program, command, *arguments, "--kubeconfig=kubeconfig", f"--context={CONTEXT}"]
        return _run(argv, command, self._work, self._environment)


def find() -> str:
    """Where subctl is.

    Raises:
        StepError: it is not on PATH; says how to get it.
    """
    if not (program := shutil.which(SUBCTL)):
        raise StepError(_GET_IT)
    return program


def version(work: Path) -> tuple[str, bool]:
    """The version subctl gives itself (`0.24.1`, without a leading v), and whether it is the lab's stand-in.

    Raises:
        StepError: there is no subctl, or it does not say a version.
    """
    program = find()
    result = _run([program, "version"], "version", work, _environment(False, work))
    found = VERSION.search(result.stdout)
    if result.code or not found:
        said = _last_words(result.stderr) or _last_words(result.stdout) or f"exit {result.code}"
        raise StepError(f"{program} does not say its version ({said[:200]}): install a release of subctl")
    return found[1], "stand-in of multi-cluster-mesh" in result.stdout


def _run(argv: list[str], command: str, work: Path, environment: dict[str, str]) -> Result:
    with doing(f"waiting for subctl {command}"):
        process = subprocess.Popen(
            argv, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True, preexec_fn=_die_with_parent(),
        )  # fmt: skip
        try:
            stdout, stderr = process.communicate()
        except TimeUpError:
            stdout, stderr = _end(process)
            said = _last_words(stderr) or _last_words(stdout) or "nothing"
            raise StepError(
                f"subctl {command} did not end within {limit():g} s, its last words were: {said[:_LONGEST]}; see what "
                f"it waits for with `{_OPERATOR} get pods`, or raise submariner.stepTimeout, then run it again"
            ) from None
        except BaseException:
            _end(process)
            raise
        _end_group(process.pid)  # whatever it may have started
        return Result(process.returncode, _plain(stdout), _plain(stderr))


def _end(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Kill it with all that it has started, and read what it had said."""
    _end_group(process.pid)
    try:
        stdout, stderr = process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        return "", ""
    return _plain(stdout), _plain(stderr)


def _end_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _die_with_parent() -> Callable[[], None] | None:
    """For the child to run before it becomes subctl: the kernel kills it when this process dies, even of SIGKILL."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def set_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)

    return set_signal


def _environment(plugin: bool, work: Path) -> dict[str, str]:
    """Only what it needs; a credential plugin (aws, gcloud, …) may need anything, but nothing of Pulumi's or ours."""
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_STANDIN_PREFIX) or (plugin and not name.startswith(_NOT_FOR_PLUGINS))
    }
    # Without HOME subctl fails at once (facts: submariner.md 7).
    return {"HOME": str(work)} | passed_on | {"TERM": "dumb", "LC_ALL": "C.UTF-8", "TMPDIR": str(work)}


def _plain(text: str) -> str:
    """Without colours, and without secrets: here, because half of one that has been cut cannot be told any more."""
    return scrub(_ANSI.sub("", text or ""))


def _last_words(text: str) -> str:
    """Its error lines; where there is none, its last line."""
    lines = [line.strip() for line in text.split("Usage:")[0].splitlines() if not _NOISE.search(line)]
    errors = [line.lstrip("✗ ") for line in lines if line.startswith("✗")]
    # The first ✗ is the heading of what was being done, the text follows in the next.
    return " ".join(errors[-2:]) if errors else (lines[-1].lstrip("•✓⚠✗ ") if lines else "")
