"""The plan's fields as a Markdown table (`mesh schema --format markdown`), which README.md holds.

Made of the JSON Schema alone, so that the table cannot say anything else than what the program takes.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from mesh.cli.schema import plan_schema
from mesh.plan import types

# What people call a type; told by its pattern, the only trace that it leaves in a JSON Schema.
_NAMES = {
    str(TypeAdapter(named).json_schema()["pattern"]): name
    for named, name in (
        (types.Cidr, "CIDR"),
        (types.IpAddress, "address"),
        (types.IpRange, "address or range"),
        (types.DnsLabel, "DNS label"),
        (types.NodeName, "name"),
        (types.InterfaceName, "interface"),
        (types.Version, "version"),
        (types.HttpsUrl, "https URL"),
        (types.ImageName, "image"),
    )
}
_PLAIN = {"boolean": "true or false", "integer": "number", "string": "text", "object": "mapping"}
# The key of a mapping in a path.
_KEYS = {"clusters": "<id>", "imageOverrides": "<component>", "matchLabels": "<key>"}


def table() -> str:
    """One row per field, in the order of the schema; sections are only the paths of their fields."""
    schema = plan_schema()
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{path}` | {_escaped(kind)} | {_escaped(default)} | {_escaped(meaning)} |"
        for path, kind, default, meaning in _rows("", schema, schema["$defs"])
    ]
    return "\n".join(rows)


def _rows(prefix: str, section: dict[str, Any], definitions: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    required = section.get("required", ())
    for name, field in section["properties"].items():
        path = f"{prefix}{name}"
        inner, suffix = _section(name, field, definitions)
        meaning = field.get("description", "")
        if inner is None or meaning:
            default = "**required**" if name in required else _default(field)
            yield path, _kind(field, definitions), default, meaning
        # A label selector is Kubernetes' own; its fields would be the same three times.
        if inner is not None and not _is_selector(inner):
            yield from _rows(f"{path}{suffix}.", inner, definitions)


def _section(name: str, field: dict[str, Any], definitions: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The section that a field holds, and what stands behind the field's name in the paths of that section's fields."""
    for form in _forms(field):
        if "$ref" in form:
            found = definitions[form["$ref"].rpartition("/")[2]]
            return (found, "") if "properties" in found else (None, "")
        if form.get("type") == "array":
            return _section(name, form["items"], definitions)[0], "[]"
        if isinstance(values := form.get("additionalProperties"), dict):
            return _section(name, values, definitions)[0], f".{_KEYS.get(name, '<name>')}"
    return None, ""


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_one_kind(form, definitions) for form in _forms(field)))


def _one_kind(form: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in form:
        found = definitions[form["$ref"].rpartition("/")[2]]
        if "enum" in found:
            return _one_kind(found, definitions)
        return "label selector" if _is_selector(found) else "section"
    if "enum" in form:
        return ", ".join(f"`{value}`" for value in form["enum"])
    if form.get("type") == "array":
        return f"list: {_kind(form['items'], definitions)}"
    if form.get("type") == "object" and isinstance(values := form.get("additionalProperties"), dict):
        return f"mapping: {_kind(values, definitions)}"
    if name := _NAMES.get(form.get("pattern", "")):
        return name
    low, high = form.get("minimum"), form.get("maximum")
    limits = f" {low}-{high}" if None not in (low, high) else f" from {low}" if low is not None else ""
    return _PLAIN.get(form.get("type", ""), "any") + limits


def _forms(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The forms that a value may have; null, which is leaving it out, is none."""
    forms = field.get("anyOf", [field])
    return [form for form in forms if form.get("type") != "null"]


def _is_selector(section: dict[str, Any]) -> bool:
    return "matchLabels" in section["properties"]


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
