"""What the engine's event log says of how long each resource took, to the second."""

import json
from pathlib import Path

DEBUG = {"PULUMI_DEBUG_COMMANDS": "true"}  # the CLI shows --event-log only then


def spent(log: Path) -> dict[str, float]:
    """Seconds by resource; of those that do something themselves, so not of providers and components."""
    began: dict[str, int] = {}
    taken: dict[str, float] = {}
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if "resourcePreEvent" in event:
            began[event["resourcePreEvent"]["metadata"]["urn"]] = event["timestamp"]
        elif "resOutputsEvent" in event:
            metadata = event["resOutputsEvent"]["metadata"]
            if metadata["urn"] in began and not metadata["type"].startswith(("pulumi:", "multi-cluster-mesh:")):
                taken[metadata["urn"].rpartition("::")[2]] = event["timestamp"] - began[metadata["urn"]]
    return taken
