"""The probes' and the leak guard's shell scripts, really run: in network namespaces that stand for a pod, its node, the
two gateways and the underlay, with real routes, real `ip`, `ping`, `curl`, and once more with busybox's.

What is not real: the tunnel, which is a wire here, and the pods.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from components.leak_guard import METRIC, SCRIPT
from mesh.health import data_path, probes
from mesh.health.data_path import Source, Target
from mesh.health.models import Row, State

FAR, POD = "172.111.1.1", "172.110.1.1"
SOURCE = Source("cluster-a", "worker-1", "other", pod_cidrs=("172.110.0.0/16",))
TARGET = Target("cluster-b", "the far pod", FAR, probes.PORT, data_path.TRANSFER_BYTES, pings=True, hops=2)
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Net:
    """pod veth0 -- node -- gateway -- far pod, and pod eth0 -- underlay."""

    def __init__(self) -> None:
        self._prefix = f"mesh{os.getpid()}"
        self.names = ("pod", "node", "gateway", "far", "underlay")

    def name(self, place: str) -> str:
        return f"{self._prefix}-{place}"

    def run(self, place: str, *argv: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["ip", "netns", "exec", self.name(place), *argv], capture_output=True, text=True, check=False
        )

    def do(self, place: str, *argv: str) -> str:
        done = self.run(place, *argv)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def up(self) -> None:
        for place in self.names:
            made = subprocess.run(["ip", "netns", "add", self.name(place)], capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
            self.do(place, "ip", "link", "set", "lo", "up")
            for setting in ("ip_forward=1", "conf.all.rp_filter=0", "conf.default.rp_filter=0"):
                self.do(place, "sysctl", "-qw", f"net.ipv4.{setting}")
        self._wire("pod", "veth0", f"{POD}/32", "node", "vethpod", "172.110.0.11/16")
        self._wire("pod", "eth0", f"{POD}/16", "underlay", "pods", "172.110.0.1/16")
        self._wire("node", "wan", "10.6.0.1/24", "gateway", "wan", "10.6.0.2/24")
        self._wire("gateway", "pods", "10.7.0.1/24", "far", "eth0", "10.7.0.2/24")
        self._wire("underlay", "leak", "10.8.0.1/24", "far", "leak", "10.8.0.2/24")
        self.do("far", "ip", "addr", "add", f"{FAR}/32", "dev", "lo")
        for place, route in (
            ("pod", "172.110.0.11 dev veth0"),
            ("pod", f"172.111.0.0/16 via 172.110.0.11 dev veth0 src {POD}"),
            ("pod", "default via 172.110.0.1 dev eth0"),
            ("node", f"{POD}/32 dev vethpod"),
            ("node", "172.111.0.0/16 via 10.6.0.2"),
            ("gateway", "172.110.0.0/16 via 10.6.0.1"),
            ("gateway", "172.111.0.0/16 via 10.7.0.2"),
            ("far", "default via 10.7.0.1"),
        ):
            self.do(place, "ip", "route", "add", *route.split())

    def _wire(self, one: str, device: str, address: str, other: str, far_device: str, far_address: str) -> None:
        both = ["ip", "link", "add", device, "netns", self.name(one), "type", "veth", "peer", "name", far_device]
        subprocess.run([*both, "netns", self.name(other)], check=True)
        for place, dev, addr in ((one, device, address), (other, far_device, far_address)):
            self.do(place, "ip", "addr", "add", addr, "dev", dev)
            self.do(place, "ip", "link", "set", dev, "up")

    def down(self) -> None:
        for place in self.names:
            subprocess.run(["ip", "netns", "del", self.name(place)], capture_output=True, check=False)

    @contextmanager
    def shell(self, place: str, script: str, path: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A script that runs meanwhile."""
        argv = [str(shutil.which("ip")), "netns", "exec", self.name(place), _sh(path), "-c", script]
        process = subprocess.Popen(argv, env={"PATH": path, **environment}, start_new_session=True)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def probe(self, path: str = SYSTEM, target: Target = TARGET) -> dict[str, Row]:
        """What the probes' own script finds out in the pod."""
        todo = data_path.checks(SOURCE, [target])
        script = data_path.script(todo).replace("-m 10", "-m 2").replace("timeout 10", "timeout 2")
        done = subprocess.run(
            [str(shutil.which("ip")), "netns", "exec", self.name("pod"), _sh(path), "-s"],
            input=f"{script}\nexit\n",
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert not done.stderr
        return {row.check: row for row in data_path.summarise(data_path.judge(SOURCE, todo, done.stdout)).rows}


def _sh(path: str) -> str:
    return str(shutil.which("sh", path=path))


@pytest.fixture(scope="module")
def wires() -> Iterator[Net]:
    """The namespaces, once for all tests."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("ping"):
        pytest.skip("network namespaces need root, ip and ping")
    net = Net()
    net.down()
    try:
        net.up()
        yield net
    finally:
        net.down()


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with busybox's programs and no others."""
    if not shutil.which("busybox"):
        pytest.skip("no busybox on PATH")
    folder = tmp_path_factory.mktemp("busybox")
    subprocess.run(["busybox", "--install", "-s", str(folder)], check=True)
    return folder


@pytest.fixture
def served(wires: Net, busybox: Path) -> Iterator[Net]:
    """The probes' server runs in the far pod."""
    with wires.shell("far", probes._SERVER, str(busybox)):
        _await_server(wires)
        yield wires


def _await_server(net: Net) -> None:
    deadline = time.monotonic() + 10
    while net.run("far", "curl", "-sf", "-m", "2", "-o", "/dev/null", f"http://{FAR}:{probes.PORT}/probe").returncode:
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.1)


def states(found: dict[str, Row], *checks: str) -> list[State]:
    return [found[check].state for check in checks]


