"""From text or config to a checked plan, with every mistake told at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mesh.plan import rules, salvage
from mesh.plan.models import MeshPlan
from mesh.plan.problems import PlanError, Problem

CONFIG_KEY = "mesh:plan"
_MISSING = object()


def load_plan(raw: Any, source: str = "the plan") -> MeshPlan:
    """The checked plan.

    Args:
        raw: the plan as nested dicts and lists, camelCase keys, as `Pulumi.yaml` has it under `mesh:plan`.
        source: what to call it in an error.

    Raises:
        PlanError: with every mistake that can be known without a cluster.
    """
    try:
        # One spelling only, the one of the schema: podCIDR, never pod_cidr.
        plan = MeshPlan.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        raise PlanError(salvage.all_problems(raw, error), source) from None
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
    document = _read_yaml(path)
    if document is None:
        raise PlanError([Problem(str(path), "is empty", "write a plan: python -m mesh schema")], str(path))
    if not isinstance(document, Mapping) or not {"config", "runtime"} & document.keys():
        return document
    config = document.get("config")
    entry = config.get(CONFIG_KEY, _MISSING) if isinstance(config, Mapping) else _MISSING
    if entry is _MISSING:
        raise PlanError(
            [Problem(f"config.{CONFIG_KEY}", "missing", "add the plan there, or name the file that has it")], str(path)
        )
    return entry["value"] if isinstance(entry, Mapping) and "value" in entry else entry


def _read_yaml(path: Path) -> Any:
    import yaml  # only the command line needs it

    repeated: list[tuple[int, Problem]] = []

    class UniqueKeys(yaml.SafeLoader):
        """PyYAML keeps the last of two equal keys: a cluster given twice would vanish without a word."""

        # Here and not in construct_mapping, where merge keys (<<) have put in what may be overridden.
        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            assert node is not None  # noqa: S101 the stubs say Optional, the code never returns None
            lines: dict[str, int] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line = key.start_mark.line + 1
                if key.value in lines:
                    what = f"given twice, in lines {lines[key.value]} and {line}"
                    repeated.append((line, Problem(key.value, what, "keep one of them")))
                lines.setdefault(key.value, line)
            return node

    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)  # noqa: S506 a SafeLoader
    except OSError as error:
        reason = error.strerror or str(error)
        problem = Problem(str(path), f"cannot be read: {reason}", "name the file that has the plan")
        raise PlanError([problem], str(path)) from None
    # ValueError: what looks like a date and is none, and bytes that are not UTF-8.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise PlanError([Problem(str(path), f"is not YAML: {reason}", "correct it there")], str(path)) from None
    if repeated:
        raise PlanError([problem for _, problem in sorted(repeated)], str(path))
    return document
