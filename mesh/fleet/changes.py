"""What happens in one stack, gathered from the engine's events while it runs.

The engine has taken the secrets out of the events; of what is left, values are kept only of Spiderpool's objects, which
hold addresses and names.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mesh.steps import activity

if TYPE_CHECKING:
    from pulumi.automation import EngineEvent, StepEventMetadata
    from pulumi.automation.events import DiagnosticEvent

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What stands in the events for a value that is known only after the run (pulumi.output.UNKNOWN)."""

_STEP = "command:local:Command"
_SPIDERPOOL = "kubernetes:spiderpool.spidernet.io/"
_ABOUT_THIS_MACHINE = re.compile(r"using pulumi-\S+ from \$PATH")
_COMMAND_FAILED = re.compile(r'\A(exit status \d+|signal: \w+): running "[^"]*":?\s*')
_SAYS_NOTHING = {"update failed", "preview failed"}
_KEYS = re.compile(r'\["([^"]*)"\]|\[(\d+)\]|([^.\[]+)')


class Op(StrEnum):
    """What is done to a resource; the later ones win where the engine reports several steps."""

    SAME = "same"
    UPDATE = "update"
    CREATE = "create"
    DELETE = "delete"
    REPLACE = "replace"


_OPS = {
    "same": Op.SAME,
    "update": Op.UPDATE,
    "create": Op.CREATE,
    "import": Op.CREATE,
    "delete": Op.DELETE,
    "replace": Op.REPLACE,
    "create-replacement": Op.REPLACE,
    "delete-replaced": Op.REPLACE,
    "discard-replaced": Op.REPLACE,
    "import-replacement": Op.REPLACE,
    "read-replacement": Op.REPLACE,
}
_STRENGTH = list(Op)


class Role(StrEnum):
    """Resources whose loss cuts pods or clusters off."""

    POOL = "pool"
    BROKER = "broker"
    JOIN = "join"


# By the end of a URN's types, which says what a resource is for; names are the components' own business.
_ROLES = {
    Role.POOL: re.compile(r"\$kubernetes:spiderpool\.spidernet\.io/[^:]*:SpiderIPPool$"),
    Role.BROKER: re.compile(r"\$multi-cluster-mesh:index:Broker\$command:local:Command$"),
    Role.JOIN: re.compile(r"\$multi-cluster-mesh:index:Join\$command:local:Command$"),
}


@dataclass(frozen=True)
class Property:
    """A changed property; values only where none can be secret."""

    path: str
    old: str | None = None
    new: str | None = None
    replaces: bool = False

    def __str__(self) -> str:
        values = f": {self.old or '(none)'} -> {self.new or '(none)'}" if self.old or self.new else ""
        return self.path + values + (" (forces replacement)" if self.replaces else "")


@dataclass(frozen=True)
class Change:
    """One resource and what is done to it."""

    name: str
    type: str
    op: Op
    role: Role | None = None
    component: bool = False
    properties: tuple[Property, ...] = ()

    @property
    def kind(self) -> str:
        """The last part of the type: `SpiderIPPool`."""
        return self.type.rsplit(":", 1)[-1]


