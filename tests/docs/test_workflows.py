"""Contract: the workflow files are sound, ask for little, and run only what can be run by hand.

actionlint reads them where it is on PATH or Go can build it; GitHub itself is not here, so that they start at the right
moment and get what they ask for is not tested.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.fleet.summary import MARKER
from tests.conftest import ROOT
from tests.docs.commands import mesh_calls, wrong_with
from tests.engine.conftest import Workspace

ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
BUILD_SECONDS = 240
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yaml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
GITLAB = ROOT / ".gitlab-ci.yml"
HEADER = "| stack | same | update | create | delete | replace | |\n|---|--:|--:|--:|--:|--:|---|\n"


def load(path: Path) -> Any:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if True in document:  # YAML 1.1 reads `on` so
        document["on"] = document.pop(True)
    return document


def steps(path: Path) -> list[dict[str, Any]]:
    document = load(path)
    if "runs" in document:
        return list(document["runs"]["steps"])
    return [step for job in document["jobs"].values() for step in job.get("steps", [])]


def scripts() -> Iterator[tuple[str, str]]:
    """Every script of the workflows and actions, and every line of GitLab's jobs."""
    for path in (*WORKFLOWS, *ACTIONS):
        yield from ((path.name, step["run"]) for step in steps(path) if "run" in step)
    for name, job in load(GITLAB).items():
        lines = [*job.get("before_script", []), *job.get("script", [])] if isinstance(job, dict) else []
        yield from ((f"{GITLAB.name} {name}", line) for line in lines)


def script_of(workflow: str, step_name: str) -> str:
    found = [step["run"] for step in steps(GITHUB / "workflows" / workflow) if step.get("name") == step_name]
    assert len(found) == 1
    return str(found[0])


# --- the files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if found := shutil.which("actionlint"):
        return Path(found)
    if not (go := shutil.which("go")):
        pytest.skip("neither actionlint nor go is on PATH")
    folder = tmp_path_factory.mktemp("actionlint")
    env = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "", "GOWORK": "off"}
    try:
        built = subprocess.run(
            [go, "install", ACTIONLINT], cwd=folder, env=env, capture_output=True, text=True, timeout=BUILD_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"go did not build actionlint within {BUILD_SECONDS} s")
    if built.returncode:
        pytest.skip(f"go cannot build actionlint: {built.stderr.strip().splitlines()[-1]}")
    return folder / "actionlint"


