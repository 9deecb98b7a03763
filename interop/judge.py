"""Wireshark's opinion of a capture: decrypted with the daemon's keys, dissected without complaint."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Wireshark knows one set of keys for an IKE SA, the last: IKE_INTERMEDIATE (43), under those before, looks like noise.
COMPLAINTS = "!(isakmp.exchangetype == 43) && (_ws.malformed || _ws.expert.severity == error)"


class UnsoundError(AssertionError):
    """tshark found fault with a capture, or could not look into it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many packets a sound capture has: all, IKE, decrypted IKE, ESP, decrypted ESP with pings."""

    packets: int
    ike: int
    ike_decrypted: int
    esp: int
    esp_decrypted: int


def judge(capture: Path, keys: Path) -> Verdict:
    """Dissect a capture with the key files in the directory `keys`.

    Raises UnsoundError when a packet is malformed or gets an expert error, or the capture is empty.
    """
    complaints = _tshark(capture, keys, COMPLAINTS, "-V")
    if complaints:
        raise UnsoundError(f"tshark on {capture}:\n{complaints}")
    filters = ("frame", "isakmp", "isakmp.enc.decrypted", "esp", "esp && icmp")
    counts = [len(_tshark(capture, keys, wanted).splitlines()) for wanted in filters]
    if not counts[0]:
        raise UnsoundError(f"{capture} is empty")
    return Verdict(*counts)


def esp_ports(capture: Path, source: str) -> dict[str, int]:
    """The UDP source port of the newest packet of each SA that `source` sends on, by the SPI in hexadecimal."""
    fields = ("-T", "fields", "-e", "esp.spi", "-e", "udp.srcport")
    lines = _tshark(capture, capture.parent, f"esp && udp && ip.src == {source}", *fields).splitlines()
    packets = [line.split() for line in lines]
    return {spi.removeprefix("0x"): int(port) for spi, port in packets}


def fragments(capture: Path, source: str) -> set[tuple[int, bool]]:
    """The messages that `source` has sent in fragments (RFC 7383): message id, and whether it is a response."""
    fields = ("-T", "fields", "-e", "isakmp.messageid", "-e", "isakmp.flag_r")
    wanted = f"isakmp.typepayload == 53 && ip.src == {source}"
    lines = [line.split() for line in _tshark(capture, capture.parent, wanted, *fields).splitlines()]
    return {(int(number, 16), flag in ("1", "True")) for number, flag in lines}


def _tshark(capture: Path, keys: Path, wanted: str, *options: str) -> str:
    """The packets that a display filter lets through, as tshark prints them."""
    preferences = ("esp.enable_encryption_decode:TRUE", "esp.enable_authentication_check:TRUE")
    settings = [word for preference in preferences for word in ("-o", preference)]
    return subprocess.run(
        ["tshark", "-n", "-r", capture, *settings, "-Y", wanted, *options],
        env={**os.environ, "WIRESHARK_CONFIG_DIR": str(keys)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=60,
    ).stdout
