"""Contract: the harness lets no test pass on something that did not run, and tells secrets and unknowns as they are.

Every trap here is one in which a test on pulumi's plain mocks passes without a word.
"""

import pulumi
import pytest
from pulumi_command import local

from tests.graph.harness import STEP, UNKNOWN, FailedError, run


def command(name: str = "command") -> local.Command:
    opts = pulumi.ResourceOptions(additional_secret_outputs=["stdout"])
    return local.Command(name, create=f"{STEP}verify", stdin="{}", opts=opts)


def fail(_value: object) -> None:
    raise RuntimeError("it ran")


def test_what_fails_in_an_output_that_nobody_awaits_is_raised() -> None:
    with pytest.raises(RuntimeError, match="it ran"):
        run(lambda: command().stdout.apply(fail))


def test_what_fails_in_an_output_of_the_stack_is_raised() -> None:
    with pytest.raises(RuntimeError, match="it ran"):
        run(lambda: pulumi.export("x", pulumi.Output.from_input(1).apply(fail)))


def test_what_fails_in_the_program_is_raised_and_shows_what_came_before() -> None:
    def program() -> None:
        command()
        fail(None)

    with pytest.raises(RuntimeError, match="it ran") as error:
        run(program)
    assert isinstance(error.value.__cause__, FailedError)


def test_a_preview_knows_no_output_of_a_command_and_runs_nothing_on_it() -> None:
    ran = []

    def steps(step: str, spec: dict[str, object]) -> dict[str, object]:
        ran.append(step)
        return {}

    graph = run(lambda: pulumi.export("x", command().stdout.apply(fail)), preview=True, steps=steps)
    assert graph.outputs["x"] is UNKNOWN
    assert ran == []


def test_an_urn_cannot_be_taken_twice() -> None:
    with pytest.raises(AssertionError, match="Duplicate resource URN"):
        run(lambda: [command(), command()])


def test_a_secret_output_is_secret_and_one_made_of_it_too() -> None:
    def program() -> None:
        made = command()
        pulumi.export("secret", made.stdout.apply(len))
        pulumi.export("nested", {"inside": [made.stdout]})
        pulumi.export("public", made.create)

    graph = run(program)
    assert graph.secret_outputs == {"secret", "nested.inside[0]"}
    assert graph["command"].secrets == frozenset()


def test_runs_know_nothing_of_each_other() -> None:
    with pytest.raises(RuntimeError):
        run(lambda: command().stdout.apply(fail))
    assert set(run(lambda: command("other")).resources) == {"other"}
    assert set(run(lambda: None).resources) == set()
