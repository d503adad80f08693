"""What `mesh status --json` does, taken apart: `python -m bench.reading <plan.yaml> together|one-by-one`.

With the same functions, called one part after another: the imports, the plan, reading the clusters, judging what they
say, printing. `one-by-one` reads a cluster only when the one before it has answered everything. Prints `{"<part>":
<seconds>, …}`; what the process takes besides is the interpreter's start and end.
"""

# ruff: noqa: E402 the clock comes first
import time

_STARTED = time.perf_counter()

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import mesh.cli.app  # noqa: F401 as the command does
from mesh.access import ClusterAccess
from mesh.cli.status import access_of, document
from mesh.health import probes
from mesh.health.expect import expected
from mesh.health.models import Reading
from mesh.health.parallel import in_parallel
from mesh.health.read import read
from mesh.health.report import READ_SECONDS, Health, judge
from mesh.plan import MeshPlan, read_plan
from mesh.steps.kube import connect
from mesh.steps.workdir import work_dir


def main(path: Path, *, together: bool) -> dict[str, float]:
    """Do it, and give the seconds of each part."""
    spent = {"imports": time.perf_counter() - _STARTED}

    @contextmanager
    def part(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        spent[name] = time.perf_counter() - began

    with part("plan"):
        plan = read_plan(path)
        access = access_of(plan, path)
    with part("reading"), work_dir() as work:
        todo = {name: partial(_read, plan, name, access[name], work) for name in plan.clusters}
        found = in_parallel(todo, READ_SECONDS) if together else {name: one() for name, one in todo.items()}
    with part("judging"):
        report = judge(plan, found, probes.no_traffic("no traffic was sent"))
    with part("printing"):
        io.StringIO().write(json.dumps(document(report), ensure_ascii=False, indent=2))
    if report.health is not Health.HEALTHY:
        raise SystemExit("\n".join(report.wrong()) or report.health)
    return spent


def _read(plan: MeshPlan, name: str, access: ClusterAccess, work: Path) -> Reading:
    folder = work / name
    folder.mkdir()
    cluster, _ = connect(access, name, folder)
    return read(cluster, expected(plan, name))


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), together=sys.argv[2] == "together")))
