"""Measurements: medians and ratios, both sides of a comparison in one run. Never a test with a time limit."""


class SkippedError(Exception):
    """A section cannot run here; the message says why, for people."""
