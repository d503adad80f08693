"""Contract: mesh/outputs.py says all that a stack exports, docs/outputs.md is made of it, and so is the README.

And the reader in examples/consumer says in one sentence why where an output cannot be used.
"""

import asyncio
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from components.readme import readme
from mesh.cli.outputs import doc, fields, markdown, objects
from mesh.outputs import CONTRACT_VERSION, ClusterOutputs, Stability, StackOutputs
from mesh.plan import derive, load_plan
from tests.graph.harness import Graph, Steps, raw_plan, run_main
from tests.unit.contract import differences

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = ROOT / "examples" / "consumer"
STACK = "organization/multi-cluster-mesh/cluster-a"


# --- what is exported is what is written down


class Answers(Steps):
    """What the steps say, as they say it."""

    def __call__(self, step: str, spec: dict[str, Any]) -> dict[str, Any]:
        """The step's document."""
        if step == "preflight":
            return {"clusters": {name: {"uid": f"uid-{name}"} for name in spec["clusters"]}}
        answer = super().__call__(step, spec)
        if step == "deploy-broker":
            more = {
                "clusterID": "cluster-a",
                "namespace": "submariner-k8s-broker",
                "globalnet": False,
                "pskRotation": 0,
            }
            answer["broker"] |= more
        if step == "verify":
            answer["connections"] = {"state": "alone", "checkedAt": "2026-01-01T00:00:00Z", "peers": [], "note": ""}
            answer["dataPath"] = {"state": "not checked", "checkedAt": "2026-01-01T00:00:00Z", "rows": [], "note": ""}
        return answer


def stack(config: dict[str, Any], **options: Any) -> Graph:
    return run_main(config, steps=Answers(), **options)


def check(graph: Graph) -> None:
    assert differences(graph.outputs) == []
    secret = {name for name, hint in fields(StackOutputs).items() if doc(hint).secret}
    assert graph.secret_outputs == secret & graph.outputs.keys()


PLANS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "no app": {"sampleApp": {"enabled": False}},
    "exported app": {"sampleApp": {"export": True}},
}


@pytest.mark.parametrize("plan", PLANS)
def test_a_stack_exports_what_is_written_down(plan: str) -> None:
    check(stack({"mesh:cluster": "cluster-a", "mesh:plan": raw_plan(PLANS[plan])}))


@pytest.mark.parametrize("plan", PLANS)
def test_so_does_a_stack_with_several_clusters(plan: str) -> None:
    check(stack({"mesh:clusters": ["cluster-a", "cluster-b"], "mesh:plan": raw_plan(PLANS[plan])}))


def test_so_does_a_member() -> None:
    host = {"contractVersion": 1, "broker": {}, "brokerInfo": "info"}
    check(stack({"mesh:cluster": "cluster-b"}, stack="cluster-b", references={STACK: host}))


def test_this_test_sees_what_is_wrong() -> None:
    right = stack({"mesh:cluster": "cluster-a"}).outputs
    wrong = right | {"contractVersion": "1", "more": 1, "cluster": right["cluster"] | {"pools": {"p": {"subnet": 1}}}}
    del wrong["readme"]
    assert set(differences(wrong)) >= {
        ".readme is missing",
        ".more is not written down",
        ".contractVersion is '1', and not <class 'int'>",
        ".cluster.pools.p.ips is missing",
        ".cluster.pools.p.subnet is 1, and not <class 'str'>",
    }


# --- the document


def test_docs_outputs_md_is_up_to_date() -> None:
    text = (ROOT / "docs" / "outputs.md").read_text()
    assert text == markdown(), "python -m mesh outputs > docs/outputs.md"


def test_every_output_is_described() -> None:
    for kind in objects():
        assert kind.__doc__, kind
        for name, hint in fields(kind).items():
            said = doc(hint)
            assert re.fullmatch(r"\S.*[^.\s]", said.text), f"{kind.__name__}.{name}"
            assert f"| `{name}` | " in markdown()


def test_the_links_of_the_document_lead_somewhere() -> None:
    text = markdown()
    titles = {title.lower() for title in re.findall(r"^## (\w+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\(#(\w+)\)", text)) <= titles
    for path in re.findall(r"\]\(([^#)]+)\)", text):
        assert (ROOT / "docs" / path).exists(), path


# --- the stack's README


def test_the_readme_shows_the_mesh_and_what_the_stack_owns_of_it() -> None:
    plan = load_plan(raw_plan(clusters=3))
    text = readme(plan, ["cluster-b"])
    assert "```mermaid\nflowchart LR\n" in text
    for cluster_id, cluster in plan.clusters.items():
        assert f"{cluster_id}: underlay {cluster.pod_cidr}" in text
    assert f"{derive.DEFAULT_NETWORK_ANNOTATION}: kube-system/macvlan-conf" in text
    assert "KUBECONFIG_CLUSTER_B" in text
    assert "KUBECONFIG_CLUSTER_A" not in text


def test_the_readme_does_not_change_with_the_pools_of_others() -> None:
    changed = raw_plan()
    changed["clusters"]["cluster-a"]["pools"].append(
        {"name": "more", "subnet": "172.110.0.0/16", "ips": ["172.110.2.1"]}
    )
    before, after = (readme(load_plan(raw), ["cluster-b"]) for raw in (raw_plan(), changed))
    assert before == after
    assert readme(load_plan(raw_plan()), ["cluster-a"]) != readme(load_plan(changed), ["cluster-a"])


