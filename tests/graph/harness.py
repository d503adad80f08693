"""Runs the real components without an engine and keeps every registration as the engine would have got it.

Tests on pulumi's mocks can pass because half of the program never ran. Here a run is awaited whole, whatever goes wrong
in it is raised, and the mocks behave as the engine does where the program could tell the difference: in a preview the
output of a command is unknown, what a resource calls secret comes back secret, and no URN can be taken twice.
"""

import asyncio
import contextvars
import copy
import json
import runpy
import secrets
import signal
import string
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pulumi
import yaml
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.proto import engine_pb2, resource_pb2

from components.mesh import MultiClusterMesh, MultiClusterMeshArgs
from mesh.access import ClusterAccess
from mesh.plan import load_plan

ROOT = Path(__file__).resolve().parents[2]
PROJECT = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
COMMAND = "command:local:Command"
PROVIDER = "pulumi:providers:kubernetes"
RELEASE = "kubernetes:helm.sh/v3:Release"
COMPONENT = "multi-cluster-mesh:index:"
STEP = "exec sh mesh/steps/run.sh "
NOW = "2026-11-25T00:00:00Z"
SECONDS = 60  # a run takes a tenth of one; what hangs must not hang the whole suite

Step = Callable[[str, dict[str, Any]], dict[str, Any]]


class _Unknown:
    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN = _Unknown()
"""What a preview knows of a value that only a run can tell."""


@dataclass(frozen=True)
class Registered:
    """One resource, as the engine would have got it.

    Attributes:
        inputs: as on the wire (camelCase), secrets in clear, `UNKNOWN` where a preview cannot know.
        secrets: paths of the inputs that were marked secret, such as `stdin` or `values.spiderpoolController.tls`.
        parent: name of the parent.
        provider: name of the explicit provider; empty for the default one.
        depends_on: names of the resources it waits for, its provider aside.
        request: the whole request, for the options that few tests look at.
    """

    type: str
    name: str
    inputs: dict[str, Any]
    secrets: frozenset[str]
    parent: str
    provider: str
    depends_on: frozenset[str]
    request: Any = field(repr=False, compare=False)

    @property
    def spec(self) -> dict[str, Any]:
        """What a step is told."""
        document: dict[str, Any] = json.loads(self.inputs["stdin"])
        return document

    @property
    def public(self) -> str:
        """All inputs that are not secret, as one text to search in."""
        return json.dumps(_without(self.inputs, self.secrets), default=repr)

    def comparable(self) -> Any:
        """Everything of the request but where in the source it came from."""
        document = json_format.MessageToDict(self.request)
        document.pop("sourcePosition", None)
        document.pop("stackTrace", None)
        return _sorted_lists(document, "dependencies", "urns")


@dataclass(frozen=True)
class Graph:
    """All that one run registered.

    Attributes:
        resources: by name.
        outputs: the stack's outputs, secrets in clear.
        secret_outputs: paths of the outputs that are secret.
        component_outputs: outputs of each component, by its name.
        secret_component_outputs: paths of those that are secret.
        warnings: what the program warned of, each with the name of the resource that it is about.
    """

    resources: dict[str, Registered]
    outputs: dict[str, Any]
    secret_outputs: frozenset[str]
    component_outputs: dict[str, dict[str, Any]]
    secret_component_outputs: dict[str, frozenset[str]]
    warnings: list[tuple[str, str]]

    def __getitem__(self, name: str) -> Registered:
        assert name in self.resources, f"no {name}; there are {sorted(self.resources)}"
        return self.resources[name]

    def __contains__(self, name: str) -> bool:
        return name in self.resources

    def of_type(self, prefix: str) -> list[Registered]:
        """Resources whose type starts so."""
        return [resource for resource in self.resources.values() if resource.type.startswith(prefix)]

    def kind(self, kind: str) -> list[Registered]:
        """Kubernetes objects of a kind."""
        return [resource for resource in self.resources.values() if resource.inputs.get("kind") == kind]

    @cached_property
    def commands(self) -> list[Registered]:
        """All steps."""
        return self.of_type(COMMAND)

    def chain(self, name: str) -> list[str]:
        """The resource and its parents, innermost first, without the stack."""
        names = []
        while name in self.resources:
            names.append(name)
            name = self.resources[name].parent
        return names

    def awaited(self, name: str) -> set[str]:
        """Everything that the resource waits for, through however many others."""
        seen: set[str] = set()
        left = [name]
        while left:
            resource = self[left.pop()]
            for other in {*resource.depends_on, *filter(None, [resource.provider])} - seen:
                seen.add(other)
                left.append(other)
        return seen

    def public_outputs(self) -> str:
        """All outputs that are not secret, as one text to search in."""
        return json.dumps(_without(self.outputs, self.secret_outputs), default=repr)