def test_a_sound_path_passes_every_check(served: Net) -> None:
    found = served.probe()
    assert {row.state for row in found.values()} == {State.OK}, found
    assert "ttl 62" in found["ping"].detail
    assert found["node address"].detail == "172.110.0.11"
    assert found["transfer"].detail == "300000 B, complete"


def test_busybox_s_programs_will_do_but_for_the_packet_of_full_size(served: Net, busybox: Path) -> None:
    found = served.probe(str(busybox))
    assert {check for check, row in found.items() if row.state is not State.OK} == {"mtu"}, found
    assert found["mtu"].state is State.NOT_CHECKED


def test_an_image_without_httpd_serves_with_nc(wires: Net, busybox: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    shutil.copytree(busybox, folder, symlinks=True)
    (folder / "httpd").unlink()
    with wires.shell("far", probes._SERVER, str(folder)):
        _await_server(wires)
        assert wires.probe()["transfer"].state is State.OK


@contextmanager
def _changed(net: Net, do: Sequence[tuple[str, str]], undo: Sequence[tuple[str, str]]) -> Iterator[None]:
    for place, command in do:
        net.do(place, *command.split())
    try:
        yield
    finally:
        for place, command in undo:
            net.do(place, *command.split())


def test_a_pod_without_the_route_is_told_from_a_tunnel_that_is_down(served: Net) -> None:
    route = f"172.111.0.0/16 via 172.110.0.11 dev veth0 src {POD}"
    with _changed(served, [("pod", f"ip route del {route}")], [("pod", f"ip route add {route}")]):
        found = served.probe()
    assert states(found, "route", "ping", "transfer") == [State.FAILED] * 3
    assert "to eth0, not into the node" in found["route"].detail
    with _changed(served, [("gateway", "ip link set pods down")], [("gateway", "ip link set pods up")]):
        found = served.probe()
    served.run("gateway", "ip", "route", "replace", "172.111.0.0/16", "via", "10.7.0.2")
    assert states(found, "route", "ping", "mtu", "control") == [
        State.OK, State.FAILED, State.NOT_CHECKED, State.NOT_CHECKED,
    ]  # fmt: skip


def test_an_underlay_that_leads_there_by_itself_is_found_out(served: Net) -> None:
    leak = [("underlay", f"ip route add {FAR}/32 via 10.8.0.2"), ("far", f"ip route add {POD}/32 via 10.8.0.1")]
    back = [("underlay", f"ip route del {FAR}/32 via 10.8.0.2"), ("far", f"ip route del {POD}/32 via 10.8.0.1")]
    with _changed(served, leak, back):
        found = served.probe(target=replace(TARGET, hops=1))  # the answers take the short way, too
    assert states(found, "control", "ping", "transfer") == [State.WARNING, State.NOT_CHECKED, State.NOT_CHECKED]


def test_a_path_that_swallows_large_packets_is_found(served: Net) -> None:
    rule = "FORWARD -m length --length 1200:65535 -j DROP"
    if not shutil.which("iptables") or served.run("gateway", "iptables", "-A", *rule.split()).returncode:
        pytest.skip("no iptables with the length match, which swallows large packets here")
    try:
        found = served.probe()
    finally:
        served.do("gateway", "iptables", "-D", *rule.split())
    assert states(found, "ping", "mtu", "transfer") == [State.OK, State.FAILED, State.FAILED]
    assert "1400 B vanish without a word" in found["mtu"].detail


def test_a_path_that_names_its_size_is_no_failure(served: Net) -> None:
    small, normal = "ip link set wan mtu 1350", "ip link set wan mtu 1500"
    with _changed(served, [("node", small), ("gateway", small)], [("node", normal), ("gateway", normal)]):
        found = served.probe()
    served.do("pod", "ip", "route", "flush", "cache")
    assert states(found, "ping", "mtu", "transfer") == [State.OK, State.WARNING, State.OK]
    assert "it carries 1350 B" in found["mtu"].detail


# --- the leak guard --------------------------------------------------------------------------------------------------


def unreachable(net: Net) -> set[str]:
    """Networks that the node refuses to send anywhere."""
    lines = net.do("node", "ip", "route").splitlines()
    return {line.split()[1] for line in lines if line.startswith("unreachable ")}


def _wait_for(condition: object, seconds: float = 10) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for does not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("programs", ["system", "busybox"])
def test_the_leak_guard_holds_back_what_has_no_tunnel_and_nothing_else(
    wires: Net, busybox: Path, programs: str
) -> None:
    path = SYSTEM if programs == "system" else str(busybox)
    networks = {"172.111.0.0/16", "10.243.0.0/18"}
    with wires.shell("node", SCRIPT.replace("sleep 60", "sleep 1"), path, NETWORKS=" ".join(networks)) as guard:
        _wait_for(lambda: unreachable(wires) == networks)
        assert f"unreachable 172.111.0.0/16 metric {METRIC}" in wires.do("node", "ip", "route")
        ping = ("ping", "-c", "1", "-W", "2", FAR)
        assert wires.run("pod", *ping).returncode == 0, "Submariner's own route has to win"
        tunnel = ("172.111.0.0/16", "via", "10.6.0.2")
        wires.do("node", "ip", "route", "del", *tunnel)
        refused = wires.run("pod", *ping)
        assert refused.returncode != 0
        assert "Unreachable" in refused.stdout
        wires.do("node", "ip", "route", "add", *tunnel)
        assert wires.run("pod", *ping).returncode == 0

        wires.do("node", "ip", "route", "flush", "type", "unreachable")
        _wait_for(lambda: unreachable(wires) == networks)
        guard.terminate()
        assert guard.wait(10) == 0
        assert unreachable(wires) == set()
