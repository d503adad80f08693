"""From text or config to a checked plan, with every mistake told at once."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mesh.plan import rules
from mesh.plan.models import Broker, Cluster, MeshPlan, PlanModel, SampleApp, Spiderpool, Submariner
from mesh.plan.problems import PlanError, Problem

CONFIG_KEY = "mesh:plan"
Section = TypeVar("Section", bound=PlanModel)
_MISSING = object()
_STAND_INS: dict[Any, Any] = {"master": ["eth0"], "network": {"master": ["eth0"]}, "gateways": ["node"], "node": "node"}


def load_plan(raw: Any, source: str = "the plan") -> MeshPlan:
    """The checked plan.

    Args:
        raw: the plan as nested dicts and lists, camelCase keys, as `Pulumi.yaml` has it under `mesh:plan`.
        source: what to call it in an error.

    Raises:
        PlanError: with every mistake that can be known without a cluster.
    """
    try:
        plan = MeshPlan.model_validate(raw)
    except ValidationError as error:
        raise PlanError(_all_problems(raw, error), source) from None
    if found := rules.problems(plan):
        raise PlanError(found, source)
    return plan


def read_plan(path: Path) -> MeshPlan:
    """The checked plan of a YAML file: a plan by itself, or a `Pulumi.yaml` or stack file that holds one.

    Raises:
        PlanError: also when the file cannot be read, is not YAML or has a key twice.
    """
    return load_plan(read_raw_plan(path), str(path))


def read_raw_plan(path: Path) -> Any:
    """The plan of a YAML file, unchecked.

    Raises:
        PlanError: the file cannot be read, is not YAML, has a key twice, or holds no plan.
    """
    import yaml  # only the command line needs it

    class UniqueKeys(yaml.SafeLoader):
        """PyYAML keeps the last of two equal keys: a cluster given twice would vanish without a word."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key_node, _ in node.value:
                if key_node.value in seen:
                    line = key_node.start_mark.line + 1
                    raise PlanError([Problem(key_node.value, f"given twice (line {line})", "keep one")], str(path))
                seen.add(key_node.value)
            return super().construct_mapping(node, deep)

    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)  # noqa: S506 a SafeLoader
    except OSError as error:
        reason = error.strerror or str(error)
        raise PlanError([Problem(str(path), f"cannot be read: {reason}", "name it with --plan")], str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlanError([Problem(str(path), f"is not YAML: {' '.join(str(error).split())}")], str(path)) from None
    if isinstance(document, Mapping) and "config" in document:
        entry = (document["config"] or {}).get(CONFIG_KEY, _MISSING)
        if entry is _MISSING:
            raise PlanError([Problem(f"config.{CONFIG_KEY}", "missing", "add the plan there")], str(path))
        return entry["value"] if isinstance(entry, Mapping) and "value" in entry else entry
    return document


def _all_problems(raw: Any, error: ValidationError) -> list[Problem]:
    """The structural mistakes, and what the rules say of all that is sound.

    Without that, a typo in one pool would hide an overlap between two clusters until the next run.
    """
    found = [_structural(detail) for detail in error.errors()]
    if not isinstance(raw, Mapping) or not isinstance(raw.get("clusters"), Mapping):
        return found
    salvaged = {str(key): _salvage(Cluster, value) for key, value in raw["clusters"].items()}
    clusters = {key: cluster for key, cluster in salvaged.items() if cluster}
    if not clusters:
        return found
    plan = MeshPlan.model_construct(
        # Where a section is beyond repair, one that breaks no rule stands in for it.
        broker=_salvage(Broker, raw.get("broker")) or Broker(cluster=next(iter(clusters))),
        submariner=_salvage(Submariner, raw.get("submariner")) or Submariner(version="99.0.0"),
        spiderpool=_salvage(Spiderpool, raw.get("spiderpool", {})) or Spiderpool(),
        sample_app=_salvage(SampleApp, raw.get("sampleApp", {})) or SampleApp(),
        clusters=clusters,
    )
    # What a rule says of a place that was taken out, or of one that contains it, may be only that removal's echo.
    broken = [problem.path for problem in found]
    return found + [
        problem
        for problem in rules.problems(plan)
        if not any(problem.path.startswith(path) or path.startswith(problem.path) for path in broken)
    ]


def _salvage(model: type[Section], raw: Any) -> Section | None:
    """The section without its wrong optional parts; None where a required one is wrong or missing."""
    sound = copy.deepcopy(raw)
    for _ in range(8):  # taking something out can uncover a further mistake
        try:
            return model.model_validate(sound)
        except ValidationError as error:
            for detail in error.errors():
                if not _prune(sound, detail):
                    return None
    return None


def _prune(raw: Any, detail: ErrorDetails) -> bool:
    """Take the wrong value out of the raw section; False where that is not possible.

    A missing name or interface gets a stand-in: no rule between clusters depends on it. A missing CIDR cannot.
    """
    location = [part for part in detail["loc"] if part != "[key]"]
    parent = raw
    for part in location[:-1]:
        try:
            parent = parent[part]
        except (KeyError, IndexError, TypeError):
            return False
    last = location[-1] if location else None
    if detail["type"] == "missing":
        if isinstance(parent, dict) and last in _STAND_INS:
            parent[last] = _STAND_INS[last]
            return True
        return False
    if isinstance(parent, dict) and last in parent:
        del parent[last]
        return True
    if isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        del parent[last]
        return True
    return False


def _structural(detail: ErrorDetails) -> Problem:
    path = _path(detail["loc"])
    value, kind = detail["input"], detail["type"]
    context = detail.get("ctx", {})
    if kind == "missing":
        return Problem(path, "missing", "add it")
    if kind == "extra_forbidden":
        return Problem(path, "no such field", _nearest(detail) or "remove it, or look it up: python -m mesh schema")
    if kind == "value_error":
        what, _, fix = str(context["error"]).partition("; ")
        return Problem(path, what, fix)
    if kind in ("too_short", "too_long"):
        least = context.get("min_length")
        return Problem(path, f"has {context.get('actual_length')}, needs {least} or more", "add what is missing")
    if kind.endswith("_type") or kind.endswith("_parsing"):
        wanted = kind.removesuffix("_type").removesuffix("_parsing")
        wanted = "mapping" if wanted in ("model", "dict") else wanted
        quote = "put it in quotes" if wanted == "string" else f"write a {wanted}"
        return Problem(path, f"{value!r} is no {wanted}", quote)
    return Problem(path, f"{value!r}: {detail['msg'][0].lower()}{detail['msg'][1:]}")


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if part == "[key]":
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the plan"


def _nearest(detail: ErrorDetails) -> str:
    """`did you mean …?` for a mistyped key, from the fields of the section it stands in."""
    import difflib

    known: set[str] = set()
    _collect(MeshPlan.model_json_schema(), known)
    match = difflib.get_close_matches(str(detail["loc"][-1]), sorted(known), n=1, cutoff=0.6)
    return f"did you mean {match[0]}?" if match else ""


def _collect(schema: Any, known: set[str]) -> None:
    if isinstance(schema, dict):
        known.update(schema.get("properties", {}))
        for part in schema.values():
            _collect(part, known)
