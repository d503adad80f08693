"""`subctl join`."""

from __future__ import annotations

import re
import sys

from lab.standin import broker_info, faults, kube, network, objects, ranges, setup
from lab.standin.broker_info import BrokerInfo
from lab.standin.errors import ApiError, SubctlError, UnexplainedError, UntrustedServerError
from lab.standin.flags import Values
from lab.standin.kube import Cluster, Object
from lab.standin.objects import OPERATOR_NAMESPACE
from lab.standin.report import Reporter, wrapping

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def read_file(name: str, values: Values, report: Reporter) -> BrokerInfo:
    """Read the broker-info file: join does that before it looks at the cluster."""
    with report.failing("Error loading the broker information from the given file"):
        info = broker_info.read(name)
    report.success(f"{name} indicates broker is at {info.url}")
    if values.text("broker-url"):
        report.success(f"Overriding broker URL using {values.text('broker-url')}")
        info.url = values.text("broker-url")
    return info


def join(cluster: Cluster, info: BrokerInfo, values: Values, report: Reporter) -> None:
    """Connect a cluster to the broker."""
    cluster_id = _cluster_id(values.text("clusterid"), cluster.name, report)
    found = network.discover(cluster, report)
    pod_cidr = _cidr("Pod", "pod", values.text("clustercidr"), found.pod_cidr, report)
    service_cidr = _cidr("Service", "service", values.text("servicecidr"), found.service_cidr, report)
    if info.connectivity_enabled and values.switch("label-gateway"):
        _label_gateway(cluster, report)
    _check_requirements(cluster, info, values, report)
    with report.failing("error validating custom CoreDNS config"):
        _check_coredns(values.text("coredns-custom-configmap"))
    overrides = setup.image_overrides(values.texts("image-override"))

    report.start("Gathering relevant information from Broker")
    with report.failing("Error retrieving broker admin config"):
        broker = _log_in(info, values)
    namespace = info.token_data("namespace").decode()
    _refuse_duplicate(cluster, broker, cluster_id, namespace, report)
    if faults.must_fail_now():
        _lose_the_race(report)
    if values.switch("globalnet"):
        globalnet = ranges.Allocation(
            cluster_id, values.text("globalnet-cidr"), values.number("globalnet-cluster-size")
        )
        ranges.allocate(ranges.GLOBALNET, broker, namespace, globalnet, report)
    else:
        globalnet = ranges.Allocation(cluster_id, values.text("globalnet-cidr"))
    clusterset = ranges.Allocation(cluster_id, values.text("clusterset-ip-cidr"))
    if info.service_discovery_enabled:
        clusterset.size = 0 if clusterset.cidr else ranges.CLUSTERSET_BLOCK
        ranges.allocate(ranges.CLUSTERSET, broker, namespace, clusterset, report)

    report.start("Deploying the Submariner operator")
    with report.failing("Error deploying the operator"):
        setup.install_operator(cluster, values, overrides, report)
    report.start("Creating SA for cluster")
    with report.failing("Error creating SA for cluster"):
        token = _account_on_broker(broker, cluster_id, namespace)
    faults.midway()
    report.start("Connecting to Broker")
    with report.failing("Error creating broker secret for cluster"):
        # Deleted and made anew, like everything that join leaves on the cluster.
        cluster.create_anew(objects.secret(objects.BROKER_SECRET, OPERATOR_NAMESPACE, token["data"]))

    spec = _common_spec(cluster_id, info, token["data"], values)
    spec |= {"clustersetIPCIDR": clusterset.cidr, "imageOverrides": overrides}
    spec["clustersetIPEnabled"] = values.switch("enable-clusterset-ip") or clusterset.enabled
    if info.connectivity_enabled:
        report.start("Deploying submariner")
        spec |= {"clusterCIDR": pod_cidr, "serviceCIDR": service_cidr, "globalCIDR": globalnet.cidr}
        with report.failing("Error deploying the Submariner resource"):
            _deploy_submariner(cluster, info, spec, values)
        report.success("Submariner is up and running")
    elif info.service_discovery_enabled:
        report.start("Deploying service discovery only")
        spec |= {"repository": values.text("repository"), "version": values.text("version")}
        with report.failing("Error deploying the ServiceDiscovery resource"):
            # This one, unlike Submariner, is updated in place.
            spec = objects.without_zeros(spec, keep=_REQUIRED)
            cluster.ensure(objects.custom("ServiceDiscovery", "service-discovery", OPERATOR_NAMESPACE, spec))
        report.success("Service discovery is up and running")
    report.end()


# --- questions, which nobody answers ----------------------------------------------------------------------------------


