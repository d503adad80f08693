"""Joins the summaries of several previews into one, for one comment on a pull request.

    python3 .github/scripts/summary.py summary-cluster-a.md summary-cluster-b.md

Each file is what `python -m mesh preview --only <stack> --summary markdown` has printed. An empty one, left by a
preview that could not even start, becomes a line of the table too: a stack that is missing must not look like one
without changes. Needs nothing but Python.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

MARKER = "<!-- multi-cluster-mesh -->"
LIMIT = 60_000  # GitHub takes 65,536 characters in a comment
_HEADER = ["| stack | same | update | create | delete | replace | |", "|---|--:|--:|--:|--:|--:|---|"]
_MORE = "\nThere is more; see the logs of this run.\n"


@dataclass
class Summary:
    """One file, taken apart."""

    cautions: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    details: str = ""


def parse(text: str, stack: str) -> Summary:
    """The parts of a summary: what is refused, the table, and the sections below it."""
    found = Summary()
    lines = text.splitlines()
    table = next((number for number, line in enumerate(lines) if line.startswith("| ")), None)
    if table is None:
        said = " ".join(text.split())[:500]
        found.rows = [f"| {stack} | | | | | | no preview: {said or 'see the log of its job'} |"]
        return found
    end = next((number for number in range(table, len(lines)) if not lines[number].startswith("|")), len(lines))
    found.cautions = [line for line in lines[:table] if line.startswith("> - ")]
    found.header, found.rows = lines[table : table + 2], lines[table + 2 : end]
    found.details = "\n".join(lines[end:]).strip()
    return found


def join(summaries: list[Summary]) -> str:
    """One summary of them all."""
    rows = [row for summary in summaries for row in summary.rows]
    changed = [row for row in rows if not row.endswith("| no changes |")]
    title = f"changes in {len(changed)} of {len(rows)} stacks" if changed else "no changes"
    lines = [MARKER, f"### Mesh: {title}", ""]
    if cautions := [line for summary in summaries for line in summary.cautions]:
        lines += ["> [!CAUTION]", "> Pods or clusters are cut off:", *cautions, ""]
    lines += next((summary.header for summary in summaries if summary.header), _HEADER) + rows
    text = "\n".join(lines) + "\n"
    for details in filter(None, (summary.details for summary in summaries)):
        if len(text) + len(details) + len(_MORE) > LIMIT:
            return text + _MORE
        text += f"\n{details}\n"
    return text


def main(paths: list[str]) -> int:
    """Print the summary of the given files."""
    if not paths:
        sys.stderr.write("usage: summary.py <file> ...\n")
        return 2
    parts = []
    for path in map(Path, sorted(paths)):
        parts.append(parse(path.read_text(encoding="utf-8"), path.stem.removeprefix("summary-")))
    sys.stdout.write(join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
