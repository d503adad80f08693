"""SIMULATED API servers for `mesh status`: `python -m bench.simulated_api <plan.yaml> <milliseconds>`.

One process with a port for each cluster of the plan. It answers what `mesh.health.read` asks, as a healthy mesh would:
fixed documents, each that long after its request, and 404 to all the rest. Plain HTTP, kept open: no TLS, no
credentials, no watch cache, no load. So it shows what reading costs on the side that reads, and how it bears distance;
what an API server takes for its answers is in the figures from real ones.

Prints the ports by cluster as JSON when it listens, and for each line on its stdin how many requests it has answered by
cluster. Ends when its stdin does.
"""

import asyncio
import json
import sys
import time
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

from mesh.health.expect import Expected, expected
from mesh.health.read import KUBE_PROXY, KUBE_PROXY_CONFIG, KUBE_PROXY_NAMESPACE, UPDATE_TIMESTAMP
from mesh.plan import read_plan
from mesh.steps.submariner import GATEWAY_LABEL, OPERATOR_NAMESPACE, SUBMARINER

KUBERNETES = "v1.36.3"
NODES, IMAGES, PODS = 10, 50, 100  # a kubelet reports up to 50 images, which makes nodes the largest answer
CREATED, STARTED = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"  # of objects, and of pods after them
_SUBMARINER, _SPIDERPOOL = "/apis/submariner.io", "/apis/spiderpool.spidernet.io/v2beta1"
Object = dict[str, Any]


def documents(wanted: Expected) -> dict[str, Object]:
    """What the API server of a cluster answers, by path."""
    members = (wanted.cluster_id, *(peer.cluster_id for peer in wanted.peers))
    namespace, network = wanted.network.split("/")
    inside = f"namespaces/{OPERATOR_NAMESPACE}"
    records = f"{_SUBMARINER}/v1/{inside}"
    pods = [_object(f"pod-{number}", namespace="default", uid=f"uid-{number}") for number in range(PODS)]
    for pod in pods:
        pod["metadata"]["creationTimestamp"] = STARTED
    spec: Object = {"clusterID": wanted.cluster_id, "version": wanted.version, "cableDriver": wanted.cable_driver}
    spec["connectionHealthCheck"] = {"enabled": wanted.health_check}
    coordinator = {"type": "coordinator", "hijackCIDR": list(wanted.hijack_cidr)}
    cni = {"config": json.dumps({"cniVersion": "0.3.1", "plugins": [{"type": "macvlan"}, coordinator]})}
    controller = {"template": {"spec": {"containers": [{"image": "spiderpool-controller:v1.0.0"}]}}}
    proxy = {KUBE_PROXY_CONFIG: "mode: iptables\nconntrack: {tcpBeLiberal: true}\niptables: {masqueradeAll: true}\n"}
    synced = {"phase": "Synced", "serviceCIDR": list(wanted.service_cidrs)}
    return {
        "/version": {"gitVersion": KUBERNETES},
        f"{_SUBMARINER}/v1alpha1/{inside}/submariners/{SUBMARINER}": _object(SUBMARINER, spec=spec),
        f"{records}/gateways": _list(_gateway(wanted, node) for node in wanted.gateways),
        f"{records}/endpoints": _list(_object(f"endpoint-{member}", spec=_endpoint(member)) for member in members),
        f"{records}/clusters": _list(_object(member, spec={"cluster_id": member}) for member in members),
        f"/apis/k8s.cni.cncf.io/v1/namespaces/{namespace}/network-attachment-definitions/{network}": _object(
            network, spec=cni
        ),
        f"/apis/apps/v1/namespaces/{namespace}/deployments/spiderpool-controller": _object(
            "spiderpool-controller", spec=controller
        ),
        f"{_SPIDERPOOL}/spiderippools": _list(_pool(name, pods) for name in wanted.pools),
        f"{_SPIDERPOOL}/spidercoordinators": _list([_object("default", status=synced)]),
        f"{_SPIDERPOOL}/namespaces/{namespace}/spidermultusconfigs/{network}": _object(network),
        f"/api/v1/namespaces/{KUBE_PROXY_NAMESPACE}/configmaps/{KUBE_PROXY}": _object(KUBE_PROXY, data=proxy),
        "/api/v1/nodes": _list(_node(name, gateway=name in wanted.gateways) for name in _nodes(wanted)),
        "/api/v1/pods": _list(pods),
    }


