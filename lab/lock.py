"""One at a time: a lock that the kernel frees when its holder dies.

`python -m lab.lock FOLDER COMMAND …` runs a command under it: so `make` makes its environment, which is not there yet.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab import LabError, Progress


@contextmanager
def lock(folder: Path, *, wait: Progress | None = None) -> Iterator[None]:
    """Hold `folder/lock`; where another process has it, raise a LabError that names it, or with `wait` wait for it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode() or "unknown"
            if wait is None:
                os.close(handle)
                raise LabError(
                    f"Another run (pid {holder}) is at work in {folder}: wait until it has ended, or end it."
                ) from None
            wait(f"waiting for another run (pid {holder}) in {folder}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        # The last holder removes the file: what we have locked may be a file that has no name any more.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(handle).st_ino:
                break
        os.close(handle)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)
        with suppress(OSError):  # after a `down` nothing else is in it
            folder.rmdir()


def main() -> int:
    """Run the command in argv under the lock of the folder in argv; wait for another that has it."""
    folder, *command = sys.argv[1:]
    try:
        with lock(Path(folder), wait=lambda line: print(line, file=sys.stderr)):
            return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"{folder} can't be locked: {error}.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
