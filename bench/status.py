"""6. The state of a fleet by `mesh status`, against reading the same clusters one after another.

From real API servers, which answer at once and share the CPUs with what is measured; and from simulated ones
(`bench.simulated_api`), more of them, near and at a distance. Both report a healthy mesh; what gateways say of their
tunnels is simulated in both, because the lab has none.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from rich.console import Console

from bench import SkippedError, measure, plans, simulated_api, workspace
from lab.standin import operator
from mesh.access import kubeconfig_variable
from mesh.health.report import READ_SECONDS

REAL = (2, 8)
SIMULATED = (2, 8, 32)
DELAYS = (0, 20)  # milliseconds before each answer: in the same rack, and over a WAN
ROUNDS = 5
STATUS, TOGETHER, ONE_BY_ONE = "mesh status", "taken apart", "one after another"


@dataclass
class _Fleet:
    """A plan whose clusters can be read.

    Attributes:
        label: what it is, for the tables.
        plan: the file.
        env: the environment that leads to the clusters.
        requests: how many each cluster has answered so far; nothing where nobody counts them.
    """

    label: str
    plan: Path
    env: Mapping[str, str]
    requests: Callable[[], dict[str, int]] = dict


def run(console: Console) -> None:
    """Print the section."""
    told: list[str] = []
    try:
        _tables(console, "Real API servers of the lab", _real(console))
        told.append("In the lab, Spiderpool's part of a site is read and not judged: none runs there.")
    except SkippedError as error:
        told.append(f"No figures from real API servers: {error}.")
    _tables(console, "Simulated API servers: plain HTTP, no TLS", _simulated())
    told.append(f"Each simulated cluster has {simulated_api.NODES} nodes and {simulated_api.PODS} pods in the mesh.")
    told.append(f"A cluster that has not answered after {READ_SECONDS:g} s is left out; here each has.")
    for line in told:
        console.print(line, highlight=False)


def _tables(console: Console, title: str, fleets: Generator[_Fleet, None, None]) -> None:
    """How long it takes, and where the time goes."""
    whole = measure.table(
        title,
        "clusters",
        f"{STATUS} s",
        "min - max s",
        f"{ONE_BY_ONE} s",
        f"x {ONE_BY_ONE}",
        "CPU s",
        "peak MiB",
        "requests a cluster",
    )
    parts = measure.table(
        f"{title}: where the time of {STATUS} goes, s", "clusters", "interpreter", "imports", "plan", "reading",
        "judging", "printing", f"reading {ONE_BY_ONE}",
    )  # fmt: skip
    with closing(fleets):  # whatever happens, its clusters go
        for fleet in fleets:
            series = _measured(fleet)
            side, other = series[STATUS], series[ONE_BY_ONE]
            runs = (ROUNDS + 1) * len(series)
            each = {count / runs for count in fleet.requests().values()}
            whole.add_row(
                fleet.label,
                f"{side.seconds:.2f}",
                side.spread(),
                f"{other.seconds:.2f}",
                f"{side.seconds / other.seconds:.2f}",
                f"{side.cpu:.2f}",
                f"{side.peak:.0f}",
                ", ".join(f"{count:g}" for count in sorted(each)) or "not counted",
            )
            spent = _parts(series[TOGETHER])
            rest = series[TOGETHER].seconds - sum(spent.values())
            numbers = (rest, *spent.values(), _parts(other)["reading"])
            parts.add_row(fleet.label, *(f"{seconds:.2f}" for seconds in numbers))
    console.print(whole, parts)


def _measured(fleet: _Fleet) -> dict[str, measure.Series]:
    reading = [sys.executable, "-m", "bench.reading", str(fleet.plan)]
    sides = {
        STATUS: [sys.executable, "-m", "mesh", "status", "--plan", str(fleet.plan), "--json"],
        TOGETHER: [*reading, "together"],
        ONE_BY_ONE: [*reading, "one-by-one"],
    }
    runs = {name: partial(measure.run, argv, cwd=plans.ROOT, env=fleet.env) for name, argv in sides.items()}
    return measure.by_turns(runs, ROUNDS)


def _parts(side: measure.Series) -> dict[str, float]:
    """Medians of what the runs say of themselves."""
    documents = [json.loads(sample.stdout) for sample in side.samples]
    return {name: statistics.median(document[name] for document in documents) for name in documents[0]}


def _real(console: Console) -> Generator[_Fleet, None, None]:
    """Joined clusters of the lab. Its simulated nodes run no Spiderpool, so sites are read and not judged."""
    for count in REAL:
        with workspace.with_clusters(count, console) as made:
            made.run_pulumi("up", "--yes", "--skip-preview", "--suppress-outputs", "--stack", workspace.STACK)
            kubeconfigs = {name: made.kubeconfig(name) for name in made.plan.clusters}
            operator.simulate(kubeconfigs)
            for path in kubeconfigs.values():
                operator.make_stale(path, seconds=-3600)  # as if they reported for as long as this takes
            raw = yaml.safe_load((made.folder / "Pulumi.yaml").read_text())["config"]["mesh:plan"]["value"]
            raw["verify"] |= {"tunnel": True}
            yield _Fleet(str(count), plans.write(raw, made.home), made.env)


def _simulated() -> Generator[_Fleet, None, None]:
    for delay in DELAYS:
        for count in SIMULATED:
            with tempfile.TemporaryDirectory() as folder:
                plan = plans.write(plans.of(count), Path(folder))
                with _serving(plan, delay) as (ports, answered):
                    env = {
                        kubeconfig_variable(name): str(_kubeconfig(plan.parent, name, port))
                        for name, port in ports.items()
                    }
                    yield _Fleet(f"{count}, after {delay} ms", plan, os.environ | env, answered)


@contextmanager
def _serving(plan: Path, delay: int) -> Iterator[tuple[dict[str, int], Callable[[], dict[str, int]]]]:
    """Simulated API servers in a process of their own: their ports, and a way to ask what they have answered."""
    argv = [sys.executable, "-m", "bench.simulated_api", str(plan), str(delay)]
    with subprocess.Popen(
        argv, cwd=plans.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        asks, says = process.stdin, process.stdout
        if asks is None or says is None:
            raise measure.RunError("no pipes to the simulated API servers")

        def answered() -> dict[str, int]:
            asks.write("\n")
            counts: dict[str, int] = json.loads(says.readline())
            return counts

        try:
            yield json.loads(says.readline()), answered
        finally:
            asks.close()  # that ends it


def _kubeconfig(folder: Path, name: str, port: int) -> Path:
    path = folder / f"{name}.kubeconfig"
    context = {"name": name, "context": {"cluster": name, "user": name}}
    document = {
        "current-context": name,
        "contexts": [context],
        "clusters": [{"name": name, "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": name, "user": {"token": "none"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path
