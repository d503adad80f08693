"""The stand-in for the Pulumi engine, for machines where the pulumi CLI can't be had.

The very `__main__.py` of the project runs in this process on pulumi's own mocks interface, but what it declares is
really done: objects are applied to the API servers (server-side apply), commands really run. What an engine does beyond
that is not here: no state, hence no diff, no refresh and no destroy; every run applies everything again, which changes
nothing where nothing changed.

    python -m lab.inprocess <project folder> <stack>

JSON on stdin: {"references": {"<org>/<project>/<stack>": {outputs}}}; JSON on stdout: {"outputs": {...},
"resources": [{type, name, cluster, change, seconds}]}; progress on stderr.
"""

import asyncio
import json
import os
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pulumi
import yaml
from google.protobuf import empty_pb2
from pulumi.runtime import mocks, rpc

from mesh.access import kubeconfig_variable
from mesh.steps import activity

FIELD_MANAGER = "multi-cluster-mesh"
NAME = "in-process stand-in for the Pulumi engine"
DEPLOYMENT_TIMEOUT = 120  # seconds
_SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"  # noqa: S105 how the SDK marks a secret on the wire


class InProcessError(Exception):
    """A resource could not be made; the message is for people."""


class InProcessEngine(mocks.Mocks):
    """Does what the program declares, on the clusters that the environment names."""

    def __init__(self, references: dict[str, dict[str, Any]]) -> None:
        self.references = references
        self.resources: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        """Functions of providers; the program uses none."""
        raise InProcessError(f"{args.token} needs the real engine")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Make one resource; returns its ID and state."""
        started = time.monotonic()
        inputs = _plain(args.inputs)
        cluster = args.provider.rsplit("::", 1)[-1] if args.provider else ""
        try:
            identity, state, change = self._make(args, inputs, cluster)
        except Exception as error:
            with self._lock:
                self.failures.append(f"{args.name}: {error}")
            raise
        if args.custom:
            seconds = time.monotonic() - started
            entry = {"type": args.typ, "name": args.name, "cluster": cluster, "change": change, "seconds": seconds}
            with self._lock:
                self.resources.append(entry)
            if not args.typ.startswith("pulumi:"):
                print(f"  {change:<9} {args.name:<44} {seconds:5.1f} s", file=sys.stderr, flush=True)
        return identity, state

    def _make(
        self, args: mocks.MockResourceArgs, inputs: dict[str, Any], cluster: str
    ) -> tuple[str | None, dict[str, Any], str]:
        if args.typ == "pulumi:pulumi:StackReference":
            outputs = self.references.get(inputs["name"])
            if outputs is None:
                raise InProcessError(f"unknown stack {inputs['name']}")
            names = ["brokerInfo"]
            return inputs["name"], {"name": inputs["name"], "outputs": outputs, "secretOutputNames": names}, "read"
        if args.typ == "pulumi:providers:kubernetes":
            return args.name, inputs, "same"
        if args.typ == "command:local:Command":
            stdout = self._run(inputs)
            return args.name, {**inputs, "stdout": stdout, "stderr": ""}, "ran"
        if args.typ.startswith("kubernetes:helm"):
            raise InProcessError("a Helm release needs the real engine; set spiderpool.install: false")
        if args.typ.startswith("kubernetes:"):
            state, change = self._apply(cluster, inputs)
            metadata = state["metadata"]
            return "/".join(filter(None, (metadata.get("namespace"), metadata["name"]))), state, change
        if args.custom:
            raise InProcessError(f"{args.typ} needs the real engine")
        return args.name, inputs, "same"

    def _run(self, inputs: dict[str, Any]) -> str:
        done = subprocess.run(  # noqa: S602 the command text is the program's own, as with pulumi-command
            inputs["create"], shell=True, input=inputs.get("stdin", ""), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise InProcessError(activity.failure(done.stderr) or f"exit code {done.returncode} without a word")
        return str(done.stdout).removesuffix("\n")

    def _apply(self, cluster: str, manifest: dict[str, Any]) -> tuple[dict[str, Any], str]:
        client = self._client(cluster)
        resource = client.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
        name, namespace = manifest["metadata"]["name"], manifest["metadata"].get("namespace")
        from kubernetes.dynamic.exceptions import NotFoundError

        try:
            before = resource.get(name=name, namespace=namespace).metadata.resourceVersion
        except NotFoundError:
            before = None
        applied = resource.server_side_apply(
            body=manifest, name=name, namespace=namespace, field_manager=FIELD_MANAGER, force_conflicts=True
        )
        change = "created" if before is None else "same" if applied.metadata.resourceVersion == before else "updated"
        if manifest["kind"] == "Deployment":
            self._wait_available(resource, name, namespace)
        return applied.to_dict(), change

    def _wait_available(self, resource: Any, name: str, namespace: str | None) -> None:
        deadline = time.monotonic() + DEPLOYMENT_TIMEOUT
        while time.monotonic() < deadline:
            status = resource.get(name=name, namespace=namespace).to_dict().get("status", {})
            if any(c["type"] == "Available" and c["status"] == "True" for c in status.get("conditions") or []):
                return
            time.sleep(0.3)
        raise InProcessError(f"Deployment {namespace}/{name} is not available after {DEPLOYMENT_TIMEOUT} s")

    def _client(self, cluster: str) -> Any:
        with self._lock:
            if cluster not in self._clients:
                from kubernetes import config
                from kubernetes.dynamic import DynamicClient

                variable = kubeconfig_variable(cluster)
                if variable not in os.environ:
                    raise InProcessError(f"{variable} is not set")
                self._clients[cluster] = DynamicClient(config.new_client_from_config(os.environ[variable]))
            return self._clients[cluster]


class _Monitor(mocks.MockMonitor):
    """Keeps what the stack exports, which the mocks throw away."""

    def __init__(self, engine: InProcessEngine) -> None:
        super().__init__(engine)
        self.outputs: dict[str, Any] = {}

    def RegisterResourceOutputs(self, request: Any) -> empty_pb2.Empty:  # noqa: N802 a gRPC method
        if "pulumi:pulumi:Stack::" in request.urn:
            self.outputs = _plain(rpc.deserialize_properties(request.outputs))
        return empty_pb2.Empty()


def run(project: Path, stack: str, references: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Run one stack of a project folder once; the process's working directory has to be that folder.

    Returns:
        `{"outputs": …, "resources": […]}`, secrets revealed.

    Raises:
        InProcessError: with every failure on a line of its own.
        pulumi.RunError: the program refused its config.
    """
    settings = yaml.safe_load((project / "Pulumi.yaml").read_text())
    stack_file = project / f"Pulumi.{stack}.yaml"
    entries = {key: value["value"] for key, value in settings.get("config", {}).items()}
    entries |= (yaml.safe_load(stack_file.read_text()) or {}).get("config", {}) if stack_file.exists() else {}
    pulumi.runtime.set_all_config(
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in entries.items()}
    )
    engine = InProcessEngine(references)
    monitor = _Monitor(engine)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    mocks.set_mocks(
        engine, project=settings["name"], stack=stack, preview=False, monitor=monitor, organization="organization"
    )
    pulumi.runtime.settings.set_root_resource(None)  # type: ignore[arg-type]  # the program makes its own

    def program() -> None:
        runpy.run_path(str(project / "__main__.py"), run_name="__main__")

    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(program))
    except pulumi.RunError:
        raise
    except Exception as error:
        raise InProcessError("\n".join(engine.failures) or str(error)) from error
    finally:
        loop.close()  # one that is left to the interpreter's end may print a traceback there
    return {"outputs": monitor.outputs, "resources": engine.resources}


def _plain(value: Any) -> Any:
    """The value without the SDK's wrapping of secrets."""
    if isinstance(value, dict):
        if _SECRET_SIGNATURE in value:
            return _plain(value.get("value"))
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def main() -> int:
    """The command line; see the module's text."""
    project, stack = Path(sys.argv[1]), sys.argv[2]
    sys.path.insert(0, str(project))
    references = json.load(sys.stdin).get("references", {})
    try:
        outcome = run(project, stack, references)
    except (InProcessError, pulumi.RunError) as error:
        print(error, file=sys.stderr)
        return 1
    json.dump(outcome, sys.stdout)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's end: the SDK's mocks leave an event loop open in each of their threads, and whichever is
    # collected after its sockets prints a traceback.
    os._exit(code)
