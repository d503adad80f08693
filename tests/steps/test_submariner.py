"""Which change of the settings takes a new join, and which the resource takes in place: every setting is either."""

import dataclasses
from typing import Any

import pytest

from mesh.plan.models import CableDriver
from mesh.plan.settings import JoinSettings
from mesh.steps import submariner
from mesh.steps.broker_info import BrokerInfo
from tests.steps.mesh import Mesh
from tests.unit.test_broker_info import INFO

SETTINGS = Mesh().join_spec("cluster-b").settings
ANEW: dict[str, Any] = {
    "cluster_id": "other",
    "cluster_cidr": "172.112.0.0/16",
    "service_cidr": "10.244.0.0/18",
    "globalnet_cidr": "242.1.0.0/16",
    "version": "0.24.0",
    "repository": "mirror.example/submariner",
    "image_overrides": {"submariner-gateway": "mirror.example/gateway:1"},
}
IN_PLACE: dict[str, Any] = {
    "cable_driver": CableDriver.VXLAN,
    "nat_traversal": True,
    "nat_port": 4501,
    "force_udp_encaps": True,
    "preferred_server": True,
    "air_gapped": True,
    "health_check": not SETTINGS.health_check,
    "health_check_interval": 3,
    "health_check_max_packet_loss_count": 7,
}
ONLY_FOR_THE_STEP = {"gateways", "ignore_requirements", "adopt", "timeout"}


def as_joined(settings: JoinSettings, info: BrokerInfo = INFO) -> dict[str, Any]:
    """The resource as subctl would make it: what is false or empty is left out."""
    spec = submariner.fixed_part(settings, info) | submariner.patchable_part(settings)
    return {"spec": {key: value for key, value in spec.items() if value}}


def test_every_setting_is_accounted_for() -> None:
    assert set(JoinSettings.model_fields) == ANEW.keys() | IN_PLACE.keys() | ONLY_FOR_THE_STEP


@pytest.mark.parametrize("setting", ANEW | IN_PLACE)
def test_a_change_is_seen_where_it_belongs(setting: str) -> None:
    found = as_joined(SETTINGS)
    changed = SETTINGS.model_copy(update={setting: (ANEW | IN_PLACE)[setting]})
    assert bool(submariner.differences(found, submariner.fixed_part(changed, INFO))) == (setting in ANEW)
    assert bool(submariner.differences(found, submariner.patchable_part(changed))) == (setting in IN_PLACE)
    # And back again: "false" is a difference to "true", whoever leaves it out.
    found = as_joined(changed)
    wanted = submariner.fixed_part(SETTINGS, INFO) | submariner.patchable_part(SETTINGS)
    assert submariner.differences(found, wanted)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://10.6.168.11:6443"},
        {"namespace": "other"},
        {"components": ("connectivity",)},
        {"custom_domains": ("a.b",)},
    ],
    ids=str,
)
def test_another_broker_takes_a_new_join(change: dict[str, Any]) -> None:
    other = dataclasses.replace(INFO, **change)
    assert submariner.differences(as_joined(SETTINGS), submariner.fixed_part(SETTINGS, other))


def test_what_is_left_out_is_no_difference() -> None:
    found = as_joined(SETTINGS)
    assert not submariner.differences(found, submariner.fixed_part(SETTINGS, INFO))
    assert not submariner.differences(found, submariner.patchable_part(SETTINGS))
    found["spec"]["connectionHealthCheck"] = {"intervalSeconds": 1, "maxPacketLossCount": 5}  # as Go writes it
    assert not submariner.differences(
        found, submariner.patchable_part(SETTINGS.model_copy(update={"health_check": False}))
    )
