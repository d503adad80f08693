"""Contract: `python -m mesh check` tells a person, a program and a diagram the same, and refuses a bad plan at once.

Run as people run it, in a process of its own: exit codes, stdout and stderr, no traceback, nothing cut in a pipe. That
a bad plan is refused in well under a second is kept by what is not imported for it, not by a clock.
"""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from mesh.access import kubeconfig_variable
from mesh.cli import report
from mesh.cli.app import COMMANDS
from mesh.plan import MeshPlan, derive, load_plan, ranges, rules
from tests.unit.plans import changed, problems_of, seed

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("pulumi", "pulumi_kubernetes", "pulumi_command", "kubernetes", "grpc", "cryptography", "jsonschema")

DUAL_STACK = {
    **{f"clusters.cluster-{name}.podCIDRv6": f"fd00:{number}::/64" for name, number in (("a", 1), ("b", 2))},
    **{f"clusters.cluster-{name}.serviceCIDRv6": f"fd00:{number}:1::/112" for name, number in (("a", 1), ("b", 2))},
    **{
        f"clusters.cluster-{name}.pools[1]": {
            "name": "six",
            "subnet": f"fd00:{number}::/64",
            "ips": [f"fd00:{number}::10-fd00:{number}::20"],
        }
        for name, number in (("a", 1), ("b", 2))
    },
    "clusters.cluster-a.pools[0].ips": ["172.110.1.9-172.110.1.90", "172.110.1.1-172.110.1.5"],
    "clusters.cluster-a.pools[0].excludeIPs": ["172.110.1.3"],
    "clusters.cluster-a.gateways": [
        {"node": "controller-node-1", "address": "172.110.168.73", "wanAddress": "10.6.168.73"},
        "controller-node-2",
    ],
    "submariner.imageOverrides": {"submariner-gateway": "mirror.example:5000/gateway:1"},
}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def mesh(*arguments: str, folder: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line with its output in pipes."""
    return subprocess.run(
        [sys.executable, "-m", "mesh", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def plan_in(tmp_path: Path) -> Callable[[Any], Path]:
    def write(raw: Any) -> Path:
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    return write


def commands(output: str) -> list[list[str]]:
    """The subctl commands, as a shell would split them, each with its access to the cluster replaced."""
    lines = [line for line in output.replace("\\\n", "").splitlines() if line.startswith("subctl ")]
    return [shlex.split(line) for line in lines]


def expected_commands(plan: MeshPlan) -> list[list[str]]:
    def access(cluster_id: str) -> list[str]:
        return ["--kubeconfig", f"${kubeconfig_variable(cluster_id)}"]

    broker = ["subctl", "deploy-broker", *access(plan.broker.cluster), *derive.broker_settings(plan).flags()]
    joins = [
        ["subctl", "join", *access(cluster_id), "broker-info.subm", *derive.join_settings(plan, cluster_id).flags()]
        for cluster_id in plan.clusters
    ]
    return [broker, *joins]


# --- a good plan ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, DUAL_STACK], ids=["the recipe", "dual stack"])
def test_text_has_the_whole_plan_uncut_and_plain(changes: dict[str, Any], plan_in: Callable[[Any], Path]) -> None:
    raw = changed(changes)
    result = mesh("check", "--plan", str(plan_in(raw)), COLUMNS="40", TERM="xterm-256color")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    plan = load_plan(raw)
    for cluster_id, cluster in plan.clusters.items():
        rows = [line for line in result.stdout.splitlines() if line.startswith(cluster_id)]
        assert re.search(rf"{cluster.pod_cidr} +{cluster.service_cidr} +{cluster.gateways[0].node}", rows[0])
        assert rows[0].rstrip().endswith(" macvlan-conf:")
        assert f" macvlan on {cluster.network.master[0]}" in result.stdout
        pool = cluster.pools[0]
        count = ranges.subtract(ranges.merge(pool.ips), ranges.merge(pool.exclude_ips))
        assert re.search(rf"{pool.name} +{ranges.normal_form(pool.ips)[0]} +{count} +{pool.subnet}", rows[1])
        assert re.search(rf"^ +\(default\) .* gateway {pool.gateway}\s", result.stdout, re.MULTILINE)
        for text in (cluster.pod_cidr_v6, cluster.service_cidr_v6, *(gateway.node for gateway in cluster.gateways)):
            assert text is None or text in result.stdout
        assert f"  {cluster_id}: {', '.join(derive.hijack_cidr(plan, cluster_id))}\n" in result.stdout
    assert "v1.multus-cni.io/default-network: kube-system/macvlan-conf\n" in result.stdout
    for item in rules.advice(plan):
        assert f"  {item.path}: {item.what}\n" in result.stdout
        assert item.fix in result.stdout
    assert "--format mermaid" in result.stdout


@pytest.mark.parametrize("changes", [{}, DUAL_STACK], ids=["the recipe", "dual stack"])
def test_commands_are_those_that_the_steps_run(changes: dict[str, Any], plan_in: Callable[[Any], Path]) -> None:
    raw = changed(changes)
    result = mesh("check", "--plan", str(plan_in(raw)))
    assert commands(result.stdout) == expected_commands(load_plan(raw))


def test_commands_can_be_pasted_into_a_shell(plan_in: Callable[[Any], Path]) -> None:
    """A flag per line, and what a value has of a shell's characters is quoted."""
    raw = changed({"submariner.imageOverrides": {"submariner-gateway": "mirror.example:5000/gateway:1"}})
    result = mesh("check", "--plan", str(plan_in(raw)))
    script = f"subctl() {{ printf '%s\\n' subctl \"$@\"; }}\n{result.stdout[result.stdout.index('# with') :]}"
    script = script[: script.index("Advice")]
    assert max(map(len, script.splitlines())) <= 80
    shown = subprocess.run(
        ["bash", "-euc", script],
        env={"KUBECONFIG_CLUSTER_A": "/a b", "KUBECONFIG_CLUSTER_B": "/b"},
        capture_output=True,
        text=True,
        check=True,
    )
    paths = {"$KUBECONFIG_CLUSTER_A": "/a b", "$KUBECONFIG_CLUSTER_B": "/b"}
    expected = [paths.get(word, word) for command in expected_commands(load_plan(raw)) for word in command]
    assert shown.stdout.splitlines() == expected


@pytest.mark.parametrize("width", [80, 60])
def test_narrow_terminal_breaks_no_address_of_a_pool(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr(report, "console", lambda: out)
    plan = load_plan(seed())
    report.print_report(plan, "plan.yaml")
    assert isinstance(out.file, io.StringIO)
    pools = out.file.getvalue().split("\nPools\n")[1].split("\n\n")[0]
    assert max(map(len, pools.splitlines())) <= width
    for cluster in plan.clusters.values():
        (pool,) = cluster.pools
        for address in (*pool.ips[0].split("-"), pool.gateway):
            assert re.search(rf"(^|[\s-]){re.escape(str(address))}($|[\s-])", pools, re.MULTILINE)
    assert ("172.110.1.1-172.110.1.200 " in pools) == (width == 80)


def test_shipped_plan_fits_into_eighty_columns() -> None:
    said = mesh("check").stdout.split("\nAdvice\n")[0]  # which is prose, and wrapped by the terminal
    assert [line for line in said.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("changes", [{}, DUAL_STACK], ids=["the recipe", "dual stack"])
def test_json_is_what_is_derived(changes: dict[str, Any], plan_in: Callable[[Any], Path]) -> None:
    raw = changed(changes)
    result = mesh("check", "--plan", str(plan_in(raw)), "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")
    document, plan = json.loads(result.stdout), load_plan(raw)
    assert document["broker"] == {"cluster": "cluster-a", "kubeconfigVariable": "KUBECONFIG_CLUSTER_A"}
    assert document["brokerCommand"] == ["subctl", "deploy-broker", *derive.broker_settings(plan).flags()]
    assert document["healthCheck"] is derive.health_check(plan)
    assert document["cableDriver"] == "libreswan"
    assert document["advice"] == [{"path": i.path, "what": i.what, "fix": i.fix} for i in rules.advice(plan)]
    assert list(document["clusters"]) == list(plan.clusters)
    for cluster_id, shown in document["clusters"].items():
        cluster = plan.clusters[cluster_id]
        assert shown["podCIDR"] == cluster.pod_cidr
        assert shown["serviceCIDR"] == cluster.service_cidr
        assert shown["podCIDRv6"] == cluster.pod_cidr_v6
        assert shown["hijackCIDR"] == list(derive.hijack_cidr(plan, cluster_id))
        assert shown["defaultNetwork"] == derive.default_network(cluster)
        assert shown["kubeconfigVariable"] == kubeconfig_variable(cluster_id)
        assert [gateway["node"] for gateway in shown["gateways"]] == [gateway.node for gateway in cluster.gateways]
        flags = derive.join_settings(plan, cluster_id).flags()
        assert shown["joinCommand"] == ["subctl", "join", "broker-info.subm", *flags]
        assert [(pool["name"], pool["subnet"], tuple(pool["ips"])) for pool in shown["pools"]] == [
            (pool.name, pool.subnet, ranges.normal_form(pool.ips)) for pool in cluster.pools
        ]
    recipe = {"cluster-a": 200, "cluster-b": 200} if not changes else {"cluster-a": 86, "cluster-b": 200}
    assert {name: shown["pools"][0]["usable"] for name, shown in document["clusters"].items()} == recipe


def three_sites() -> dict[str, Any]:
    raw = changed(DUAL_STACK)
    raw["clusters"]["cluster-c"] = {
        "podCIDR": "172.112.0.0/16",
        "serviceCIDR": "10.253.0.0/18",
        "gateways": ["n1", "n2"],
        "network": {"master": ["ens224"]},
        "pools": [{"name": "c", "subnet": "172.112.0.0/16", "ips": ["172.112.1.1-172.112.1.20"]}],
    }
    return raw


def test_mermaid_draws_every_site_and_tunnel(plan_in: Callable[[Any], Path]) -> None:
    raw = three_sites()
    result = mesh("check", "--plan", str(plan_in(raw)), "--format", "mermaid")
    assert (result.returncode, result.stderr) == (0, "")
    head, *lines = result.stdout.splitlines()
    assert head == "flowchart LR"
    node = r'(?:\(\[".*"\]\)|\[\(".*"\)\]|\{\{".*"\}\}|\[".*"\]|\(\(".*"\)\))'
    grammar = rf' +(?:subgraph \w+\[".*"\]|end|\w+{node}|\w+ --- \w+|\w+ <==>\|\w+\| \w+|\w+ -\.->\|joins\| \w+)'
    assert [line for line in lines if not re.fullmatch(grammar, line)] == []
    assert sum(line.strip().startswith("subgraph") for line in lines) == sum(line.strip() == "end" for line in lines)
    declared = set(re.findall(rf"^ +(?:subgraph )?(\w+)(?={node}|\[)", result.stdout, re.MULTILINE))
    used = set(re.findall(r"^ +(\w+) (?:---|<==>|-\.->)", result.stdout, re.MULTILINE))
    used |= set(re.findall(r"(?:---|\|) (\w+)$", result.stdout, re.MULTILINE))
    assert used <= declared
    plan = load_plan(raw)
    for cluster_id, cluster in plan.clusters.items():
        assert f'["{cluster_id}: underlay {cluster.pod_cidr}"]' in result.stdout
        assert f"Services {cluster.service_cidr}" in result.stdout
        for pool in cluster.pools:
            assert f"pool {pool.name}<br/>{', '.join(ranges.normal_form(pool.ips))}" in result.stdout
        for gateway in cluster.gateways:
            assert f"gateway {gateway.node}" in result.stdout
    assert result.stdout.count("<==>|libreswan|") == len(list(combinations(plan.clusters, 2)))
    assert result.stdout.count("-.->|joins| broker") == len(plan.clusters) - 1
    assert '"broker"' in result.stdout.split("subgraph c1")[0]  # it stands in cluster-a


def test_mermaid_of_fifty_sites_has_no_more_edges_than_mermaid_draws(plan_in: Callable[[Any], Path]) -> None:
    raw = seed()
    template = raw["clusters"].pop("cluster-b")
    for number in range(49):
        cidrs = {"podCIDR": f"10.{number}.0.0/17", "serviceCIDR": f"10.{number}.128.0/18"}
        pool = {"name": "p", "subnet": f"10.{number}.0.0/24", "ips": [f"10.{number}.0.1-10.{number}.0.20"]}
        raw["clusters"][f"site-{number}"] = template | cidrs | {"pools": [pool]}
    raw["clusters"]["cluster-a"]["serviceCIDR"] = "10.128.0.0/18"
    result = mesh("check", "--plan", str(plan_in(raw)), "--format", "mermaid")
    assert result.returncode == 0
    assert len(re.findall(r"---|<==>|-\.->", result.stdout)) <= 500
    assert "1225 libreswan tunnels" in result.stdout


# --- a bad plan -------------------------------------------------------------------------------------------------------

BAD = {
    "broker.cluster": "cluster-c",
    "submariner.natPort": "4500",
    "clusters.cluster-a.pools[0].subnet": "172.110.1.0/24",
    "clusters.cluster-b.gateways": ["節點; rm -rf /"],
}


def test_bad_plan_is_refused_with_all_its_mistakes(plan_in: Callable[[Any], Path]) -> None:
    path = plan_in(changed(BAD))
    result = mesh("check", "--plan", str(path))
    assert (result.returncode, result.stdout) == (1, "")
    assert "Traceback" not in result.stderr
    assert "\x1b" not in result.stderr
    problems = problems_of(changed(BAD))
    assert len(problems) == 4
    assert result.stderr.startswith(f"{path} has 4 mistakes; nothing was changed.\n")
    for problem in problems:
        assert f"  {problem.path}: {problem.what}\n    fix: {problem.fix}\n" in result.stderr


def test_bad_plan_as_json(plan_in: Callable[[Any], Path]) -> None:
    result = mesh("check", "--plan", str(plan_in(changed(BAD))), "--format", "json")
    assert (result.returncode, result.stderr) == (1, "")
    expected = [{"path": item.path, "what": item.what, "fix": item.fix} for item in problems_of(changed(BAD))]
    assert json.loads(result.stdout) == {"problems": expected}


def test_bad_plan_draws_nothing(plan_in: Callable[[Any], Path]) -> None:
    result = mesh("check", "--plan", str(plan_in(changed(BAD))), "--format", "mermaid")
    assert (result.returncode, result.stdout) == (1, "")
    assert "4 mistakes" in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_terminal_without_unicode(encoding: str, plan_in: Callable[[Any], Path]) -> None:
    result = mesh("check", "--plan", str(plan_in(changed(BAD))), PYTHONIOENCODING=encoding)
    assert result.returncode == 1
    assert "; rm -rf /' is not a valid Kubernetes name" in result.stderr
    assert "Traceback" not in result.stderr
    assert mesh("check", PYTHONIOENCODING=encoding).returncode == 0


@pytest.mark.parametrize("arguments", [(), ("--format", "json")])
def test_refusing_a_bad_plan_loads_neither_pulumi_nor_kubernetes(
    arguments: tuple[str, ...], plan_in: Callable[[Any], Path]
) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mesh", "check", "--plan", str(plan_in(changed(BAD))), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 1
    loaded = {line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}
    assert "mesh.plan.rules" in loaded
    assert sorted(name for name in loaded if name.split(".")[0] in HEAVY) == []
    assert "rich" not in loaded, "only a good plan is drawn as tables"


# --- which file -------------------------------------------------------------------------------------------------------


def project(folder: Path, cluster_b: str) -> None:
    raw = seed()
    raw["clusters"][cluster_b] = raw["clusters"].pop("cluster-b")
    document = {"name": "x", "runtime": "python", "config": {"mesh:plan": {"value": raw}}}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def found_clusters(folder: Path) -> list[str]:
    return list(json.loads(mesh("check", "--format", "json", folder=folder).stdout)["clusters"])


def test_plan_is_that_of_the_project_here_or_above(tmp_path: Path) -> None:
    inner = tmp_path / "inner" / "deeper"
    inner.mkdir(parents=True)
    assert found_clusters(inner) == ["cluster-a", "cluster-b"]  # no project above: the one beside the package
    project(tmp_path, "above")
    assert found_clusters(inner) == ["cluster-a", "above"]
    project(inner, "here")
    assert found_clusters(inner) == ["cluster-a", "here"]


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        result = mesh("check", "--plan", str(path))
        assert (result.returncode, result.stdout) == (1, "")
        assert f"{path}: cannot be read: {reason}" in result.stderr
        assert "Traceback" not in result.stderr


def test_usage_mistakes() -> None:
    for arguments, said in (
        (("check", "--format", "xml"), "xml"),
        (("check", "--plna", "x"), "--plna"),
        (("chekc",), "check"),
    ):
        result = mesh(*arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert said in result.stderr
        assert "Traceback" not in result.stderr


def test_closed_pipe_is_no_traceback() -> None:
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m mesh check | head -n 1"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert result.stdout.startswith("Pulumi.yaml is sound")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("closed", "plan", "code", "said"),
    [
        (">&-", "", 0, ""),
        (">&-", "--plan /none", 1, "/none: cannot be read"),
        (">&-", "--format json", 0, ""),
        ("2>&-", "--plan /none", 1, ""),
        ("<&- >&- 2>&-", "", 0, ""),
    ],
)
def test_closed_stream_is_no_traceback(closed: str, plan: str, code: int, said: str) -> None:
    """Whoever closes a stream does not want it; the exit code tells all the same."""
    command = f"{shlex.quote(sys.executable)} -m mesh check {plan} {closed}"
    result = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (result.returncode, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert bool(result.stderr) == bool(said)


# --- the rest of the command line -------------------------------------------------------------------------------------


def test_help_lists_every_command_and_loads_none() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mesh", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    for name, module, summary in COMMANDS:
        assert re.search(rf"^  {name} +{re.escape(summary[:30])}", result.stdout, re.MULTILINE)
        assert f"| {module.split(':')[0]}\n" not in result.stderr.replace("|   ", "| ")


@pytest.mark.parametrize("name", [name for name, *_ in COMMANDS])
def test_each_command_has_help_of_its_own(name: str) -> None:
    result = mesh(name, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: python -m mesh {name} ")
