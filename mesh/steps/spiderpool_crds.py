"""`spiderpool-crds`: apply the custom resource definitions of the pinned chart.

Helm installs what is in a chart's `crds/` once and never again: after an upgrade the new fields of pools and networks
would be dropped without a word (Spiderpool docs/usage/install/upgrade.md: `kubectl apply -f crds/`).
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import urllib3
import yaml

from mesh.steps import kube
from mesh.steps.activity import doing
from mesh.steps.errors import StepError
from mesh.steps.spec import ChartSpec

DOWNLOAD_SECONDS = 60.0


def run(spec: ChartSpec, work: Path) -> dict[str, Any]:
    """Apply every definition of the chart, server-side.

    Returns:
        `{"definitions": [name, …], "warnings": []}`, sorted.

    Raises:
        StepError: the chart cannot be had, is not the one the repository promised, or has no definitions.
    """
    cluster, _ = kube.connect(spec.access, spec.cluster_id, work)
    with doing(f"reading chart {spec.chart} {spec.version}"):
        definitions = sorted(read_definitions(spec), key=lambda definition: str(definition["metadata"]["name"]))
    if not definitions:
        raise StepError(f"chart {spec.chart} {spec.version} has no crds/: is it Spiderpool's?")
    names = [str(definition["metadata"]["name"]) for definition in definitions]
    for name, definition in zip(names, definitions, strict=True):
        with doing(f"applying {name}"):
            cluster.apply("CustomResourceDefinition", name, definition)
    return {"definitions": names, "warnings": []}


def read_definitions(spec: ChartSpec) -> Iterator[dict[str, Any]]:
    """The chart's CustomResourceDefinitions, from its folder, its archive or its repository."""
    path = Path(spec.chart)
    if spec.repository is None and path.is_dir():
        texts = [file.read_text(encoding="utf-8") for file in sorted((path / "crds").glob("*.yaml"))]
    else:
        texts = list(_archived(_archive(spec)))
    for text in texts:
        for document in yaml.safe_load_all(text):
            if document and document.get("kind") == "CustomResourceDefinition":
                yield document


def _archive(spec: ChartSpec) -> bytes:
    if spec.repository is None:
        try:
            return Path(spec.chart).read_bytes()
        except OSError as error:
            raise StepError(f"chart {spec.chart} cannot be read ({error.strerror}): correct spiderpool.chart") from None
    base = spec.repository.rstrip("/") + "/"
    index = yaml.safe_load(_download(urljoin(base, "index.yaml")))
    versions = {entry["version"]: entry for entry in (index.get("entries") or {}).get(spec.chart, [])}
    entry = versions.get(spec.version)
    if entry is None:
        raise StepError(f"{spec.repository} has no chart {spec.chart} {spec.version}: correct spiderpool.version")
    archive = _download(urljoin(base, entry["urls"][0]))
    if entry.get("digest") and hashlib.sha256(archive).hexdigest() != entry["digest"]:
        raise StepError(f"the archive of chart {spec.chart} {spec.version} is not the one that the index promises")
    return archive


def _download(url: str) -> bytes:
    try:
        answer = urllib3.PoolManager().request("GET", url, timeout=DOWNLOAD_SECONDS, retries=2)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise StepError(
            f"{url} cannot be reached ({type(error).__name__}): where there is no way out, set spiderpool.chart to the "
            "path of the chart's archive and spiderpool.repository to null"
        ) from None
    if answer.status != 200:
        raise StepError(f"{url} answers with status {answer.status}: correct spiderpool.repository")
    return bytes(answer.data)


def _archived(archive: bytes) -> Iterator[str]:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
            for member in files.getmembers():
                parts = Path(member.name).parts
                if len(parts) == 3 and parts[1] == "crds" and parts[2].endswith(".yaml"):
                    content = files.extractfile(member)
                    if content:
                        yield content.read().decode("utf-8")
    except tarfile.TarError as error:
        raise StepError(f"the chart's archive cannot be read ({error}): get it again") from None
