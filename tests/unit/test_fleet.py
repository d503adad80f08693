"""Contract: which stacks there are, in which order they go, what is refused, and what a summary may show.

The engine's events are built here as it writes them; that it does write them so is kept by tests/engine.
"""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from rich.console import Console

from mesh.fleet import stacks
from mesh.fleet.changes import Op, StackChanges
from mesh.fleet.engine import Engine, NotStartedError, StackFailedError, StoppableCommand
from mesh.fleet.errors import FleetError
from mesh.fleet.order import Operation, Pace, Wave, rollout, waves
from mesh.fleet.run import Run, State, Task
from mesh.fleet.stacks import Stack
from mesh.fleet.summary import has_changes, losses, markdown, print_summary
from mesh.plan import PlanError, load_plan
from tests.unit.fleet import BROKER, JOIN, MESH, NETWORK, POOL, SECRET, diagnostic, project, step, task, third_cluster
from tests.unit.plans import changed

ROOT = Path(__file__).resolve().parents[2]
A, B, C = (Stack(name, (name,), name == "cluster-a") for name in ("cluster-a", "cluster-b", "cluster-c"))


# Which stacks there are


def test_shipped_project_has_the_brokers_stack_first() -> None:
    fleet = stacks.load(ROOT)
    assert [(stack.name, stack.clusters, stack.hosts_broker) for stack in fleet.select(())] == [
        ("cluster-a", ("cluster-a",), True),
        ("cluster-b", ("cluster-b",), False),
    ]


def test_stack_of_the_broker_comes_first_wherever_it_is_in_the_plan(tmp_path: Path) -> None:
    plan = third_cluster() | {"broker": {"cluster": "cluster-c"}}
    one, rest = {"mesh:cluster": "cluster-c"}, {"mesh:clusters": ["cluster-b", "cluster-a"]}
    fleet = stacks.load(project(tmp_path, plan, zz=one, lab=rest, other={"aws:region": "x"}))
    assert [stack.name for stack in fleet.select(())] == ["zz", "lab"]


def test_cluster_without_a_stack_is_told_with_what_to_do(tmp_path: Path) -> None:
    fleet = stacks.load(project(tmp_path, third_cluster(), cluster_a={"mesh:cluster": "cluster-a"}))
    with pytest.raises(FleetError) as refused:
        fleet.select(())
    for cluster in ("cluster-b", "cluster-c"):  # all at once
        assert f"{cluster} has no stack: create Pulumi.{cluster}.yaml" in str(refused.value)
        assert f"pulumi stack init {cluster}" in str(refused.value)
    assert [stack.name for stack in fleet.select(["cluster-a"])] == ["cluster-a"]


def test_stack_file_with_a_typo_is_told(tmp_path: Path) -> None:
    files = {"cluster_a": {"mesh:cluster": "cluster-a"}, "cluster_b": {"mesh:cluster": "cluster-bb"}}
    with pytest.raises(FleetError, match=r"Pulumi\.cluster-b\.yaml is for cluster-bb.*cluster-a, cluster-b"):
        stacks.load(project(tmp_path, **files)).select(())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"mesh:cluster": "cluster-a", "mesh:contxt": "a"}, "mesh:contxt is no setting: did you mean mesh:context?"),
        ({"mesh:cluster": 5}, "mesh:cluster has 5"),
        ({"mesh:clusters": 5}, "mesh:clusters is 5: write a list"),
    ],
)
def test_stack_file_whose_config_cannot_be_used_is_named(config: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(FleetError) as refused:
        stacks.load(project(tmp_path, site=config))
    assert str(refused.value).startswith(f"Pulumi.site.yaml: {said}")


def test_two_stacks_that_own_one_cluster_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="cluster-a is owned by the stacks one, two"):
        stacks.load(project(tmp_path, one={"mesh:cluster": "cluster-a"}, two={"mesh:clusters": ["cluster-a"]}))


@pytest.mark.parametrize("only", [["lab"], ["cluster-b"], ["cluster-b", "cluster-c"]])
def test_only_takes_clusters_and_stacks(tmp_path: Path, only: list[str]) -> None:
    files = {"cluster_a": {"mesh:cluster": "cluster-a"}, "lab": {"mesh:clusters": ["cluster-b", "cluster-c"]}}
    fleet = stacks.load(project(tmp_path, third_cluster(), **files))
    assert [stack.name for stack in fleet.select(only)] == ["lab"]