def test_actionlint_finds_nothing(actionlint: Path) -> None:
    command = [str(actionlint), "-no-color", *map(str, WORKFLOWS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_would_find_something(actionlint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(
        (GITHUB / "workflows" / "preview.yaml").read_text().replace("needs.plan.outputs", "needs.plam.outputs")
    )
    assert subprocess.run([str(actionlint), str(broken)], cwd=ROOT, capture_output=True, timeout=60).returncode == 1


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_actions_are_pinned_by_full_version(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    used += [job["uses"] for job in load(path).get("jobs", {}).values() if "uses" in job]
    for action in used:
        assert action.startswith("./") or re.search(r"@v\d+\.\d+\.\d+$", action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_permissions_are_minimal(path: Path) -> None:
    document = load(path)
    assert document["permissions"] == {"contents": "read"}
    for name, job in document["jobs"].items():
        wanted = {"contents": "read", "pull-requests": "write"} if name == "summary" else None
        assert job.get("permissions") == wanted, name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_ends_in_time(path: Path) -> None:
    for name, job in load(path)["jobs"].items():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 120, name


def test_a_stranger_gets_no_secrets() -> None:
    document = load(GITHUB / "workflows" / "preview.yaml")
    assert list(document["on"]) == ["pull_request"], "pull_request_target would run a stranger's program with them"
    assert "!github.event.pull_request.head.repo.fork" in document["jobs"]["preview"]["if"]


def test_up_and_drift_take_turns_and_are_never_cancelled() -> None:
    groups = [load(GITHUB / "workflows" / name)["concurrency"] for name in ("up.yaml", "drift.yaml")]
    assert groups == [{"group": "mesh", "cancel-in-progress": False}] * 2
    assert {load(GITLAB)[job]["resource_group"] for job in ("up", "drift")} == {"mesh"}
    assert load(GITLAB)["up"]["interruptible"] is False


@pytest.mark.parametrize(("where", "script"), list(scripts()))
def test_scripts_take_nothing_by_substitution(where: str, script: str) -> None:
    """What stands in ${{ }} becomes part of the script: a branch's name could be a command, a secret be shown."""
    assert "${{" not in script, where


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_of_a_checkout_stays(path: Path) -> None:
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": False}


def test_versions_are_those_of_the_lock() -> None:
    locked = re.search(r"^pulumi==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert locked
    given = [step.get("with", {}) for step in steps(GITHUB / "actions" / "setup" / "action.yml")]
    installed = [inputs["pulumi-version"] for inputs in given if "pulumi-version" in inputs]
    assert installed == [locked[1]]
    assert load(GITLAB)["variables"]["MESH_CI_IMAGE"].endswith(f":{locked[1]}")


# --- what they run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "script"), list(scripts()))
def test_our_commands_and_options_exist(where: str, script: str) -> None:
    for line in script.splitlines():
        # What a shell fills in is one word, or an option of its own.
        plain = re.sub(r"\$\{ALLOW:\+(\S+)\}", r"\1", line).replace('"$STACK"', "cluster-a").replace(")", " ")
        for arguments in mesh_calls(plain):
            assert not (wrong := wrong_with(arguments)), f"{where}: {wrong}"


def test_all_that_is_run_is_there() -> None:
    told = " ".join(script for _, script in scripts())
    for name in re.findall(r"\.github/scripts/[\w.]+", told):
        assert (ROOT / name).is_file(), name
    called = set(re.findall(r"python -m mesh (\w+)", told))
    assert called == {"check", "stacks", "preview", "up", "refresh", "status"}


def run_script(script: str, folder: Path, python_path: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """A step's script, as GitHub runs it."""
    path = os.pathsep.join((python_path, env.pop("PATH", os.environ["PATH"])))
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={"HOME": os.environ.get("HOME", "/"), **env, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.parametrize("workflow", ["preview.yaml", "drift.yaml"])
def test_matrix_is_the_plan(workflow: str, tmp_path: Path, python_path: str) -> None:
    name = {"preview.yaml": "List its stacks", "drift.yaml": "List the stacks"}[workflow]
    output = tmp_path / "output"
    done = run_script(script_of(workflow, name), ROOT, python_path, GITHUB_OUTPUT=str(output))
    assert done.returncode == 0, done.stderr
    key, _, value = output.read_text().strip().partition("=")
    assert key == "stacks"
    matrix = json.loads(value)
    assert [row["stack"] for row in matrix["include"]] == ["cluster-a", "cluster-b"]
    used = set(re.findall(r"matrix\.(\w+)", (GITHUB / "workflows" / workflow).read_text()))
    assert used <= set(matrix["include"][0])


def test_up_begins_with_the_broker(tmp_path: Path, python_path: str) -> None:
    if not shutil.which("jq"):
        pytest.skip("no jq on PATH")
    output = tmp_path / "output"
    done = run_script(script_of("up.yaml", "List its stacks"), ROOT, python_path, GITHUB_OUTPUT=str(output))
    assert done.returncode == 0, done.stderr
    found = {
        key: json.loads(value) for key, _, value in (line.partition("=") for line in output.read_text().splitlines())
    }
    stacks = {key: [row["stack"] for row in value["include"]] for key, value in found.items()}
    assert stacks == {"broker": ["cluster-a"], "members": ["cluster-b"]}
    assert "broker" in load(GITHUB / "workflows" / "up.yaml")["jobs"]["members"]["needs"]


def test_bad_plan_stops_the_listing(tmp_path: Path, python_path: str) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: x\nruntime: python\nconfig: {mesh:plan: {value: {}}}\n")
    env = {"GITHUB_OUTPUT": str(tmp_path / "output"), "PYTHONPATH": str(ROOT)}
    assert run_script(script_of("preview.yaml", "List its stacks"), tmp_path, python_path, **env).returncode == 1


def test_preview_and_summary_as_they_stand(checkout: Workspace, python_path: str) -> None:
    """The very lines of preview.yaml, one stack after the other, and what is then commented."""
    assert checkout.mesh("preview", "--init").returncode == 0
    secret = Path(checkout.env["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text()
    folder = checkout.folder
    for stack in ("cluster-a", "cluster-b"):
        env = checkout.env | {"STACK": stack, "ALLOW": ""}
        done = run_script(script_of("preview.yaml", "Preview"), folder, python_path, **env)
        assert done.returncode == 0, done.stderr
        assert secret not in done.stdout + done.stderr
        (folder / "summaries").mkdir(exist_ok=True)
        (folder / f"summary-{stack}.md").rename(folder / "summaries" / f"summary-{stack}.md")
    shown = folder / "shown"
    env = checkout.env | {"GITHUB_STEP_SUMMARY": str(shown)}
    done = run_script(script_of("preview.yaml", "Join the summaries"), folder, python_path, **env)
    assert done.returncode == 0, done.stderr
    text = shown.read_text()
    assert text.startswith(f"{MARKER}\n### Mesh: changes in 2 of 2 stacks\n")
    assert text.count(HEADER) == 1
    for stack in ("cluster-a", "cluster-b"):
        assert re.search(rf"^\| {stack} \| 0 \| 0 \| \d+ \| 0 \| 0 \| would change \|$", text, re.MULTILINE)
        assert f"`{stack}-join`" in text
    assert secret not in text


def test_label_is_what_allows(checkout: Workspace, python_path: str) -> None:
    """The script hands the label on: with it, preview is told --allow-replace."""
    spy = "python() { printf '%s ' \"$@\"; }\n"
    script = spy + script_of("preview.yaml", "Preview").partition(">")[0]
    for allow, told in (("yes", True), ("", False)):
        done = run_script(script, checkout.folder, python_path, **checkout.env | {"STACK": "cluster-a", "ALLOW": allow})
        assert ("--allow-replace" in done.stdout) is told
    text = (GITHUB / "workflows" / "preview.yaml").read_text()
    assert "contains(github.event.pull_request.labels.*.name, 'allow-replacement')" in text


# --- the scripts -----------------------------------------------------------------------------------------------------


def summary(*files: Path) -> str:
    command = [sys.executable, str(GITHUB / "scripts" / "summary.py"), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def one(tmp_path: Path, stack: str, text: str) -> Path:
    path = tmp_path / f"summary-{stack}.md"
    path.write_text(text)
    return path


def preview_of(stack: str, result: str, caution: str = "", details: str = "") -> str:
    told = f"> [!CAUTION]\n> Pods or clusters are cut off:\n> - {caution}\n\n" if caution else ""
    row = f"| {stack} | 1 | 0 | 0 | 0 | 0 | {result} |\n"
    return f"{MARKER}\n### Mesh: whatever\n\n{told}{HEADER}{row}\n{details}\n"


def test_summaries_become_one(tmp_path: Path) -> None:
    text = summary(
        one(tmp_path, "b", preview_of("b", "would change", "b: replace of pool p", "<details>of b</details>")),
        one(tmp_path, "a", preview_of("a", "no changes")),
    )
    assert text == (
        f"{MARKER}\n### Mesh: changes in 1 of 2 stacks\n\n"
        "> [!CAUTION]\n> Pods or clusters are cut off:\n> - b: replace of pool p\n\n"
        f"{HEADER}| a | 1 | 0 | 0 | 0 | 0 | no changes |\n| b | 1 | 0 | 0 | 0 | 0 | would change |\n"
        "\n<details>of b</details>\n"
    )


def test_missing_preview_is_told(tmp_path: Path) -> None:
    text = summary(one(tmp_path, "a", preview_of("a", "no changes")), one(tmp_path, "b", ""))
    assert "### Mesh: changes in 1 of 2 stacks" in text
    assert "| b | | | | | | no preview: see the log of its job |" in text


def test_nothing_to_change_says_so(tmp_path: Path) -> None:
    assert "### Mesh: no changes\n" in summary(one(tmp_path, "a", preview_of("a", "no changes")))


def test_comment_stays_below_the_limit(tmp_path: Path) -> None:
    files = [one(tmp_path, f"c{i:02}", preview_of(f"c{i:02}", "would change", "", "x" * 9000)) for i in range(20)]
    text = summary(*files)
    assert len(text) < 65_536
    assert all(f"| c{i:02} |" in text for i in range(20)), "the table has every stack"
    assert text.endswith("There is more; see the logs of this run.\n")


@pytest.mark.parametrize("found", ["", "11\n22\n"], ids=["first", "again"])
def test_comment_is_made_once_and_renewed(found: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    gh = tmp_path / "gh"
    gh.write_text(f"#!/bin/sh\necho \"$*\" >> '{calls}'\ncase \"$*\" in *--paginate*) printf '{found}' ;; esac\n")
    gh.chmod(0o755)
    body = one(tmp_path, "x", preview_of("a", "no changes"))
    command = ["sh", str(GITHUB / "scripts" / "comment.sh"), "owner/repo", "7", str(body)]
    env = {**os.environ, "PATH": os.pathsep.join((str(tmp_path), os.environ["PATH"]))}
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=20)
    asked, written = calls.read_text().splitlines()
    assert "repos/owner/repo/issues/7/comments" in asked
    assert MARKER in asked
    target = (
        "--method PATCH repos/owner/repo/issues/comments/11"
        if found
        else "--method POST repos/owner/repo/issues/7/comments"
    )
    assert target in written
    assert f"body=@{body}" in written
