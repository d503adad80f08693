"""The real engine's project folder, as the tests of the engine have it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.markdown import Block
from tests.engine.conftest import Workspace
from tests.engine.conftest import cli as cli
from tests.engine.conftest import site as site
from tests.engine.conftest import workspace as workspace


@pytest.fixture(scope="session")
def python_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder in which `python` is the interpreter under test, and nothing else is."""
    folder = tmp_path_factory.mktemp("python")
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    return str(folder)


def run_block(
    block: Block, folder: Path, env: dict[str, str], python_path: str, **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run the commands of a block in one shell, as they stand, and stop at the first that fails."""
    script = "set -euo pipefail\n" + "\n".join(block.commands)
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=env | more | {"PATH": os.pathsep.join((python_path, env["PATH"]))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def checkout(workspace: Workspace) -> Workspace:
    """The workspace with the rest of the files that commands in the documents name."""
    for name in (".github", "docs", "README.md"):
        link = workspace.folder / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    return workspace
