"""The lab: local control planes to try the mesh and to test it on."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes one line of text that tells a person what is being done."""


class LabError(Exception):
    """What went wrong and what to do about it, in one sentence for people."""
