"""What a network card does with received packets: the kernel's ethtool calls (linux/ethtool.h, struct ethtool_rxnfc).

They are ioctls: netlink has the fields of a hash only since Linux 6.17, and rules not at all.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

_SIOCETHTOOL: Final = 0x8946
_REQUEST: Final = struct.Struct("@16sP16x")  # struct ifreq: the device, and where the call is
_CALL: Final = struct.Struct("@IIQ168sI")  # cmd, flow_type, data, the rule, rule_cnt
_RULE: Final = struct.Struct("@I52s20x52s20xQI4x")  # struct ethtool_rx_flow_spec
_SIZE: Final = 192  # of struct ethtool_rxnfc; the locations of rules begin at its last 4 octets
_CHANNELS: Final = struct.Struct("=9I")  # struct ethtool_channels: cmd, four maxima, four counts, combined the last
_FLAGS, _NTUPLE = struct.Struct("=II"), 1 << 27  # struct ethtool_value, ETH_FLAG_NTUPLE
_CHOOSES, _ANYWHERE = 0x80000000, 0xFFFFFFFF  # RX_CLS_LOC_SPECIAL, RX_CLS_LOC_ANY
_NO_RULE: Final = bytes(_RULE.size)


class Call(IntEnum):
    """What a call is for."""

    GET_FLAGS = 0x25
    GET_HASH = 0x29
    SET_HASH = 0x2A
    GET_QUEUES = 0x2D
    COUNT_RULES = 0x2E
    GET_RULE = 0x2F
    LIST_RULES = 0x30
    DELETE_RULE = 0x31
    INSERT_RULE = 0x32
    GET_CHANNELS = 0x3C


class Flow(IntEnum):
    """Kinds of packets."""

    UDP_V4 = 0x02
    AH_ESP_V4 = 0x04
    UDP_V6 = 0x06
    AH_ESP_V6 = 0x08
    ESP_V4 = 0x0A
    ESP_V6 = 0x0C


class Fields(IntFlag):
    """What the hash of a packet is made of. The four octets behind the IP header are the ports, or the SPI of ESP."""

    SOURCE = 1 << 4
    DESTINATION = 1 << 5
    FIRST_TWO = 1 << 6
    NEXT_TWO = 1 << 7


@dataclass(frozen=True, slots=True)
class Rule:
    """Packets with these octets in their headers, laid out as in union ethtool_flow_union, go to a receive queue."""

    flow: Flow
    fields: bytes
    queue: int

    def octets(self, location: int) -> bytes:
        """As struct ethtool_rx_flow_spec; every bit of the fields counts."""
        return _RULE.pack(self.flow, self.fields, b"\xff" * len(self.fields), self.queue, location)


def call(device: str, octets: bytes) -> bytes:
    """One call about a device of this network namespace, and what the kernel makes of it; raises OSError."""
    buffer = ctypes.create_string_buffer(octets, len(octets))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, _REQUEST.pack(device.encode(), ctypes.addressof(buffer)))
    return buffer.raw


class Card:
    """A network card, by its name. Methods raise OSError when it refuses, or has no such thing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def queues(self) -> int:
        """How many queues packets are received in."""
        return self._data(Call.GET_QUEUES)

    def channels(self) -> tuple[int, int]:
        """How many combined queues there are, and how many there can be."""
        numbers = _CHANNELS.unpack(call(self._name, _CHANNELS.pack(Call.GET_CHANNELS, *bytes(8))))
        return numbers[8], numbers[4]

    def takes_rules(self) -> bool:
        """Whether rules (n-tuple filters) are on."""
        _, flags = _FLAGS.unpack(call(self._name, _FLAGS.pack(Call.GET_FLAGS, 0)))
        return bool(flags & _NTUPLE)

    def hashed(self, flow: Flow) -> Fields:
        """What the hash of such packets is made of; by it they are given to queues."""
        return Fields(self._data(Call.GET_HASH, flow))

    def hash_by(self, flow: Flow, fields: Fields) -> None:
        self._data(Call.SET_HASH, flow, fields)

    def rules(self) -> dict[int, bytes]:
        """Every rule, as Rule.octets has it, by its location."""
        listed = self._listed()
        (count,) = struct.unpack_from("=I", listed, _SIZE - 8)
        return {number: self._rule(number) for number in struct.unpack_from(f"={count}I", listed, _SIZE - 4)}

    def places(self) -> int | None:
        """How many locations there are for rules; None if the card finds them by itself."""
        if self._data(Call.COUNT_RULES) & _CHOOSES:
            return None
        return int(_CALL.unpack_from(self._listed())[2])

    def insert(self, rule: Rule) -> None:
        """Add a rule, behind those of others where the card has an order."""
        places = self.places()
        location = _ANYWHERE if places is None else self._last_free(places)
        self._call(Call.INSERT_RULE, rule=rule.octets(location))

    def delete(self, rule: Rule) -> None:
        """Take a rule out. One that is not there, or that somebody has changed, needs nothing."""
        for location, found in self.rules().items():
            if found == rule.octets(location):
                self._call(Call.DELETE_RULE, rule=_at(location))

    def _listed(self) -> bytes:
        """The locations of all rules; the call has to have room for exactly these."""
        (count,) = struct.unpack_from("=I", self._call(Call.COUNT_RULES), _SIZE - 8)
        return self._call(Call.LIST_RULES, count=count)

    def _last_free(self, places: int) -> int:
        taken = self.rules()
        for location in reversed(range(places)):
            if location not in taken:
                return location
        raise OSError(errno.ENOSPC, "every place for a rule is taken")

    def _rule(self, location: int) -> bytes:
        return bytes(_CALL.unpack_from(self._call(Call.GET_RULE, rule=_at(location)))[3])

    def _data(self, what: Call, flow: int = 0, data: int = 0) -> int:
        return int(_CALL.unpack_from(self._call(what, flow, data))[2])

    def _call(self, what: Call, flow: int = 0, data: int = 0, rule: bytes = _NO_RULE, count: int = 0) -> bytes:
        head = _CALL.pack(what, flow, data, rule, count)
        return call(self._name, head.ljust(_SIZE + 4 * count, b"\0"))


def _at(location: int) -> bytes:
    """A rule of which only the location is known."""
    return _RULE.pack(0, b"", b"", 0, location)
