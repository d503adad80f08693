"""What `make up` and `make down` promise: the main job on real API servers, in-process where pulumi can't be had.

The runs here see a PATH without pulumi and subctl, so that they are the same everywhere; tests/engine does the job with
the real ones.
"""

import base64
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from lab import LabError, clusters, toolchain
from mesh.plan import derive, read_plan

ROOT = Path(__file__).resolve().parents[2]
PLAN = read_plan(ROOT / "Pulumi.yaml")


def path_without(*programs: str) -> str:
    """PATH less the folders that have one of the programs."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(f for f in folders if not any((Path(f) / program).exists() for program in programs))


def lab_environment(home: Path, **more: str) -> dict[str, str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "KUBECONFIG"))}
    return {**keep, "PATH": path_without("pulumi", "subctl"), "MESH_LAB_HOME": str(home), "COLUMNS": "160", **more}


def run(home: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", command],
        cwd=ROOT,
        env=lab_environment(home, **more),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    try:
        toolchain.ensure(print)
    except LabError as error:
        pytest.skip(f"no local control planes: {error}")
    folder = tmp_path_factory.mktemp("up")
    yield folder
    clusters.down(folder, print)


@pytest.fixture(scope="module")
def first(home: Path) -> subprocess.CompletedProcess[str]:
    return run(home, "up")


@pytest.fixture(scope="module")
def apis(home: Path, first: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert first.returncode == 0, first.stdout + first.stderr
    return {
        cluster_id: config.new_client_from_config(str(clusters.kubeconfig_path(home, cluster_id)))
        for cluster_id in PLAN.clusters
    }


def custom(api: Any, group: str, version: str, plural: str, name: str, namespace: str = "") -> dict[str, Any]:
    objects = client.CustomObjectsApi(api)
    if namespace:
        found = objects.get_namespaced_custom_object(group, version, namespace, plural, name)
    else:
        found = objects.get_cluster_custom_object(group, version, plural, name)
    return dict(found)


def spiderpool(api: Any, plural: str, name: str, namespace: str = "") -> dict[str, Any]:
    return custom(api, "spiderpool.spidernet.io", "v2beta1", plural, name, namespace)


def submariner(api: Any) -> dict[str, Any]:
    return custom(api, "submariner.io", "v1alpha1", "submariners", "submariner", "submariner-operator")


def test_both_stacks_end_in_a_report(first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    for part in ("All clusters are joined", "KUBECONFIG_CLUSTER_B=", "make down", "in-process stand-in"):
        assert part in first.stdout
    assert re.search(r"subctl +│ stand-in", first.stdout), "a stand-in has to be called one"


def test_seed_pools(apis: dict[str, Any]) -> None:
    for cluster_id, cluster in PLAN.clusters.items():
        (pool,) = cluster.pools
        spec = spiderpool(apis[cluster_id], "spiderippools", pool.name)["spec"]
        assert (spec["subnet"], spec["gateway"], spec["ips"]) == (pool.subnet, pool.gateway, pool.ips)
        assert spec["default"] is True
        assert spec["ipVersion"] == 4


def test_seed_networks_hijack_each_other(apis: dict[str, Any]) -> None:
    for cluster_id in PLAN.clusters:
        spec = spiderpool(apis[cluster_id], "spidermultusconfigs", "macvlan-conf", "kube-system")["spec"]
        assert spec["macvlan"]["master"] == ["ens224"]
        assert spec["macvlan"]["ippools"]["ipv4"] == [cluster_id]
        assert spec["enableCoordinator"] is True
        assert spec["coordinator"]["hijackCIDR"] == list(derive.hijack_cidr(PLAN, cluster_id))


def test_seed_subctl_join(apis: dict[str, Any]) -> None:
    for cluster_id, cluster in PLAN.clusters.items():
        spec = submariner(apis[cluster_id])["spec"]
        assert spec["clusterID"] == cluster_id
        assert spec["clusterCIDR"] == cluster.pod_cidr
        assert spec["serviceCIDR"] == cluster.service_cidr


def test_seed_broker_info_reached_the_other_cluster(apis: dict[str, Any]) -> None:
    psks = [submariner(api)["spec"]["ceIPSecPSK"] for api in apis.values()]
    assert psks[0] == psks[1]
    broker = client.CoreV1Api(apis["cluster-a"])
    accounts = {item.metadata.name for item in broker.list_namespaced_service_account("submariner-k8s-broker").items}
    assert {"cluster-cluster-a", "cluster-cluster-b"} <= accounts


def test_seed_gateway_nodes_are_labelled(apis: dict[str, Any]) -> None:
    for cluster_id, cluster in PLAN.clusters.items():
        nodes = client.CoreV1Api(apis[cluster_id]).list_node(label_selector="submariner.io/gateway=true").items
        assert [node.metadata.name for node in nodes] == [gateway.node for gateway in cluster.gateways]


def test_seed_test_app(apis: dict[str, Any]) -> None:
    for api in apis.values():
        deployment = client.AppsV1Api(api).read_namespaced_deployment("test-app", "default")
        assert deployment.status.available_replicas == 2
        annotations = deployment.spec.template.metadata.annotations
        assert annotations["v1.multus-cni.io/default-network"] == "kube-system/macvlan-conf"
        service = client.CoreV1Api(api).read_namespaced_service("test-app-svc", "default")
        assert service.spec.type == "ClusterIP"


def versions(apis: dict[str, Any]) -> dict[str, str]:
    """resourceVersion of everything that a second run could touch."""
    found = {}
    for cluster_id, api in apis.items():
        for kind, item in (
            ("pool", spiderpool(api, "spiderippools", cluster_id)),
            ("network", spiderpool(api, "spidermultusconfigs", "macvlan-conf", "kube-system")),
            ("submariner", submariner(api)),
        ):
            found[f"{cluster_id} {kind}"] = item["metadata"]["resourceVersion"]
        for node in client.CoreV1Api(api).list_node().items:
            found[f"{cluster_id} {node.metadata.name}"] = str(node.metadata.labels)
        deployment = client.AppsV1Api(api).read_namespaced_deployment("test-app", "default")
        found[f"{cluster_id} test-app"] = str(deployment.metadata.generation)
    return found


def test_second_run_changes_nothing(home: Path, apis: dict[str, Any]) -> None:
    before = versions(apis)
    again = run(home, "up")
    assert again.returncode == 0, again.stdout + again.stderr
    assert versions(apis) == before
    assert not re.search(r"^\s+[\d.]+ s +(created|updated) ", again.stdout, re.MULTILINE)


def test_no_secret_in_what_it_prints_or_leaves(
    home: Path, first: subprocess.CompletedProcess[str], apis: dict[str, Any]
) -> None:
    spec = submariner(apis["cluster-b"])["spec"]
    secrets = [spec["ceIPSecPSK"], spec["brokerK8sApiServerToken"]]
    secrets += [base64.b64encode(secret.encode()).decode().rstrip("=") for secret in secrets]
    files = [path for path in home.rglob("*") if path.is_file() and "clusters" not in path.relative_to(home).parts]
    assert files
    for secret in secrets:
        assert secret not in first.stdout + first.stderr
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_second_up_beside_the_first_is_one_sentence(home: Path, apis: dict[str, Any]) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "lab", "up"], cwd=ROOT, env=lab_environment(home), stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout
        running.stdout.readline()  # it has the lock now
        second = run(home, "up")
        assert second.returncode == 1
        assert f"pid {running.pid}" in second.stdout
        assert "Traceback" not in second.stdout + second.stderr
    finally:
        running.communicate()
    assert running.returncode == 0


def test_ctrl_c_half_way_is_taken_over(home: Path, apis: dict[str, Any]) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "lab", "up"],
        cwd=ROOT,
        env=lab_environment(home, MESH_STANDIN_SLOW="20"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # Someone has removed the Submariner resource, so that the join has work to do, which is slow enough to interrupt.
    client.CustomObjectsApi(apis["cluster-a"]).delete_namespaced_custom_object(
        "submariner.io", "v1alpha1", "submariner-operator", "submariners", "submariner"
    )
    assert running.stdout
    for line in running.stdout:
        if "deploy-broker" in line:
            break
    time.sleep(2)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    rest, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "Traceback" not in rest + errors
    assert "goes on from here" in rest
    again = run(home, "up")
    assert again.returncode == 0, again.stdout + again.stderr
    assert submariner(apis["cluster-a"])["spec"]["clusterID"] == "cluster-a"


def test_machine_without_go_is_told(tmp_path: Path) -> None:
    result = run(tmp_path / "lab", "up", PATH=path_without("go", "pulumi", "subctl"), XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == 1
    assert "Go 1.26" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert not list(tmp_path.rglob("kubeconfig*"))


@pytest.mark.parametrize("name", ["subctl", "pulumi"])
def test_broken_program_is_told_before_anything_runs(home: Path, tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    result = run(tmp_path / "lab", "up", PATH=f"{tmp_path}{os.pathsep}{path_without('subctl', 'pulumi')}")
    assert result.returncode == 1
    assert f"up failed: {program} does not work here (`version` says nothing and ends with 1): " in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert not (tmp_path / "lab" / "clusters").exists()


def test_failing_step_is_told_in_its_own_words(home: Path, apis: dict[str, Any], tmp_path: Path) -> None:
    # A subctl of another version that can do nothing: the lab's plan follows its version, so the broker has to change.
    program = tmp_path / "subctl"
    program.write_text('#!/bin/sh\n[ "$1" = version ] && echo "subctl version: v0.25.0" && exit 0\nexit 1\n')
    program.chmod(0o755)
    result = run(home, "up", PATH=f"{tmp_path}{os.pathsep}{path_without('pulumi')}")
    assert result.returncode == 1
    assert "deploy-broker failed" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_down_leaves_nothing(home: Path, apis: dict[str, Any]) -> None:
    result = run(home, "down")
    assert result.returncode == 0, result.stdout + result.stderr
    assert not home.exists() or not [path for path in home.rglob("*") if path.is_file()]
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(home) not in processes


def test_shipped_stack_files_stay_as_they_are() -> None:
    for path in ROOT.glob("Pulumi.*.yaml"):
        assert "encryptionsalt" not in path.read_text(), f"pulumi has written into {path.name}"
