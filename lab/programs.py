"""Programs of this machine that the lab runs: each is asked for its version first, so that a broken one is told."""

import re
import subprocess
from collections.abc import Mapping

from lab import LabError

SECONDS = 20  # that a program may take to say its version


def ask_version(program: str, pattern: re.Pattern[str], otherwise: str, env: Mapping[str, str]) -> re.Match[str]:
    """Where in its output a program says its version.

    Raises:
        LabError: it says none; with its path, and `otherwise`, what the lab does when it is not on PATH.
    """
    try:
        asked = subprocess.run(
            [program, "version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=SECONDS, check=False, env=env,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        how = f"`version` did not end within {SECONDS} s"
    except OSError as error:
        how = error.strerror or str(error)
    else:
        if (found := pattern.search(asked.stdout)) and not asked.returncode:
            return found
        words = " ".join((asked.stderr.strip() or asked.stdout.strip()).split())[:200]
        how = f"`version` says {words!r}" if words else "`version` says nothing"
        how += f" and ends with {asked.returncode}" if asked.returncode else ""
    raise LabError(f"{program} does not work here ({how}): install it anew, or take it off PATH and {otherwise}.")
