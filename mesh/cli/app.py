"""Puts the commands together without importing them: a refused plan must not wait for the Pulumi SDK to load."""

import contextlib
import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from mesh.cli.output import CommandError, complain
from mesh.plan import PlanError

PROGRAM = "python -m mesh"
SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,  # plain help and errors: they read the same in a terminal, a pipe and a CI log
}

# Name, and the module whose `command` function it is (or module:function), and its line in --help.
COMMANDS = (
    ("check", "mesh.cli.check", "Check the address plan and show all that follows from it."),
    ("schema", "mesh.cli.schema", "Print the plan's JSON Schema, for editors."),
    ("outputs", "mesh.cli.outputs", "Print what the stacks export for other stacks, as Markdown."),
    ("operator", "mesh.cli.operator", "Print manifests for the Pulumi Kubernetes Operator."),
    ("status", "mesh.cli.status", "Show how the mesh is: tunnels, gateways, pools, and what the sites lack."),
    ("stacks", "mesh.cli.fleet:stacks", "List the stacks, for a CI matrix too."),
    ("preview", "mesh.cli.fleet:preview", "Show what `up` would change in all stacks."),
    ("up", "mesh.cli.fleet:up", "Bring all stacks up, in order."),
    ("refresh", "mesh.cli.fleet:refresh", "Take what the clusters have become into the state, or only look for drift."),
    ("destroy", "mesh.cli.fleet:destroy", "Take everything out of all clusters again."),
)

app = typer.Typer(no_args_is_help=True, help="Connect Kubernetes clusters in isolated data centres.", **SETTINGS)


def _add(name: str, module: str, summary: str) -> None:
    # The arguments go through as they are, --help too: only the module knows them.
    forward = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

    @app.command(name, help=summary, context_settings=forward)
    def run(context: typer.Context) -> None:
        command = typer.Typer(**SETTINGS)
        where, _, function = module.partition(":")
        command.command()(getattr(import_module(where), function or "command"))
        command(args=context.args, prog_name=f"{PROGRAM} {name}")


for _name, _module, _summary in COMMANDS:
    _add(_name, _module, _summary)


def _open_closed_streams() -> None:
    """Have what the caller has closed (`>&-`) lead nowhere: else the next file that is opened takes its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - it stays open


def main() -> None:
    """Run the command line; whatever can go wrong outside of the code ends in a sentence, not in a traceback."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal in plain ASCII is no reason to fail
    try:
        app(prog_name=PROGRAM)
    except (PlanError, CommandError) as error:
        complain(str(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        complain(f"{error.strerror or error}{where}")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.exit(1)