def test_only_with_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(FleetError, match=r"cluster-z.*use: cluster-a, cluster-b"):
        stacks.load(ROOT).select(["cluster-z", "cluster-a"])


def test_bad_plan_is_refused_like_mesh_check_does_also_in_a_stack_file(tmp_path: Path) -> None:
    bad = changed({"clusters.cluster-a.pools[0].gateway": "172.120.0.1", "broker.cluster": "cluster-x"})
    with pytest.raises(PlanError) as refused:
        stacks.load(project(tmp_path, bad, cluster_a={"mesh:cluster": "cluster-a"}))
    assert len(refused.value.problems) >= 2
    with pytest.raises(PlanError, match=r"Pulumi\.cluster-a\.yaml"):
        stacks.load(project(tmp_path, cluster_a={"mesh:cluster": "cluster-a", "mesh:plan": bad}))


@pytest.mark.parametrize("text", ["config: [", "- a\n- b\n", "just text"])
def test_damaged_stack_file_is_named(tmp_path: Path, text: str) -> None:
    project(tmp_path)
    (tmp_path / "Pulumi.cluster-a.yaml").write_text(text)
    with pytest.raises(FleetError, match=r"Pulumi\.cluster-a\.yaml"):
        stacks.load(tmp_path)


def test_all_missing_credentials_are_told_at_once(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    encrypted = {"secure": "v1:abc"}
    files = [
        Stack("cluster-a", ("cluster-a",), True),
        Stack("cluster-b", ("cluster-b",), False, {"config": {"mesh:context": "b"}}),
        Stack("cluster-c", ("cluster-c",), False, {"config": {"mesh:kubeconfig": encrypted}}),
        Stack("cluster-d", ("cluster-d",), False, {"environment": ["mesh/prod"]}),
        Stack("lab", ("lab-1", "lab-2", "lab-3"), False),
    ]
    told = stacks.missing_credentials(files, {"KUBECONFIG_LAB_1": str(kubeconfig), "KUBECONFIG_LAB_3": "/nowhere"})
    assert [text.partition(":")[0] for text in told] == ["cluster-a", "lab-2", "lab-3"]
    assert "KUBECONFIG_CLUSTER_A" in told[0]
    assert "mesh:context" in told[0]
    assert "mesh:context" not in told[1]
    assert "/nowhere, which is no file" in told[2]


# In which order they go


def test_up_goes_broker_first_and_destroy_the_other_way() -> None:
    up = waves(Operation.UP, [C, A, B], 6)
    assert [(wave.stacks, wave.parallel, wave.stop_at_failure) for wave in up] == [((A,), 6, True), ((C, B), 6, True)]
    assert [wave.stacks for wave in waves(Operation.DESTROY, [A, B, C], 6)] == [(B, C), (A,)]
    assert [wave.stacks for wave in waves(Operation.UP, [B], 6)] == [(B,)]


@pytest.mark.parametrize("operation", [Operation.PREVIEW, Operation.REFRESH])
def test_looking_has_no_order_and_no_failure_ends_it(operation: Operation) -> None:
    assert waves(operation, [A, B, C], 2) == [Wave((A, B, C), 2, stop_at_failure=False)]
    assert waves(Operation.DESTROY, [A, B, C], 2, dry_run=True) == [Wave((A, B, C), 2, stop_at_failure=False)]


def test_new_version_goes_one_cluster_at_a_time() -> None:
    plan = load_plan(third_cluster())
    outputs = {stack.name: {"cluster": {"id": stack.name, "joined": {"version": "0.24.1"}}} for stack in (A, B, C)}
    assert rollout(plan, [A, B, C], [A, B, C], outputs).pace is Pace.PARALLEL
    outputs["cluster-b"]["cluster"]["joined"] = {"version": "0.23.0"}
    outputs["cluster-c"] = {}  # never brought up
    how = rollout(plan, [A, B, C], [A, B, C], outputs)
    assert how.pace is Pace.ONE_BY_ONE
    assert "cluster-b Submariner 0.23.0 -> 0.24.1" in how.reasons[0]
    assert "cluster-c" not in how.reasons[0]
    members = waves(Operation.UP, [A, B, C], 6, how.pace)[1]
    assert (members.parallel, members.stop_at_failure) == (1, True)


def test_new_version_is_seen_in_a_stack_of_several_clusters_and_of_spiderpool_too() -> None:
    plan = load_plan(third_cluster())
    lab = Stack("lab", ("cluster-b", "cluster-c"), False)
    clusters = {"cluster-b": {"joined": None, "spiderpoolVersion": "1.0.0"}, "cluster-c": {"joined": {}}}
    how = rollout(plan, [A, lab], [lab], {"lab": {"clusters": clusters}})
    assert how.pace is Pace.ONE_BY_ONE
    assert "cluster-b Spiderpool 1.0.0 -> " in how.reasons[0]


def test_new_pre_shared_key_goes_to_all_members_at_once_and_names_those_left_out() -> None:
    plan = load_plan(third_cluster() | {"submariner": {"version": "0.24.1", "pskRotation": 2}})
    how = rollout(plan, [A, B, C], [A, B], {"cluster-a": {"broker": {"pskRotation": 1}}})
    assert how.pace is Pace.TOGETHER
    assert "rotation 1 -> 2" in how.reasons[0]
    assert "cluster-c" in how.reasons[1]
    hosts, members = waves(Operation.UP, [A, B], 6, how.pace)
    assert hosts.stop_at_failure
    assert not members.stop_at_failure
    assert rollout(plan, [A, B], [A, B], {"cluster-a": {"broker": {"pskRotation": 2}}}).pace is Pace.PARALLEL


# What happens to the others


class FakeEngine:
    """Stacks that succeed, fail or wait until they are stopped, and the order in which they were started."""

    def __init__(self, *, failing: Sequence[str] = (), slow: Sequence[str] = ()) -> None:
        self.failing = failing
        self.slow = slow
        self.started: list[str] = []
        self.finished: list[str] = []
        self.stops = 0
        self._stopped = threading.Event()

    def run(self, stack: Stack, operation: Operation, changes: StackChanges, log: IO[str], *, dry_run: bool) -> None:
        self.started.append(stack.name)
        log.write("said\n")
        if stack.name in self.failing:
            time.sleep(0.1)  # others that may start have started by then
            raise StackFailedError("broken")
        if stack.name in self.slow and self._stopped.wait(0.5):
            raise StackFailedError("update canceled")
        self.finished.append(stack.name)

    def stop(self) -> None:
        self.stops += 1
        self._stopped.set()


class Quiet:
    """A board that shows nothing, and may react."""

    def __init__(self, react: Callable[[Task], None] = lambda _: None) -> None:
        self._react = react

    def show(self, tasks: Sequence[Task]) -> None: ...

    def moved(self, task: Task) -> None:
        self._react(task)

    def said(self, stack: str, line: str) -> None: ...


def run(engine: FakeEngine, order: Sequence[Wave], logs: Path, board: Quiet | None = None) -> dict[str, Task]:
    as_real: Engine = engine  # type: ignore[assignment]
    tasks = Run(as_real, Operation.UP, board or Quiet(), logs, dry_run=False).run(order)
    return {task.stack.name: task for task in tasks}


def test_broker_that_fails_keeps_all_members_from_starting(tmp_path: Path) -> None:
    for pace in Pace:
        engine = FakeEngine(failing=["cluster-a"])
        tasks = run(engine, waves(Operation.UP, [A, B, C], 6, pace), tmp_path)
        assert engine.started == ["cluster-a"]
        assert tasks["cluster-a"].errors() == ["broken"]
        assert {tasks[name].state for name in ("cluster-b", "cluster-c")} == {State.NOT_STARTED}
        assert "cluster-a failed" in tasks["cluster-b"].reason


def test_member_that_fails_does_not_cut_off_one_that_runs(tmp_path: Path) -> None:
    d = Stack("cluster-d", ("cluster-d",), False)
    engine = FakeEngine(failing=["cluster-b"], slow=["cluster-c"])
    tasks = run(engine, [Wave((B, C, d), 2, stop_at_failure=True)], tmp_path)
    assert engine.finished == ["cluster-c"]
    states = {name: task.state for name, task in tasks.items()}
    assert states == {"cluster-b": State.FAILED, "cluster-c": State.DONE, "cluster-d": State.NOT_STARTED}
    assert engine.stops == 0


def test_failure_does_not_hold_back_members_that_are_cut_off(tmp_path: Path) -> None:
    engine = FakeEngine(failing=["cluster-b"])
    run(engine, waves(Operation.UP, [A, B, C], 1, Pace.TOGETHER), tmp_path)
    assert engine.started == ["cluster-a", "cluster-b", "cluster-c"]


def test_one_by_one_ends_at_the_first_failure(tmp_path: Path) -> None:
    engine = FakeEngine(failing=["cluster-b"])
    run(engine, waves(Operation.UP, [A, B, C], 6, Pace.ONE_BY_ONE), tmp_path)
    assert engine.started == ["cluster-a", "cluster-b"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_what_runs_and_starts_nothing_more(tmp_path: Path, number: signal.Signals) -> None:
    engine = FakeEngine(slow=["cluster-a"])

    def interrupt(moved: Task) -> None:
        if moved.state is State.RUNNING:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    tasks = run(engine, waves(Operation.UP, [A, B], 6), tmp_path, Quiet(interrupt))
    assert engine.stops == 1
    assert [tasks[name].state for name in ("cluster-a", "cluster-b")] == [State.STOPPED, State.NOT_STARTED]
    assert signal.getsignal(number) is before


def test_logs_are_for_their_owner_alone(tmp_path: Path) -> None:
    run(FakeEngine(), [Wave((A,), 1, stop_at_failure=True)], tmp_path / "logs" / "now")
    assert (tmp_path / "logs" / "now" / "cluster-a.log").read_text() == "said\n"
    assert (tmp_path / "logs" / "now").stat().st_mode & 0o077 == 0


FAKE_CLI = """#!{python}
import signal, sys, time
if sys.argv[1:] == ["version"]:
    sys.exit(print("v3.260.0"))
def stop(*_):
    print("got it", flush=True)
    sys.exit(3)
signal.signal(signal.SIGINT, stop)
print("running", flush=True)
time.sleep(60)
"""


def test_stop_reaches_the_cli_and_nothing_starts_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = tmp_path / "pulumi"
    cli.write_text(FAKE_CLI.format(python=sys.executable))
    cli.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    command, said, running = StoppableCommand(), list[str](), threading.Event()

    def hear(line: str) -> None:
        said.append(line)
        running.set()

    def up() -> None:
        with pytest.raises(Exception, match="code: 3"):
            command.run(["up"], str(tmp_path), {}, on_output=hear)

    thread = threading.Thread(target=up)
    thread.start()
    assert running.wait(20)
    started = time.monotonic()
    command.stop()
    thread.join(20)
    assert said == ["running", "got it"]
    assert time.monotonic() - started < 10
    with pytest.raises(NotStartedError):
        command.run(["up"], str(tmp_path), {})


# What it says of changes


def test_counts_are_those_of_pulumi() -> None:
    """Providers that nobody asked for do not count, several steps on one resource count once, reads not at all."""
    done = task(
        step("create", "pulumi:providers:command", "default_1_2_1"),
        step("create", "pulumi:providers:kubernetes", "cluster-b"),
        step("read", "pulumi:pulumi:StackReference", "broker"),
        step("same", MESH, "mesh", custom=False),
        step("create-replacement", POOL, "pool"),
        step("replace", POOL, "pool"),
        step("delete-replaced", POOL, "pool"),
        step("update", JOIN, "cluster-b-join"),
    )
    assert done.changes.count() == {Op.CREATE: 1, Op.SAME: 1, Op.REPLACE: 1, Op.UPDATE: 1}
    assert has_changes([done])
    assert not has_changes([task(step("same", POOL, "pool"))])


@pytest.mark.parametrize("types", [POOL, BROKER, JOIN])
@pytest.mark.parametrize("op", ["delete", "replace", "create-replacement", "delete-replaced"])
def test_loss_of_a_pool_the_broker_or_a_join_is_found(types: str, op: str) -> None:
    (loss,) = losses([task(step(op, types, "it", old={}, diff={"spec.subnet": "update-replace"}))])
    assert loss.startswith("cluster-b: ")
    assert "it (spec.subnet)" in loss


@pytest.mark.parametrize(
    ("op", "types"),
    [
        ("update", POOL),
        ("create", JOIN),
        ("same", BROKER),
        ("delete", NETWORK),
        ("replace", f"{MESH}$multi-cluster-mesh:index:SampleApp$kubernetes:apps/v1:Deployment"),
        ("delete", f"{MESH}$command:local:Command"),
    ],
)
def test_nothing_else_is_refused(op: str, types: str) -> None:
    assert losses([task(step(op, types, "it"))]) == []


def text_of(tasks: Sequence[Task]) -> str:
    console = Console(width=200, record=True, file=Path(os.devnull).open("w"), markup=False)  # noqa: SIM115
    print_summary(console, tasks, dry_run=True)
    return console.export_text()


def test_summaries_show_old_and_new_addresses() -> None:
    old = {"spec": {"ips": ["172.111.1.1-172.111.1.200"], "coordinator": {"hijackCIDR": ["10.0.0.0/8"]}}}
    new = {"spec": {"ips": ["172.111.1.1-172.111.1.9"], "gateway": "172.111.0.1", "coordinator": {"hijackCIDR": []}}}
    diff = {"spec.ips[0]": "update", "spec.gateway": "add", "spec.coordinator.hijackCIDR[0]": "delete"}
    changed_pool = task(step("update", POOL, "cluster-b-pool", old=old, new=new, diff=diff))
    for text in (markdown([changed_pool], []), text_of([changed_pool])):
        assert "spec.ips[0]: 172.111.1.1-172.111.1.200 -> 172.111.1.1-172.111.1.9" in text
        assert "spec.gateway: (none) -> 172.111.0.1" in text
        assert "spec.coordinator.hijackCIDR[0]: 10.0.0.0/8 -> (none)" in text


def test_what_forces_a_replacement_is_told() -> None:
    diff = {"spec.subnet": "update-replace"}
    old, new = {"spec": {"subnet": "172.111.0.0/16"}}, {"spec": {"subnet": "172.112.0.0/16"}}
    replaced = task(step("replace", POOL, "pool", old=old, new=new, diff=diff))
    for text in (markdown([replaced], []), text_of([replaced])):
        assert "spec.subnet: 172.111.0.0/16 -> 172.112.0.0/16 (forces replacement)" in text


def test_values_of_anything_else_are_never_shown() -> None:
    hidden = secrets.token_hex(8)
    everything = [
        task(
            step("update", types, "it", old={"stdin": hidden, "data": {"k": hidden}}, new={"stdin": hidden * 2}, diff=d)
        )
        for types in (JOIN, BROKER, SECRET, "pulumi:providers:kubernetes")
        for d in ({"stdin": "update"}, {'data["k"]': "delete"})
    ]
    for text in (markdown(everything, losses(everything)), text_of(everything)):
        assert hidden not in text
        assert "stdin" in text


def test_markdown_names_stacks_operations_and_refusals() -> None:
    tasks = [
        task(step("same", POOL, "pool-a"), name="cluster-a"),
        task(step("delete", POOL, "pool-b"), step("create", NETWORK, "network-b"), name="cluster-b"),
    ]
    text = markdown(tasks, losses(tasks))
    assert text.startswith("<!-- multi-cluster-mesh -->\n### Mesh: changes in 1 of 2 stacks")
    assert "| cluster-a | 1 | 0 | 0 | 0 | 0 | no changes |" in text
    assert "| cluster-b | 0 | 0 | 1 | 1 | 0 | would change |" in text
    assert "> - cluster-b: delete of pool pool-b" in text
    assert "- `-` delete **pool** `pool-b` (SpiderIPPool)" in text


def test_markdown_stays_below_what_a_comment_takes_and_is_not_broken_by_names() -> None:
    many = task(*(step("create", NETWORK, f"`<b>{number:04}" + "x" * 100) for number in range(1000)))
    text = markdown([task(step("update", POOL, "pool"), name="cluster-a"), many], [])
    assert len(text) < 65_536
    assert "There is more" in text
    few = markdown([task(step("create", NETWORK, "a`<b>"), diagnostic("<script>", "warning"))], ["<i>"])
    assert "`a'<b>`" in few
    assert "<script>" not in few
    assert "<i>" not in few


def test_failed_stack_shows_what_failed_and_where_the_rest_is() -> None:
    error = 'exit status 1: running "exec sh mesh/steps/run.sh join":\njoin failed: no node is labelled\n' + "x\n" * 40
    failed = task(
        diagnostic(error, types=JOIN, name="cluster-b-join"),
        diagnostic("update failed"),
        diagnostic("using pulumi-resource-command from $PATH at /x", "warning"),
        diagnostic("[MinimumReplicasUnavailable] …", "warning", types=JOIN, name="j", ephemeral=True),
        diagnostic("the broker has not been brought up", "warning"),
        state=State.FAILED,
    )
    for text in (text_of([failed]), markdown([failed], [])):
        assert "cluster-b-join: join failed: no node is labelled" in text
        assert "more lines in the log" in text
        assert "the broker has not been brought up" in text
        for noise in ("exit status", "update failed", "$PATH", "MinimumReplicas"):
            assert noise not in text
    assert "logs/cluster-b.log" in text_of([failed])


def test_what_a_step_says_while_it_runs_is_progress_or_a_warning_and_no_error() -> None:
    lines: list[str] = []
    changes = StackChanges(lines.append)
    changes.on_event(step("create", JOIN, "cluster-b-join", kind="resourcePreEvent", planning=False))
    for text in ("waiting for subctl join ...\n", "warning: the broker was not cleaned\n", "whatever\n"):
        changes.on_event(diagnostic(text, "info", types=JOIN, name="cluster-b-join", ephemeral=True))
    assert changes.latest == "create cluster-b-join: waiting for subctl join ..."
    assert lines == ["create cluster-b-join ...", changes.latest]
    assert changes.warnings() == ["the broker was not cleaned"]
    failed = 'exit status 1: running "exec sh x join":\nwaiting for subctl ...\njoin failed: no node is labelled.\n'
    changes.on_event(diagnostic(failed, types=JOIN, name="cluster-b-join"))
    assert changes.errors() == ["cluster-b-join: join failed: no node is labelled."]


# The command line


def mesh(*arguments: str, folder: Path, path: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBECONFIG")}
    return subprocess.run(
        [sys.executable, "-m", "mesh", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "PATH": path or os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def both(folder: Path) -> Path:
    return project(folder, cluster_a={"mesh:cluster": "cluster-a"}, cluster_b={"mesh:cluster": "cluster-b"})


def test_stacks_gives_a_matrix_for_ci(tmp_path: Path) -> None:
    done = mesh("stacks", "--format", "json", folder=both(tmp_path))
    assert done.returncode == 0
    assert done.stdout == (
        '{"include": [{"stack": "cluster-a", "clusters": ["cluster-a"], "hostsBroker": true, '
        '"kubeconfigVariables": ["KUBECONFIG_CLUSTER_A"]}, {"stack": "cluster-b", "clusters": ["cluster-b"], '
        '"hostsBroker": false, "kubeconfigVariables": ["KUBECONFIG_CLUSTER_B"]}]}\n'
    )


@pytest.mark.parametrize("command", [["up", "--yes"], ["destroy", "--yes"], ["refresh", "--expect-no-changes"]])
def test_missing_credentials_are_told_before_anything_starts(tmp_path: Path, command: list[str]) -> None:
    done = mesh(*command, folder=both(tmp_path), path="/nowhere")
    assert done.returncode == 1
    assert "KUBECONFIG_CLUSTER_A" in done.stderr
    assert "KUBECONFIG_CLUSTER_B" in done.stderr


@pytest.mark.parametrize("command", ["up", "destroy", "refresh"])
def test_nobody_to_ask_means_no(tmp_path: Path, command: str) -> None:
    files = {f"cluster_{letter}": {"mesh:cluster": f"cluster-{letter}", "mesh:context": letter} for letter in "ab"}
    done = mesh(command, folder=project(tmp_path, **files), path="/nowhere")
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_missing_pulumi_is_a_sentence(tmp_path: Path) -> None:
    done = mesh("preview", folder=both(tmp_path), path="/nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("pulumi is not on PATH")
    assert "Traceback" not in done.stderr
