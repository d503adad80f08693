"""A step of `mesh.steps` as a pulumi-command resource.

`create` and `update` are the same command, because every step converges; there are no `triggers`, because changing
them replaces: the new join would be made first and then undone by the old one's delete. The command text is the same
on every machine, and all that a step must know comes on stdin as a secret.
"""

import json
import time
from typing import Any

import pulumi
from pulumi_command import local

_STARTED = time.time()  # of the program, and so before any step of this run


def step(
    name: str, create: str, stdin: pulumi.Input[str], opts: pulumi.ResourceOptions, delete: str | None = None
) -> local.Command:
    """A command that runs a step on create and update, and another one (`delete`) on destroy."""
    run = _command(create)
    return local.Command(
        name,
        create=run,
        update=run,
        delete=_command(delete) if delete else None,
        stdin=pulumi.Output.secret(stdin),
        # The engine prints what is logged in clear, as it comes. stdout has broker-info or keys in it; stderr has what
        # the step is doing, which may take minutes, and what a delete could not do: nobody reads the result of one.
        logging=local.Logging.STDERR,
        # The previous stdout would reach the step's environment, which other processes can read.
        add_previous_output_in_env=False,
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(additional_secret_outputs=["stdin", "stdout", "stderr"])
        ),
    )


def result(command: local.Command) -> pulumi.Output[dict[str, Any]]:
    """The one JSON document that the step printed; secret as a whole."""
    return command.stdout.apply(lambda text: json.loads(text) if text else {})


def public(command: local.Command, *keys: str) -> pulumi.Output[dict[str, Any]]:
    """Parts of the step's document that are no secret, as an ordinary output; its warnings are told on the way.

    Told once: a step that does not run again has its document from the state, with what was so at that time.
    """

    def pick(document: dict[str, Any]) -> dict[str, Any]:
        if document.get("warnedAt", 0) >= _STARTED:
            for warning in document["warnings"]:
                pulumi.warn(warning, resource=command)
        return {key: document.get(key) for key in keys}

    return pulumi.Output.unsecret(result(command).apply(pick))


def _command(step_name: str) -> str:
    # exec: a signal for the shell reaches the step, which then takes subctl with it.
    return f"exec sh mesh/steps/run.sh {step_name}"
