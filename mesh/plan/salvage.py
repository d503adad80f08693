"""All mistakes of a plan that is not even well formed.

pydantic stops at the structure. To tell in the same run what the rules say of all that is sound, every wrong or
missing value is replaced by a stand-in, and what a rule then says of a stand-in is left out. Without that, a typo in
one pool would hide an overlap between two clusters until the next run.
"""

import copy
import difflib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mesh.plan import rules
from mesh.plan.models import Cluster, MeshPlan, PlanModel
from mesh.plan.problems import Problem

Section = TypeVar("Section", bound=PlanModel)

# No plan has these, so a problem that mentions one is about a stand-in.
_NAME, _ADDRESS, _CIDR, _CIDR_V6 = "x-stand-in-x", "255.255.255.255", "255.255.255.255/32", "ffff::ffff/128"
_STAND_IN = re.compile("|".join(map(re.escape, (_NAME, _ADDRESS, _CIDR_V6))))
_PATH = re.compile(r"[A-Za-z][\w-]*(?:\.[\w-]+|\[\d+\])+")
_LATEST = "99.0.0"  # a version that has every feature
_POOL = {"name": _NAME, "subnet": _CIDR}
# By field name: for the field itself where it is required, and for an item of it where it is a list.
_FIELDS: dict[str, Any] = {
    "podCIDR": _CIDR,
    "serviceCIDR": _CIDR,
    "podCIDRv6": _CIDR_V6,
    "serviceCIDRv6": _CIDR_V6,
    "globalnetCIDR": _CIDR,
    "subnet": _CIDR,
    "dst": _CIDR,
    "gw": _ADDRESS,
    "address": _ADDRESS,
    "name": _NAME,
    "node": _NAME,
    "key": _NAME,
    "operator": "Exists",
    "mode": 1,
    "version": _LATEST,
    "cluster": _NAME,
    "master": [_NAME],
    "gateways": [_NAME],
    "network": {"master": [_NAME]},
    "pools": [_POOL],
    "globalnet": {},
}
_ITEMS: dict[str, Any] = {
    "pools": _POOL,
    "gateways": _NAME,
    "nodes": {"name": _NAME, "address": _ADDRESS},
    "master": _NAME,
    "ips": _ADDRESS,
    "excludeIPs": _ADDRESS,
    "localCIDR": _CIDR,
    "nodeCIDR": _CIDR,
    "routes": {"dst": _CIDR, "gw": _ADDRESS},
    "matchExpressions": {"key": _NAME, "operator": "Exists"},
    "values": "",
    "namespaceName": _NAME,
    "nodeName": _NAME,
    "mayBeDown": _NAME,
}
# What people who know the recipe look for, and where it went.
_MOVED = {
    "hijackcidr": "remove it: it is derived from the other clusters' networks; local additions go to network.localCIDR",
    "ippools": "remove it: pods can use all pools of their cluster",
    "coordinator": "remove it: hijackCIDR is derived, vethMTU and localCIDR are fields of network",
    "enablecoordinator": "remove it: it is always on",
    "clustercidr": "did you mean podCIDR?",
    "clusterid": "remove it: the key below clusters is the cluster's ID",
    "defaultnetwork": "remove it: it is derived from network.namespace and network.name",
}
_WANTED = {
    "string": ("text", "put it in quotes"),
    "int": ("a whole number", "write a whole number, without quotes"),
    "bool": ("true or false", "write true or false, without quotes"),
    "list": ("a list", "write a list: [a, b], or one line with '- ' for each"),
}


def all_problems(raw: Any, error: ValidationError) -> list[Problem]:
    """The structural mistakes, and what the rules say of all that is sound."""
    details = error.errors(include_url=False)
    found = [_structural(detail) for detail in details]
    if not isinstance(raw, Mapping) or not isinstance(raw.get("clusters"), Mapping):
        return found
    clusters = {str(key): _salvage(Cluster, value) for key, value in raw["clusters"].items()}
    sections: dict[str, Any] = {
        name: _salvage(field.annotation, raw.get(field.alias))
        for name, field in MeshPlan.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, PlanModel)
    }
    plan = MeshPlan.model_construct(**sections, clusters=clusters)
    replaced = [_path(detail["loc"]) for detail in details if _is_replaced(detail)]
    # pydantic has words of its own for such keys: what is told of the cluster by its name would be told twice.
    replaced += [f"clusters.{key}" for key in raw["clusters"] if type(key) not in (str, int)]
    return found + [problem for problem in rules.problems(plan) if not _is_echo(problem, replaced)]


def _is_replaced(detail: ErrorDetails) -> bool:
    """Whether a stand-in takes the place: not for a field too many, a cluster too few or a cluster's bad name."""
    location = detail["loc"]
    if location == ("clusters",) or location[2:] == ("[key]",):
        return False
    return detail["type"] not in ("extra_forbidden", "invalid_key")


def _is_echo(problem: Problem, replaced: list[str]) -> bool:
    """Whether the problem is, or may be, about a stand-in: it names one, or a place that has or contains one."""
    text = f"{problem.what} {problem.fix}"
    places = [problem.path, *_PATH.findall(problem.what)]
    return bool(_STAND_IN.search(text)) or any(_related(place, path) for place in places for path in replaced)


def _related(one: str, other: str) -> bool:
    return one == other or one.startswith((f"{other}.", f"{other}[")) or other.startswith((f"{one}.", f"{one}["))


