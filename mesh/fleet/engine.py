"""The pulumi CLI under Pulumi's Automation API: one stack, one operation, stoppable."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from pulumi import automation as auto
from pulumi.automation.errors import create_command_error

from mesh.fleet.changes import StackChanges
from mesh.fleet.errors import FleetError
from mesh.fleet.order import Operation
from mesh.fleet.stacks import Stack

_PENDING = "Attempting to deploy or update resources with"
_OPERATIONS = frozenset(operation.value for operation in Operation)


class NotStartedError(Exception):
    """The operation did not start, because everything is being stopped."""


class StackFailedError(Exception):
    """The CLI gave up; its message is in what it printed."""


class StoppableCommand(auto.PulumiCommand):
    """The CLI, each run of it in a session of its own.

    Else the terminal's Ctrl-C would reach the CLI, the program and our own process at the same time, and where there is
    no terminal nobody at all. So we get it, and pass it on to the CLI alone, which then lets go of what it is doing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self.stopping = False

    def stop(self) -> None:
        """Ask everything that runs to end (the CLI: at the first time gracefully, at the second at once)."""
        with self._lock:
            self.stopping = True
            for process in self._running:
                process.send_signal(signal.SIGINT)

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: auto.OnOutput | None = None,
        on_error: auto.OnOutput | None = None,
    ) -> auto.CommandResult:
        """Run the CLI; see `PulumiCommand.run`."""
        operation = args[0] in _OPERATIONS
        with self._lock:
            if operation and self.stopping:
                raise NotStartedError
            process = subprocess.Popen(
                [self.command, "--non-interactive", *args],
                cwd=cwd,
                env={**os.environ, **additional_env, "PULUMI_AUTOMATION_API": "true"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            if operation:
                self._running.add(process)
        try:
            stdout, stderr = _collect(process, on_output, on_error)
        finally:
            with self._lock:
                self._running.discard(process)
        result = auto.CommandResult(stdout, stderr, process.returncode)
        if result.code != 0:
            raise create_command_error(result)
        return result


class _Workspace(auto.LocalWorkspace):
    def select_stack(self, stack_name: str) -> None:
        """Nothing: which stack is selected here belongs to the person at the shell; each command names its own."""


class Engine:
    """The stacks of one project folder. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        try:
            self.command = StoppableCommand()
        except FileNotFoundError:
            raise FleetError("pulumi is not on PATH: install its CLI, https://www.pulumi.com/docs/install/") from None
        except (auto.InvalidVersionError, subprocess.CalledProcessError) as error:
            raise FleetError(f"The pulumi on PATH can't be used: {error}") from None
        self._folder = str(folder)
        self._workspace = self._workspace_with()

    def stop(self) -> None:
        """Ask everything that runs to end: at the first time gracefully, at the second at once."""
        self.command.stop()

    def initialised(self) -> set[str]:
        """Names of the project's stacks in the backend.

        Raises:
            FleetError: the backend can't be asked.
        """
        found = json.loads(self._ask("stack", "ls", "--json"))
        return {stack["name"].rsplit("/", 1)[-1] for stack in found}

    def initialise(self, stack: Stack) -> None:
        """What `pulumi stack init` does, with the secrets provider that the stack file names, if any.

        Raises:
            FleetError: it does not work.
        """
        provider = stack.settings.get("secretsprovider")
        self._ask("stack", "init", stack.name, "--no-select", *(["--secrets-provider", provider] if provider else []))

    def outputs(self, stack: Stack) -> dict[str, Any]:
        """The stack's last outputs, with `[secret]` in the place of secrets.

        Raises:
            FleetError: the backend can't be asked.
        """
        outputs: dict[str, Any] = json.loads(self._ask("stack", "output", "--json", "--stack", stack.name))
        return outputs

    def run(self, stack: Stack, operation: Operation, changes: StackChanges, log: IO[str], *, dry_run: bool) -> None:
        """Do it, tell `changes` what happens, and write what the CLI prints into `log`.

        An `up` after one that was killed first takes over what that may have created.

        Raises:
            StackFailedError: it did not succeed.
            NotStartedError: it did not start.
        """

        def write(line: str) -> None:
            log.write(line + "\n")
            log.flush()

        handle = auto.Stack.select(stack.name, self._workspace)
        told: dict[str, Any] = {"on_output": write, "on_error": write, "on_event": changes.on_event, "color": "never"}
        quiet: dict[str, Any] = {"suppress_outputs": True, "suppress_progress": True}
        try:
            if operation is Operation.UP and not dry_run and (unfinished := self._unfinished(stack)):
                changes.warn(f"a run was killed while it created {', '.join(unfinished)}: what is there is taken over")
                rest = told | {"on_event": _without_pending(changes.on_event)}
                adopting = self._workspace_with(PULUMI_K8S_UPSERT_EXISTING_OBJECTS="true")
                auto.Stack.select(stack.name, adopting).up(show_secrets=False, **rest, **quiet)
                handle.refresh(clear_pending_creates=True, show_secrets=False, **rest, **quiet)
            match operation, dry_run:
                case Operation.PREVIEW, _:
                    handle.preview(diff=True, **told, **quiet)
                case Operation.UP, True:
                    handle.preview(diff=True, **told, **quiet)
                case Operation.UP, False:
                    handle.up(show_secrets=False, **told, **quiet)
                case Operation.REFRESH, True:
                    handle.preview_refresh(**told, **quiet)
                case Operation.REFRESH, False:
                    handle.refresh(show_secrets=False, **told, **quiet)
                case Operation.DESTROY, True:
                    handle.preview_destroy(**told, **quiet)
                case Operation.DESTROY, False:
                    handle.destroy(show_secrets=False, **told, **quiet)
        except auto.CommandError as error:
            raise StackFailedError(_message(str(error))) from None
        except FleetError as error:
            raise StackFailedError(str(error)) from None

    def _unfinished(self, stack: Stack) -> list[str]:
        """Names of what was being created when a run was killed: it may exist, and the state does not say so.

        Kubernetes refuses to create such an object again; the steps converge by themselves.
        """
        deployment = json.loads(self._ask("stack", "export", "--stack", stack.name))["deployment"]
        pending = [each for each in deployment.get("pending_operations") or [] if each["type"] == "creating"]
        return [each["resource"]["urn"].rsplit("::", 1)[-1] for each in pending]

    def _workspace_with(self, **env: str) -> _Workspace:
        env_vars = {"PULUMI_SKIP_UPDATE_CHECK": "true", **env}
        return _Workspace(self._folder, env_vars=env_vars, pulumi_command=self.command)

    def _ask(self, *args: str) -> str:
        try:
            result = self.command.run([*args], self._folder, {"PULUMI_SKIP_UPDATE_CHECK": "true"})
        except auto.CommandError as error:
            raise FleetError(f"pulumi {' '.join(args[:2])}: {_message(str(error))}") from None
        return result.stdout


def _without_pending(take: Callable[[auto.EngineEvent], None]) -> Callable[[auto.EngineEvent], None]:
    """What takes events, without the engine's warning of pending operations: they are being dealt with."""

    def on_event(event: auto.EngineEvent) -> None:
        said = event.diagnostic_event
        if not (said and said.message.startswith(_PENDING)):
            take(event)

    return on_event


def _collect(
    process: "subprocess.Popen[str]", on_output: auto.OnOutput | None, on_error: auto.OnOutput | None
) -> tuple[str, str]:
    """All that the process prints, line by line as it comes."""

    def read(stream: IO[str], tell: auto.OnOutput | None, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip())
            if tell:
                tell(lines[-1])

    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the CLI runs without pipes")
    lines: tuple[list[str], list[str]] = ([], [])
    with process:
        reader = threading.Thread(target=read, args=(process.stderr, on_error, lines[1]))
        reader.start()
        read(process.stdout, on_output, lines[0])
        reader.join()
    return "\n".join(lines[0]), "\n".join(lines[1])


def _message(printed: str) -> str:
    """The CLI's own words of what went wrong, out of the text of a CommandError."""
    stderr = printed.rpartition("\n stderr: ")[2].strip()
    errors = [line.removeprefix("error: ") for line in stderr.splitlines() if line.startswith("error: ")]
    return "\n".join(errors) or stderr or "it failed without a message"
