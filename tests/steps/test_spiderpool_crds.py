"""`spiderpool-crds`: the definitions of the pinned chart are in the cluster, also after an upgrade."""

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mesh.access import ClusterAccess
from mesh.steps.spec import ChartSpec
from mesh.steps.spiderpool_crds import _download, read_definitions
from tests.conftest import Lab
from tests.steps.runner import run

NAME = "things.test.multi-cluster-mesh.io"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(*fields: str) -> str:
    schema = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
    spec = {
        "group": "test.multi-cluster-mesh.io",
        "names": {"kind": "Thing", "plural": "things"},
        "scope": "Cluster",
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
    }
    return yaml.safe_dump(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": NAME},
            "spec": spec,
        }
    )


def archive(*fields: str) -> bytes:
    """A chart of one definition, with a template beside it that is none."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as files:
        for name, text in (("spiderpool/crds/thing.yaml", definition(*fields)), ("spiderpool/values.yaml", "a: 1\n")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            files.addfile(info, io.BytesIO(text.encode()))
    return content.getvalue()


def chart(path: str, version: str = "1.2.2", repository: str | None = None) -> ChartSpec:
    access = ClusterAccess.of("cluster-a")
    return ChartSpec.model_construct(
        cluster_id="cluster-a", access=access, chart=path, version=version, repository=repository, timeout=60
    )


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A chart repository on loopback, and its folder."""
    folder = tmp_path / "repository"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()


def publish(folder: Path, content: bytes, digest: str | None = None) -> None:
    (folder / "spiderpool-1.2.2.tgz").write_bytes(content)
    entry = {
        "version": "1.2.2",
        "urls": ["spiderpool-1.2.2.tgz"],
        "digest": digest or hashlib.sha256(content).hexdigest(),
    }
    (folder / "index.yaml").write_text(yaml.safe_dump({"entries": {"spiderpool": [entry]}}))


def test_an_upgrade_brings_the_new_fields(reached: Lab, tmp_path: Path) -> None:
    api = reached.api("cluster-a")
    path = tmp_path / "chart.tgz"
    try:
        for fields in (("mtu",), ("mtu", "vethMTU")):
            path.write_bytes(archive(*fields))
            assert run("spiderpool-crds", chart(str(path))).result["definitions"] == [NAME]
            (version,) = api.one(f"{CRDS}/{NAME}")["spec"]["versions"]
            assert set(version["schema"]["openAPIV3Schema"]["properties"]) == set(fields)
    finally:
        api.delete(f"{CRDS}/{NAME}")


def test_a_folder_works_too(tmp_path: Path) -> None:
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds" / "thing.yaml").write_text(definition("mtu"))
    assert [found["metadata"]["name"] for found in read_definitions(chart(str(tmp_path)))] == [NAME]


def test_from_a_repository(repository: tuple[str, Path]) -> None:
    url, folder = repository
    publish(folder, archive("mtu"))
    assert [found["metadata"]["name"] for found in read_definitions(chart("spiderpool", repository=url))] == [NAME]
    assert b"entries" in _download(f"{url}/index.yaml")


@pytest.mark.parametrize(
    ("version", "digest", "sentence"),
    [("1.2.3", None, "has no chart spiderpool 1.2.3"), ("1.2.2", "0" * 64, "not the one that the index promises")],
)
def test_what_a_repository_lacks_is_told(
    repository: tuple[str, Path], version: str, digest: str | None, sentence: str
) -> None:
    from mesh.steps.errors import StepError

    url, folder = repository
    publish(folder, archive("mtu"), digest)
    with pytest.raises(StepError, match=sentence):
        list(read_definitions(chart("spiderpool", version, url)))


def test_no_way_out_names_the_remedy(reached: Lab) -> None:
    error = run("spiderpool-crds", chart("spiderpool", repository="https://127.0.0.1:1")).error
    assert "cannot be reached" in error
    assert "spiderpool.repository to null" in error
