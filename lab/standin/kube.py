"""Clusters as subctl sees them: the kubeconfig by client-go's rules, plain REST calls, and errors in Go's words.

Plain REST instead of the client library: its import alone takes longer than most runs, its dynamic API asks for every
API group first, it leaves client keys in files when it is killed, and it hides the very errors whose texts are part of
subctl's contract.
"""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from lab.standin.errors import ApiError, SubctlError, UntrustedServerError
from lab.standin.faults import limit
from lab.standin.flags import RECOVER, Values, parse
from lab.standin.report import wrap, wrapping

if TYPE_CHECKING:
    import urllib3

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """Where an API server keeps the objects of a kind."""

    group_version: str
    plural: str
    namespaced: bool = True
    custom: bool = False  # defined by a CRD, which may be missing

    @property
    def root(self) -> str:
        """Path of the API group."""
        return f"/api/{self.group_version}" if "/" not in self.group_version else f"/apis/{self.group_version}"


_RBAC = "rbac.authorization.k8s.io/v1"
RESOURCES = {
    "Namespace": Resource("v1", "namespaces", namespaced=False),
    "Node": Resource("v1", "nodes", namespaced=False),
    "Pod": Resource("v1", "pods"),
    "Secret": Resource("v1", "secrets"),
    "Service": Resource("v1", "services"),
    "ServiceAccount": Resource("v1", "serviceaccounts"),
    "ConfigMap": Resource("v1", "configmaps"),
    "Deployment": Resource("apps/v1", "deployments"),
    "Role": Resource(_RBAC, "roles"),
    "RoleBinding": Resource(_RBAC, "rolebindings"),
    "ClusterRole": Resource(_RBAC, "clusterroles", namespaced=False),
    "ClusterRoleBinding": Resource(_RBAC, "clusterrolebindings", namespaced=False),
    "CustomResourceDefinition": Resource("apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False),
    "Broker": Resource("submariner.io/v1alpha1", "brokers", custom=True),
    "Submariner": Resource("submariner.io/v1alpha1", "submariners", custom=True),
    "ServiceDiscovery": Resource("submariner.io/v1alpha1", "servicediscoveries", custom=True),
    "Cluster": Resource("submariner.io/v1", "clusters", custom=True),
    "Endpoint": Resource("submariner.io/v1", "endpoints", custom=True),
    "Gateway": Resource("submariner.io/v1", "gateways", custom=True),
    "RouteAgent": Resource("submariner.io/v1", "routeagents", custom=True),
    "ServiceExport": Resource("multicluster.x-k8s.io/v1alpha1", "serviceexports", custom=True),
}


@dataclass
class Connection:
    """How to reach an API server."""

    host: str
    pool: urllib3.PoolManager
    headers: dict[str, str]
    timeout: float | None = None


class Cluster:
    """One cluster: `name` is that of the kubeconfig's *cluster*, which subctl takes for the cluster's name."""

    def __init__(self, name: str, connection: Connection, namespace: str = "default") -> None:
        self.name = name
        self.namespace = namespace  # the context's own
        self._connection = connection
        self._served: set[str] = set()

    @property
    def host(self) -> str:
        """URL of the API server."""
        return self._connection.host

    def try_to_list(self, kind: str, namespace: str) -> None:
        """Find out whether we may list objects of a kind, without asking first whether it exists."""
        try:
            self.call("GET", _path(kind, namespace))
        except ApiError as error:
            if not error.not_found:
                raise

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        """Read an object."""
        return self.call("GET", _path(kind, namespace, name))

    def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """Read an object, or return None where it, or its kind, does not exist."""
        if not self.serves(kind):
            return None
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.not_found:
                return None
            raise

    def find_all(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", must_exist: bool = False
    ) -> list[Object]:
        """List objects: of one namespace or, without one, of all.

        Where the kind does not exist there are none, or that is an error if it `must_exist`.
        """
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        try:
            if self.serves(kind):
                items: list[Object] = self.call("GET", _path(kind, namespace), query)["items"]
                return items
        except ApiError as error:
            if not error.not_found:
                raise
            self._served.discard(kind)  # it has gone meanwhile
        if must_exist:
            version = RESOURCES[kind].group_version
            raise ApiError(f'no matches for kind "{kind}" in version "{version}"', 404)
        return []

    def serves(self, kind: str) -> bool:
        """Tell whether the API server knows a kind: custom ones may be missing.

        client-go asks that before anything else, and it matters: who may do little is told "forbidden" by RBAC about
        kinds, too, that do not exist.
        """
        resource = RESOURCES[kind]
        if not resource.custom or kind in self._served:
            return True
        try:
            served = self.call("GET", resource.root)["resources"]
        except ApiError as error:
            if error.not_found:
                return False
            message = "failed to get API group resources: unable to retrieve the complete list of server APIs: "
            raise wrap(error, message + resource.group_version) from error
        self._served.update(
            name
            for name, known in RESOURCES.items()
            if known.root == resource.root and any(item["name"] == known.plural for item in served)
        )
        return kind in self._served

    def create(self, obj: Object) -> Object:
        """Create an object."""
        return self.call("POST", _path(obj["kind"], _namespace(obj)), body=obj)

    def replace(self, obj: Object) -> Object:
        """Replace an object; with a resourceVersion only if it is still that one."""
        return self.call("PUT", _path(obj["kind"], _namespace(obj), obj["metadata"]["name"]), body=obj)

    def merge(self, kind: str, name: str, namespace: str, patch: Object, *, status: bool = False) -> Object:
        """Merge a patch into an object, or into its status."""
        path = _path(kind, namespace, name) + ("/status" if status else "")
        return self.call("PATCH", path, body=patch, content="application/merge-patch+json")

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete an object."""
        self.call("DELETE", _path(kind, namespace, name))

    def ensure(self, obj: Object) -> bool:
        """Create an object or replace the one there is; tell whether it is new."""
        kind, name, namespace = obj["kind"], obj["metadata"]["name"], _namespace(obj)
        for _ in range(5):
            try:
                self.create(obj)
            except ApiError as error:
                if not error.already_exists:
                    raise
            else:
                return True
            try:
                version = self.get(kind, name, namespace)["metadata"]["resourceVersion"]
                self.replace({**obj, "metadata": {**obj["metadata"], "resourceVersion": version}})
            except ApiError as error:
                if not (error.conflict or error.not_found):
                    raise
            else:
                return False
        raise ApiError(f'Operation cannot be fulfilled on {kind} "{name}": it changes all the time', 409, "Conflict")

    def create_anew(self, obj: Object) -> Object:
        """Create an object, after deleting the one there is: what it holds does not matter, its UID changes.

        Finalizers are waited for. subctl also has the garbage collector delete dependents first, which we have none of,
        and which takes up to half a minute for a kind that is new to it.
        """
        kind, name, namespace = obj["kind"], obj["metadata"].get("name", ""), _namespace(obj)
        for _ in poll(167):
            try:
                return self.create(obj)
            except ApiError as error:
                if not error.already_exists:
                    raise
            try:
                self.delete(kind, name, namespace)
            except ApiError as error:
                if not error.not_found:
                    raise
        raise SubctlError("error creating resource anew: timed out waiting for the condition")

    def call(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None, content: str = ""
    ) -> Object:
        """Make one REST call."""
        import urllib3

        url = self.host.rstrip("/") + path
        headers = {**self._connection.headers, "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = content or "application/json"
            data = json.dumps(body).encode()
        target = f"{url}?{urlencode(query)}" if query else url
        timeout = urllib3.Timeout(total=self._connection.timeout) if self._connection.timeout else urllib3.Timeout()
        for _ in range(10):
            try:
                response = self._connection.pool.request(
                    method, target, headers=headers, body=data, timeout=timeout, retries=False
                )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _unreachable(error, method, target) from error
            if not (response.status == 429 and "Retry-After" in response.headers):
                break
            # As client-go does. It happens when a CRD has just been made or changed.
            sleep(min(1.0, float(response.headers["Retry-After"])) / 4)
        text = response.data.decode("utf-8", "replace")
        if response.status >= 400:
            raise _refused(response.status, text)
        result: Object = json.loads(text) if text else {}
        return result


def poll(seconds: float, interval: float = 0.1) -> Iterator[int]:
    """Yield at once and then every `interval`, until `seconds` are over (or what a test has put in their place)."""
    end, count = monotonic() + limit(seconds), 0
    while True:
        yield count
        count += 1
        if monotonic() >= end:
            return
        sleep(interval)


def from_flags(values: Values) -> Cluster:
    """Return the cluster that the kubeconfig and the flags select."""
    config = _kubeconfig(values.text("kubeconfig"))
    context_name = values.text("context") or config["current-context"]
    context = config["contexts"].get(context_name)
    if context is None and values.text("context"):
        raise SubctlError(f'error creating client config: context "{context_name}" does not exist')
    if context is None and context_name:
        raise SubctlError(
            "error creating client config: invalid configuration: "
            f"context was not found for specified context: {context_name}"
        )
    if context is None:
        raise SubctlError("could not obtain the cluster name from kube config: api.Config{…}")
    cluster_name, user_name = context.get("cluster", ""), context.get("user", "")
    cluster = _entry(config, "clusters", "cluster", values.text("cluster"), cluster_name)
    user = _entry(config, "users", "auth info", values.text("user"), user_name)
    _override(cluster, user, values)
    connection = _connect(cluster, user)
    connection.headers.update(_impersonation(values))
    connection.timeout = _duration(values.text("request-timeout"))
    return Cluster(cluster_name, connection, context.get("namespace") or "default")


def from_file(kubeconfig: Path) -> Cluster:
    """Return the current cluster of a kubeconfig file."""
    return from_flags(parse(RECOVER, ["--kubeconfig", str(kubeconfig)])[0])


def from_token(host: str, token: str, ca: bytes, *, insecure: bool) -> Cluster:
    """Return a cluster reached with a bearer token; `ca` is the PEM bundle to trust, empty for the system's."""
    url = host if "://" in host else f"https://{host}"
    cluster: Object = {"server": url, "insecure-skip-tls-verify": insecure}
    if ca and not insecure:
        cluster["certificate-authority-data"] = base64.b64encode(ca).decode()
    return Cluster("broker", _connect(cluster, {"token": token}))


def survey(cluster: Cluster) -> tuple[Object | None, Object | None]:
    """Read what every command looks at first: Submariner, ServiceDiscovery and the gateways."""
    found: list[Object | None] = []
    for kind, name in (("Submariner", "submariner"), ("ServiceDiscovery", "service-discovery")):
        with wrapping(f"error retrieving {kind}"):
            found.append(cluster.find(kind, name, "submariner-operator"))
    with wrapping("error retrieving Gateways"):
        cluster.find_all("Gateway", "submariner-operator")
    return found[0], found[1]


def _path(kind: str, namespace: str = "", name: str = "") -> str:
    resource = RESOURCES[kind]
    parts = [resource.root]
    if namespace and resource.namespaced:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(resource.plural)
    if name:
        parts.append(quote(name, safe=""))
    return "/".join(parts)


def _namespace(obj: Object) -> str:
    return str(obj["metadata"].get("namespace", ""))


# --- kubeconfig -------------------------------------------------------------------------------------------------------


def _kubeconfig(explicit: str) -> dict[str, Any]:
    """Read and merge the kubeconfig files: --kubeconfig (one file), else $KUBECONFIG (a list), else ~/.kube/config."""
    if explicit and not Path(explicit).exists():
        raise SubctlError(f"error creating client config: stat {explicit}: no such file or directory")
    from_env = os.environ.get("KUBECONFIG", "")
    names = [explicit] if explicit else from_env.split(os.pathsep) if from_env else [str(Path.home() / ".kube/config")]
    merged: dict[str, Any] = {"clusters": {}, "users": {}, "contexts": {}, "current-context": ""}
    for name in names:
        path = Path(name)
        if not name or not path.exists():  # client-go skips missing files of a list
            continue
        content = _yaml(path)
        merged["current-context"] = merged["current-context"] or content.get("current-context") or ""
        for plural, singular in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
            for item in content.get(plural) or []:
                value = {key: _absolute(path, key, entry) for key, entry in (item.get(singular) or {}).items()}
                merged[plural].setdefault(item["name"], value)
    return merged


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        detail = str(error).splitlines()[0]
        raise SubctlError(f'error creating client config: error loading config file "{path}": {detail}') from error
    if content is not None and not isinstance(content, dict):
        raise SubctlError(f'error creating client config: error loading config file "{path}": cannot unmarshal it')
    return content or {}


def _absolute(kubeconfig: Path, key: str, value: Any) -> Any:
    """File names in a kubeconfig count from its folder."""
    if key in ("certificate-authority", "client-certificate", "client-key", "tokenFile") and value:
        return str(kubeconfig.absolute().parent / value)
    return value


def _entry(config: dict[str, Any], plural: str, what: str, wanted: str, usual: str) -> Object:
    entry = config[plural].get(wanted or usual)
    if entry is None and (wanted or plural == "clusters"):
        raise SubctlError(f'error creating client config: {what} "{wanted or usual}" does not exist')
    return dict(entry or {})


def _override(cluster: Object, user: Object, values: Values) -> None:
    for flag, key in (
        ("server", "server"),
        ("certificate-authority", "certificate-authority"),
        ("tls-server-name", "tls-server-name"),
        ("proxy-url", "proxy-url"),
    ):
        if values.text(flag):
            cluster[key] = values.text(flag)
    if values.text("certificate-authority"):
        cluster.pop("certificate-authority-data", None)
    if values.switch("insecure-skip-tls-verify"):
        cluster["insecure-skip-tls-verify"] = True
        for key in ("certificate-authority", "certificate-authority-data"):
            cluster.pop(key, None)
    for flag in ("client-certificate", "client-key", "token", "username", "password"):
        if values.text(flag):
            user[flag] = values.text(flag)
            user.pop(f"{flag}-data", None)


def _impersonation(values: Values) -> dict[str, str]:
    headers = {"Impersonate-User": values.text("as"), "Impersonate-Uid": values.text("as-uid")}
    # Several groups need the header several times, which urllib3 does not offer: one is what people use.
    headers["Impersonate-Group"] = next(iter(values.texts("as-group")), "")
    return {name: value for name, value in headers.items() if value}


def _duration(text: str) -> float | None:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if text.isdigit():
        return float(text) or None
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise SubctlError(
            "error creating client config: Invalid timeout value. Timeout must be a single integer in seconds, or an "
            "integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)"
        )
    return sum(float(number) * units[unit] for number, unit in parts) or None


# --- connections ------------------------------------------------------------------------------------------------------


def _connect(cluster: Object, user: Object) -> Connection:
    """Turn a kubeconfig's cluster and user into a connection."""
    import urllib3

    host = cluster.get("server", "http://localhost:8080")
    try:
        if "exec" in user:
            user = {**user, **_run_credential_plugin(user["exec"])}
        context = _tls(cluster, user)
        token = user.get("token") or (Path(user["tokenFile"]).read_text("utf-8").strip() if "tokenFile" in user else "")
    except (OSError, ValueError) as error:
        raise SubctlError(f"error creating client config: {error}") from error
    options: dict[str, Any] = {"ssl_context": context}
    if cluster.get("insecure-skip-tls-verify"):
        options["cert_reqs"] = ssl.CERT_NONE
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if cluster.get("tls-server-name"):
        options |= {"server_hostname": cluster["tls-server-name"], "assert_hostname": cluster["tls-server-name"]}
    proxy = cluster.get("proxy-url") or _proxy_from_environment(host)
    pool = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
    headers = {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    elif user.get("username"):
        headers |= urllib3.make_headers(basic_auth=f"{user['username']}:{user.get('password', '')}")
    return Connection(host, pool, headers)


def _tls(cluster: Object, user: Object) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    if authority:
        context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
    else:
        context = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
    # Go does not insist on what newer Pythons do, and many a cluster's CA does not have it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate, key = (_pem(user, name) for name in ("client-certificate", "client-key"))
    if certificate and key:
        # Python takes them from a file only: one for us alone, which is gone again before anything can go wrong.
        with tempfile.NamedTemporaryFile("wb", suffix=".pem") as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _pem(user: Object, name: str) -> bytes:
    if user.get(f"{name}-data"):
        return base64.b64decode(user[f"{name}-data"])
    return Path(user[name]).read_bytes() if user.get(name) else b""


def _run_credential_plugin(plugin: Object) -> Object:
    """Ask the program that a kubeconfig names for credentials."""
    variables = {item["name"]: item["value"] for item in plugin.get("env") or []}
    question = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
    asked = subprocess.run(
        [plugin["command"], *(plugin.get("args") or [])],
        env={**os.environ, **variables, "KUBERNETES_EXEC_INFO": json.dumps(question)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if asked.returncode:
        raise OSError(
            f"getting credentials: exec: executable {plugin['command']} failed with exit code {asked.returncode}"
        )
    status = json.loads(asked.stdout)["status"]
    found = {"token": status.get("token")}
    for name, key in (("client-certificate-data", "clientCertificateData"), ("client-key-data", "clientKeyData")):
        if status.get(key):
            found[name] = base64.b64encode(status[key].encode()).decode()
    return {key: value for key, value in found.items() if value}


def _proxy_from_environment(url: str) -> str | None:
    """Return the proxy that Go would use: never one for this machine itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return None
    return getproxies_environment().get(parts.scheme)


def _unreachable(error: Exception, method: str, url: str) -> ApiError:
    """Word a failed connection as Go's net/http does."""
    import urllib3.exceptions as failures

    reason: BaseException | None = error
    while reason is not None and not isinstance(reason, OSError):
        reason = reason.__cause__ or reason.__context__
    address = _address(url)
    kind: type[ApiError] = ApiError
    if isinstance(error, failures.NameResolutionError):
        text = f"dial tcp: lookup {address.rpartition(':')[0]}: no such host"
    elif isinstance(reason, ssl.SSLCertVerificationError):
        untrusted = "self" in reason.verify_message or "issuer" in reason.verify_message
        kind = UntrustedServerError if untrusted else ApiError
        detail = "certificate signed by unknown authority" if untrusted else reason.verify_message
        text = f"tls: failed to verify certificate: x509: {detail}"
    elif isinstance(error, failures.SSLError):
        text = f"tls: failed to verify certificate: x509: {error}"
    elif isinstance(reason, OSError) and reason.strerror:
        text = f"dial tcp {address}: connect: {reason.strerror.lower()}"
    elif isinstance(error, failures.ConnectTimeoutError):
        text = f"dial tcp {address}: i/o timeout"
    elif isinstance(error, failures.TimeoutError):
        text = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
    else:
        text = str(error)
    return kind(f'{method.capitalize()} "{url}": {text}')


def _address(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    return host if ":" in host.rpartition("]")[2] else f"{host}:{443 if scheme == 'https' else 80}"


def _refused(status: int, text: str) -> ApiError:
    try:
        details = json.loads(text)
        message, reason = str(details["message"]), str(details.get("reason", ""))
    except (ValueError, KeyError, TypeError):
        message, reason = text.strip() or f"the server returned status {status}", ""
    return ApiError(message, status, reason)


def retry_on_conflict(step: Callable[[], None]) -> None:
    """Repeat a step that lost a race for an object: five tries with short pauses, client-go's default."""
    for attempt in range(5):
        try:
            return step()
        except ApiError as error:
            if not error.conflict or attempt == 4:
                raise
            sleep(0.01)
    return None
