"""What goes to a step on stdin."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.access import ClusterAccess
from mesh.steps.spec import JoinSpec, PreflightSpec, dump, secrets_of
from tests.steps.mesh import Mesh
from tests.steps.runner import run


def _spec(**changes: Any) -> JoinSpec:
    return Mesh(broker_info="the-broker-info").join_spec("cluster-b", **changes)


def test_secrets_are_in_clear_and_what_is_read_back_is_the_same() -> None:
    spec = _spec(access=ClusterAccess.of("cluster-b", kubeconfig="kind: Config\n"))
    document = json.loads(dump(spec))
    assert document["broker_info"] == "the-broker-info"
    assert document["access"]["kubeconfig"] == "kind: Config\n"
    assert JoinSpec.model_validate_json(dump(spec)) == spec


@given(st.permutations(["submariner-gateway", "submariner-operator", "submariner-globalnet"]))
def test_the_order_of_a_dict_does_not_matter(order: list[str]) -> None:
    images = {name: f"registry/{name}:1" for name in order}
    assert dump(_spec(image_overrides=images)) == dump(_spec(image_overrides=dict(sorted(images.items()))))


@given(st.permutations(["cluster-a", "cluster-b", "cluster-c"]))
def test_the_order_of_clusters_does_not_matter(order: list[str]) -> None:
    clusters = {name: ClusterAccess.of(name) for name in order}
    texts = {dump(PreflightSpec(clusters=clusters, broker="a", version="0.24.1"))}
    assert texts == {dump(PreflightSpec(clusters=dict(sorted(clusters.items())), broker="a", version="0.24.1"))}


def test_other_specs_give_other_texts() -> None:
    assert dump(_spec()) != dump(_spec(nat_port=4501))


def test_secrets_do_not_show_where_a_spec_is_printed() -> None:
    spec = _spec(access=ClusterAccess.of("cluster-b", kubeconfig="kind: Config\n"))
    assert "the-broker-info" not in repr(spec)
    assert "kind: Config" not in repr(spec)


def test_every_secret_is_found_and_a_path_is_none() -> None:
    contents = ClusterAccess.of("cluster-b", kubeconfig="kind: Config\n")
    assert secrets_of(_spec(access=contents)) == ["kind: Config\n", "the-broker-info"]
    assert secrets_of(_spec(access=ClusterAccess.of("cluster-b", kubeconfig="b.yaml"))) == ["the-broker-info"]
    two = PreflightSpec(clusters={"a": contents, "b": contents}, broker="a", version="0.24.1")
    assert secrets_of(two) == ["kind: Config\n"] * 2


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("join", ""),
        ("preflight", "{"),
        ("deploy-broker", "[]"),
        ("leave", '{"broker_info": 5, "settings": "s3cret-value", "x": "s3cret-value"}'),
    ],
)
def test_a_spec_that_is_none_is_refused_without_showing_it(step: str, text: str) -> None:
    error = run(step, text).error
    assert error.startswith(f"{step} failed: the spec on stdin is not a ")
    assert "s3cret" not in error


def test_an_unknown_step_is_refused_with_the_known_ones() -> None:
    assert "one of preflight, " in run("jion", "{}").error
