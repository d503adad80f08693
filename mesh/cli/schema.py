"""`mesh schema`: the plan's JSON Schema."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic.json_schema import GenerateJsonSchema

from mesh.plan import CONFIG_KEY, MeshPlan

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Format(StrEnum):
    """What the schema is for."""

    JSON = "json"
    MARKDOWN = "markdown"


def command(
    pulumi: Annotated[
        bool, typer.Option("--pulumi", help=f"For a Pulumi.yaml, which has the plan under config.{CONFIG_KEY}.value.")
    ] = False,
    output: Annotated[
        Format, typer.Option("--format", help="json for editors, markdown for people: the table of the README.")
    ] = Format.JSON,
) -> None:
    """Print the plan's JSON Schema (draft 2020-12), for editors.

    It knows names and types; what must hold between them is told by `python -m mesh check`.

    In VS Code, with the YAML extension, for completion and help in the project's Pulumi.yaml:

    \b
        mkdir -p .vscode
        python -m mesh schema --pulumi > .vscode/mesh.schema.json

    \b
    and in .vscode/settings.json:
        {"yaml.schemas": {".vscode/mesh.schema.json": "Pulumi.yaml"}}

    For a plan in a file by itself leave out --pulumi, and name that file instead of Pulumi.yaml.
    """
    if output is Format.MARKDOWN:
        from mesh.cli.configuration import table

        typer.echo(table())
        return
    typer.echo(json.dumps(project_schema() if pulumi else plan_schema(), indent=2, ensure_ascii=False))


class _PlanSchema(GenerateJsonSchema):
    """pydantic's, without titles that only repeat the fields' names."""

    schema_dialect = DIALECT

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def plan_schema() -> dict[str, Any]:
    """The schema of a plan by itself."""
    schema = MeshPlan.model_json_schema(by_alias=True, schema_generator=_PlanSchema)
    for section in (schema, *schema["$defs"].values()):
        section.pop("title", None)
    return {"$schema": DIALECT, **_strict_names(schema)}


def project_schema() -> dict[str, Any]:
    """The schema of a `Pulumi.yaml` that has the plan in its config; says nothing about the rest of that file."""
    plan = plan_schema()
    definitions = plan.pop("$defs")
    del plan["$schema"]
    entry = {"type": "object", "properties": {"value": plan}}
    config = {"type": "object", "properties": {CONFIG_KEY: entry}}
    return {"$schema": DIALECT, "type": "object", "properties": {"config": config}, "$defs": definitions}


def _strict_names(schema: dict[str, Any]) -> dict[str, Any]:
    """pydantic lets keys that do not match a pattern pass; here the pattern is what every key must match."""
    if isinstance(patterns := schema.get("patternProperties"), dict) and len(patterns) == 1:
        ((pattern, values),) = patterns.items()
        names = schema.get("propertyNames", {}) | {"pattern": pattern}
        rest = {key: value for key, value in schema.items() if key != "patternProperties"}
        schema = rest | {"propertyNames": names, "additionalProperties": values}
    return {key: _strict_names(value) if isinstance(value, dict) else value for key, value in schema.items()}
