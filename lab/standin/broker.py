"""`subctl deploy-broker` and `subctl recover-broker-info`."""

from __future__ import annotations

import secrets

from lab.standin import broker_info, faults, kube, objects, ranges, setup
from lab.standin.errors import PanicError, SubctlError, UnexplainedError
from lab.standin.flags import Values
from lab.standin.kube import Cluster, Object
from lab.standin.objects import SERVICE_DISCOVERY
from lab.standin.report import Reporter, wrapping

_PSK_BYTES = 48


def deploy(cluster: Cluster, values: Values, report: Reporter) -> None:
    """Make a cluster the broker, and write the broker-info file into the current directory."""
    namespace = values.text("namespace") or objects.BROKER_NAMESPACE
    components = values.texts("components")
    global_size = _check(values, components, report)

    report.start("Setting up broker RBAC")
    with report.failing("error setting up broker RBAC"):
        _prepare_namespace(cluster, namespace)
    faults.midway()
    report.start("Deploying the Submariner operator")
    with report.failing("error deploying Submariner operator"):
        setup.install_operator(cluster, values, {}, report)
    report.start("Deploying the broker")
    with report.failing("Broker deployment failed"), wrapping("error creating Broker resource"):
        spec = _broker_spec(values, components, global_size)
        # Anew at every run, even when nothing has changed: subctl's comparison never finds two equal.
        cluster.create_anew(objects.custom("Broker", objects.BROKER_NAME, namespace, spec))
    report.end()
    _make_config_maps(cluster, namespace, values, components, global_size, report)
    psk = _psk(values.text("ipsec-psk-from"))
    _write_info(cluster, namespace, values.text("broker-url"), psk, components, values.texts("custom-domains"), report)


def recover(cluster: Cluster, values: Values, report: Reporter) -> None:
    """Write the broker-info file again, from what a member knows."""
    submariner, _ = kube.survey(cluster)
    if submariner is None:
        report.warning("Submariner connectivity feature is not installed")
        return
    spec = submariner["spec"]
    namespace = spec.get("brokerK8sRemoteNamespace", "")
    report.start(
        f'Checking if the Broker is installed on the Submariner cluster "{cluster.name}" in namespace "{namespace}"'
    )
    home = cluster
    with report.failing("error getting Broker"), wrapping("error retrieving Broker"):
        broker = cluster.find("Broker", objects.BROKER_NAME, namespace)
    if broker is None:
        report.warning("Broker not found. Trying to connect to the Broker installed on a different cluster")
        home = kube.from_token(
            spec["brokerK8sApiServer"],
            spec.get("brokerK8sApiServerToken", ""),
            objects.decode(spec.get("brokerK8sCA", "")),
            insecure=False,
        )
        with report.failing("error retrieving Broker"):
            broker = home.find("Broker", objects.BROKER_NAME, namespace)
        if broker is None:
            raise report.error(SubctlError(f'no Broker resource found in namespace "{namespace}"'))
        report.success(f"Found Broker installed on a different cluster in namespace {namespace}")
    report.start("Retrieving data to reconstruct broker-info.subm")
    report.success(f"Retrieving IPSec PSK secret from Submariner found on cluster {cluster.name}")
    psk = objects.decode(spec.get("ceIPSecPSK", ""))
    report.success("Successfully retrieved the data. Writing it to broker-info.subm")
    components, domains = broker["spec"].get("components") or [], broker["spec"].get("defaultCustomDomains") or []
    _write_info(home, namespace, values.text("broker-url"), psk, components, domains, report)


def _check(values: Values, components: list[str], report: Reporter) -> int:
    """Refuse what subctl refuses, and return the size of a cluster's global CIDR."""
    valid = (SERVICE_DISCOVERY, objects.CONNECTIVITY)
    with report.failing("invalid components parameter"):
        if not components:
            raise SubctlError("at least one component must be provided for deployment")
        for component in components:
            if component not in valid:
                raise SubctlError(f"unknown component: {component}")
    size = values.number("globalnet-cluster-size")
    if values.switch("globalnet"):
        with report.failing("invalid GlobalCIDR configuration"):
            size = ranges.valid_size(values.text("globalnet-cidr-range"), size)
            ranges.check_cidr(values.text("globalnet-cidr-range"))
    with report.failing("invalid ClustersetIP configuration"):
        ranges.check_cidr(values.text("clusterset-ip-cidr-range"))
    return size


