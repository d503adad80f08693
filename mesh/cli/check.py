"""`mesh check`: refuse a bad plan with all its mistakes, or show what follows from a good one."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from mesh.cli.project import PlanFile, plan_file
from mesh.plan import PlanError, read_plan


class Format(StrEnum):
    """What the result is for."""

    TEXT = "text"
    MERMAID = "mermaid"
    JSON = "json"


def command(
    plan: PlanFile = None,
    output: Annotated[
        Format, typer.Option("--format", help="text for people, mermaid for a diagram, json for programs.")
    ] = Format.TEXT,
) -> None:
    """Check the address plan and show all that follows from it.

    No cluster is contacted. A bad plan is refused with all its mistakes at once, each with its field and what to write
    instead, and exit code 1; with --format json as {"problems": [{"path", "what", "fix"}]}.
    """
    path = plan_file(plan)
    try:
        checked = read_plan(path)
    except PlanError as error:
        if output is not Format.JSON:
            raise
        problems = [{"path": item.path, "what": item.what, "fix": item.fix} for item in error.problems]
        typer.echo(json.dumps({"problems": problems}, indent=2, ensure_ascii=False))
        raise typer.Exit(1) from None
    if output is Format.TEXT:
        from mesh.cli.report import print_report

        print_report(checked, str(path))
    elif output is Format.MERMAID:
        from mesh.topology import mermaid

        typer.echo(mermaid(checked))
    else:
        from mesh.cli.summary import summary

        typer.echo(json.dumps(summary(checked), indent=2, ensure_ascii=False))
