"""The certificate of Spiderpool's webhooks."""

import base64
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from mesh.steps.spec import CertificateSpec
from tests.steps.runner import run

NAMES = [
    "spiderpool-controller",
    "spiderpool-controller.kube-system",
    "spiderpool-controller.kube-system.svc",
    "spiderpool-controller.kube-system.svc.cluster.local",
]


@pytest.fixture(scope="module")
def pem() -> dict[str, bytes]:
    result = run("certificate", CertificateSpec(namespace="kube-system")).result
    assert set(result) == {"ca", "certificate", "key"}
    return {name: base64.b64decode(value) for name, value in result.items()}


def test_names_and_term(pem: dict[str, bytes]) -> None:
    certificate = x509.load_pem_x509_certificate(pem["certificate"])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == NAMES
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=3640) < left < timedelta(days=3660)
    assert certificate.not_valid_before_utc < datetime.now(UTC)


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_trusts_the_authority_trusts_the_server(pem: dict[str, bytes], name: str, tmp_path: Path) -> None:
    for part, content in pem.items():
        (tmp_path / part).write_bytes(content)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(far, server_side=True) as connection:
            connection.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(near, server_hostname=name) as connection:
        assert connection.recv(5) == b"hello"
    thread.join()


def test_every_run_makes_another() -> None:
    spec = CertificateSpec(service="other", namespace="spiderpool")
    first, second = run("certificate", spec).result, run("certificate", spec).result
    assert first["key"] != second["key"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(first["certificate"]))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName)[2] == "other.spiderpool.svc"
