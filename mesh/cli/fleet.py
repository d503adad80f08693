"""`mesh up`, `preview`, `refresh`, `destroy` and `stacks`: all the stacks of the plan at once."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mesh.cli.output import CommandError, complain, console
from mesh.cli.project import plan_file
from mesh.fleet.errors import FleetError
from mesh.fleet.order import Operation, Rollout, rollout, waves
from mesh.fleet.stacks import Fleet, Stack, load, matrix, missing_credentials

if TYPE_CHECKING:  # it brings the Pulumi SDK with it, and a bad plan is refused without
    from mesh.fleet.engine import Engine
    from mesh.fleet.run import Task

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
PARALLEL = 5


class StacksFormat(StrEnum):
    """What the list of stacks is for."""

    TEXT = "text"
    JSON = "json"


class SummaryFormat(StrEnum):
    """What the summary is for."""

    TEXT = "text"
    MARKDOWN = "markdown"


Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="CLUSTER[,CLUSTER]", help="Only the stacks of these clusters. Unset: all.", show_default=False
    ),
]
Parallel = Annotated[
    int, typer.Option("--parallel", min=1, metavar="N", help="Stacks at once; each takes about 0.5 GiB of memory.")
]
Logs = Annotated[
    Path, typer.Option("--logs", metavar="DIR", help="What Pulumi prints goes to DIR/<UTC time>/<stack>.log.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it at once, without a preview and a question.")]
Init = Annotated[
    bool,
    typer.Option("--init", help="Create the stacks that the backend does not have, as `pulumi stack init` does."),
]


def up(
    only: Only = None, parallel: Parallel = PARALLEL, logs: Logs = Path("logs"), yes: Yes = False, init: Init = False
) -> None:
    """Bring all stacks up: the broker's first, then the members side by side.

    A failed stack keeps those from starting that have not; those that run go on. A new version of Submariner or
    Spiderpool goes to one cluster at a time. A new IPsec pre-shared key (submariner.pskRotation) goes to all members
    at once, whatever happens to one of them, because without it they are cut off.

    Exit codes: 0 done; 1 a stack failed, or the plan or the stacks are wrong; 2 not confirmed; 130 stopped by Ctrl-C.
    """
    _change(Operation.UP, only, parallel, logs, yes=yes, init=init)


def preview(
    only: Only = None,
    parallel: Parallel = PARALLEL,
    logs: Logs = Path("logs"),
    summary: Annotated[
        SummaryFormat, typer.Option("--summary", help="text for people, markdown for a comment on a pull request.")
    ] = SummaryFormat.TEXT,
    allow_replace: Annotated[
        bool, typer.Option("--allow-replace", help="Let pools, the broker and joins be replaced or deleted.")
    ] = False,
    init: Init = False,
) -> None:
    """Show what `up` would change in each stack. Needs no cluster, no credentials for one, and no subctl.

    Exit codes: 0 fine; 1 a stack failed, or the plan or the stacks are wrong; 2 a pool, the broker or a join would be
    replaced or deleted, and --allow-replace is not given; 130 stopped by Ctrl-C.
    """
    with _told():
        fleet, stacks = _stacks(only)
        engine = _engine(fleet, stacks, init=init)
        tasks = _run(engine, Operation.PREVIEW, stacks, parallel, logs, dry_run=True)
    from mesh.fleet.summary import losses, markdown, print_summary

    lost = losses(tasks)
    if summary is SummaryFormat.MARKDOWN:
        typer.echo(markdown(tasks, lost))
    else:
        print_summary(console(), tasks, dry_run=True)
    _end(tasks)
    if lost and not allow_replace:
        complain("Refused: pods or clusters would be cut off.\n" + "\n".join(f"  {line}" for line in lost))
        typer.echo("Where that is meant: --allow-replace.", err=True)
        raise typer.Exit(REFUSED)


def refresh(
    only: Only = None,
    parallel: Parallel = PARALLEL,
    logs: Logs = Path("logs"),
    yes: Yes = False,
    expect_no_changes: Annotated[
        bool,
        typer.Option("--expect-no-changes", help="Only look, and end with exit code 2 where a cluster has drifted."),
    ] = False,
) -> None:
    """Read all clusters and take what they have become into the stacks' state.

    With --expect-no-changes the state stays as it is, so that drift is reported until somebody has dealt with it.

    Exit codes: 0 done; 1 a stack failed, or the plan or the stacks are wrong; 2 drift was found, or not confirmed;
    130 stopped by Ctrl-C.
    """
    if not expect_no_changes:
        _change(Operation.REFRESH, only, parallel, logs, yes=yes)
        return
    with _told():
        fleet, stacks = _stacks(only)
        _need_credentials(stacks)
        tasks = _run(_engine(fleet, stacks), Operation.REFRESH, stacks, parallel, logs, dry_run=True)
    from mesh.fleet.summary import has_changes, print_summary

    print_summary(console(), tasks, dry_run=True)
    _end(tasks)
    if has_changes(tasks):
        complain("Drift: a cluster is not what its stack's state says.")
        typer.echo("`refresh` takes what it has become into the state, and `up` then puts it right.", err=True)
        raise typer.Exit(REFUSED)


def destroy(only: Only = None, parallel: Parallel = PARALLEL, logs: Logs = Path("logs"), yes: Yes = False) -> None:
    """Take everything out of the clusters again: members leave first, side by side, then the broker's stack goes.

    The stacks themselves stay, empty; `pulumi stack rm` removes them.

    Exit codes: 0 done; 1 a stack failed, or the plan or the stacks are wrong; 2 not confirmed; 130 stopped by Ctrl-C.
    """
    _change(Operation.DESTROY, only, parallel, logs, yes=yes)


def stacks(
    output: Annotated[
        StacksFormat, typer.Option("--format", help="text for people, json for a CI matrix: {'include': […]}.")
    ] = StacksFormat.TEXT,
    only: Only = None,
) -> None:
    """List the stacks and the clusters each one owns, in the order in which `up` goes. Asks no backend.

    Exit codes: 0 fine; 1 the plan or the stacks are wrong.
    """
    with _told():
        _, selected = _stacks(only)
    if output is StacksFormat.JSON:
        typer.echo(json.dumps({"include": matrix(selected)}))
        return
    for stack in selected:
        typer.echo(f"{stack.name}: {', '.join(stack.clusters)}" + (" (broker)" if stack.hosts_broker else ""))


def _change(
    operation: Operation, only: list[str] | None, parallel: int, logs: Path, *, yes: bool, init: bool = False
) -> None:
    """Run an operation that changes clusters or state, after a preview and a question unless told `yes`."""
    with _told():
        fleet, stacks = _stacks(only)
        _need_credentials(stacks)
        if not yes and not sys.stdin.isatty():
            complain(f"Refused: nobody is here to confirm `{operation}`. Where it is meant: --yes.")
            raise typer.Exit(REFUSED)
        engine = _engine(fleet, stacks, init=init)
        how = _rollout(engine, fleet, stacks) if operation is Operation.UP else Rollout()
        for reason in how.reasons:
            typer.echo(reason, err=True)
        if not yes:
            _confirm(engine, operation, stacks, parallel, logs)
        tasks = _run(engine, operation, stacks, parallel, logs, how, dry_run=False)
    from mesh.fleet.summary import print_summary

    print_summary(console(), tasks, dry_run=False)
    _end(tasks)


def _confirm(engine: "Engine", operation: Operation, stacks: Sequence[Stack], parallel: int, logs: Path) -> None:
    from mesh.fleet.summary import has_changes, print_summary

    tasks = _run(engine, operation, stacks, parallel, logs, dry_run=True)
    print_summary(console(), tasks, dry_run=True)
    _end(tasks)
    if not has_changes(tasks):
        raise typer.Exit
    if not typer.confirm(f"\n{operation.capitalize()} {', '.join(stack.name for stack in stacks)}?", err=True):
        complain("Not confirmed; nothing was changed.")
        raise typer.Exit(REFUSED)


def _stacks(only: list[str] | None) -> tuple[Fleet, tuple[Stack, ...]]:
    """The project, and the stacks of it that are meant."""
    fleet = load(plan_file(None).parent)
    wanted = [name.strip() for given in only or () for name in given.split(",") if name.strip()]
    return fleet, fleet.select(wanted)


def _need_credentials(stacks: Sequence[Stack]) -> None:
    if missing := missing_credentials(stacks):
        raise FleetError("No way to the clusters; nothing was started.\n" + "\n".join(f"  {line}" for line in missing))


def _engine(fleet: Fleet, stacks: Sequence[Stack], *, init: bool = False) -> "Engine":
    from mesh.fleet.engine import Engine

    engine = Engine(fleet.folder)
    there = engine.initialised()
    if absent := [stack for stack in stacks if stack.name not in there]:
        if not init:
            commands = "\n".join(f"  pulumi stack init {stack.name}" for stack in absent)
            raise FleetError(f"The backend does not have these stacks yet; create them, or pass --init:\n{commands}")
        for stack in absent:
            engine.initialise(stack)
    return engine


def _rollout(engine: "Engine", fleet: Fleet, stacks: Sequence[Stack]) -> Rollout:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=4) as pool:
        outputs = dict(zip((stack.name for stack in stacks), pool.map(engine.outputs, stacks), strict=True))
    return rollout(fleet.plan, fleet.stacks, stacks, outputs)


def _run(
    engine: "Engine",
    operation: Operation,
    stacks: Sequence[Stack],
    parallel: int,
    logs: Path,
    how: Rollout | None = None,
    *,
    dry_run: bool,
) -> "list[Task]":
    from mesh.fleet.progress import board
    from mesh.fleet.run import Run

    folder = logs / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    order = waves(operation, stacks, parallel, (how or Rollout()).pace, dry_run=dry_run)
    with board() as shown:
        tasks = Run(engine, operation, shown, folder, dry_run=dry_run).run(order)
    typer.echo(f"All that Pulumi printed: {folder}", err=True)
    return tasks


def _end(tasks: "Sequence[Task]") -> None:
    """End the program here where a stack has not come through."""
    from mesh.fleet.run import State

    states = {task.state for task in tasks}
    if State.FAILED in states:
        raise typer.Exit(FAILED)
    if states - {State.DONE}:
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except FleetError as error:
        raise CommandError(str(error)) from None