def _prompt(question: str) -> SubctlError:
    """Ask as subctl does; without a terminal it reads the end of the input at once, and so does the stand-in always."""
    sys.stdout.write(f"? {question} ")
    sys.stdout.flush()
    return SubctlError("EOF")


def _cluster_id(given: str, cluster_name: str, report: Reporter) -> str:
    cluster_id = given or (cluster_name if _is_label(cluster_name) else _sanitise(cluster_name))
    if cluster_id and not _is_label(cluster_id):
        report.error(SubctlError(f"{cluster_id} is not a valid ClusterID [{_LABEL_RULE}]"), "Invalid cluster ID")
        cluster_id = ""
    if not cluster_id:
        raise report.error(_prompt("What is your cluster ID?"), "Error collecting cluster ID")
    return cluster_id


def _is_label(text: str) -> bool:
    return len(text) <= 63 and _LABEL.fullmatch(text) is not None


def _sanitise(name: str) -> str:
    """Make a label of the kubeconfig's cluster name."""
    text = re.sub(r"[^a-z0-9-]+", "-", name.lower())
    text = re.sub(r"^-", "0", text)
    return re.sub(r"-$", "0", text)


def _cidr(title: str, word: str, given: str, found: str, report: Reporter) -> str:
    """Take the CIDR given; one that was found is left for the operator to find again, hence the empty string."""
    if given:
        if found and found != given:
            report.warning(
                f"The provided {word} CIDR for the cluster ({given}) does not match the discovered CIDR ({found})"
            )
        return given
    if not found:
        raise report.error(_prompt(f"What's the {title} CIDR for your cluster?"), "Error collecting CIDR")
    return ""


def _label_gateway(cluster: Cluster, report: Reporter) -> None:
    report.start("Retrieving the gateway nodes")
    with report.failing("Error retrieving the gateway nodes"):
        gateways = _names(cluster.find_all("Node", labels=f"{objects.GATEWAY_LABEL}=true"))
    if gateways:
        print(f"   There are {len(gateways)} node(s) labeled as gateways:")
        for name in gateways:
            print(f"    - {name}")
        report.end()
        return
    report.start("Retrieving all worker nodes")
    with report.failing("Error listing the worker nodes"):
        workers = _names(cluster.find_all("Node", labels="node-role.kubernetes.io/worker"))
        workers = workers or _names(cluster.find_all("Node", labels="!node-role.kubernetes.io/master"))
    report.end()
    if not workers:
        report.warning("No worker node available to label as the gateway")
        return
    if len(workers) > 1:
        raise report.error(_prompt("Which node should be used as the gateway?"), "Error getting gateway node")
    report.start(f'Labeling node "{workers[0]}" as a gateway')
    with report.failing(f'Error labeling node "{workers[0]}" as a gateway'):
        cluster.merge("Node", workers[0], "", {"metadata": {"labels": {objects.GATEWAY_LABEL: "true"}}})
    report.end()


