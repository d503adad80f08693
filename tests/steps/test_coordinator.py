"""`coordinator` waits for what Spiderpool finds out; `release-coordinator` deletes what a finalizer would keep."""

from collections.abc import Iterator

import pytest

from mesh.access import ClusterAccess
from mesh.steps.spec import CoordinatorSpec
from tests.conftest import Lab
from tests.steps.api import Api
from tests.steps.runner import run

COORDINATORS = "/apis/spiderpool.spidernet.io/v2beta1/spidercoordinators"
SERVICE_CIDR = "10.233.0.0/18"
SPEC = CoordinatorSpec(
    cluster_id="cluster-a", access=ClusterAccess.of("cluster-a"), service_cidr=SERVICE_CIDR, timeout=3
)


@pytest.fixture
def api(reached: Lab, clean: Lab) -> Iterator[Api]:
    """Cluster A with a coordinator as Spiderpool's webhook leaves it: with a finalizer that nobody takes off."""
    api = reached.api("cluster-a")
    api.create(
        COORDINATORS,
        {
            "apiVersion": "spiderpool.spidernet.io/v2beta1",
            "kind": "SpiderCoordinator",
            "metadata": {"name": "default", "finalizers": ["spiderpool.spidernet.io"]},
            "spec": {"mode": "auto", "podCIDRType": "none"},
        },
    )
    yield api
    if api.get(f"{COORDINATORS}/default"):
        api.delete(f"{COORDINATORS}/default")
        if api.get(f"{COORDINATORS}/default"):
            api.patch(f"{COORDINATORS}/default", {"metadata": {"finalizers": None}})


def report(api: Api, **status: object) -> None:
    """Have the coordinator's status as its controller would have it."""
    path = f"{COORDINATORS}/default/status"
    code, answer = api.call("PATCH", path, {"status": status}, "application/merge-patch+json")
    if code == 404:  # the kind has no status subresource
        api.patch(f"{COORDINATORS}/default", {"status": status})
    else:
        assert code == 200, answer


def test_synced_with_the_plan_s_service_cidr(api: Api) -> None:
    report(api, phase="Synced", serviceCIDR=[SERVICE_CIDR], overlayPodCIDR=[])
    assert run("coordinator", SPEC).result["serviceCIDR"] == [SERVICE_CIDR]


def test_another_service_cidr_is_refused(api: Api) -> None:
    report(api, phase="Synced", serviceCIDR=["10.96.0.0/12"], overlayPodCIDR=[])
    error = run("coordinator", SPEC).error
    assert "10.96.0.0/12" in error
    assert SERVICE_CIDR in error


def test_never_synced_says_why(api: Api) -> None:
    report(api, phase="NotReady", reason="No kube-controller-manager pod found, unable to get clusterCIDR")
    error = run("coordinator", SPEC).error
    assert "No kube-controller-manager pod found" in error
    assert "kubeadm-config" in error


def test_release_deletes_in_spite_of_the_finalizer(api: Api) -> None:
    assert run("release-coordinator", SPEC).result == {"action": "deleted"}
    assert api.get(f"{COORDINATORS}/default") is None
    assert run("release-coordinator", SPEC).result == {"action": "absent"}