@pytest.mark.parametrize("owned", [["cluster-a"], ["cluster-b"], ["cluster-a", "cluster-b"]])
def test_the_readme_names_outputs_that_exist(owned: list[str]) -> None:
    config = {"mesh:clusters": owned}
    references = {STACK: {"broker": {}, "brokerInfo": "info"}}
    outputs = stack(config, stack=owned[0], references=references).outputs
    paths = re.findall(r"\$\{outputs\.([^}]+)\}", outputs["readme"])
    assert paths
    for path in paths:
        value: Any = outputs
        for name in path.split("."):
            value = value[name]
        assert isinstance(value, str)


def test_the_readme_is_known_in_a_preview() -> None:
    preview = stack({"mesh:cluster": "cluster-a"}, preview=True)
    assert preview.outputs["readme"] == stack({"mesh:cluster": "cluster-a"}).outputs["readme"]


# --- the reader for other programs


class _References(mocks.Mocks):
    def __init__(self, outputs: dict[str, Any], secret: list[str]) -> None:
        self.state = {"outputs": outputs, "secretOutputNames": secret}

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise AssertionError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        assert args.typ == "pulumi:pulumi:StackReference"
        return args.name, {"name": args.inputs["name"], **self.state}


def read(function: str, name: str, outputs: dict[str, Any], secret: list[str] | None = None) -> tuple[Any, bool]:
    """What the reader gives, where the stack has these outputs, and whether it is a secret."""
    found: list[tuple[Any, bool]] = []

    async def main() -> None:
        mocks.set_mocks(_References(outputs, secret or []), preview=False)
        reader = runpy.run_path(str(CONSUMER / "mesh_outputs.py"))
        output = reader[function](STACK, name)
        found.append((await output.future(), await output.is_secret()))

    asyncio.run(main())
    return found[0]


OWN = {"id": "cluster-a", "defaultNetwork": "kube-system/macvlan-conf"}


def test_the_reader_gives_a_cluster_of_either_kind_of_stack() -> None:
    one = {"contractVersion": 1, "cluster": OWN}
    several = {"contractVersion": 1, "clusters": {"cluster-a": OWN, "cluster-b": {}}}
    assert read("cluster", "cluster-a", one) == (OWN, False)
    assert read("cluster", "cluster-a", several) == (OWN, False)


def test_a_secret_beside_it_does_not_make_it_one() -> None:
    # `StackReference.outputs` would: every annotation made of it would be `[secret]` in previews.
    outputs = {"contractVersion": 1, "cluster": OWN, "brokerInfo": "info"}
    assert read("cluster", "cluster-a", outputs, ["brokerInfo"]) == (OWN, False)
    assert read("output", "brokerInfo", outputs, ["brokerInfo"]) == ("info", True)


@pytest.mark.parametrize(
    ("function", "name", "outputs", "said"),
    [
        ("cluster", "cluster-a", {}, "has no contractVersion: it has not been brought up, or is no stack of"),
        ("cluster", "cluster-a", {"url": "https://x"}, "has no contractVersion"),
        ("cluster", "cluster-a", {"contractVersion": 0, "cluster": OWN}, "follows contract 0, and we need 1: bring it"),
        ("cluster", "cluster-a", {"contractVersion": 2, "cluster": OWN}, "follows contract 2, and we know 1: renew"),
        ("cluster", "cluster-b", {"contractVersion": 1, "cluster": OWN}, "does not own cluster-b: .* are cluster-a"),
        ("cluster", "cluster-b", {"contractVersion": 1, "clusters": {}}, "does not own cluster-b: .* are none"),
        ("output", "connections", {"contractVersion": 1}, "has no connections for us"),
        # What is left of a secret: nothing since Pulumi 3.171, an empty object in 3.260.
        ("output", "brokerInfo", {"contractVersion": 1}, "can't be decrypted here: this machine needs the passphrase"),
        ("output", "brokerInfo", {"contractVersion": 1, "brokerInfo": {}}, "can't be decrypted here"),
    ],
)
def test_the_reader_says_what_is_wrong(function: str, name: str, outputs: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=f"^stack {STACK} .*{said}"):
        read(function, name, outputs)


def test_the_reader_knows_this_contract() -> None:
    reader = runpy.run_path(str(CONSUMER / "mesh_outputs.py"))
    assert reader["CONTRACT_VERSION"] == CONTRACT_VERSION


def test_the_example_uses_nothing_that_may_change() -> None:
    text = "".join((CONSUMER / name).read_text() for name in ("__main__.py", "mesh_outputs.py"))
    used = set(re.findall(r'\["(\w+)"\]', text)) - {"app"}
    known = fields(ClusterOutputs) | {"clusterID": fields(ClusterOutputs)["joined"]}
    assert used <= known.keys()
    assert {"defaultNetwork", "joined"} <= used
    assert all(doc(known[name]).stability is Stability.STABLE for name in used)


def test_the_example_needs_nothing_of_ours() -> None:
    for path in CONSUMER.glob("*.py"):
        imported = set(re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
        allowed = sys.stdlib_module_names | {"pulumi", "pulumi_kubernetes", "mesh_outputs"}
        assert imported <= allowed
