"""Contract: several machines work on one mesh, each on its own stack, and never two on one stack at once.

The state is in PostgreSQL here, as where no machine has a folder that all others see: stacks find each other through
it, two of them come up at the same time, and of two runs on one stack one is refused in one sentence.
"""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.engine.conftest import Workspace

STACKS = ("cluster-a", "cluster-b")
HOLD_SECONDS = 60


@dataclass(frozen=True)
class Postgres:
    """A server of our own, on this machine only.

    Attributes:
        url: what pulumi is given.
        programs: folder of its programs.
    """

    url: str
    programs: Path

    def rows(self) -> dict[str, str]:
        """All that pulumi has stored, by key."""
        query = "SELECT json_object_agg(key, data::text) FROM pulumi_state"
        command = [str(self.programs / "psql"), "--no-psqlrc", "-At", "-c", query, self.url]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
        found: dict[str, str] = json.loads(answer)
        return found

    def locks(self) -> list[str]:
        """The locks that are held."""
        return [key for key in self.rows() if "/locks/" in key]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL, which refuses to run as root, in a folder that its user may enter."""
    programs = _postgres_programs()
    user = _postgres_user()
    folder = Path(tempfile.mkdtemp(prefix="mesh-postgres-"))  # not pytest's, which is root's alone
    if user:
        os.chown(folder, *user)
    data, log = folder / "data", folder / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(programs / program), "-D", str(data), *arguments],
            cwd=folder,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    try:
        run("initdb", "--username=mesh", "--auth=trust", "--no-sync")
        run("pg_ctl", "-w", "-l", str(log), "-o", options, "start")
        try:
            yield Postgres(f"postgres://mesh@127.0.0.1:{port}/postgres?sslmode=disable", programs)
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_programs() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("no PostgreSQL server here (Debian: apt install postgresql)")
    return folders[-1]


def _postgres_user() -> tuple[int, int] | None:
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HOLD_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for does not happen"
        time.sleep(0.2)


def start(workspace: Workspace, *arguments: str, **env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["pulumi", "--non-interactive", *arguments],
        cwd=workspace.folder,
        env=workspace.env | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 0, printed
    return printed


UP = ("up", "--yes", "--skip-preview", "--color", "never", "--stack")


# --- PostgreSQL


@pytest.fixture(scope="module")
def shared(site: Workspace, postgres: Postgres) -> Workspace:
    """The mesh's project, its state in PostgreSQL, and no stack in it yet."""
    site.env["PULUMI_BACKEND_URL"] = postgres.url
    for stack in STACKS:
        done = site.pulumi("stack", "init", stack)
        assert done.returncode == 0, done.stderr
    return site


@pytest.fixture(scope="module")
def second_run(shared: Workspace, postgres: Postgres) -> "subprocess.CompletedProcess[str]":
    """A `mesh up` of the broker's stack while the very first one is still at work; which then succeeds."""
    first = start(shared, *UP, "cluster-a", MESH_STANDIN_SLOW="10")
    try:
        wait_for(lambda: bool(postgres.locks()))
        second = shared.mesh("up", "--yes", "--only", "cluster-a")
        assert first.poll() is None, "the first one has ended too early to be in the way"
        finish(first)
    finally:
        first.kill()
    return second


def test_of_two_runs_of_one_stack_the_second_is_refused_in_one_sentence(
    second_run: "subprocess.CompletedProcess[str]",
) -> None:
    assert second_run.returncode == 1
    summary = second_run.stdout
    assert len(re.findall("currently locked by 1 lock", summary)) == 1, summary
    assert "`pulumi cancel`" in summary
    assert "Traceback" not in summary + second_run.stderr


def test_the_first_has_done_its_work_and_lets_go(
    second_run: "subprocess.CompletedProcess[str]", lab: Lab, postgres: Postgres
) -> None:
    assert second_run.returncode != 0
    assert lab.api("cluster-a").joined()["spec"]["clusterID"] == "cluster-a"
    assert postgres.locks() == []


