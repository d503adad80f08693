"""Tells whether a command line in a document can be right, without running it."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import typer

from mesh.cli.app import COMMANDS, SETTINGS
from tests.conftest import ROOT

MESH = re.compile(r"(?:^|\s)(?:\.venv/bin/)?python3? -m mesh(?P<rest>[^|>&;`]*)")
MAKE = re.compile(r"^make (?P<targets>[a-z ]+)")


def mesh_calls(text: str) -> Iterator[list[str]]:
    """The arguments of each `python -m mesh` in a text."""
    for found in MESH.finditer(text):
        # A placeholder is one word, whatever it would mean to a shell.
        yield shlex.split(found["rest"])


def wrong_with(arguments: list[str]) -> str:
    """Why `python -m mesh` would not take the arguments; empty where it would."""
    if not arguments:
        return ""
    name, *rest = arguments
    command = _command(name)
    if command is None:
        return f"there is no command {name!r}"
    try:
        command.make_context(name, [*rest], resilient_parsing="--help" in rest)
    except Exception as error:  # noqa: BLE001 click's and typer's own, of several kinds
        return f"{name}: {getattr(error, 'message', '') or error or type(error).__name__}"
    return ""


def make_targets(line: str) -> list[str]:
    """The targets of a `make` line."""
    found = MAKE.match(line)
    return found["targets"].split() if found else []


@cache
def has_target(target: str) -> bool:
    """Whether make knows what to do for a target."""
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode == 0


@cache
def _command(name: str) -> Any:
    for known, module, _ in COMMANDS:
        if known == name:
            where, _, function = module.partition(":")
            app = typer.Typer(**SETTINGS)
            app.command()(getattr(import_module(where), function or "command"))
            return typer.main.get_command(app)
    return None
