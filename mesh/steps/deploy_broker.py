"""`deploy-broker`: have the broker as the plan says, and give its broker-info.subm.

The broker itself keeps no pre-shared key, and subctl makes a new one at every run (facts: submariner.md 3.1), which
would cut every tunnel. So the key is made once, here, and kept in a Secret of ours beside the broker, before subctl
runs: a run that is killed does not lose it.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.plan.settings import BROKER_INFO_FILE, BrokerSettings
from mesh.steps import submariner
from mesh.steps.broker_info import CONNECTIVITY, SERVICE_DISCOVERY, BrokerInfo, decode, encode
from mesh.steps.errors import StepError, remember
from mesh.steps.kube import Cluster, Object, connect, is_loopback
from mesh.steps.kubeconfig import Kubeconfig
from mesh.steps.spec import DeployBrokerSpec
from mesh.steps.subctl import Subctl
from mesh.steps.submariner import BROKER_NAMESPACE, OPERATOR_NAMESPACE
from mesh.steps.workdir import write_private

KEPT_SECRET = "mesh-ipsec-psk"  # noqa: S105 the name of a Secret
ROTATION = "multi-cluster-mesh/psk-rotation"
DEPLOYED = "multi-cluster-mesh/deployed-settings"
_PSK_BYTES = 48  # as many as subctl makes
_GLOBALNET = "submariner-globalnet-info"
_SEED_FILE = "psk-seed.subm"


@dataclass(frozen=True)
class _Kept:
    """Our Secret: the pre-shared key, how often the plan has had it replaced, and what was deployed last."""

    psk: bytes
    rotation: int | None
    deployed: str


def run(spec: DeployBrokerSpec, work: Path) -> dict[str, Any]:
    """`brokerInfo`, `broker` (what may be shown), `action` (deployed, updated, rotated, unchanged) and `warnings`."""
    settings = spec.settings
    cluster, kubeconfig = connect(spec.access, settings.cluster_id, work)
    cluster.await_settled(BROKER_NAMESPACE, OPERATOR_NAMESPACE)
    broker = _only_broker(cluster)
    _check_globalnet(cluster, settings)
    _check_local_member(cluster, settings)

    warnings = []
    psk, rotated = _have_psk(cluster, settings, broker)
    kept = _kept(cluster)
    url = settings.url or cluster.server
    info = _read_info(cluster, settings, url, psk)
    wanted = _digest(settings)
    if info and kept and kept.deployed == wanted and _is_whole(cluster, settings):
        action = "unchanged"
    else:
        action = "updated" if broker else "deployed"
        _deploy(cluster, settings, psk, kubeconfig, work)
        info = _read_info(cluster, settings, url, psk)
        if not info or not _is_whole(cluster, settings):
            raise StepError(
                f"subctl deploy-broker ended without an error but the broker in {cluster} is not complete: "
                f"see `kubectl -n {BROKER_NAMESPACE} get brokers.submariner.io,serviceaccounts,secrets`, then run this "
                "again"
            )
        cluster.patch("Secret", KEPT_SECRET, BROKER_NAMESPACE, {"metadata": {"annotations": {DEPLOYED: wanted}}})
    if rotated:
        action = "rotated"
        warnings.append("the pre-shared key is new: tunnels are down until every cluster has joined again")
    if is_loopback(url):
        warnings.append(
            f"the broker's URL {url} leads each machine to itself, which is right for a lab on one machine only: "
            "set broker.url to one that every cluster reaches"
        )
    return {
        "brokerInfo": info.encode(),
        "broker": {
            "clusterID": settings.cluster_id,
            "url": url,
            "namespace": BROKER_NAMESPACE,
            "version": settings.version,
            "serviceDiscovery": settings.service_discovery,
            "globalnet": settings.globalnet is not None,
            "pskRotation": settings.psk_rotation,
        },
        "action": action,
        "warnings": warnings,
    }


def _only_broker(cluster: Cluster) -> Object | None:
    """The broker, where there is one; refuses beside one elsewhere, since subctl takes any for the only one."""
    for found in cluster.list("Broker"):
        namespace = found["metadata"]["namespace"]
        if namespace != BROKER_NAMESPACE:
            raise StepError(
                f"{cluster} has a broker in namespace {namespace} already, which is not this project's: "
                "choose another broker.cluster, or remove that one"
            )
    return cluster.get("Broker", submariner.BROKER, BROKER_NAMESPACE)


def _check_globalnet(cluster: Cluster, settings: BrokerSettings) -> None:
    """Refuse what a live broker would ignore: its ConfigMap is written once and never again (submariner.md 3.1)."""
    found = cluster.get("ConfigMap", _GLOBALNET, BROKER_NAMESPACE)
    if not found:
        return
    data = found.get("data") or {}
    has = wants = "no globalnet"
    if data.get("globalnetEnabled") == "true":
        has = f"globalnet {data.get('globalnetCidrRange', '').strip(chr(34))} of {data.get('globalnetClusterSize')}"
    if settings.globalnet:
        # subctl rounds the size up to a power of two.
        size = 1 << (settings.globalnet.cluster_size - 1).bit_length()
        wants = f"globalnet {settings.globalnet.cidr_range} of {size}"
    if has != wants:
        raise StepError(
            f"the broker in {cluster} has {has} and the plan wants {wants}, which a live broker ignores: "
            "put broker.globalnet back, or have all clusters leave, remove the broker (pulumi destroy) and deploy anew"
        )


def _check_local_member(cluster: Cluster, settings: BrokerSettings) -> None:
    """Refuse to touch the operator that a Submariner of others depends on."""
    found = submariner.joined(cluster)
    if not found or submariner.is_ours(found) or settings.adopt:
        return
    if not _is_member_here(cluster, found):
        raise _foreign(cluster, f"it has joined another broker as {found['spec'].get('clusterID')}")


def _foreign(cluster: Cluster, why: str) -> StepError:
    return StepError(
        f"{cluster} has a Submariner that this project did not install ({why}): set submariner.adopt to take it over, "
        "or uninstall it first"
    )


def is_ours(cluster: Cluster) -> bool:
    """Whether this project has made the broker of a cluster, or taken it over."""
    if cluster.get("Secret", KEPT_SECRET, BROKER_NAMESPACE):
        return True
    return submariner.is_ours(cluster.get("Namespace", BROKER_NAMESPACE))


def _is_member_here(cluster: Cluster, found: Object) -> bool:
    """Whether the local Submariner has joined the very broker of this cluster: by the token it was given here."""
    own = submariner.token(cluster, BROKER_NAMESPACE, submariner.account(found["spec"].get("clusterID", "")))
    return bool(own) and own == submariner.credentials(cluster, found).token


def _have_psk(cluster: Cluster, settings: BrokerSettings, broker: Object | None) -> tuple[bytes, bool]:
    """The pre-shared key, kept in our Secret from now on, and whether it has been replaced just now."""
    kept = _kept(cluster)
    if not kept:
        psk = _psk_of(cluster, settings, broker) or os.urandom(_PSK_BYTES)
        _keep(cluster, psk, settings.psk_rotation)
        return psk, False
    if kept.rotation is None or kept.rotation == settings.psk_rotation:
        if kept.rotation is None:  # put there by hand
            _keep(cluster, kept.psk, settings.psk_rotation)
        return kept.psk, False
    if kept.rotation > settings.psk_rotation:
        raise StepError(
            f"submariner.pskRotation is {settings.psk_rotation} and the broker in {cluster} is at {kept.rotation}: "
            f"the old key is gone, set it to {kept.rotation}, or higher for a new key"
        )
    psk = os.urandom(_PSK_BYTES)
    _keep(cluster, psk, settings.psk_rotation)
    return psk, True


def _psk_of(cluster: Cluster, settings: BrokerSettings, broker: Object | None) -> bytes:
    """The key that the mesh has where there is no Secret of ours; empty where it has none yet."""
    local = submariner.joined(cluster)
    if not broker and not cluster.get("ServiceAccount", submariner.BROKER_ADMIN, BROKER_NAMESPACE):
        # Lost: with its key, the tunnels stay up until each member joins the new one. Or there was none yet.
        return submariner.credentials(cluster, local).psk if local else b""
    local_member = local if local and _is_member_here(cluster, local) else None
    ours = submariner.is_ours(local_member) or submariner.is_ours(cluster.get("Namespace", BROKER_NAMESPACE))
    if not ours and not settings.adopt:
        raise _foreign(cluster, f"a broker in namespace {BROKER_NAMESPACE}")
    if local_member:
        return submariner.credentials(cluster, local_member).psk
    if members := submariner.members(cluster, BROKER_NAMESPACE):
        raise StepError(
            f"the pre-shared key of the broker in {cluster} is not known here and {', '.join(members)} have joined with"
            f" it: run `subctl recover-broker-info` on one of them and store IPSecPSK.data.psk of its file as `psk` in "
            f"a Secret {KEPT_SECRET} in namespace {BROKER_NAMESPACE}, then run this again"
        )
    return b""


def _kept(cluster: Cluster) -> _Kept | None:
    found = cluster.get("Secret", KEPT_SECRET, BROKER_NAMESPACE)
    if not found:
        return None
    psk = decode((found.get("data") or {}).get("psk", ""))
    if not psk:
        raise StepError(
            f"Secret {KEPT_SECRET} in namespace {BROKER_NAMESPACE} of {cluster} holds no psk: restore it, or delete it "
            "where no cluster has joined yet"
        )
    remember(psk)
    annotations = found["metadata"].get("annotations") or {}
    rotation = annotations.get(ROTATION, "")
    return _Kept(psk, int(rotation) if rotation.isdigit() else None, annotations.get(DEPLOYED, ""))


def _keep(cluster: Cluster, psk: bytes, rotation: int) -> None:
    remember(psk)
    cluster.create("Namespace", {"metadata": {"name": BROKER_NAMESPACE, "labels": submariner.OURS}})
    metadata = {"labels": submariner.OURS, "annotations": {ROTATION: str(rotation)}}
    content = {"metadata": metadata, "data": {"psk": encode(psk)}}
    place = {"name": KEPT_SECRET, "namespace": BROKER_NAMESPACE}
    if not cluster.create("Secret", content | {"type": "Opaque", "metadata": metadata | place}):
        cluster.patch("Secret", KEPT_SECRET, BROKER_NAMESPACE, content)


def _digest(settings: BrokerSettings) -> str:
    """What subctl is told, in short. Not the URL: it stands in broker-info.subm only."""
    flags = [flag for flag in settings.flags() if not flag.startswith("--broker-url=")]
    return hashlib.sha256("\n".join(flags).encode()).hexdigest()[:16]


def _components(settings: BrokerSettings) -> list[str]:
    return [CONNECTIVITY, SERVICE_DISCOVERY] if settings.service_discovery else [CONNECTIVITY]


def _is_whole(cluster: Cluster, settings: BrokerSettings) -> bool:
    """Whether all that deploy-broker makes is there, in a state that fits the settings."""
    broker = cluster.get("Broker", submariner.BROKER, BROKER_NAMESPACE)
    operator = cluster.get("Deployment", submariner.OPERATOR, OPERATOR_NAMESPACE)
    globalnet = cluster.get("ConfigMap", _GLOBALNET, BROKER_NAMESPACE)
    same = broker and sorted(broker["spec"].get("components") or []) == _components(settings)
    return bool(same and operator and globalnet)


def _deploy(cluster: Cluster, settings: BrokerSettings, psk: bytes, kubeconfig: Kubeconfig, work: Path) -> None:
    # For this flag only IPSecPSK.data.psk is read.
    write_private(work / _SEED_FILE, _seed(psk))
    result = Subctl(kubeconfig, work).run("deploy-broker", *settings.flags(), f"--ipsec-psk-from={_SEED_FILE}")
    if result.code:
        raise result.explain(f"deploy-broker in {cluster}")
    written = work / BROKER_INFO_FILE
    if not written.exists():
        raise StepError(f"subctl deploy-broker in {cluster} wrote no {BROKER_INFO_FILE}: run it again")
    if BrokerInfo.decode(written.read_text(encoding="utf-8")).psk != psk:
        raise StepError(
            f"subctl deploy-broker in {cluster} did not take the pre-shared key it was given: its version does not fit,"
            " install the subctl of the plan's submariner.version"
        )


def _seed(psk: bytes) -> str:
    return BrokerInfo("https://seed", "seed", BROKER_NAMESPACE, "", "", psk, (CONNECTIVITY,)).encode()


def _read_info(cluster: Cluster, settings: BrokerSettings, url: str, psk: bytes) -> BrokerInfo | None:
    """broker-info.subm from what is in the cluster; None where the broker is not complete."""
    broker = cluster.get("Broker", submariner.BROKER, BROKER_NAMESPACE)
    secret = submariner.token_secret(cluster, BROKER_NAMESPACE, submariner.BROKER_ADMIN)
    if not broker or not secret:
        return None
    data = {key: decode(value).decode() for key, value in secret["data"].items()}
    return BrokerInfo(
        url=url,
        token_name=secret["metadata"]["name"],
        namespace=data["namespace"],
        token=data["token"],
        ca=data["ca.crt"],
        psk=psk,
        components=tuple(_components(settings)),
        custom_domains=tuple(broker["spec"].get("defaultCustomDomains") or ()),
    )
