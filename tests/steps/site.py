"""What Spiderpool's controllers and kubeadm would have left in a cluster, SIMULATED: no controller runs here."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from lab.standin import operator
from mesh.plan import MeshPlan, derive
from tests.steps.api import Api

SPIDERPOOL = "/apis/spiderpool.spidernet.io/v2beta1"
NETWORKS = "/apis/k8s.cni.cncf.io/v1/namespaces/kube-system/network-attachment-definitions"
GATEWAYS = "/apis/submariner.io/v1/namespaces/submariner-operator/gateways"
PROXY_CONFIG = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"
PROXY = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"
# As `kubeadm init` of Kubernetes 1.33 writes it, shortened in the middle.
KUBEADM = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.233.64.0/18
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
kind: KubeProxyConfiguration
mode: ""
nftables:
  masqueradeAll: false
nodePortAddresses: null
"""


def fill(api: Api, plan: MeshPlan, cluster_id: str) -> None:
    """Pools that are counted, a coordinator that is Synced, and the network with its hijackCIDR."""
    cluster = plan.clusters[cluster_id]
    for pool in cluster.pools:
        spec = {"subnet": pool.subnet, "ips": list(pool.ips), "ipVersion": 4}
        _put(api, f"{SPIDERPOOL}/spiderippools", "SpiderIPPool", pool.name, spec)
        counted = {"status": {"totalIPCount": 200, "allocatedIPCount": 7}}
        api.patch(f"{SPIDERPOOL}/spiderippools/{pool.name}/status", counted)
    coordinators = f"{SPIDERPOOL}/spidercoordinators"
    _put(api, coordinators, "SpiderCoordinator", "default", {"mode": "auto", "podCIDRType": "none"})
    synced = {"phase": "Synced", "serviceCIDR": [cluster.service_cidr], "overlayPodCIDR": []}
    api.patch(f"{coordinators}/default/status", {"status": synced})
    coordinator = {"type": "coordinator", "hijackCIDR": list(derive.hijack_cidr(plan, cluster_id))}
    config = json.dumps({"cniVersion": "0.3.1", "plugins": [{"type": "macvlan"}, coordinator]})
    _put(api, NETWORKS, "NetworkAttachmentDefinition", cluster.network.name, {"config": config}, "k8s.cni.cncf.io/v1")


def empty(api: Api) -> None:
    """Take away what `fill` and `proxy` have put where `Api.wipe` does not look."""
    for name in api.names(NETWORKS):
        api.delete(f"{NETWORKS}/{name}")
    api.delete(PROXY_CONFIG)
    api.delete(PROXY)


def proxy(api: Api, config: str = KUBEADM) -> None:
    """kube-proxy's ConfigMap and DaemonSet, with pods that kwok pretends to run."""
    empty_path = "/api/v1/namespaces/kube-system/configmaps"
    api.create(
        empty_path, {"metadata": {"name": "kube-proxy"}, "data": {"config.conf": config, "kubeconfig.conf": "x"}}
    )
    labels = {"k8s-app": "kube-proxy"}
    container = {"name": "kube-proxy", "image": "registry.k8s.io/kube-proxy:v1.36.3"}
    spec = {"tolerations": [{"operator": "Exists"}], "containers": [container], "terminationGracePeriodSeconds": 0}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"metadata": {"name": "kube-proxy"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    api.create("/apis/apps/v1/namespaces/kube-system/daemonsets", body)


@contextmanager
def reporting(kubeconfigs: dict[str, Path], change: Callable[[], None] | None = None) -> Iterator[None]:
    """SIMULATED gateways that report every second, as real ones do every five.

    What they report is that all is well, or what `change` makes of that.
    """
    operator.simulate(kubeconfigs)
    if change:
        change()
    apis = [Api(path) for path in kubeconfigs.values()]
    stop = Event()

    def report() -> None:
        while not stop.wait(1):
            for api in apis:
                for name in api.names(GATEWAYS):
                    stamp = {"update-timestamp": str(int(time.time()))}
                    api.patch(f"{GATEWAYS}/{name}", {"metadata": {"annotations": stamp}})

    thread = Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def _put(
    api: Api, path: str, kind: str, name: str, spec: object, version: str = "spiderpool.spidernet.io/v2beta1"
) -> None:
    api.delete(f"{path}/{name}")
    api.create(path, {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
