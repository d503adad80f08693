"""No secret in an argument, an environment, an output that is not for it, or a file that stays."""

import base64
import json
import os
import re
import time
from pathlib import Path

import pytest
import yaml

from mesh.access import ClusterAccess
from mesh.steps.broker_info import BrokerInfo
from tests.conftest import Lab
from tests.steps.api import OPERATOR
from tests.steps.mesh import Mesh
from tests.steps.runner import left_over, run, runs, standin_below, start, wait_for


def secrets_of(mesh: Mesh, lab: Lab) -> dict[str, str]:
    """Every secret there is in this mesh, each made when it was set up, by what it is."""
    info = BrokerInfo.decode(mesh.broker_info)
    found = {
        "broker token": info.token,
        "pre-shared key": base64.b64encode(info.psk).decode(),
        "broker-info": mesh.broker_info,
    }
    for name in lab.kubeconfigs:
        member = lab.api(name).get(f"{OPERATOR}/secrets/submariner-broker-secret")
        if member:
            found[f"token of {name}"] = base64.b64decode(member["data"]["token"]).decode()
        key = Path(_user(lab, name)["client-key"]).read_text()
        found[f"key of {name}"] = key.splitlines()[1]
    return found


def _user(lab: Lab, name: str) -> dict[str, str]:
    document = yaml.safe_load(lab.kubeconfigs[name].read_text())
    user: dict[str, str] = document["users"][0]["user"]
    return _with_files(user, lab.kubeconfigs[name].parent)


def _with_files(user: dict[str, str], folder: Path) -> dict[str, str]:
    """The user's client-key as a file, wherever the lab keeps it."""
    if "client-key" in user:
        return user
    path = folder / ".client-key-of-a-test"
    path.write_bytes(base64.b64decode(user["client-key-data"]))
    return user | {"client-key": str(path)}


def check(text: str, secrets: dict[str, str], where: str, allowed: tuple[str, ...] = ()) -> None:
    for what, secret in secrets.items():
        if what not in allowed:
            for form in (secret, base64.b64encode(secret.encode()).decode()):
                assert form not in text, f"the {what} is in {where}"


def contents(lab: Lab, name: str) -> str:
    """The kubeconfig as somebody would keep it in config, keys and all inside."""
    document = yaml.safe_load(lab.kubeconfigs[name].read_text())
    for section, inner, fields in (("clusters", "cluster", ["certificate-authority"]),
                                   ("users", "user", ["client-key", "client-certificate"])):  # fmt: skip
        node = document[section][0][inner]
        for field in fields:
            if field in node:
                node[f"{field}-data"] = base64.b64encode(Path(node.pop(field)).read_bytes()).decode()
    return yaml.safe_dump(document)


def test_a_whole_run_with_the_kubeconfig_in_config(mesh: Mesh, lab: Lab, standin: Path, scratch: Path) -> None:
    accesses = {name: ClusterAccess.of(name, kubeconfig=contents(lab, name)) for name in lab.kubeconfigs}
    outcomes = [run("preflight", mesh.preflight_spec(**{n.replace("-", "_"): a for n, a in accesses.items()}))]
    deployed = mesh.deploy_broker(access=accesses["cluster-a"])
    outcomes += [mesh.join(name, access=access) for name, access in accesses.items()]
    assert not [outcome.stderr for outcome in outcomes if outcome.code]
    secrets = secrets_of(mesh, lab)
    assert len(secrets) == 7
    outcomes += [  # failures show more than successes
        mesh.join("cluster-b", access=accesses["cluster-b"], info=mesh.broker_info[:-40]),
        mesh.join("cluster-b", access=accesses["cluster-a"]),
        mesh.join("cluster-b", access=accesses["cluster-b"], gateways=("nope",)),
        mesh.deploy_broker(access=ClusterAccess.of("cluster-a", kubeconfig=contents(lab, "cluster-a")[:-30])),
        run("join", json.dumps({"broker_info": mesh.broker_info, "access": contents(lab, "cluster-b")})),
    ]
    assert [outcome.code for outcome in outcomes[-5:]] == [1, 1, 1, 1, 1]
    for outcome in outcomes:
        check(outcome.stdout + outcome.stderr, secrets, "an output")
    check(deployed.stderr, secrets, "stderr of deploy-broker")
    check(standin.read_text(), secrets, "an argument of subctl")
    for one in runs(standin):
        assert not [name for name in one["env"] if re.search("TOKEN|SECRET|PSK|PASS|KUBECONFIG", name)]
    assert not left_over(scratch)
    for path in scratch.rglob("*"):
        if path.is_file():
            check(path.read_text(), secrets, str(path))


def test_while_it_runs(joined: Mesh, lab: Lab, scratch: Path) -> None:
    secrets = secrets_of(joined, lab)
    access = ClusterAccess.of("cluster-b", kubeconfig=contents(lab, "cluster-b"))
    spec = joined.join_spec("cluster-b", access=access, cluster_cidr="172.112.0.0/16")
    step = start("join", spec, {"MESH_STANDIN_HANG": "join"})
    try:
        child = wait_for(lambda: standin_below(step.pid))
        time.sleep(0.2)
        for pid in (step.pid, child):
            for what in ("cmdline", "environ"):
                check(Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace"), secrets, f"{what} of {pid}")
        files = [path for path in scratch.rglob("*") if path.is_file() and path.stat().st_size]
        assert {"kubeconfig", "broker-info.subm"} <= {path.name for path in files}
        for path in files:
            assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
            assert path.stat().st_uid == os.getuid()
    finally:
        step.terminate()
        step.communicate(timeout=10)
    assert not left_over(scratch)


def test_what_subctl_gives_away_does_not_get_out(
    joined: Mesh, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where subctl cannot create a resource it prints it whole, keys included (`error creating %#v`)."""
    program = tmp_path / "talkative" / "subctl"
    program.parent.mkdir()
    secrets = secrets_of(joined, lab)
    said = " ".join(f"{what}={secret}" for what, secret in secrets.items() if not what.startswith("key"))
    (tmp_path / "said").write_text(f" ✗ error creating &v1.Secret{{ {said} }}\n")
    program.write_text(f"#!/bin/sh\ncat {tmp_path / 'said'} >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    error = joined.join("cluster-b", cluster_cidr="172.112.0.0/16").error
    assert "broker token=***" in error
    # The part that fits into an error: a token that has been cut is one too.
    for what, secret in secrets.items():
        assert secret[:24] not in error, what
    check(error, secrets, "the error")
