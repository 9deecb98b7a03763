"""A Child SA and a policy between west and east."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from ikeclone.backend import ChildSa, Encr, EspKeys, EspSuite, Integ, Path, Policy, TrafficSelector
from ikeclone_xfrm.policies import REQID_BASE

WEST, EAST = ip_address("192.1.2.45"), ip_address("192.1.2.23")
REQID = REQID_BASE + 1
GCM = EspSuite(Encr.AES_GCM_16, 128, Integ.NONE)
CBC = EspSuite(Encr.AES_CBC, 128, Integ.HMAC_SHA2_256_128)
PATH = Path(WEST, EAST)
LOCAL = (TrafficSelector.of(ip_network("192.0.1.0/24")),)
REMOTE = (TrafficSelector.of(ip_network("192.0.2.0/24")),)
POLICY = Policy("gw", LOCAL, REMOTE, PATH)
SA = ChildSa(
    connection="gw",
    cpu=None,
    inbound_spi=0x9ABCDEF0,
    outbound_spi=0x12345678,
    suite=GCM,
    inbound_keys=EspKeys(bytes(20)),
    outbound_keys=EspKeys(bytes(range(20))),
    local=LOCAL,
    remote=REMOTE,
    path=PATH,
    udp_encapsulation=False,
    replay_window=32,
)


def child(**changes: Any) -> ChildSa:
    """The sample with changes."""
    return replace(SA, **changes)