@pytest.fixture(scope="module")
def came_up(shared: Workspace, second_run: "subprocess.CompletedProcess[str]") -> Workspace:
    """Both stacks, up."""
    assert second_run.returncode != 0
    finish(start(shared, *UP, "cluster-b"))
    return shared


def test_a_member_gets_broker_info_through_the_database(came_up: Workspace, lab: Lab) -> None:
    assert came_up.outputs("cluster-a")["brokerInfo"] == "[secret]"
    keys = {lab.api(name).joined()["spec"]["ceIPSecPSK"] for name in STACKS}
    assert len(keys) == 1


def test_two_stacks_at_once(came_up: Workspace, lab: Lab) -> None:
    came_up.edit("clusters:\n", "sampleApp: {replicas: 3}\n      clusters:\n")
    # The first waits for its cluster, so that the second comes while it is at work.
    runs = [start(came_up, *UP, stack) for stack in STACKS]
    try:
        printed = [finish(run) for run in runs]
    finally:
        for run in runs:
            run.kill()
    for name, text in zip(STACKS, printed, strict=True):
        assert "~ 1 updated" in text, text
        assert lab.api(name).one("/apis/apps/v1/namespaces/default/deployments/test-app")["spec"]["replicas"] == 3
    again = came_up.mesh("up", "--yes")
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(re.findall(r"^cluster-[ab] .*no changes", again.stdout, re.MULTILINE)) == 2, again.stdout


def test_the_database_knows_no_secret_in_clear(came_up: Workspace, lab: Lab, postgres: Postgres) -> None:
    rows = postgres.rows()
    assert any("stacks/multi-cluster-mesh/cluster-a" in key for key in rows)
    shown = came_up.pulumi("stack", "output", "--show-secrets", "--json", "--stack", "cluster-a").stdout
    secrets = [
        json.loads(shown)["brokerInfo"],
        lab.api("cluster-b").joined()["spec"]["ceIPSecPSK"],
        lab.api("cluster-a").psk().decode(errors="ignore"),
        Path(came_up.env["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text(),
    ]
    for secret in secrets:
        assert len(secret) > 8
        assert not [key for key, data in rows.items() if secret in data]


# --- a folder


HOLDING = """\
import time
from pathlib import Path

while not Path("go").exists():
    time.sleep(0.1)
"""


@pytest.fixture
def small(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A project that is at work until there is a file `go`, its state in a folder."""
    (tmp_path / "Pulumi.yaml").write_text(
        "name: small\nruntime: {name: python, options: {toolchain: pip, virtualenv: .venv}}\n"
    )
    (tmp_path / "__main__.py").write_text(HOLDING)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "state").mkdir()
    env = workspace.env | {"PULUMI_BACKEND_URL": (tmp_path / "state").as_uri()}
    found = Workspace(tmp_path, env, workspace.plugins_used)
    assert found.pulumi("stack", "init", "one").returncode == 0
    return found


def locks(workspace: Workspace) -> list[Path]:
    return [path for path in workspace.folder.glob("state/.pulumi/locks/**/*.json") if path.is_file()]


def test_two_runs_at_once_with_a_folder(small: Workspace) -> None:
    first = start(small, *UP, "one")
    try:
        wait_for(lambda: bool(locks(small)))
        second = small.pulumi(*UP, "one")
        assert second.returncode != 0
        assert "error: the stack is currently locked by 1 lock(s)" in second.stdout + second.stderr
        assert f"(pid {first.pid})" in second.stdout + second.stderr, "it does not say who holds it"
        (small.folder / "go").touch()
        finish(first)
    finally:
        first.kill()
    finish(start(small, *UP, "one"))


def test_a_run_that_was_killed_is_let_go_of_by_hand(small: Workspace) -> None:
    first = start(small, *UP, "one")
    wait_for(lambda: bool(locks(small)))
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    refused = small.pulumi(*UP, "one")
    assert "currently locked by 1 lock" in refused.stdout + refused.stderr
    assert small.pulumi("cancel", "--yes", "--stack", "one").returncode == 0
    (small.folder / "go").touch()
    finish(start(small, *UP, "one"))
