"""Contract: `python -m mesh schema` gives editors a schema that takes what the check takes, in the same spelling.

It knows names, types and patterns; what must hold between fields is the check's.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from mesh.cli.schema import plan_schema, project_schema
from mesh.plan import CONFIG_KEY, MeshPlan
from tests.unit.plans import REMOVED, changed

ROOT = Path(__file__).resolve().parents[2]
A = "clusters.cluster-a"
SCHEMA = Draft202012Validator(plan_schema())


def refusals(raw: Any) -> list[str]:
    return [error.json_path for error in SCHEMA.iter_errors(raw)]


@pytest.mark.parametrize("arguments", [(), ("--pulumi",)])
def test_command_prints_it(arguments: tuple[str, ...]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mesh", "schema", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(result.stdout) == (project_schema() if arguments else plan_schema())


@pytest.mark.parametrize("schema", [plan_schema(), project_schema()])
def test_it_is_a_schema_of_draft_2020_12(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "$id" not in schema


def test_shipped_project_is_accepted() -> None:
    document = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert list(Draft202012Validator(project_schema()).iter_errors(document)) == []
    assert refusals(document["config"][CONFIG_KEY]["value"]) == []


def test_mistake_in_a_project_is_found_at_its_place() -> None:
    document = {"name": "x", "config": {CONFIG_KEY: {"value": changed({f"{A}.podCIRD": "x"})}}}
    (error,) = Draft202012Validator(project_schema()).iter_errors(document)
    assert error.json_path == f"$.config['{CONFIG_KEY}'].value.clusters['cluster-a']"


@pytest.mark.parametrize(
    "gateways", [["n1"], [{"node": "n1"}], ["n1", {"node": "n2", "address": "172.110.0.9", "wanAddress": None}]]
)
def test_both_forms_of_a_gateway_are_accepted(gateways: list[Any]) -> None:
    assert refusals(changed({f"{A}.gateways": gateways})) == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({f"{A}.gateways": []}, "$.clusters['cluster-a'].gateways"),
        ({f"{A}.gateways": [5]}, "$.clusters['cluster-a'].gateways[0]"),
        ({f"{A}.gateways": [{"nodes": "n1"}]}, "$.clusters['cluster-a'].gateways[0]"),
        ({f"{A}.podCIDR": "172.110.0.0"}, "$.clusters['cluster-a'].podCIDR"),
        ({f"{A}.pod_cidr": "172.110.0.0/16"}, "$.clusters['cluster-a']"),
        ({f"{A}.network.master": ["a b"]}, "$.clusters['cluster-a'].network.master[0]"),
        ({f"{A}.network.vlanID": 4095}, "$.clusters['cluster-a'].network.vlanID"),
        ({f"{A}.network.cniType": "sriov"}, "$.clusters['cluster-a'].network.cniType"),
        ({"submariner.version": "v0.24.1"}, "$.submariner.version"),
        ({"submariner.natPort": "4500"}, "$.submariner.natPort"),
        ({"submariner.cableDriver": "bogus"}, "$.submariner.cableDriver"),
        ({"broker.url": "http://x"}, "$.broker.url"),
        ({"clusters.Cluster_C": {}}, "$.clusters"),
        ({"clusters.cluster-b": REMOVED}, "$.clusters"),
        ({"broker": REMOVED}, "$"),
    ],
)
def test_mistakes_that_editors_show(changes: dict[str, Any], place: str) -> None:
    assert place in refusals(changed(changes))


def _sections(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    yield from schema["$defs"].values()


def test_no_field_has_a_title_that_repeats_its_name() -> None:
    for section in _sections(plan_schema()):
        assert "title" not in section
        for name, field in section.get("properties", {}).items():
            assert "title" not in field, name


def test_every_section_is_described() -> None:
    assert all(section.get("description") for section in _sections(plan_schema()))


def test_it_has_the_fields_of_the_plan() -> None:
    assert set(plan_schema()["properties"]) == {field.alias for field in MeshPlan.model_fields.values()}