def uid(cluster: str) -> str:
    """What the preflight tells a cluster by."""
    return f"uid-of-{cluster}"


class Steps:
    """Answers as the steps give them; everything secret in them is new each time, so that it can be searched for."""

    def __init__(self) -> None:
        self.broker_info = secrets.token_urlsafe(30)
        self.keys = {name: secrets.token_urlsafe(30) for name in ("ca", "certificate", "key")}
        self.stray = secrets.token_urlsafe(30)
        """In every answer, where no component should look."""
        self.ran: list[str] = []

    @property
    def secrets(self) -> list[str]:
        """What must not show up in clear anywhere."""
        return [self.broker_info, self.stray, *self.keys.values()]

    def __call__(self, step: str, spec: dict[str, Any]) -> dict[str, Any]:
        """The step's document."""
        self.ran.append(step)
        answers: dict[str, dict[str, Any]] = {
            "preflight": {"clusters": {name: {"uid": uid(name)} for name in spec.get("clusters", {})}},
            "verify": {
                "connections": {"state": "connected", "checkedAt": NOW, "note": "", "peers": []},
                "dataPath": {"state": "ok", "checkedAt": NOW, "note": "", "rows": []},
            },
            "certificate": dict(self.keys),
            "deploy-broker": {
                "brokerInfo": self.broker_info,
                "broker": {"url": "https://10.6.168.73:6443", "version": "0.24.1", "serviceDiscovery": True},
            },
        }
        if step == "join":
            told = spec["settings"]
            answers["join"] = {
                "clusterID": told["cluster_id"],
                "clusterCIDR": told["cluster_cidr"],
                "serviceCIDR": told["service_cidr"],
                "cableDriver": told["cable_driver"],
                "version": told["version"],
                "healthCheck": told["health_check"],
            }
        return {**answers.get(step, {}), "stray": self.stray}


class _Monitor(mocks.MockMonitor):
    def __init__(self, steps: Step, references: Mapping[str, dict[str, Any]], preview: bool) -> None:
        super().__init__(_NoMocks())
        self.steps, self.references, self.preview = steps, references, preview
        self.requests: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self._lock = threading.Lock()

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 a gRPC method
        urn: str = self.make_urn(request.parent, request.type, request.name)
        with self._lock:
            if urn in self.requests:
                raise AssertionError(f"Duplicate resource URN {urn}")
            self.requests[urn] = request
        outputs = json_format.MessageToDict(request.object)
        if request.type == COMMAND:
            outputs |= {"stdout": self._run(outputs), "stderr": rpc.UNKNOWN if self.preview else ""}
        for name in request.additionalSecretOutputs:
            outputs[name] = _wrapped(outputs[name])
        # A preview has no IDs yet.
        identity = request.name if request.custom and not self.preview else ""
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=_struct(outputs))

    def _run(self, inputs: dict[str, Any]) -> str:
        if self.preview:
            return str(rpc.UNKNOWN)
        plain, _ = _decoded(inputs)
        assert plain["create"].startswith(STEP), plain["create"]
        return json.dumps(self.steps(plain["create"].removeprefix(STEP), json.loads(plain["stdin"])))

    def ReadResource(self, request: Any) -> Any:  # noqa: N802 a gRPC method
        assert request.type == "pulumi:pulumi:StackReference", request.type
        if request.id not in self.references:
            raise RuntimeError(f"unknown stack {request.id!r}")
        outputs = dict(self.references[request.id])
        hidden = [name for name in outputs if name == "brokerInfo"]
        wire = {name: _wrapped(value) if name in hidden else value for name, value in outputs.items()}
        return resource_pb2.ReadResourceResponse(
            urn=self.make_urn(request.parent, request.type, request.name),
            properties=_struct({"name": request.id, "outputs": wire, "secretOutputNames": hidden}),
        )

    def RegisterResourceOutputs(self, request: Any) -> empty_pb2.Empty:  # noqa: N802 a gRPC method
        with self._lock:
            self.outputs[request.urn] = json_format.MessageToDict(request.outputs)
        return empty_pb2.Empty()

    def graph(self, warnings: list[tuple[str, str]]) -> Graph:
        """What has been registered, in the order of the URNs: that of arrival differs from run to run."""
        resources = {}
        for _, request in sorted(self.requests.items()):
            if request.type == "pulumi:pulumi:Stack":
                continue
            inputs, hidden = _decoded(json_format.MessageToDict(request.object))
            assert request.name not in resources, f"two resources are called {request.name}"
            resources[request.name] = Registered(
                type=request.type,
                name=request.name,
                inputs=inputs,
                secrets=hidden,
                parent=_name(request.parent),
                provider=_name(request.provider.rpartition("::")[0]),
                depends_on=frozenset(map(_name, request.dependencies)),
                request=request,
            )
        decoded = {urn: _decoded(outputs) for urn, outputs in self.outputs.items()}
        of_stack = [found for urn, found in decoded.items() if "::pulumi:pulumi:Stack::" in urn]
        outputs, secret_outputs = of_stack[0] if of_stack else ({}, frozenset())
        components = {_name(urn): found for urn, (found, _) in decoded.items()}
        secret_components = {_name(urn): hidden for urn, (_, hidden) in decoded.items()}
        return Graph(resources, outputs, secret_outputs, components, secret_components, warnings)