def _object(name: str, *, namespace: str = "", uid: str = "", **content: Any) -> Object:
    metadata = {"name": name, "namespace": namespace, "uid": uid or name, "creationTimestamp": CREATED}
    return {"metadata": metadata, **content}


def _list(items: Any) -> Object:
    return {"items": list(items)}


def _endpoint(cluster_id: str) -> Object:
    """The gateway's end of the tunnel; outside of all pods' networks, as it has to be."""
    return {"cluster_id": cluster_id, "hostname": "gateway", "private_ip": "192.0.2.1", "cable_name": cluster_id}


def _gateway(wanted: Expected, node: str) -> Object:
    """A gateway that is connected with all others; the first one is at work."""
    answered = {"status": "connected", "usingIP": "192.0.2.1", "latencyRTT": {"average": "1ms"}}
    connections = [{"endpoint": _endpoint(peer.cluster_id)} | answered for peer in wanted.peers]
    active = node == wanted.gateways[0]
    status: Object = {"haStatus": "active" if active else "passive", "version": wanted.version}
    status["localEndpoint"] = _endpoint(wanted.cluster_id) | {"backend": wanted.cable_driver}
    status["connections"] = connections if active else []
    found = _object(node, status=status)
    # It reports every five seconds; this one does for as long as it is asked.
    found["metadata"]["annotations"] = {UPDATE_TIMESTAMP: str(int(time.time()) + 3600)}
    return found


def _nodes(wanted: Expected) -> list[str]:
    return [*wanted.gateways, *(f"worker-{number}" for number in range(NODES - len(wanted.gateways)))]


def _node(name: str, *, gateway: bool) -> Object:
    images = [
        {"names": [f"registry.example/{'x' * 60}:{number}"], "sizeBytes": 100_000_000} for number in range(IMAGES)
    ]
    found = _object(name, status={"conditions": [{"type": "Ready", "status": "True"}], "images": images})
    found["metadata"]["labels"] = {GATEWAY_LABEL: "true"} if gateway else {}
    return found


def _pool(name: str, pods: list[Object]) -> Object:
    taken = {f"192.0.2.{number}": {"podUid": pod["metadata"]["uid"]} for number, pod in enumerate(pods)}
    status = {"totalIPCount": 2 * PODS, "allocatedIPCount": PODS, "allocatedIPs": json.dumps(taken)}
    return _object(name, status=status)


class _Server:
    """One cluster's."""

    def __init__(self, wanted: Expected, delay: float) -> None:
        self.answered = 0
        self._documents = {path: json.dumps(found).encode() for path, found in documents(wanted).items()}
        self._delay = delay

    async def listen(self) -> int:
        """Start, and give the port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # that is how clients leave
            while request := await reader.readuntil(b"\r\n\r\n"):
                path = request.split(b" ", 2)[1].split(b"?")[0].decode()
                body = self._documents.get(path)
                await asyncio.sleep(self._delay)
                status = "200 OK" if body else "404 Not Found"
                head = f"HTTP/1.1 {status}\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: application/json\r\n"
                writer.write(f"{head}Content-Length: {len(body or b'{}')}\r\n\r\n".encode() + (body or b"{}"))
                await writer.drain()
                self.answered += 1
        writer.close()


async def _main(plan: Path, delay: float) -> None:
    checked = read_plan(plan)
    servers = {name: _Server(expected(checked, name), delay) for name in checked.clusters}
    print(json.dumps({name: await server.listen() for name, server in servers.items()}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps({name: server.answered for name, server in servers.items()}), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), float(sys.argv[2]) / 1000))
