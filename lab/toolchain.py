"""The programs the lab's control planes are made of: from PATH, from the cache, or built with Go from `lab/tools`."""

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lab import LabError, Progress
from lab.lock import lock

__all__ = ["LabError", "Toolchain", "cache_dir", "ensure"]

TOOLS = Path(__file__).parent / "tools"
NEEDED_BYTES = 6 << 30  # Go's module and build caches after a cold build of everything, and the programs
REPORT_SECONDS = 10
GO_NEEDED = "Go 1.26 or newer"


@dataclass(frozen=True)
class _Source:
    """Where a program comes from: its folder below `lab/tools`, the module that says its version, its main package."""

    folder: str
    module: str
    package: str

    @property
    def version(self) -> str:
        """The version pinned in go.mod, such as `v1.36.3`."""
        required = (TOOLS / self.folder / "go.mod").read_text()
        return str(re.findall(rf"\s{re.escape(self.module)} (v\S+)", required)[0])

    @property
    def ldflags(self) -> str:
        """Linker flags: no debug symbols, and for Kubernetes the version its programs report."""
        flags = ["-s", "-w"]
        if self.folder == "kubernetes":
            major, minor, _ = self.version.removeprefix("v").split(".", 2)
            values = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
            for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
                flags += [f"-X {package}.{name}={value}" for name, value in values.items()]
        return " ".join(flags)


_KUBERNETES, _KWOK = "k8s.io/kubernetes", "sigs.k8s.io/kwok"
_SOURCES = {  # quick ones first: what is wrong with Go or the network shows early
    "etcd": _Source("etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
    "kwokctl": _Source("kwok", _KWOK, f"{_KWOK}/cmd/kwokctl"),
    "kwok": _Source("kwok", _KWOK, f"{_KWOK}/cmd/kwok"),
    "kube-apiserver": _Source("kubernetes", _KUBERNETES, f"{_KUBERNETES}/cmd/kube-apiserver"),
    "kube-controller-manager": _Source("kubernetes", _KUBERNETES, f"{_KUBERNETES}/cmd/kube-controller-manager"),
    "kube-scheduler": _Source("kubernetes", _KUBERNETES, f"{_KUBERNETES}/cmd/kube-scheduler"),
}


@dataclass(frozen=True)
class Toolchain:
    """One path per program."""

    etcd: Path
    kwokctl: Path
    kwok: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path

    @property
    def kubernetes_version(self) -> str:
        """The Kubernetes version of the lab, such as `v1.36.3`."""
        return _SOURCES["kube-apiserver"].version


def cache_dir() -> Path:
    """Where built programs are kept: one folder per content of `lab/tools` and kind of machine."""
    digest = hashlib.sha256(f"{platform.system()}/{platform.machine()}".encode())
    for source in _SOURCES.values():
        digest.update(source.ldflags.encode())
    for path in sorted(TOOLS.glob("*/go.*")):
        digest.update(path.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "multi-cluster-mesh" / "lab" / digest.hexdigest()[:16] / "bin"


def ensure(progress: Progress) -> Toolchain:
    """Find every program; build those that are neither on PATH nor in the cache."""
    cache = cache_dir()
    if missing := [name for name in _SOURCES if _find(name, cache) is None]:
        with lock(cache, wait=progress):
            missing = [name for name in missing if _find(name, cache) is None]  # another run may have built them
            if missing:
                go = _go()
                _check_space(go, cache)
            for count, name in enumerate(missing, start=1):
                _build(go, name, cache / name, f"{count} of {len(missing)}", progress)
    return Toolchain(**{name.replace("-", "_"): _find(name, cache) or cache / name for name in _SOURCES})


def _find(name: str, cache: Path) -> Path | None:
    if (found := shutil.which(name)) and _same_minor(found, _SOURCES[name].version):
        return Path(found).resolve()
    return cache / name if (cache / name).exists() else None


def _same_minor(program: str, version: str) -> bool:
    """Say whether a program reports the pinned version; another patch release of it will do as well."""
    try:
        asked = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.search(r"\d+\.\d+\.\d+", asked.stdout)
    return found is not None and found[0].split(".")[:2] == version.removeprefix("v").split(".")[:2]


def _go() -> str:
    how = "install it from https://go.dev/dl or with your package manager and run this again"
    if not (go := shutil.which("go")):
        raise LabError(f"The lab's Kubernetes is built with {GO_NEEDED} and there is no `go` on PATH: {how}.")
    # Run beside a go.mod that asks for 1.26: an older Go fetches a newer one by itself, unless it has been told not to.
    asked = subprocess.run([go, "env", "GOVERSION"], cwd=TOOLS / "kubernetes", capture_output=True, text=True)
    found = re.match(r"(?:go|devel go)(\d+)\.(\d+)", asked.stdout.strip())
    if asked.returncode or not found or (int(found[1]), int(found[2])) < (1, 26):
        is_now = asked.stdout.strip() or (asked.stderr.strip().splitlines() or ["unknown"])[-1]
        raise LabError(f"The lab's Kubernetes is built with {GO_NEEDED} and {go} is older ({is_now}): {how}.")
    return go


def _check_space(go: str, cache: Path) -> None:
    asked = subprocess.run([go, "env", "GOCACHE", "GOMODCACHE"], capture_output=True, text=True, check=True)
    for folder in (cache, *map(Path, asked.stdout.split("\n")[:2])):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if (free := shutil.disk_usage(there).free) < NEEDED_BYTES:
            raise LabError(
                f"Building the lab's programs takes up to {NEEDED_BYTES >> 30} GiB in {folder} and only "
                f"{free / (1 << 30):.1f} GiB are free there: make room, or point XDG_CACHE_HOME, GOCACHE and "
                "GOMODCACHE at another disk."
            )


def _build(go: str, name: str, target: Path, count: str, progress: Progress) -> None:
    source = _SOURCES[name]
    what = f"building {name} {source.version} ({count})"
    progress(what)
    for left_over in target.parent.glob(f".{name}.*"):
        left_over.unlink()
    unfinished = target.with_name(f".{name}.{os.getpid()}")
    # GOWORK, GOFLAGS and a target of the user's are for the user's own modules.
    env = {key: value for key, value in os.environ.items() if key not in ("GOOS", "GOARCH")}
    env |= {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
    command = [go, "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", source.ldflags]
    command += ["-o", str(unfinished), source.package]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        # A session of its own, so that go and all its compilers can be ended together.
        process = subprocess.Popen(
            command, cwd=TOOLS / source.folder, env=env, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            while process.poll() is None:
                try:
                    process.wait(REPORT_SECONDS)
                except subprocess.TimeoutExpired:
                    progress(f"{what}: {time.monotonic() - started:.0f} s")
            if process.returncode:
                output.seek(0)
                said = " | ".join(line.strip() for line in output.read().strip().splitlines()[-5:])
                raise LabError(f"Go could not build {name} {source.version}: {said or f'exit {process.returncode}'}.")
            unfinished.replace(target)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            unfinished.unlink(missing_ok=True)
    progress(f"built {name} {source.version} in {time.monotonic() - started:.0f} s")
