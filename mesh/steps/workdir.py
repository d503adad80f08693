"""A private folder per step, gone when the step is; and how many of one kind may run at once on this machine.

Both live in one folder per user below the system's temporary folder. Every lock is the kernel's (flock), so that it
ends with its holder, even one that was killed.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mesh.steps.activity import doing
from mesh.steps.errors import StepError

_POLL_SECONDS = 0.1


@contextmanager
def work_dir() -> Iterator[Path]:
    """A new folder that only we can read, removed afterwards; those of killed steps are removed first.

    Raises:
        StepError: the folder above it belongs to somebody else.
    """
    base = _base()
    with _locked(base):
        for left_over in base.glob("work-*"):
            _remove_unless_held(left_over)
        path = Path(tempfile.mkdtemp(prefix=f"work-{os.getpid()}-", dir=base))
        held = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


@contextmanager
def slot(kind: str, count: int) -> Iterator[None]:
    """One of `count` places that all processes of this user on this machine share; waits for one to be free."""
    base = _base()
    handles = [os.open(base / f"{kind}-{n}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for n in range(count)]
    try:
        if not any(map(_try_lock, handles)):
            with doing(f"waiting for another {kind} on this machine to end"):
                while not any(map(_try_lock, handles)):
                    time.sleep(_POLL_SECONDS)
        yield
    finally:
        for handle in handles:
            os.close(handle)


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _base() -> Path:
    base = Path(tempfile.gettempdir()) / f"multi-cluster-mesh-{os.getuid()}"
    with suppress(FileExistsError):
        base.mkdir(mode=0o700)
    found = base.lstat()
    if base.is_symlink() or not base.is_dir() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StepError(f"{base} is not a folder of ours that others cannot read: remove it, or set TMPDIR to another")
    return base


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_unless_held(folder: Path) -> None:
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _try_lock(handle):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
