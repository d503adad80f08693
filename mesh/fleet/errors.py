"""What ends a run of all stacks before it has begun."""


class FleetError(Exception):
    """What cannot be done and what to do about it; nothing was started."""
