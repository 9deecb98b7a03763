"""Each side demands a cookie of the other: strongSwan because of a half-open IKE SA, ikeclone with ddos-mode=busy."""

import sys

from ikeclone.crypto import kex
from ikeclone.crypto.registry import parse_ike
from ikeclone.ike.proposals import numbered
from ikeclone.numbers import ExchangeType, KeMethod
from ikeclone.wire.message import Header, build_message
from ikeclone.wire.payloads import KeyExchange, Nonce, Sa
from interop.lab import EAST, WEST, Lab, expect_in
from interop.steps import ping_both_ways

DEMAND = "IKE_SA_INIT response 0 [ N(COOKIE) ]"
ASK = f"""\
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(10)
    sock.bind(("{WEST.address}", 1500))
    sock.sendto(bytes.fromhex(sys.argv[1]), ("{EAST.address}", 500))
    sock.recv(4096)
"""


def run(lab: Lab) -> None:
    lab.strongswan.start(options={"cookie_threshold": "1"})
    lab.start_ikeclone(setup={"ddos-mode": "busy"})
    lab.west.run(sys.executable, "-c", ASK, opening().hex())
    lab.up()
    expect_in("strongSwan's log", lab.strongswan.log(), f"generating {DEMAND}")
    ping_both_ways(lab)
    lab.ikeclone.command("down", "gw")
    lab.expect_nothing()
    lab.strongswan.initiate()
    expect_in("strongSwan's log", lab.strongswan.log(), f"parsed {DEMAND}")
    ping_both_ways(lab)


def opening() -> bytes:
    """An IKE_SA_INIT request of somebody who never goes on."""
    pair = kex.generate(KeMethod.CURVE25519, lambda size: bytes(range(size)))
    header = Header(b"half-way", bytes(8), ExchangeType.IKE_SA_INIT, 0, True, False)
    payloads = (
        Sa(numbered(parse_ike("aes128-sha256-x25519"), b"")),
        KeyExchange(pair.method, pair.public),
        Nonce(bytes(32)),
    )
    return build_message(header, payloads)
