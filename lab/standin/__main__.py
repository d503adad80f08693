"""The command line of the stand-in: ``python -m lab.standin <subctl arguments>``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from lab.standin import STANDIN_NOTICE, faults, flags
from lab.standin.errors import PanicError, SubctlError, UsageError
from lab.standin.flags import Flag, Values
from lab.standin.report import Reporter

if TYPE_CHECKING:
    from lab.standin.kube import Cluster

# The work is imported only when a command line is in order: the libraries for it take a good part of a run.


@dataclass(frozen=True)
class Command:
    """One command; `check` looks at the arguments before anything else happens."""

    usage: str
    title: str
    flags: tuple[Flag, ...]
    run: Callable[[Values, list[str]], None]
    check: Callable[[Values, list[str]], None] | None = None


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    run = faults.Run(list(argv))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    sys.stderr.write(f"[{STANDIN_NOTICE}]\n")
    rc = 1
    try:
        rc = _dispatch(list(argv), run)
    except _Stopped as stopped:
        rc = -stopped.signal
    finally:
        run.log(rc)
    sys.stdout.flush()
    if rc < 0:  # end as any program would that a signal has ended
        signal.signal(-rc, signal.SIG_DFL)
        os.kill(os.getpid(), -rc)
    return rc


class _Stopped(BaseException):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def _stop(number: int, _frame: FrameType | None) -> None:
    raise _Stopped(number)


def _dispatch(argv: list[str], run: faults.Run) -> int:
    if not os.environ.get("HOME"):
        sys.stderr.write("failed to find home directory: $HOME is not defined\n")
        _print_version_as_last_word()
        return 1
    if not argv or argv[0] in ("help", "-h", "--help"):
        sys.stdout.write(_overview())
        return 0
    if argv[0] in ("-v", "--version"):
        sys.stdout.write(f"subctl version {faults.version()}\n{STANDIN_NOTICE}\n")
        return 0
    name = argv.pop(0)
    if name in GROUPS:
        if not argv or argv[0] != "service":
            sys.stdout.write(f"Usage:\n  subctl {name} [command]\n\nAvailable Commands:\n  service\n")
            return 0
        name = f"{name} {argv.pop(0)}"
    command = COMMANDS.get(name)
    if command is None:
        is_flag = name.startswith("-")
        problem = f"unknown flag: {name}" if is_flag else f'unknown command "{name}" for "subctl"'
        hint = _overview() if is_flag else "Run 'subctl --help' for usage.\n"
        return _refuse(problem, hint)
    try:
        values, arguments = flags.parse(command.flags, argv)
        if values.switch("help"):
            sys.stdout.write(f"{command.title}\n\n{flags.usage(command.usage, command.flags)}")
            return 0
        if command.check:
            command.check(values, arguments)
    except UsageError as error:
        return _refuse(str(error), flags.usage(command.usage, command.flags))
    run.hang_if_asked(name)
    try:
        command.run(values, arguments)
    except PanicError as error:
        sys.stderr.write(f"panic: {error}\n[signal SIGSEGV: segmentation violation]\n")
        return error.rc
    except SubctlError as error:
        _print_version_as_last_word()
        return error.rc
    return 0


def _refuse(problem: str, hint: str) -> int:
    """Refuse a command line as cobra does: on stderr with the usage, and once more on stdout."""
    sys.stderr.write(f"Error: {problem}\n{hint}\n")
    sys.stdout.write(f"{problem}\n")
    return 1


def _print_version_as_last_word() -> None:
    sys.stderr.write(f"\nsubctl version: {faults.version()}\n\n")


def _overview() -> str:
    rows = "\n".join(f"  {name:<19} {command.title}" for name, command in sorted(COMMANDS.items()))
    return (
        f"subctl ({STANDIN_NOTICE})\n\nUsage:\n  subctl [command]\n\nAvailable Commands:\n{rows}\n\n"
        "Flags:\n  -h, --help      help for subctl\n  -v, --version   version for subctl\n"
    )


# --- commands ---------------------------------------------------------------------------------------------------------


def _version(_values: Values, _arguments: list[str]) -> None:
    sys.stdout.write(f"subctl version: {faults.version()}\n{STANDIN_NOTICE}\n")


def _deploy_broker(values: Values, _arguments: list[str]) -> None:
    from lab.standin import broker

    report = Reporter()
    broker.deploy(_select(values, report), values, report)


def _join(values: Values, arguments: list[str]) -> None:
    from lab.standin import join

    report = Reporter()
    info = join.read_file(arguments[0], values, report)
    join.join(_select(values, report), info, values, report)


def _uninstall(values: Values, _arguments: list[str]) -> None:
    from lab.standin import uninstall

    report = Reporter()
    uninstall.uninstall(_select(values, report), values, report)


def _recover(values: Values, _arguments: list[str]) -> None:
    from lab.standin import broker

    report = Reporter()
    broker.recover(_select(values, report), values, report)


def _export(values: Values, arguments: list[str]) -> None:
    from lab.standin import export

    report = Reporter()
    _need_service(arguments, "name of the Service to be exported must be specified")
    export.export(_select(values, report), arguments[0], values, report)


def _unexport(values: Values, arguments: list[str]) -> None:
    from lab.standin import export

    report = Reporter()
    _need_service(arguments, "name of the Service to be removed must be specified")
    export.unexport(_select(values, report), arguments[0], values, report)


def _need_service(arguments: list[str], problem: str) -> None:
    if not arguments:
        sys.stderr.write(f"Insufficient arguments: {problem}\n")
        raise SubctlError(problem)


def _check_join(values: Values, arguments: list[str]) -> None:
    from lab.standin import setup

    if not arguments:
        raise UsageError("the broker-info.subm file argument generated by 'subctl deploy-broker' is missing")
    if len(arguments) > 1:
        raise UsageError(f"accepts at most 1 arg(s), received {len(arguments)}")
    try:
        setup.image_overrides(values.texts("image-override"))
    except SubctlError as error:
        raise UsageError(str(error)) from error


def _select(values: Values, report: Reporter) -> Cluster:
    """Find the cluster that the kubeconfig and the flags mean, and look at it once, as every command does."""
    from lab.standin import kube

    with report.failing("error retrieving the default configuration"):
        cluster = kube.from_flags(values)
    with report.failing("error building the cluster.Info for the default configuration"):
        kube.survey(cluster)
    return cluster


GROUPS = ("export", "unexport")
COMMANDS = {
    "version": Command("version", "Print the version", (), _version),
    "deploy-broker": Command("deploy-broker", "Deploys the broker", flags.DEPLOY_BROKER, _deploy_broker),
    "join": Command("join", "Connect a cluster to an existing broker", flags.JOIN, _join, _check_join),
    "uninstall": Command("uninstall", "Uninstall Submariner and its components", flags.UNINSTALL, _uninstall),
    "recover-broker-info": Command("recover-broker-info", "Write broker-info.subm again", flags.RECOVER, _recover),
    "export service": Command("export service <serviceName>", "Export a Service", flags.EXPORT_SERVICE, _export),
    "unexport service": Command(
        "unexport service <serviceName>", "Stop exporting a Service", flags.UNEXPORT_SERVICE, _unexport
    ),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
