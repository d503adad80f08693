"""Memory of a process tree by program. What programs share is counted once, where the kernel tells (PSS).

Half of what the engine and its plugins take is their code: by resident memory, as in the other sections, eight engines
have it eight times.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench import measure

ALL = "all at once"
_MODULES = {"mesh.steps": "steps", "mesh": "mesh up"}


@dataclass
class Size:
    """Memory, bytes.

    Attributes:
        share: its own and its share of what it has in common with others on this machine (PSS); all where that cannot
            be told.
        resident: all that is there (RSS).
    """

    share: int = 0
    resident: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.share + other.share, self.resident + other.resident)

    def __or__(self, other: "Size") -> "Size":
        """The larger of both, each for itself."""
        return Size(max(self.share, other.share), max(self.resident, other.resident))


class ByProgram(measure.Look):
    """Tells programs apart.

    Attributes:
        peaks: the most that all processes of a program took at a time; of all programs under `ALL`.
    """

    every = 0.25  # a look costs the kernel a millisecond or two for each process

    def __init__(self) -> None:
        self.peaks: dict[str, Size] = defaultdict(Size)

    def memory(self, pids: Sequence[int]) -> int:
        """What they take, bytes."""
        found: dict[str, Size] = defaultdict(Size)
        for pid in pids:
            with suppress(OSError):  # it has just ended
                if name := _program(pid):  # none: it is just ending
                    size = _size(pid)
                    found[name] += size
                    found[ALL] += size
        for name, size in found.items():
            self.peaks[name] |= size
        return found[ALL].share


def kind() -> str:
    """Which memory it is that `ByProgram` gives as the sum, for people."""
    if Path("/proc/self/smaps_rollup").exists():
        return "PSS, which is less where others on this machine run the same programs"
    return "resident, with what programs share counted for each"


def _program(pid: int) -> str:
    """Name of the program; of Python, what it runs."""
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    name = Path(argv[0]).name
    if not name.startswith("python"):
        return name
    if "-m" in argv[1:-1]:
        module = argv[argv.index("-m") + 1]
        return _MODULES.get(module, module)
    return "the program" if any("pulumi-language-python-exec" in word for word in argv[1:]) else name


def _size(pid: int) -> Size:
    resident = measure.resident(pid)
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return Size(resident, resident)
    return Size(sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), resident)
