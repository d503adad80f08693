"""What came out of a run: for a terminal, and as Markdown for a comment on a pull request."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mesh.fleet.changes import Change, Op
from mesh.fleet.progress import SIGNS, STYLES
from mesh.fleet.run import State, Task

MARKER = "<!-- multi-cluster-mesh -->"
"""First line of the Markdown: by it, a workflow finds its own comment again."""

_SHOWN = (Op.CREATE, Op.UPDATE, Op.REPLACE, Op.DELETE)
_LINES_OF_AN_ERROR = 15
_MARKDOWN_LIMIT = 60_000  # GitHub takes 65,536 characters in a comment
_RESULTS = {State.FAILED: "failed", State.STOPPED: "stopped", State.NOT_STARTED: "not started"}


def losses(tasks: Sequence[Task]) -> list[str]:
    """A sentence for every pool, broker or join that is replaced or deleted: what cuts pods or clusters off."""
    return [
        f"{task.stack.name}: {change.op} of {change.role} {change.name}"
        + (f" ({', '.join(item.path for item in change.properties)})" if change.properties else "")
        for task in tasks
        for change in task.changes.changes()
        if change.role and change.op in (Op.REPLACE, Op.DELETE)
    ]


def has_changes(tasks: Sequence[Task]) -> bool:
    """Whether anything was or would be changed."""
    return any(_changed(task) for task in tasks)


def print_summary(console: Console, tasks: Sequence[Task], *, dry_run: bool) -> None:
    """One table, then what changes where, then what went wrong."""
    table = Table(header_style="", box=None, padding=(0, 2, 0, 0))
    table.add_column("stack")
    for op in Op:
        table.add_column(op.value, justify="right")
    table.add_column("time", justify="right")
    table.add_column("")
    for task in tasks:
        found = task.changes.count()
        numbers = [Text(str(found[op]), STYLES[op] if found[op] else "dim") for op in Op]
        time = f"{task.seconds:.1f} s" if task.seconds is not None else ""
        table.add_row(task.stack.name, *numbers, time, _result(task, dry_run))
    console.print(table)
    for task in tasks:
        warnings = [Text(f"  warning: {warning}", "yellow") for warning in task.changes.warnings()]
        if lines := [*_lines(_changed(task)), *warnings]:
            console.print(f"\n{task.stack.name}", style="bold")
            for line in lines:
                console.print(line, soft_wrap=True)
    for task in tasks:
        if errors := task.errors():
            console.print(f"\n{task.stack.name} failed; all it printed: {task.log}", style="bold red", soft_wrap=True)
            for error in errors:
                console.print(Text("  " + _shortened(error).replace("\n", "\n  ")), soft_wrap=True)


def markdown(tasks: Sequence[Task], refused: Sequence[str]) -> str:
    """The same as Markdown. No values but those of Spiderpool's objects, which are addresses and names."""
    changed = sum(bool(_changed(task)) for task in tasks)
    failed = [task for task in tasks if task.state is not State.DONE]
    title = "no changes" if not changed else f"changes in {changed} of {len(tasks)} stacks"
    if failed:
        title += f", {len(failed)} failed"
    lines = [MARKER, f"### Mesh: {title}", ""]
    if refused:
        lines += ["> [!CAUTION]", "> Pods or clusters are cut off:", *(f"> - {_plain(text)}" for text in refused), ""]
    lines += ["| stack | " + " | ".join(op.value for op in Op) + " | |", "|---|" + "--:|" * len(Op) + "---|"]
    for task in tasks:
        found = task.changes.count()
        numbers = " | ".join(str(found[op]) for op in Op)
        lines.append(f"| {task.stack.name} | {numbers} | {_result(task, dry_run=True)} |")
    sections = [section for task in tasks for section in _sections(task)]
    text = "\n".join(lines) + "\n"
    for section in sections:
        if len(text) + len(section) > _MARKDOWN_LIMIT:
            return text + "\nThere is more; see the log of this run.\n"
        text += "\n" + section
    return text


def _changed(task: Task) -> list[Change]:
    return [change for change in task.changes.changes() if change.op is not Op.SAME]


def _result(task: Task, dry_run: bool) -> str:
    if task.state in _RESULTS:
        reason = f": {task.reason}" if task.state is not State.FAILED else ""
        return _RESULTS[task.state] + reason
    if not _changed(task):
        return "no changes"
    return "would change" if dry_run else "changed"


def _lines(changes: Sequence[Change]) -> Iterator[Text]:
    for op in _SHOWN:
        # Components are only folders; what is in them is told.
        chosen = [change for change in changes if change.op is op and not change.component]
        plain = [
            change.name for change in chosen if not change.role and not (change.properties and op is not Op.CREATE)
        ]
        if plain:
            yield Text(f"  {SIGNS[op]} {op}: {', '.join(plain)}", STYLES[op])
        for change in chosen:
            if change.name in plain:
                continue
            role = f"{change.role} " if change.role else ""
            yield Text(f"  {SIGNS[op]} {op}: {role}{change.name}", f"bold {STYLES[op]}" if role else STYLES[op])
            if op is not Op.CREATE:
                yield from (Text(f"      {item}", "dim") for item in change.properties)


def _sections(task: Task) -> Iterator[str]:
    changed = [change for change in _changed(task) if not change.component]
    if changed:
        found = task.changes.count()
        told = ", ".join(f"{found[op]} to {op}" for op in _SHOWN if found[op])
        lines = [f"<details><summary>{task.stack.name}: {told}</summary>", ""]
        for change in sorted(changed, key=lambda change: (not change.role, _SHOWN.index(change.op))):
            role = f"**{change.role}** " if change.role else ""
            lines.append(f"- `{SIGNS[change.op]}` {change.op} {role}{_code(change.name)} ({change.kind})")
            if change.op is not Op.CREATE:
                lines += [f"  - {_code(str(item))}" for item in change.properties]
        yield "\n".join([*lines, "", "</details>", ""])
    for warning in task.changes.warnings():
        yield f"{task.stack.name}: {_plain(warning)}\n"
    if errors := task.errors():
        text = "\n".join(_shortened(error) for error in errors).replace("```", "'''")
        yield f"**{task.stack.name} failed**\n\n```\n{text}\n```\n"


def _shortened(error: str) -> str:
    lines = [line for line in error.splitlines() if line.strip()]
    if len(lines) > _LINES_OF_AN_ERROR:
        lines = [*lines[:_LINES_OF_AN_ERROR], f"… {len(lines) - _LINES_OF_AN_ERROR} more lines in the log"]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """In one line, and nothing in it is HTML."""
    return " ".join(text.split()).replace("<", "&lt;")


def _code(text: str) -> str:
    """As code in one line."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`"