class _NoMocks(mocks.Mocks):
    def call(self, args: mocks.MockCallArgs) -> Any:
        raise AssertionError(f"{args.token}: the program calls no functions of providers")

    def new_resource(self, args: mocks.MockResourceArgs) -> Any:
        raise AssertionError(args.name)


class _Engine(mocks.MockEngine):
    """Keeps what it is told to warn of."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, str]] = []

    def Log(self, request: Any) -> empty_pb2.Empty:  # noqa: N802 a gRPC method
        if request.severity >= engine_pb2.WARNING:
            self.warnings.append((_name(request.urn), request.message))
        return empty_pb2.Empty()


class FailedError(Exception):
    """A run that failed; `graph` is what had been registered until then."""

    def __init__(self, graph: Graph) -> None:
        super().__init__("the run failed")
        self.graph = graph


def run(
    program: Callable[[], object],
    *,
    preview: bool = False,
    stack: str = "cluster-a",
    config: Mapping[str, Any] | None = None,
    steps: Step | None = None,
    references: Mapping[str, dict[str, Any]] | None = None,
) -> Graph:
    """Run a program as `pulumi up` would, or as `pulumi preview`.

    Args:
        program: declares resources and exports outputs.
        preview: outputs of commands are unknown, and no command runs.
        stack: name of the stack.
        config: the stack's whole config, values as in a stack file.
        steps: what answers instead of the steps.
        references: outputs of other stacks, by full name.

    Raises:
        Exception: what the program raised, caused by a `FailedError` with what had been registered until then.
    """
    monitor = _Monitor(steps or Steps(), references or {}, preview)
    engine = _Engine()

    async def main() -> None:
        # Tasks that a failed run leaves behind would print their traceback whenever they are collected. Where that is
        # in the middle of somebody's ast.parse, Python 3.11 fails with a SystemError (cpython issue 106905).
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        settings.configure(
            mocks.MockSettings(  # type: ignore[no-untyped-call]
                monitor=monitor,
                monitor_features=set(monitor.GetDeploymentInfo(None).supportedFeatures),  # type: ignore[no-untyped-call]
                engine=engine,
                project=PROJECT["name"],
                stack=stack,
                dry_run=preview,
                organization="organization",
                callbacks=None,
                outputs=set(),  # what a failed run has left behind belongs to another event loop
            )
        )
        pulumi.runtime.set_all_config(
            {
                # The engine hands config on with sorted keys.
                key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
                for key, value in (config or {}).items()
            }
        )
        await asyncio.wait_for(pulumi.runtime.run_in_stack(lambda: _ignore(program())), SECONDS)

    # A context of its own: the SDK keeps its settings in context variables.
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        contextvars.copy_context().run(lambda: asyncio.run(main()))
    except Exception as error:
        raise error from FailedError(monitor.graph(engine.warnings))
    finally:
        signal.signal(signal.SIGINT, interrupt)  # the program changes it
    return monitor.graph(engine.warnings)


def run_main(config: Mapping[str, Any] | None = None, **options: Any) -> Graph:
    """Run the project's `__main__.py`; the config is the shipped plan's and, over it, what is given."""
    shipped = {key: entry["value"] for key, entry in PROJECT["config"].items()}
    return run(
        lambda: runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__"),
        config={**shipped, **(config or {})},
        **options,
    )


def run_mesh(
    raw: Mapping[str, Any] | None = None,
    *,
    owned: list[str] | None = None,
    broker_info: str | None = None,
    access: Mapping[str, ClusterAccess] | None = None,
    **options: Any,
) -> Graph:
    """Run a `MultiClusterMesh` called `mesh`.

    Args:
        raw: the plan; that of `Pulumi.yaml` unless told otherwise.
        owned: the clusters that it owns; all of the plan unless told otherwise.
        broker_info: what it gets from the broker's stack, as a secret.
        access: how clusters are reached, where that is not by their own variables.
        options: of `run`.
    """
    plan = load_plan(raw_plan() if raw is None else raw)
    clusters = {name: (access or {}).get(name) or ClusterAccess.of(name) for name in owned or plan.clusters}

    def program() -> None:
        info = None if broker_info is None else pulumi.Output.secret(broker_info)
        mesh = MultiClusterMesh("mesh", MultiClusterMeshArgs(plan=plan, clusters=clusters, broker_info=info))
        pulumi.export("clusters", mesh.clusters)
        pulumi.export("broker", mesh.broker)
        pulumi.export("brokerInfo", mesh.broker_info)

    return run(program, **options)


def raw_plan(changes: Mapping[str, Any] | None = None, *, clusters: int = 2) -> dict[str, Any]:
    """The shipped plan, with as many clusters as told and with changes merged into it.

    A list takes the place of the whole list that was there.
    """
    raw: dict[str, Any] = copy.deepcopy(PROJECT["config"]["mesh:plan"]["value"])
    for number in range(len(raw["clusters"]), clusters):
        name = f"cluster-{string.ascii_lowercase[number] if number < 26 else number}"
        raw["clusters"][name] = copy.deepcopy(raw["clusters"]["cluster-b"]) | {
            "podCIDR": f"172.{110 + number}.0.0/16",
            "serviceCIDR": f"10.{number}.0.0/18",
            "pools": [
                {
                    "name": name,
                    "subnet": f"172.{110 + number}.0.0/16",
                    "ips": [f"172.{110 + number}.1.1-172.{110 + number}.1.200"],
                    "gateway": f"172.{110 + number}.0.1",
                }
            ],
        }
    return _merged(raw, changes or {})


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        ours = merged.get(key)
        merged[key] = _merged(ours, value) if isinstance(ours, dict) and isinstance(value, Mapping) else value
    return merged


def _ignore(_result: object) -> None:
    """What a program returns is not awaited by anybody."""


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _struct(document: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(document, struct_pb2.Struct())


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, dict) and value.get(rpc._special_sig_key) == rpc._special_secret_sig


def _wrapped(value: Any) -> dict[str, Any]:
    return value if _is_wrapped(value) else {rpc._special_sig_key: rpc._special_secret_sig, "value": value}


def _decoded(document: dict[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """The document in clear, and the paths of what was secret in it."""
    hidden: set[str] = set()

    def decode(value: Any, path: str) -> Any:
        if _is_wrapped(value):
            hidden.add(path)
            return decode(value["value"], path)
        if isinstance(value, dict):
            return {key: decode(item, f"{path}.{key}" if path else key) for key, item in value.items()}
        if isinstance(value, list):
            return [decode(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if value == rpc.UNKNOWN:
            return UNKNOWN
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return decode(document, ""), frozenset(hidden)


def _without(value: Any, hidden: frozenset[str], path: str = "") -> Any:
    if path in hidden:
        return "[secret]"
    if isinstance(value, dict):
        return {key: _without(item, hidden, f"{path}.{key}" if path else key) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, hidden, f"{path}[{index}]") for index, item in enumerate(value)]
    return value


def _sorted_lists(value: Any, *keys: str) -> Any:
    """Lists under these keys are sets: the SDK sends them in any order."""
    if isinstance(value, dict):
        return {
            key: sorted(item) if key in keys and isinstance(item, list) else _sorted_lists(item, *keys)
            for key, item in value.items()
        }
    return [_sorted_lists(item, *keys) for item in value] if isinstance(value, list) else value