def _salvage(model: type[Section], raw: Any) -> Section:
    """The section with stand-ins for what is wrong or missing in it."""
    sound = copy.deepcopy(raw) if isinstance(raw, dict) else {}
    tried: set[tuple[int | str, ...]] = set()
    for _ in range(8):  # a repair can uncover a further mistake, one level down
        try:
            return model.model_validate(sound, by_alias=True, by_name=False)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                location = tuple(part for part in detail["loc"] if part != "[key]")
                known = {} if detail["type"] == "extra_forbidden" or location in tried else _FIELDS
                tried.add(location)
                _repair(sound, location, known)
    # Of stand-ins alone, and they are valid: were a word of the plan among them, this might never end.
    return _salvage(model, {})


def _repair(raw: Any, location: tuple[int | str, ...], stand_ins: Mapping[str, Any]) -> None:
    """Put a stand-in at the location, or nothing where none is needed."""
    *above, last = location
    parent = raw
    for part in above:
        try:
            parent = parent[part]
        except (KeyError, IndexError, TypeError):
            return  # it went with a mistake further up
    if isinstance(parent, dict):
        if last in stand_ins:
            parent[last] = copy.deepcopy(stand_ins[str(last)])
        else:
            parent.pop(last, None)
    elif isinstance(parent, list) and isinstance(last, int):
        # Never removed: the places of the items behind it must stay what they are in the file.
        parent[last] = copy.deepcopy(_ITEMS.get(str(above[-1]), _NAME))
    else:  # the short form of something, such as a gateway's name
        _repair(raw, tuple(above), stand_ins)


def _structural(detail: ErrorDetails) -> Problem:
    path, kind, value = _path(detail["loc"]), detail["type"], detail["input"]
    context = detail.get("ctx", {})
    wanted = kind.removesuffix("_type").removesuffix("_parsing")
    if kind == "missing":
        return Problem(path, "missing", "add it")
    if kind == "extra_forbidden":
        return Problem(path, "no such field", _instead(detail["loc"]))
    if kind == "value_error":
        # From the right: the value in front may have a semicolon of its own.
        what, _, fix = str(context["error"]).rpartition("; ")
        return Problem(path, what, fix)
    if kind == "too_short":
        count, least = context["actual_length"], context["min_length"]
        return Problem(path, f"has {count}, needs {least} or more", "add what is missing")
    if value is None and detail["loc"][-1:] != ("[key]",):
        required = detail["loc"] == () or detail["loc"][-1] in _place(detail["loc"][:-1]).get("required", ())
        return Problem(path, "is empty", _below(detail["loc"]) + ("" if required else ", or remove the line"))
    if kind == "invalid_key":
        return Problem(path, f"{_shown(detail['loc'][-1])} is not text", "put it in quotes")
    if wanted in _WANTED:
        name, fix = _WANTED[wanted]
        if wanted == "string" and isinstance(value, Mapping | list):
            fix = "write one value here, and nothing below it"
        return Problem(path, f"{_shown(value)} is not {name}", fix)
    if wanted != kind:  # a section, or a mapping of names to something
        return Problem(path, f"{_shown(value)} is not a mapping", _below(detail["loc"]))
    message = detail["msg"].removeprefix("Input ")
    return Problem(path, f"{_shown(value)} {message[0].lower()}{message[1:]}", _range(detail["loc"]))


def _below(location: tuple[int | str, ...]) -> str:
    """What to write at a place that is empty, or has something else than a mapping."""
    if fields := _fields(location):
        return f"write its fields below it: {', '.join(fields)}"
    kind = _place(location).get("type")
    if kind == "object":
        return "write its entries below it, as <name>: …"
    return _WANTED["list"][1] if kind == "array" else "write a value"


def _range(location: tuple[int | str, ...]) -> str:
    """The numbers that the plan takes at a place."""
    place = _place(location)
    bounds = {key: bound for form in (place, *place.get("anyOf", ())) for key, bound in form.items()}
    low, high = bounds.get("minimum"), bounds.get("maximum")
    if low is None:
        return "choose another value"
    return f"write {low} or more" if high is None else f"write a number from {low} to {high}"


def _shown(value: Any) -> str:
    """The value in a message; never a whole section, which may be long or hold a secret."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for above, part in zip(("", *location), location, strict=False):
        if part != "[key]":
            # A cluster called 5 is no sixth cluster.
            index = isinstance(part, int) and above != "clusters"
            text += f"[{part}]" if index else f".{part}" if text else str(part)
    return text or "the plan"


def _instead(location: tuple[int | str, ...]) -> str:
    """What to write instead of a field that does not exist."""
    given, known = _plain(location[-1]), {_plain(field): field for field in _fields(location[:-1])}
    if given in _MOVED:
        return _MOVED[given]
    match = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return (
        f"did you mean {known[match[0]]}?" if match else f"remove it; the fields here are: {', '.join(known.values())}"
    )


def _plain(field: int | str) -> str:
    return str(field).replace("_", "").replace("-", "").lower()


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """The fields that the plan has at a place."""
    return list(_place(location).get("properties", {}))


def _place(location: tuple[int | str, ...]) -> dict[str, Any]:
    """The part of the schema that describes a place."""
    schema = _schema()
    place = schema
    for part in location:
        if isinstance(part, int) and "items" in place:
            place = place["items"]
        else:
            place = place.get("properties", {}).get(part) or next(iter(place.get("patternProperties", {}).values()), {})
        place = _resolved(place, schema["$defs"])
    return place


@cache
def _schema() -> dict[str, Any]:
    """The plan's schema; made once, since it takes milliseconds and every mistake asks for it."""
    return MeshPlan.model_json_schema()


def _resolved(place: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The section that a part of the schema points at: by reference, or as one of several forms."""
    for form in (place, *place.get("anyOf", ())):
        if "$ref" in form:
            found: dict[str, Any] = definitions[form["$ref"].rsplit("/", 1)[1]]
            return found
    return place
