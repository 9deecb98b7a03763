"""Keywords that tell the data plane what to do with a connection's packets."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Annotated

from pydantic import PlainValidator, model_validator

from ikeclone.backend import Handling, Interface, Mark, Offload
from ikeclone.config import values
from ikeclone.config.keyworded import Keyworded

_LARGEST = 0xFFFFFFFF
_MARK = re.compile(r"(0x[0-9a-f]{1,8}|[0-9]{1,10})(?:/(0x[0-9a-f]{1,8}|[0-9]{1,10}))?", re.ASCII | re.IGNORECASE)
_CPU_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", re.ASCII)
_MOST_CPUS = 8192
_MOST_INTERFACES = 65535

AnyInterface = IPv4Interface | IPv6Interface


def mark(text: str) -> Mark:
    """MARK or MARK/MASK, decimal or in hexadecimal digits behind 0x."""
    if not (match := _MARK.fullmatch(text)):
        raise ValueError("must be a mark such as 5, 0x10 or 0x10/0xf0")
    value, mask = (_LARGEST if part is None else int(part, 0 if "x" in part.lower() else 10) for part in match.groups())
    if value > _LARGEST or mask > _LARGEST:
        raise ValueError("a mark and its mask have 32 bits")
    if value & ~mask:
        raise ValueError(f"the mark {value:#x} has bits that its mask {mask:#x} leaves out: no packet could have it")
    return Mark(value, mask)


def interface(text: str) -> int | None:
    """The number of the device ipsecN; None is no device."""
    words = {"no": None, "yes": 1}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return values.integer(1, _MOST_INTERFACES)(text)
    except ValueError:
        raise ValueError(f"must be no, yes (the device ipsec1) or a number from 1 to {_MOST_INTERFACES}") from None


def addresses(text: str) -> tuple[AnyInterface, ...]:
    """Addresses with the lengths of their networks."""
    try:
        return tuple(ip_interface(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise ValueError("must be addresses such as 192.0.2.1/24") from None


def cpus(text: str) -> frozenset[int] | None:
    """`no` is None, `yes` is empty: all CPUs; else a list such as 0-3,8."""
    words: dict[str, frozenset[int] | None] = {"no": None, "yes": frozenset()}
    if text.lower() in words:
        return words[text.lower()]
    numbers: set[int] = set()
    for part in text.replace(",", " ").split():
        match = _CPU_RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < _MOST_CPUS:
            raise ValueError("must be yes, no or a list of CPUs such as 2-5,8")
        numbers |= set(range(first, last + 1))
    return frozenset(numbers)


Addresses = Annotated[tuple[AnyInterface, ...], PlainValidator(addresses)]
_Mark = Annotated[Mark | None, PlainValidator(mark)]


class HandlingKeywords(Keyworded):
    """The keywords of a conn that make up its `Handling`; `mark` is for both directions."""

    nic_offload: Annotated[Offload, PlainValidator(values.one_of({each.value: each for each in Offload}))] = Offload.NO
    ipsec_interface: Annotated[int | None, PlainValidator(interface)] = None
    mark: _Mark = None
    mark_in: _Mark = None
    mark_out: _Mark = None
    priority: Annotated[int, PlainValidator(values.integer(0, _LARGEST))] = 0
    parallel_crypto: Annotated[frozenset[int] | None, PlainValidator(cpus)] = None

    @model_validator(mode="after")
    def _check_parallel(self) -> HandlingKeywords:
        if self.parallel_crypto is not None and self.nic_offload is not Offload.NO:
            raise ValueError("nic-offload= and parallel-crypto= exclude each other: a card or CPUs do the work")
        return self

    def handling(self, interface_addresses: tuple[AnyInterface, ...]) -> Handling:
        """All of them together; the addresses are what the end that is this host says."""
        number = self.ipsec_interface
        return Handling(
            offload=self.nic_offload,
            interface=None if number is None else Interface(number, interface_addresses),
            mark_in=self.mark_in or self.mark,
            mark_out=self.mark_out or self.mark,
            priority=self.priority or None,
            parallel=self.parallel_crypto,
        )
