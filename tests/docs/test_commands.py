"""Contract: every command in the documents works, or is marked as needing what no test has.

A `console` or `sh` block without a marker is run here, line by line. `<!-- needs pulumi -->` above it: run whole, in a
project folder with an empty backend, where there is a pulumi CLI. `<!-- lab: … -->`: run by test_recovery.py on two
local control planes. `<!-- needs real nodes -->`: not run; but also there, commands and options of our own must exist.
"""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.docs.commands import has_target, make_targets, mesh_calls, wrong_with
from tests.docs.conftest import run_block
from tests.docs.markdown import LAB, NEEDS_NODES, NEEDS_PULUMI, PAGES, READMES, Block, blocks, prose
from tests.docs.test_recovery import BLOCKS as RUN_IN_THE_LAB
from tests.engine.conftest import Workspace

WITH_COMMANDS = [block for page in PAGES for block in blocks(page) if block.commands]
CHEAP = ("check", "schema", "stacks", "outputs", "operator")  # ask nobody and change nothing


def unmarked() -> list[tuple[Block, str]]:
    return [(block, line) for block in WITH_COMMANDS if not block.marker for line in block.commands]


def test_there_are_documents_with_commands() -> None:
    assert len({block.page for block in WITH_COMMANDS}) >= 8
    assert len(unmarked()) >= 10


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("python -m mesh preview --only a,b --summary markdown > file", False),
        ("MESH_FORCE=1 .venv/bin/python -m mesh destroy --only <cluster> --yes", False),
        ("python -m mesh nonsense", True),
        ("python -m mesh preview --nonsense", True),
        ("python -m mesh preview --summary html", True),
        ("python -m mesh check nonsense", True),
    ],
)
def test_wrong_commands_are_noticed(text: str, wrong: bool) -> None:
    assert [bool(wrong_with(arguments)) for arguments in mesh_calls(text)] == [wrong]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_hides_in_another_kind_of_block(page: os.PathLike[str]) -> None:
    for block in blocks(ROOT / page):
        assert block.language not in ("bash", "shell", "zsh", "shell-session", "sh-session"), str(block)


@pytest.mark.parametrize("block", WITH_COMMANDS, ids=str)
def test_marker_is_known(block: Block) -> None:
    known = block.marker in ("", NEEDS_NODES, NEEDS_PULUMI) or block.marker.startswith(f"{LAB} ")
    assert known, f"{block}: {block.marker}"


def test_blocks_for_the_lab_are_run_there() -> None:
    marked = {block.marker.removeprefix(f"{LAB} ") for block in WITH_COMMANDS if block.marker.startswith(LAB)}
    assert marked == RUN_IN_THE_LAB


@pytest.mark.parametrize("block", WITH_COMMANDS, ids=str)
def test_our_own_commands_and_options_exist(block: Block) -> None:
    for line in block.commands:
        for arguments in mesh_calls(line):
            assert not (wrong := wrong_with(arguments)), f"{block}: {wrong}"
        for target in make_targets(line):
            assert has_target(target), f"{block}: there is no make target {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: os.PathLike[str]) -> None:
    for span in re.findall(r"`([^`]+)`", prose(ROOT / page)):
        text = " ".join(span.split())
        for arguments in mesh_calls(text):
            assert not (wrong := wrong_with(arguments)), f"{page}: {text}: {wrong}"
        for target in make_targets(text):
            assert has_target(target), f"{page}: there is no make target {target}"


@pytest.mark.parametrize(("block", "line"), unmarked(), ids=lambda value: str(value)[:60])
def test_unmarked_command_runs(block: Block, line: str) -> None:
    if targets := make_targets(line):
        # Each has tests of its own; running them here would run all tests, and so this one.
        assert all(map(has_target, targets)), str(block)
        return
    # One program and no shell: whatever else stands there would be run on this machine, as whoever runs the tests.
    program, *arguments = shlex.split(line)
    ours = program in ("python", ".venv/bin/python") and arguments[:2] == ["-m", "mesh"] and arguments[2] in CHEAP
    assert ours, f"{block}: mark it, or teach this test to run it: {line}"
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{block}: {line}\n{done.stdout}{done.stderr}"
    assert done.stdout.strip(), str(block)


@pytest.mark.parametrize("block", [each for each in WITH_COMMANDS if each.marker == NEEDS_PULUMI], ids=str)
def test_command_runs_with_pulumi(block: Block, checkout: Workspace, python_path: str) -> None:
    done = run_block(block, checkout.folder, checkout.env, python_path)
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"


def test_both_readmes_show_the_same_commands() -> None:
    english, chinese = ([block.commands for block in blocks(page) if block.commands] for page in READMES)
    assert english == chinese
