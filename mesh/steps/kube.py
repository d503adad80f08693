"""A cluster as the steps see it: plain REST calls, and every failure as one sentence with what to do.

Plain REST, because the client library's dynamic API would read the list of all API groups first and its typed API knows
no custom resources. The library does what is hard: credentials, plugins, certificates and proxies.
"""

import json
import re
import time
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from kubernetes import client, config
from urllib3.exceptions import HTTPError

from mesh.access import ClusterAccess
from mesh.steps import kubeconfig
from mesh.steps.activity import doing
from mesh.steps.errors import StepError, remember

MANAGER = "multi-cluster-mesh"
CONNECT_SECONDS, READ_SECONDS = 5.0, 20.0
POLL_SECONDS = 0.5
_ERROR_CHANNEL = 3
_JSON = "application/json"
_METADATA = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
GONE_SECONDS = 300.0  # for a namespace to vanish; its contents are few, so more than this means that it hangs
Object = dict[str, Any]

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_PLACES = {  # kind: API group, plural, whether it lies in a namespace
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "Secret": ("/api/v1", "secrets", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "Pod": ("/api/v1", "pods", True),
    "Service": ("/api/v1", "services", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "DaemonSet": ("/apis/apps/v1", "daemonsets", True),
    "RoleBinding": (_RBAC, "rolebindings", True),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "SelfSubjectAccessReview": ("/apis/authorization.k8s.io/v1", "selfsubjectaccessreviews", False),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "Broker": ("/apis/submariner.io/v1alpha1", "brokers", True),
    "Submariner": ("/apis/submariner.io/v1alpha1", "submariners", True),
    "Cluster": ("/apis/submariner.io/v1", "clusters", True),
    "Endpoint": ("/apis/submariner.io/v1", "endpoints", True),
    "Gateway": ("/apis/submariner.io/v1", "gateways", True),
    "ServiceImport": ("/apis/multicluster.x-k8s.io/v1alpha1", "serviceimports", True),
    "SpiderCoordinator": ("/apis/spiderpool.spidernet.io/v2beta1", "spidercoordinators", False),
    "SpiderMultusConfig": ("/apis/spiderpool.spidernet.io/v2beta1", "spidermultusconfigs", True),
    "SpiderIPPool": ("/apis/spiderpool.spidernet.io/v2beta1", "spiderippools", False),
    "NetworkAttachmentDefinition": ("/apis/k8s.cni.cncf.io/v1", "network-attachment-definitions", True),
}


class UnreachableError(StepError):
    """The API server did not answer, or not as one that knows us."""


class PermissionDeniedError(StepError):
    """The credentials are good and the permissions are not."""


class Refusal(Exception):  # noqa: N818 not an error by itself: 404 and 409 are answers
    """An API server's answer that is not 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Cluster:
    """One API server.

    Attributes:
        name: the cluster's ID, for messages.
        server: URL of the API server.
    """

    def __init__(self, name: str, server: str, source: str, settings: client.Configuration) -> None:
        self.name = name
        self.server = server
        self._source = source
        if is_loopback(server):
            settings.proxy = None  # as Go's net/http does; a proxy elsewhere cannot reach us here
        # Not POST and PATCH: they may have been done although the answer was lost.
        settings.retries = urllib3.Retry(
            connect=1, read=1, status=2, redirect=0, backoff_factor=0.2, status_forcelist=[429, 502, 503, 504],
            raise_on_status=False,
        )  # fmt: skip
        self._settings = settings
        self._pool = client.ApiClient(settings).rest_client.pool_manager

    def __str__(self) -> str:
        return self.name

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """An object; None where it, or its kind, does not exist."""
        try:
            return self._call("GET", _path(kind, namespace, name))
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise self._error(refusal, f"read {_what(kind, name, namespace)}") from None

    def list(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", metadata_only: bool = False
    ) -> list[Object]:
        """Objects of one namespace or, without one, of all; none where the kind does not exist."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        accept = _METADATA if metadata_only else _JSON
        try:
            items: list[Object] = self._call("GET", _path(kind, namespace), query, accept=accept)["items"]
        except Refusal as refusal:
            if refusal.status == 404:
                return []
            raise self._error(refusal, f"list {_what(kind, '', namespace)}") from None
        return items

    def create(self, kind: str, body: Object) -> Object | None:
        """Create an object; None where one of that name is there already."""
        metadata = body.get("metadata", {})
        try:
            return self._call("POST", _path(kind, metadata.get("namespace", "")), body=body)
        except Refusal as refusal:
            if refusal.status == 409:
                return None
            what = _what(kind, metadata.get("name", ""), metadata.get("namespace", ""))
            raise self._error(refusal, f"create {what}") from None

    def patch(self, kind: str, name: str, namespace: str, changes: Object) -> Object:
        """Merge changes into an object (JSON merge patch)."""
        try:
            return self._call(
                "PATCH", _path(kind, namespace, name), body=changes, content="application/merge-patch+json"
            )
        except Refusal as refusal:
            raise self._error(refusal, f"change {_what(kind, name, namespace)}") from None

    def apply(self, kind: str, name: str, body: Object) -> Object:
        """Have an object outside of namespaces as `body` says (server-side apply), whoever else has set its fields."""
        query = {"fieldManager": MANAGER, "force": "true"}
        try:
            return self._call("PATCH", _path(kind, "", name), query, body, content="application/apply-patch+yaml")
        except Refusal as refusal:
            raise self._error(refusal, f"apply {_what(kind, name, '')}") from None

    def delete(self, kind: str, name: str, namespace: str = "") -> bool:
        """Delete an object and say whether it was there; whatever finalizers it has run afterwards."""
        try:
            self._call("DELETE", _path(kind, namespace, name))
        except Refusal as refusal:
            if refusal.status in (404, 409):  # 409: a namespace that is going already
                return False
            raise self._error(refusal, f"delete {_what(kind, name, namespace)}") from None
        return True

    def version(self) -> str:
        """The Kubernetes version, such as `v1.36.3`."""
        try:
            return str(self._call("GET", "/version")["gitVersion"])
        except Refusal as refusal:
            raise self._error(refusal, "read its version") from None

    def now(self) -> int:
        """Its clock, in Unix seconds: what it has stored is compared with that, not with the clock of this machine."""
        answer = self._request("GET", "/version")
        try:
            return int(parsedate_to_datetime(answer.headers["date"]).timestamp())
        except (KeyError, ValueError):
            return int(time.time())

    def logs(self, pod: str, namespace: str, *, lines: int, previous: bool = False) -> str:
        """The last lines that a pod's only container has logged; empty where there are none to be had."""
        query = {"tailLines": str(lines), "previous": "true" if previous else ""}
        answer = self._request("GET", f"{_path('Pod', namespace, pod)}/log", query)
        return str(answer.data.decode(errors="replace")) if answer.status < 300 else ""

    def execute(self, pod: str, namespace: str, script: str, seconds: float) -> str:
        """Run a shell script in a pod's only container; gives what it prints, stdout and stderr as they come.

        The script goes through stdin: as arguments it would stand in the URL, and proxies cut long ones off.

        Raises:
            StepError: it could not be run, or did not end in time.
        """
        from kubernetes import stream

        what = f"a script in pod {namespace}/{pod} of {self.name}"
        run = client.CoreV1Api(client.ApiClient(self._settings)).connect_get_namespaced_pod_exec
        options = {"stdin": True, "stdout": True, "stderr": True, "tty": False, "_preload_content": False}
        deadline = time.monotonic() + seconds
        try:
            session = stream.stream(run, pod, namespace, command=["sh", "-s"], **options)
        except Exception as error:  # noqa: BLE001 ApiException, and whatever the websocket has
            raise StepError(f"cannot run {what}: {_handshake(error)}") from None
        with closing(session):
            try:
                session.write_stdin(f"{script}\nexit\n")
                while session.is_open() and time.monotonic() < deadline:
                    session.update(timeout=1)
            except Exception as error:  # noqa: BLE001 likewise; what it was may stand in the channel for errors
                refused = str(error)
            else:
                refused = "" if not session.is_open() else f"it did not end within {seconds:g} s"
            refused = _verdict(session.read_channel(_ERROR_CHANNEL)) or refused
            if refused:
                raise StepError(f"cannot run {what}: {refused}")
            return str(session.read_all())

    def namespace_is_going(self, name: str) -> bool:
        """Whether a namespace is being deleted (Terminating)."""
        found = self.get("Namespace", name)
        return bool(found and found["metadata"].get("deletionTimestamp"))

    def await_gone(self, namespace: str) -> None:
        """Wait until a namespace that is being deleted does not exist any more.

        Raises:
            StepError: it hangs; names what keeps it.
        """
        deadline = time.monotonic() + GONE_SECONDS
        with doing(f"waiting for namespace {namespace} of {self.name} to vanish"):
            while found := self.get("Namespace", namespace):
                if time.monotonic() > deadline:
                    raise StepError(
                        f"namespace {namespace} of {self.name} has been Terminating for {GONE_SECONDS:g} s"
                        f"{_why_it_stays(found)}: remove the finalizers of what is left in it, then run this again"
                    )
                time.sleep(POLL_SECONDS)

    def await_settled(self, *namespaces: str) -> None:
        """Wait for those of the namespaces that are being deleted: what is made in them meanwhile would vanish too."""
        for namespace in namespaces:
            if self.namespace_is_going(namespace):
                self.await_gone(namespace)

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        *,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> Object:
        answer = self._request(method, path, query, body, content=content, accept=accept)
        try:
            parsed: Object = json.loads(answer.data)
        except ValueError:
            if answer.status < 300:
                raise UnreachableError(
                    f"what answers at {self.server} is no Kubernetes API server: correct {self._source}"
                ) from None
            parsed = {}
        if answer.status >= 300:
            raise Refusal(answer.status, str(parsed.get("message") or f"status {answer.status}"))
        return parsed

    def _request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        *,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> Any:
        url = self.server + path + _query(query or {})
        headers = {"accept": accept, "user-agent": MANAGER}
        if body is not None:
            headers["content-type"] = content
        try:
            # A credential plugin may run here.
            token = self._settings.auth_settings().get("BearerToken", {}).get("value")
            remember(*(token or "").split()[-1:])
            return self._pool.request(
                method,
                url,
                body=json.dumps(body) if body is not None else None,
                headers=headers | ({"authorization": token} if token else {}),
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            )
        except (HTTPError, OSError) as error:
            raise UnreachableError(
                f"the API server of {self.name} at {self.server} does not answer ({_reason(error)}): check that it runs"
                f" and that this machine reaches it, or correct {self._source}"
            ) from None

    def _error(self, refusal: Refusal, what: str) -> StepError:
        if refusal.status == 401:
            return UnreachableError(
                f"{self.name} does not accept our credentials (401 Unauthorized): renew those of {self._source}"
            )
        if refusal.status == 403:
            return PermissionDeniedError(
                f"permission denied in {self.name}: cannot {what} ({refusal.message}); use credentials with "
                f"cluster-admin rights in {self._source}"
            )
        return StepError(f"{self.name} refused to {what}: {refusal.message}")


def connect(access: ClusterAccess, name: str, work: Path) -> tuple[Cluster, kubeconfig.Kubeconfig]:
    """The cluster behind an access, and the kubeconfig that subctl needs for it; asks the API server nothing yet.

    Args:
        access: how it is reached.
        name: the cluster's ID.
        work: folder for the certificates and keys that the library writes into files.

    Raises:
        StepError: the kubeconfig cannot be used.
    """
    found = kubeconfig.resolve(access, name)
    settings = client.Configuration()
    try:
        loader = config.kube_config.KubeConfigLoader(found.document, config_base_path="", temp_file_path=str(work))
        loader.load_and_set(settings)
    except Exception as error:  # noqa: BLE001 whatever a damaged kubeconfig leads to
        raise StepError(f"{found.source} cannot be used ({type(error).__name__}): get it again") from None
    if found.plugin and not settings.api_key and not settings.cert_file:
        raise UnreachableError(
            f"{found.plugin}, which {found.source} takes credentials from, gave none: run it by hand to see why"
        )
    return Cluster(name, found.server, found.source, settings), found


def connect_with_token(name: str, server: str, source: str, token: str, ca: str, work: Path) -> Cluster:
    """The cluster at a URL, with a bearer token.

    Its certificate is checked against `ca` (PEM), or, as subctl does, against what this machine trusts.

    Raises:
        UnreachableError: it does not answer, or is not to be trusted.
    """
    file = work / "broker-ca.crt"
    file.write_text(ca, encoding="utf-8")
    for trusted in (str(file), None):
        settings = client.Configuration(host=server)
        settings.api_key["BearerToken"] = f"Bearer {token}"
        settings.ssl_ca_cert = trusted
        cluster = Cluster(name, server, source, settings)
        try:
            cluster.version()
        except UnreachableError as error:
            if trusted and "certificate" in str(error):
                continue
            raise
        return cluster
    raise AssertionError


def _path(kind: str, namespace: str, name: str = "") -> str:
    group, plural, namespaced = _PLACES[kind]
    inside = f"/namespaces/{quote(namespace, safe='')}" if namespaced and namespace else ""
    return f"{group}{inside}/{plural}" + (f"/{quote(name, safe='')}" if name else "")


def _query(query: dict[str, str]) -> str:
    given = {key: value for key, value in query.items() if value}
    return f"?{urlencode(given)}" if given else ""


def _what(kind: str, name: str, namespace: str) -> str:
    return f"{kind} {name}".strip() + (f" in namespace {namespace}" if namespace else "")


def _why_it_stays(namespace: Object) -> str:
    said = [
        condition["message"]
        for condition in namespace.get("status", {}).get("conditions") or []
        if condition.get("status") == "True"
    ]
    return f" ({'; '.join(said)})" if said else ""


def is_loopback(server: str) -> bool:
    """Whether a URL leads back to the machine that uses it."""
    host = urlsplit(server).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _verdict(status: str) -> str:
    """Why a command could not be run, as the API server says at the end; an exit code but 0 is no such reason."""
    try:
        parsed = json.loads(status)
    except ValueError:
        return ""
    failed = parsed.get("status") == "Failure" and parsed.get("reason") != "NonZeroExitCode"
    return str(parsed.get("message") or parsed.get("reason") or "it failed") if failed else ""


def _handshake(error: Exception) -> str:
    """What the API server said to a websocket that it did not want, without all of its headers."""
    text = str(getattr(error, "reason", None) or error)
    told = re.search(r'"message":"((?:[^"\\]|\\.)*)"', text)
    return str(json.loads(f'"{told[1]}"')) if told else " ".join(text.split(" -+-+- ")[0].split())


def _reason(error: Exception) -> str:
    """The innermost cause, in a few words: urllib3's own text is three errors long."""
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or cause.__cause__ or cause.__context__) and isinstance(
        inner, BaseException
    ):
        cause = inner
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return "timed out"
    text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or str(cause)
    if hasattr(cause, "verify_message"):
        return f"its certificate is not trusted: {text}"
    return str(text).rpartition("object at ")[2].partition(">: ")[2] or str(text)
