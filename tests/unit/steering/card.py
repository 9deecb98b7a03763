"""A network card that does what the kernel's ethtool calls ask of it, as a driver would."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field

from ikeclone_steering.ethtool import Call, Flow

RULE = slice(16, 184)
LOCATION = 176
SOURCE_AND_DESTINATION = 0x30


@dataclass
class FakeCard:
    """`call` stands in for ethtool.call. Flows that are not in `hashes` are refused."""

    queues: int = 4
    places: int = 4
    chooses: bool = False
    filters: bool = True  # whether rules are on
    rules: dict[int, bytes] = field(default_factory=dict)
    hashes: dict[int, int] = field(default_factory=lambda: dict.fromkeys(Flow, SOURCE_AND_DESTINATION))
    calls: list[bytes] = field(default_factory=list)

    def call(self, device: str, octets: bytes) -> bytes:
        self.calls.append(octets)
        if len(octets) < LOCATION:
            return self._small(octets)
        what, flow, data = struct.unpack_from("=IIQ", octets)
        (location,) = struct.unpack_from("=I", octets, LOCATION)
        match Call(what):
            case Call.GET_QUEUES:
                return answer(octets, self.queues)
            case Call.GET_HASH:
                return answer(octets, self._known(flow))
            case Call.SET_HASH:
                self._known(flow)
                self.hashes[flow] = data
            case Call.COUNT_RULES:
                self._rules()
                return answer(octets, self.places | self.chooses << 31, count=len(self.rules))
            case Call.LIST_RULES:
                assert len(octets) == 192 + 4 * len(self.rules)
                return answer(octets, self.places, list(self.rules))
            case Call.GET_RULE:
                return octets[: RULE.start] + self.rules[location] + octets[RULE.stop :]
            case Call.DELETE_RULE:
                del self.rules[location]
            case Call.INSERT_RULE:
                self._insert(octets[RULE], location)
        return octets

    def _small(self, octets: bytes) -> bytes:
        match Call(struct.unpack_from("=I", octets)[0]):
            case Call.GET_CHANNELS:
                return octets[:16] + struct.pack("=I12xI", 8, self.queues)
            case Call.GET_FLAGS:
                return octets[:4] + struct.pack("=I", self.filters << 27)
            case other:
                raise AssertionError(other)

    def _insert(self, rule: bytes, location: int) -> None:
        if self.chooses:
            assert location == 0xFFFFFFFF
            location = next((place for place in range(self.places) if place not in self.rules), self.places)
        if location >= self.places:
            refuse(errno.ENOSPC)
        self.rules[location] = rule[: LOCATION - RULE.start] + struct.pack("=I4x", location)

    def _known(self, flow: int) -> int:
        if flow not in self.hashes:
            refuse(errno.EOPNOTSUPP)
        return self.hashes[flow]

    def _rules(self) -> None:
        if not self.places:
            refuse(errno.EOPNOTSUPP)


def refuse(code: int) -> None:
    raise OSError(code, os.strerror(code))


def answer(octets: bytes, data: int, locations: list[int] | None = None, count: int = 0) -> bytes:
    """A call with an answer in it."""
    numbers = locations or []
    tail = struct.pack(f"=I{len(numbers)}I", len(numbers) or count, *numbers)
    return (octets[:8] + struct.pack("=Q", data) + octets[16:184] + tail).ljust(len(octets), b"\0")
