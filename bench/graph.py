"""2. The program by number of clusters in one stack: its own time and memory, without an engine and plugins."""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench import measure, plans

CLUSTERS = (2, 10, 50)
ROUNDS = 5


def run(console: Console) -> None:
    """Print the section."""
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for clusters in CLUSTERS:
            (Path(folder) / str(clusters)).mkdir()
            files[clusters] = plans.write(plans.of(clusters), Path(folder) / str(clusters))
        for mode in ("up", "preview"):
            sides = {str(clusters): _side(file, mode) for clusters, file in files.items()}
            _table(console, mode, measure.by_turns(sides, ROUNDS))


def _side(file: Path, mode: str) -> Callable[[], measure.Sample]:
    return lambda: measure.run([sys.executable, "-m", "bench.program", str(file), mode], cwd=plans.ROOT)


def _table(console: Console, mode: str, series: dict[str, measure.Series]) -> None:
    made = measure.table(
        f"The program, {mode}: every further cluster",
        "clusters",
        "resources",
        "process s",
        "min - max s",
        "CPU s",
        "program s",
        "peak MiB",
        "CPU ms a cluster",
        "MiB a cluster",
        "growth",
    )
    least, before = series[str(CLUSTERS[0])], 0.0
    for clusters in CLUSTERS:
        side = series[str(clusters)]
        documents = [json.loads(sample.stdout) for sample in side.samples]
        further = clusters - CLUSTERS[0]
        per_cluster = (side.cpu - least.cpu) / further * 1000 if further else 0.0
        made.add_row(
            str(clusters),
            str(documents[0]["resources"]),
            f"{side.seconds:.2f}",
            side.spread(),
            f"{side.cpu:.2f}",
            f"{statistics.median(document['seconds'] for document in documents):.2f}",
            f"{side.peak:.0f}",
            f"{per_cluster:.0f}" if further else "",
            f"{(side.peak - least.peak) / further:.2f}" if further else "",
            f"{per_cluster / before:.2f}" if before else "",
        )
        before = per_cluster
    console.print(made)
    console.print("growth: what a further cluster costs, against the row above; 1 is linear.", highlight=False)
