"""Which file the plan is in."""

from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.output import CommandError

PROJECT_FILE = "Pulumi.yaml"

PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        metavar="FILE",
        help=f"YAML file with a plan, by itself or in the config of a {PROJECT_FILE} or stack file. "
        f"Unset: the {PROJECT_FILE} here or in a folder above, else the project's own.",
        show_default=False,
    ),
]


def plan_file(given: Path | None) -> Path:
    """The given file, or the project's.

    Raises:
        CommandError: no file was given, and there is no project here.
    """
    if given is not None:
        return given
    here = Path.cwd()
    beside_the_package = Path(__file__).parents[2]
    for folder in (here, *here.parents, beside_the_package):
        path = folder / PROJECT_FILE
        if path.is_file():
            return path.relative_to(here) if path.is_relative_to(here) else path
    raise CommandError(
        f"There is no {PROJECT_FILE} here or in a folder above; name the file that has the plan with --plan."
    )