def _prepare_namespace(cluster: Cluster, namespace: str) -> None:
    setup.ensure_namespace(cluster, namespace)
    with wrapping("error creating the broker admin service account"):
        cluster.ensure(objects.service_account(objects.BROKER_ADMIN, namespace))
        setup.ensure_token_secret(cluster, namespace, objects.BROKER_ADMIN)
    for item in objects.broker_roles(namespace):
        with wrapping(f"error creating {item['kind']} {item['metadata']['name']}"):
            cluster.ensure(item)


def _broker_spec(values: Values, components: list[str], global_size: int) -> Object:
    return objects.without_zeros(
        {
            "components": components,
            "defaultCustomDomains": values.texts("custom-domains"),
            "globalnetEnabled": values.switch("globalnet"),
            "globalnetCIDRRange": values.text("globalnet-cidr-range"),
            "defaultGlobalnetClusterSize": global_size,
            "clustersetIPEnabled": values.switch("enable-clusterset-ip"),
            "clustersetIPCIDRRange": values.text("clusterset-ip-cidr-range"),
        }
    )


def _make_config_maps(
    cluster: Cluster, namespace: str, values: Values, components: list[str], global_size: int, report: Reporter
) -> None:
    """Make the ConfigMaps with the address ranges where they are missing; those there are stay as they are."""
    with report.failing("error validating existing globalCIDR configmap"):
        if values.switch("globalnet"):
            ranges.check_existing(ranges.GLOBALNET, cluster, namespace)
    with report.failing("error creating globalCIDR configmap on Broker"):
        _create_once(
            cluster,
            ranges.config_map(
                ranges.GLOBALNET,
                namespace,
                enabled=values.switch("globalnet"),
                cidr=values.text("globalnet-cidr-range"),
                size=global_size,
            ),
        )
    with report.failing("error validating existing clustersetIPCIDR configmap"):
        if SERVICE_DISCOVERY in components:
            ranges.check_existing(ranges.CLUSTERSET, cluster, namespace)
    with report.failing("error creating clustersetIPCIDR configmap on Broker"):
        _create_once(
            cluster,
            ranges.config_map(
                ranges.CLUSTERSET,
                namespace,
                enabled=values.switch("enable-clusterset-ip"),
                cidr=values.text("clusterset-ip-cidr-range"),
                size=0,
            ),
        )


def _create_once(cluster: Cluster, obj: Object) -> None:
    if cluster.find(obj["kind"], obj["metadata"]["name"], obj["metadata"]["namespace"]) is None:
        cluster.create(obj)


def _psk(source: str) -> bytes:
    """Return the key of an older file or else a new one, as random as at every run."""
    psk = b""
    if source:
        try:
            psk = broker_info.read(source).psk
        except PanicError:
            raise
        except SubctlError as error:
            # By now the broker stands, and subctl ends without a word about the file.
            raise UnexplainedError(f'error importing IPsec PSK from file "{source}": {error}') from error
    return psk or secrets.token_bytes(_PSK_BYTES)


def _write_info(
    cluster: Cluster,
    namespace: str,
    url: str,
    psk: bytes,
    components: list[str],
    custom_domains: list[str],
    report: Reporter,
) -> None:
    report.start(f'Saving broker info to file "{broker_info.FILE_NAME}"')
    with report.failing("error backing up the broker file"):
        broker_info.back_up(report)
    token = setup.find_token_secret(cluster, namespace, objects.BROKER_ADMIN)
    if token is None:
        report.end()
        raise UnexplainedError(f'error getting broker client secret: secrets "{objects.BROKER_ADMIN}" not found')
    with report.failing("error saving broker info"):
        broker_info.write(url or cluster.host, token, psk, components, custom_domains)
    report.end()