def _names(items: list[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_requirements(cluster: Cluster, info: BrokerInfo, values: Values, report: Reporter) -> None:
    with report.failing("unable to check version requirements"):
        version = cluster.call("GET", "/version")
    running = (int(version["major"]), int(version["minor"].rstrip("+")))
    needed = [("service discovery", (1, 21))] if info.service_discovery else []
    failed = [
        f"* Submariner {what} requires Kubernetes {least[0]}.{least[1]}; your cluster is running "
        f"{version['major']}.{version['minor']}\n"
        for what, least in [*needed, ("connectivity", (1, 19))]
        if running < least
    ]
    if not failed:
        return
    message = "The target cluster fails to meet Submariner's version requirements:\n" + "".join(failed)
    if values.switch("ignore-requirements"):
        report.warning(message)
        return
    report.failure(message)
    raise SubctlError("version requirements not met")


def _check_coredns(name: str) -> None:
    if name.count("/") > 1:
        raise SubctlError("coredns-custom-configmap should be in <namespace>/<name> format, namespace is optional")


def _log_in(info: BrokerInfo, values: Values) -> Cluster:
    """Connect to the broker with the file's token, trusting the file's CA or, failing that, the system's."""
    token, namespace = info.token_data("token").decode(), info.token_data("namespace").decode()
    insecure = not values.switch("check-broker-certificate")
    broker = kube.from_token(info.url, token, info.token_data("ca.crt"), insecure=insecure)
    try:
        broker.try_to_list("Cluster", namespace)
    except UntrustedServerError:
        broker = kube.from_token(info.url, token, b"", insecure=insecure)
        broker.try_to_list("Cluster", namespace)
    return broker


def _refuse_duplicate(cluster: Cluster, broker: Cluster, cluster_id: str, namespace: str, report: Reporter) -> None:
    """Refuse an ID that the broker knows of another cluster: this one's own would have left its record here, too."""
    with report.failing("error retrieving local Cluster CR"):
        if cluster.find("Cluster", cluster_id, OPERATOR_NAMESPACE) is not None:
            return
    with report.failing("error retrieving broker Cluster CR"):
        known = broker.find("Cluster", cluster_id, namespace)
    if known is not None:
        report.failure(
            f'Detected an existing joined cluster with the same ID "{cluster_id}" on the broker. '
            "Cluster IDs must be unique across all clusters"
        )
        report.end()
        raise SubctlError("cluster ID not unique")


def _lose_the_race(report: Reporter) -> None:
    for _ in range(5):
        report.start("Updating the ClustersetIP information on the Broker")
        report.warning("Conflict occurred updating the ClustersetIP ConfigMap - retrying")
        report.end()
    raise UnexplainedError("on request")


# --- objects ----------------------------------------------------------------------------------------------------------


def _account_on_broker(broker: Cluster, cluster_id: str, namespace: str) -> Object:
    account = f"cluster-{cluster_id}"
    with wrapping("error creating cluster sa"):
        broker.ensure(objects.service_account(account, namespace))
    role = objects.BROKER_CLUSTER_ROLE
    with wrapping("error binding sa to cluster role"):
        try:
            broker.create(objects.binding(f"{account}-{role}", role, account, namespace, account_namespace=namespace))
        except ApiError as error:
            if not error.already_exists:
                raise
    with wrapping("error getting cluster sa token"):
        return setup.ensure_token_secret(broker, namespace, account)


_REQUIRED = (
    "broker",
    "brokerK8sApiServer",
    "brokerK8sRemoteNamespace",
    "ceIPSecDebug",
    "clusterCIDR",
    "clusterID",
    "debug",
    "namespace",
    "natEnabled",
    "serviceCIDR",
)


def _common_spec(cluster_id: str, info: BrokerInfo, token: dict[str, str], values: Values) -> Object:
    """The part of the spec that Submariner and ServiceDiscovery share."""
    place, _, name = values.text("coredns-custom-configmap").rpartition("/")
    return {
        "brokerK8sApiServer": info.url.partition("://")[2] or info.url,
        "brokerK8sApiServerToken": objects.decode(token["token"]).decode(),
        "brokerK8sCA": token["ca.crt"],
        "brokerK8sRemoteNamespace": objects.decode(token["namespace"]).decode(),
        "brokerK8sSecret": objects.BROKER_SECRET,
        "brokerK8sInsecure": not values.switch("check-broker-certificate"),
        "clusterID": cluster_id,
        "namespace": OPERATOR_NAMESPACE,
        "debug": values.switch("pod-debug"),
        "customDomains": values.texts("custom-domains") or info.custom_domains,
        "coreDNSCustomConfig": objects.without_zeros({"configMapName": name, "namespace": place}),
    }


def _deploy_submariner(cluster: Cluster, info: BrokerInfo, common: Object, values: Values) -> None:
    psk = info.psk_secret or {}
    name = (psk.get("metadata") or {}).get("name", "")
    with wrapping("Error creating PSK secret for cluster"):
        cluster.create_anew(objects.secret(name, OPERATOR_NAMESPACE, psk.get("data") or {}))
    repository, version = setup.repository_and_version(values)
    spec = {
        **common,
        "broker": "",
        "repository": repository,
        "version": version,
        "cableDriver": values.text("cable-driver"),
        "ceIPSecDebug": values.switch("ipsec-debug"),
        "ceIPSecForceUDPEncaps": values.switch("force-udp-encaps"),
        "ceIPSecNATTPort": values.number("nattport"),
        "ceIPSecPreferredServer": values.switch("preferred-server"),
        "ceIPSecPSK": objects.encode(info.psk),
        "ceIPSecPSKSecret": name,
        "natEnabled": values.switch("natt"),
        "airGappedDeployment": values.switch("air-gapped"),
        "loadBalancerEnabled": values.switch("load-balancer"),
        "serviceDiscoveryEnabled": info.service_discovery_enabled,
        "connectionHealthCheck": objects.without_zeros(
            {
                "enabled": values.switch("health-check"),
                "intervalSeconds": values.number("health-check-interval"),
                "maxPacketLossCount": values.number("health-check-max-packet-loss-count"),
            }
        ),
    }
    with wrapping("Submariner deployment failed"), wrapping("error creating Submariner resource"):
        spec = objects.without_zeros(spec, keep=_REQUIRED)
        # Never in place: an existing one is deleted, and with it, in a real cluster, the tunnel.
        cluster.create_anew(objects.custom("Submariner", "submariner", OPERATOR_NAMESPACE, spec))