class StackChanges:
    """Takes events of one stack from the engine's thread; others may read at any time."""

    def __init__(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """`tell` gets a line for each resource that is done, and for each step that starts, which may take minutes."""
        self._tell = tell
        self._lock = threading.Lock()
        self._done: dict[str, Change] = {}
        self._doing: dict[str, str] = {}
        self._errors: dict[str, list[str]] = {}
        self._warnings: dict[str, None] = {}
        self.latest = ""
        """What it is doing, for people."""

    def on_event(self, event: "EngineEvent") -> None:
        """Take an event of the engine."""
        with self._lock:
            line = self._take(event)
        if line:
            self._tell(line)

    def warn(self, text: str) -> None:
        """Tell people something that no event says."""
        with self._lock:
            self._warnings[text] = None
        self._tell(text)

    def changes(self) -> list[Change]:
        """Every resource and what was done to it, or would be; in the engine's order."""
        with self._lock:
            return list(self._done.values())

    def count(self) -> Counter[Op]:
        """How many resources of each, as Pulumi's own summary counts them."""
        return Counter(change.op for change in self.changes())

    def errors(self) -> list[str]:
        """What went wrong, each with the resource it happened to."""
        with self._lock:
            return [
                f"{_name(urn)}: {message}" if urn and not _type(urn).startswith("pulumi:pulumi:") else message
                for urn, messages in self._errors.items()
                for message in messages or ["failed without a message"]
            ]

    def warnings(self) -> list[str]:
        """What the program and the steps warned of."""
        with self._lock:
            return list(self._warnings)

    def _take(self, event: "EngineEvent") -> str | None:
        if event.resource_pre_event:
            return self._before(event.resource_pre_event.metadata, bool(event.resource_pre_event.planning))
        if event.res_outputs_event:
            return self._after(event.res_outputs_event.metadata)
        if event.res_op_failed_event:
            urn = event.res_op_failed_event.metadata.urn
            self._doing.pop(urn, None)
            self._errors.setdefault(urn, [])
        elif event.diagnostic_event and event.diagnostic_event.ephemeral:
            return self._reported(event.diagnostic_event)
        elif event.diagnostic_event:
            self._said(event.diagnostic_event)
        return None

    def _before(self, metadata: "StepEventMetadata", planning: bool) -> str | None:
        change = _change(metadata)
        if change is None or change.op is Op.SAME or change.component or planning:
            return None
        self._doing[metadata.urn] = self.latest = f"{change.op} {change.name}"
        return f"{self.latest} ..." if change.type == _STEP else None

    def _after(self, metadata: "StepEventMetadata") -> str | None:
        change = _change(metadata)
        if change is None:
            return None
        before = self._done.get(metadata.urn)
        if before is None or _STRENGTH.index(change.op) >= _STRENGTH.index(before.op):
            self._done[metadata.urn] = change
        finished = self._doing.pop(metadata.urn, None)
        if finished is None:
            return None
        # What takes longest is what a person waits for.
        self.latest = next(iter(self._doing.values()), f"{finished}: done")
        return f"{finished}: done"

    def _reported(self, said: "DiagnosticEvent") -> str | None:
        """What a step says while it runs (`mesh.steps.activity`)."""
        message = said.message.strip()
        if message.startswith(activity.WARNING):
            self._warnings[message.removeprefix(activity.WARNING)] = None
        elif said.urn in self._doing and message.endswith(activity.PENDING):
            self.latest = f"{self._doing[said.urn]}: {message}"
            return self.latest
        return None

    def _said(self, said: "DiagnosticEvent") -> None:
        message = said.message.strip()
        if said.severity == "error" and message not in _SAYS_NOTHING:
            # The step's own words are enough; which command it was, and what it did before, is in the log.
            words = activity.failure(_COMMAND_FAILED.sub("", message))
            self._errors.setdefault(said.urn or "", []).append(words or message)
        elif said.severity == "warning" and not _ABOUT_THIS_MACHINE.match(message):
            self._warnings[message] = None


def _change(metadata: "StepEventMetadata") -> Change | None:
    op = _OPS.get(metadata.op.value)
    # Providers that nobody asked for are left out, as in Pulumi's own summary.
    if op is None or (metadata.type.startswith("pulumi:providers:") and _name(metadata.urn).startswith("default")):
        return None
    state = metadata.new or metadata.old
    types = _type(metadata.urn)
    return Change(
        name=_name(metadata.urn),
        type=metadata.type,
        op=op,
        role=next((role for role, pattern in _ROLES.items() if pattern.search(types)), None),
        component=not (state and state.custom),
        properties=_properties(metadata),
    )


def _properties(metadata: "StepEventMetadata") -> tuple[Property, ...]:
    old = (metadata.old and metadata.old.inputs) or {}
    new = (metadata.new and metadata.new.inputs) or {}
    may_show = metadata.type.startswith(_SPIDERPOOL)
    return tuple(
        Property(
            path,
            _value(old, path) if may_show else None,
            _value(new, path) if may_show else None,
            diff.diff_kind.value.endswith("-replace"),
        )
        for path, diff in (metadata.detailed_diff or {}).items()
    ) or tuple(Property(key) for key in metadata.diffs or ())


def _value(properties: Mapping[str, Any], path: str) -> str | None:
    value: Any = properties
    for quoted, index, plain in _KEYS.findall(path):
        if isinstance(value, list) and index:
            value = value[int(index)] if int(index) < len(value) else None
        elif isinstance(value, Mapping):
            value = value.get(quoted or index or plain)
        else:
            return None
    if value == UNKNOWN:
        return "(known after up)"
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value))
    return str(value) if isinstance(value, str | int | float) else None


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]


def _type(urn: str) -> str:
    """All types of a URN, from the outermost component to the resource."""
    parts = urn.split("::")
    return parts[2] if len(parts) > 2 else ""
