"""The Internet checksum (RFC 1071) and the places of TCP and IP header fields that segments differ in."""

from __future__ import annotations

from typing import Final

import numpy as np

MODULUS: Final = 0xFFFF  # ones' complement sums are sums modulo this
_SHORT: Final = 400  # up to here one big integer is quicker than numpy

IPV4_HEADER, IPV6_HEADER = 20, 40
TCP: Final = 6
# offsets in the TCP header
SEQUENCE, DATA_OFFSET, FLAGS, TCP_CHECKSUM = 4, 12, 13, 16
FIN, SYN, RST, PSH, URG, CWR = 0x01, 0x02, 0x04, 0x08, 0x20, 0x80


def ones_sum(data: memoryview) -> int:
    """The sum of the big-endian 16-bit words modulo 65535; an odd last octet counts as the high half of a word."""
    octets = len(data)
    if octets < _SHORT:
        total = int.from_bytes(data, "big")
        return (total << 8 if octets & 1 else total) % MODULUS
    total = int(np.add.reduce(np.frombuffer(data, "<u2", octets >> 1), dtype=np.uint64))
    if octets & 1:
        total += data[-1]
    total %= MODULUS
    return total >> 8 | (total & 0xFF) << 8  # the sum of swapped words is the swapped sum


def checksum(total: int) -> int:
    """The checksum that makes a sum of the rest come out as zero; never 0, which UDP gives a meaning of its own."""
    return MODULUS - total % MODULUS


def pseudo_sum(packet: memoryview, version: int, protocol: int, length: int) -> int:
    """The sum of the pseudo header for `length` octets of transport header and payload (RFC 9293, RFC 8200)."""
    addresses = packet[12:20] if version == 4 else packet[8:40]
    return int.from_bytes(addresses, "big") % MODULUS + protocol + length
