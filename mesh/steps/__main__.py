"""`python -m mesh.steps <step>`: reads the spec from stdin, runs the step, prints its result as one JSON document."""

import importlib
import json
import logging
import signal
import sys
import time
from types import FrameType
from typing import Any, NoReturn

from pydantic import ValidationError

from mesh.steps import activity, spec, workdir
from mesh.steps.errors import StepError, StoppedError, TimeUpError, remember

STEPS: dict[str, type[spec.Spec]] = {
    "preflight": spec.PreflightSpec,
    "check-identity": spec.IdentitySpec,
    "check-destroy": spec.IdentitySpec,
    "certificate": spec.CertificateSpec,
    "spiderpool-crds": spec.ChartSpec,
    "coordinator": spec.CoordinatorSpec,
    "release-coordinator": spec.CoordinatorSpec,
    "deploy-broker": spec.DeployBrokerSpec,
    "join": spec.JoinSpec,
    "leave": spec.JoinSpec,
    "remove-broker": spec.DeployBrokerSpec,
    "verify": spec.VerifySpec,
    "kube-proxy": spec.KubeProxySpec,
}
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
_SECONDS = 120  # for a step whose spec does not say
_GRACE_SECONDS = 30  # after the end of what the step waits for by itself, and explains better


def main(argv: list[str]) -> int:
    """Run one step and return its exit code: 0, or 1 after one sentence on stderr."""
    step = argv[1] if len(argv) == 2 else ""
    if step not in STEPS:
        return _fail(f"Usage: sh mesh/steps/run.sh <step> with the spec on stdin; <step> is one of {', '.join(STEPS)}.")
    try:
        result = _run(step, sys.stdin.read())
    except StepError as error:
        return _fail(f"{step} failed: {error}.")
    except StoppedError as error:
        doing = f" while {activity.current()}" if activity.current() else ""
        return _fail(f"{step} {error.reason}{doing}; run it again, it goes on from where it is.")
    except Exception as error:  # noqa: BLE001 a traceback could show a secret
        return _fail(f"{step} failed in a way it should not: {_describe(error)}. Please report this.")
    sys.stdout.write(json.dumps(result, sort_keys=True) + "\n")
    return 0


def _run(step: str, text: str) -> dict[str, Any]:
    parsed = _parse(STEPS[step], text)
    remember(*spec.secrets_of(parsed))
    logging.disable()  # libraries report what we report ourselves, and not scrubbed
    seconds = _limit(parsed)
    for number in _SIGNALS:
        signal.signal(number, _stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    activity.set_limit(seconds)
    result: dict[str, Any]
    try:
        with workdir.work_dir() as work:
            try:
                result = importlib.import_module(f"mesh.steps.{step.replace('-', '_')}").run(parsed, work)
            finally:
                _ignore_signals()  # the folder has to go in any case
    finally:
        _ignore_signals()
    for warning in result.get("warnings", []):
        activity.say(activity.WARNING + warning)
    # Whoever reads the result again at a later run is to know that they are old.
    return result | ({"warnedAt": time.time()} if result.get("warnings") else {})


def _limit(parsed: spec.Spec) -> float:
    """How many seconds the step may take."""
    if isinstance(parsed, spec.DeployBrokerSpec | spec.JoinSpec):
        return parsed.settings.timeout
    own = getattr(parsed, "timeout", None)
    return own + _GRACE_SECONDS if own else _SECONDS


def _parse(model: type[spec.Spec], text: str) -> spec.Spec:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        # Never the input itself: it may hold secrets.
        said = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'stdin'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise StepError(f"the spec on stdin is not a {model.__name__} ({said})") from None


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    _ignore_signals()  # one is enough: what follows is the cleaning up
    if number == signal.SIGALRM:
        raise TimeUpError(f"did not finish within {activity.limit():g} s")
    raise StoppedError(f"was stopped by {signal.Signals(number).name}")


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _describe(error: Exception) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {error}{where}"


def _fail(sentence: str) -> int:
    activity.say(sentence)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
